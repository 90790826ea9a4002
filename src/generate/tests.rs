//! The generator as its users see it: bytes, rates, bursts, and aggregates counted a second time.
//!
//! The schema file is read here, not a copy of it; Avro bytes are decoded by a reader that knows
//! nothing but the schema.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::Value;
use serde_json::value::RawValue;

use super::world::HOUR;
use super::*;
use crate::record::Digest;

const SCHEMA: &str = include_str!("../../schemas/payment.avsc");

fn schema_fields() -> Vec<Value> {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    schema["fields"].as_array().unwrap().clone()
}

/// A month of a small issuer.
fn month() -> impl Iterator<Item = Payment> {
    Generator::new(Settings::for_cards(5_000)).take(300_000)
}

/// The JSON of a payment, read back. Doubles are read by the standard library: `serde_json` as
/// configured here may miss their last bit.
fn json(payment: &Payment) -> Value {
    let mut bytes = Vec::new();
    payment.write_json(&mut bytes);
    let raw: BTreeMap<String, &RawValue> = serde_json::from_slice(&bytes).unwrap();
    let read = |raw: &RawValue| match raw.get() {
        text if text.contains('.') => text.parse::<f64>().unwrap().into(),
        text => serde_json::from_str::<Value>(text).unwrap(),
    };
    raw.into_iter()
        .map(|(name, raw)| (name, read(raw)))
        .collect()
}

#[test]
fn same_settings_give_the_same_bytes() {
    let (mut lines, mut datums, mut truth) = (Vec::new(), Vec::new(), Vec::new());
    for payment in Generator::new(Settings::for_cards(1_000)).take(10_000) {
        payment.write_json(&mut lines);
        lines.push(b'\n');
        payment.write_avro(&mut datums);
        payment.write_truth(&mut truth);
    }
    let digests = [lines, datums, truth].map(|bytes| Digest::of(&bytes).to_string());
    // Models are trained on these bytes: a change here is a change of the data set.
    assert_eq!(
        digests,
        [
            "a49b0bf0c28a6ae00adb6b7dfe3be83396fde753ec4d00f87e8c129643e34bff",
            "539a09547ace8ac3e7b23930d087f4377e92a1f4aaeebb5475eb51bbef43657d",
            "be753cfc93a153556969f0ba74f4fc82c9674b58650969d0b500418fc3ad40cf",
        ]
    );
}

#[test]
fn another_seed_gives_other_payments() {
    let mut settings = Settings::for_cards(1_000);
    let tokens = |settings: &Settings| -> BTreeSet<String> {
        let payments = Generator::new(settings.clone()).take(1_000);
        payments.map(|p| p.card_token.to_string()).collect()
    };
    let first = tokens(&settings);
    settings.seed = 2;
    assert!(first.is_disjoint(&tokens(&settings)));
}

#[test]
fn payments_come_in_order_with_unique_ids_at_the_rate_asked_for() {
    let mut ids = BTreeSet::new();
    let (mut last, mut count) = (i64::MIN, 0_u32);
    let settings = Settings::for_cards(5_000);
    for payment in month() {
        assert!(payment.event_time_us >= last);
        last = payment.event_time_us;
        count += 1;
        assert!(ids.insert(payment.transaction_id.to_string()));
        assert!(payment.amount_minor > 0);
    }
    let seconds = to_float(last - settings.start_us) / to_float(SECOND);
    let rate = f64::from(count) / seconds / settings.events_per_second;
    assert!(
        (0.9..1.1).contains(&rate),
        "rate is {rate} of what was asked for"
    );
}

#[test]
fn fraud_is_rare_comes_in_bursts_and_in_five_ways() {
    let mut campaigns: BTreeMap<(u32, Scenario), Vec<i64>> = BTreeMap::new();
    for payment in month() {
        if let Some(fraud) = payment.fraud {
            let times = campaigns
                .entry((fraud.campaign, fraud.scenario))
                .or_default();
            times.push(payment.event_time_us);
        }
    }
    let frauds: usize = campaigns.values().map(Vec::len).sum();
    assert!(
        (600..=1_500).contains(&frauds),
        "{frauds} frauds in 300,000 payments"
    );
    let scenarios: BTreeSet<Scenario> = campaigns.keys().map(|(_, scenario)| *scenario).collect();
    assert_eq!(scenarios.len(), Scenario::ALL.len());
    let bursts = campaigns.values().filter(|times| times.len() >= 2);
    let short = bursts
        .clone()
        .filter(|times| times[times.len() - 1] - times[0] < 3 * DAY);
    assert!(bursts.clone().count() * 10 >= campaigns.len() * 9);
    assert!(short.count() * 10 >= bursts.count() * 9);
}

#[test]
fn no_fraud_where_none_is_asked_for() {
    let settings = Settings {
        fraud_rate: 0.0,
        ..Settings::for_cards(100)
    };
    assert!(
        Generator::new(settings)
            .take(10_000)
            .all(|payment| payment.fraud.is_none())
    );
}

#[test]
fn fields_are_walked_in_the_order_of_the_schema() {
    struct Names(Vec<&'static str>);
    impl payment::Fields for Names {
        fn text(&mut self, name: &'static str, _: &str) {
            self.0.push(name);
        }
        fn symbol(&mut self, name: &'static str, _: u8, _: &'static str) {
            self.0.push(name);
        }
        fn integer(&mut self, name: &'static str, _: i64) {
            self.0.push(name);
        }
        fn double(&mut self, name: &'static str, _: f64) {
            self.0.push(name);
        }
        fn null(&mut self, name: &'static str) {
            self.0.push(name);
        }
        fn present(&mut self) {}
    }
    let mut names = Names(Vec::new());
    let payment = Generator::new(Settings::for_cards(100)).next().unwrap();
    payment.walk(&mut names);
    let fields = schema_fields();
    let expected: Vec<&str> = fields.iter().map(|f| f["name"].as_str().unwrap()).collect();
    assert_eq!(names.0, expected);
}

/// The value that the schema's `kind` reads from the front of `bytes`; null for a null branch.
fn read_avro(kind: &Value, bytes: &mut &[u8]) -> Value {
    match kind {
        Value::Array(branches) => {
            let branch = usize::try_from(read_long(bytes)).unwrap();
            read_avro(&branches[branch], bytes)
        }
        Value::Object(named) if named["type"] == "enum" => {
            named["symbols"][usize::try_from(read_long(bytes)).unwrap()].clone()
        }
        Value::Object(logical) => read_avro(&logical["type"], bytes),
        Value::String(name) => match name.as_str() {
            "null" => Value::Null,
            "int" => i32::try_from(read_long(bytes)).unwrap().into(),
            "long" => read_long(bytes).into(),
            "double" => {
                let (double, rest) = bytes.split_first_chunk::<8>().unwrap();
                *bytes = rest;
                f64::from_le_bytes(*double).into()
            }
            "string" => {
                let length = usize::try_from(read_long(bytes)).unwrap();
                let (text, rest) = bytes.split_at(length);
                *bytes = rest;
                std::str::from_utf8(text).unwrap().into()
            }
            other => panic!("the schema uses {other}"),
        },
        other => panic!("{other} is no Avro type"),
    }
}

fn read_long(bytes: &mut &[u8]) -> i64 {
    let (mut value, mut shift) = (0_u64, 0);
    loop {
        let (byte, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return (value >> 1).cast_signed() ^ -(value & 1).cast_signed();
        }
    }
}

/// Reads the Avro bytes by the schema and asks that the JSON holds the same and nothing else: so
/// both have every required field, and every value has its declared type.
fn assert_encodings_agree(payment: &Payment, fields: &[Value]) {
    let mut avro = Vec::new();
    payment.write_avro(&mut avro);
    let mut rest = avro.as_slice();
    let mut decoded = serde_json::Map::new();
    for field in fields {
        let value = read_avro(&field["type"], &mut rest);
        if !value.is_null() {
            decoded.insert(field["name"].as_str().unwrap().to_owned(), value);
        }
    }
    assert!(rest.is_empty());
    assert_eq!(json(payment), Value::Object(decoded));
}

#[test]
fn json_and_avro_hold_what_the_schema_declares() {
    let fields = schema_fields();
    let mut seen = BTreeSet::new();
    for profile in [Profile::Full, Profile::Compact] {
        let settings = Settings {
            profile,
            ..Settings::for_cards(1_000)
        };
        for payment in Generator::new(settings).take(20_000) {
            assert_encodings_agree(&payment, &fields);
            seen.extend(json(&payment).as_object().unwrap().keys().cloned());
        }
    }
    assert_eq!(seen.len(), fields.len(), "some field is never filled");
}

#[test]
fn every_symbol_is_in_the_schema_at_its_position() {
    let symbols = |name: &str| -> Vec<String> {
        let fields = schema_fields();
        let field = fields.iter().find(|f| f["name"] == name).unwrap();
        let kind = field["type"].get(1).unwrap_or(&field["type"]);
        serde_json::from_value(kind["symbols"].clone()).unwrap()
    };
    macro_rules! same {
        ($($kind:ident = $name:literal),*) => {$(
            let own: Vec<&str> = $kind::ALL.iter().map(|symbol| symbol.as_str()).collect();
            assert_eq!(own, symbols($name));
        )*};
    }
    same!(
        EventType = "event_type",
        Channel = "channel",
        CardScheme = "card_scheme"
    );
    same!(CardProduct = "card_product", EntryMode = "entry_mode");
    same!(ThreeDsResult = "three_ds_result", CvvResult = "cvv_result");
}

#[test]
fn a_compact_payment_is_the_same_payment_with_required_fields_only() {
    let settings = Settings::for_cards(1_000);
    let compact = Settings {
        profile: Profile::Compact,
        ..settings.clone()
    };
    let fields = schema_fields();
    let required = fields
        .iter()
        .filter(|field| !field["type"].is_array())
        .count();
    let mut bytes = Vec::new();
    for (full, compact) in Generator::new(settings)
        .zip(Generator::new(compact))
        .take(20_000)
    {
        let (full, short) = (json(&full), json(&compact));
        let short = short.as_object().unwrap();
        assert_eq!(short.len(), required);
        assert!(short.iter().all(|(name, value)| full[name] == *value));
        compact.write_json(&mut bytes);
    }
    let mean = bytes.len() / 20_000;
    assert!((270..=330).contains(&mean), "{mean} bytes");
}

#[test]
fn nothing_looks_like_a_card_number() {
    let looks_like_pan = |run: &str| {
        let digits = run.bytes().rev().map(|digit| u32::from(digit - b'0'));
        let doubled = |(place, digit): (usize, u32)| match place % 2 {
            0 => digit,
            _ => digit * 2 / 10 + digit * 2 % 10,
        };
        (13..=19).contains(&run.len()) && digits.enumerate().map(doubled).sum::<u32>() % 10 == 0
    };
    assert!(looks_like_pan("4111111111111111") && !looks_like_pan("4111111111111112"));
    for payment in Generator::new(Settings::for_cards(1_000)).take(20_000) {
        for text in json(&payment)
            .as_object()
            .unwrap()
            .values()
            .filter_map(Value::as_str)
        {
            let mut runs = text.split(|letter: char| !letter.is_ascii_digit());
            assert!(!runs.any(looks_like_pan), "{text}");
        }
    }
}

#[test]
fn truth_leaves_by_its_own_file_only() {
    let mut payments = month();
    let fraud = payments.find(|payment| payment.fraud.is_some()).unwrap();
    let honest = payments.find(|payment| payment.fraud.is_none()).unwrap();
    let line = |payment: &Payment| {
        let mut line = Vec::new();
        payment.write_truth(&mut line);
        String::from_utf8(line).unwrap()
    };
    let Fraud { scenario, campaign } = fraud.fraud.unwrap();
    let id = fraud.transaction_id;
    assert_eq!(
        line(&fraud),
        format!("{id},1,{},{campaign}\n", scenario.as_str())
    );
    assert_eq!(line(&honest), format!("{},0,,\n", honest.transaction_id));
    assert_eq!(
        json(&Payment {
            fraud: None,
            ..fraud.clone()
        }),
        json(&fraud)
    );
}

#[test]
fn drift_moves_honest_prices() {
    let mean = |drift: f64| {
        let settings = Settings {
            drift,
            ..Settings::for_cards(500)
        };
        let late = Generator::new(settings).skip(30_000).take(10_000);
        late.map(|payment| to_float(payment.amount_minor))
            .sum::<f64>()
            / 10_000.0
    };
    assert!(mean(0.5) > 1.3 * mean(0.0));
}

#[test]
fn settings_out_of_range_are_named() {
    let mut settings = Settings::for_cards(99);
    assert!(settings.check().unwrap_err().message.contains("cards"));
    settings = Settings {
        fraud_rate: f64::NAN,
        ..Settings::default()
    };
    assert!(settings.check().unwrap_err().message.contains("fraud rate"));
    settings = Settings {
        events_per_second: 0.0,
        ..Settings::default()
    };
    assert!(settings.check().unwrap_err().message.contains("per second"));
    assert!(Settings::default().check().is_ok());
}

/// The aggregates of the last payment of `stream`, counted afresh from what the stream says. None
/// of a payment's ids may be missing, or its group cannot be told.
fn count_afresh(stream: &[Payment]) -> Aggregates {
    let (now, earlier) = stream.split_last().unwrap();
    let counted =
        |p: &&Payment| matches!(p.event_type, EventType::Authorization | EventType::Transfer);
    let within = |p: &Payment, window: i64| p.event_time_us > now.event_time_us - window;
    let earlier: Vec<&Payment> = earlier.iter().filter(counted).collect();
    let own: Vec<&Payment> = earlier
        .iter()
        .filter(|p| p.card_token == now.card_token)
        .copied()
        .collect();
    let own = &own[own.len().saturating_sub(windows::CARD_LIMIT)..];
    let month: Vec<&Payment> = own
        .iter()
        .filter(|p| within(p, 30 * DAY))
        .copied()
        .collect();
    let day: Vec<&Payment> = own.iter().filter(|p| within(p, DAY)).copied().collect();
    let euro = |p: &&Payment| p.billing_amount_minor.unwrap_or(p.amount_minor);
    let count = |number: usize| i32::try_from(number).unwrap();
    let month_where =
        |test: &dyn Fn(&Payment) -> bool| count(month.iter().filter(|p| test(p)).count());
    let last = month
        .last()
        .map(|p| (now.event_time_us - p.event_time_us) / SECOND);
    let total: i64 = month.iter().map(euro).sum();
    let merchants: BTreeSet<&str> = day.iter().map(|p| p.merchant_id.as_str()).collect();
    let countries: BTreeSet<&str> = day.iter().map(|p| p.merchant_country).collect();
    let device_day = earlier
        .iter()
        .filter(|p| p.device_id == now.device_id && within(p, DAY));
    let cards: BTreeSet<&str> = device_day.map(|p| p.card_token.as_str()).collect();
    let at_merchant = earlier.iter().filter(|p| p.merchant_id == now.merchant_id);
    let at_merchant = at_merchant.filter(|p| within(p, HOUR)).count();
    Aggregates {
        card_count_1h: count(own.iter().filter(|p| within(p, HOUR)).count()),
        card_count_24h: count(day.len()),
        card_amount_sum_24h: day.iter().map(euro).sum(),
        card_amount_avg_30d: last.map(|_| to_float(total) / to_float(month.len() as i64)),
        card_seconds_since_last: last,
        card_merchants_24h: count(merchants.len()),
        card_countries_24h: count(countries.len()),
        card_merchant_count_30d: month_where(&|p| p.merchant_id == now.merchant_id),
        card_device_count_30d: now
            .device_id
            .map(|id| month_where(&|p| p.device_id == Some(id))),
        card_payee_count_30d: now
            .payee_token
            .map(|id| month_where(&|p| p.payee_token == Some(id))),
        device_cards_24h: now.device_id.map(|_| count(cards.len())),
        merchant_count_1h: count(at_merchant.min(windows::MERCHANT_LIMIT)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn aggregates_are_what_the_stream_says(
        seed: u64,
        days in 0.01_f64..80.0,
        fraud_rate in 0.0_f64..0.1,
    ) {
        let events_per_second = 1_500.0 / (days * 86_400.0);
        let settings =
            Settings { seed, events_per_second, fraud_rate, ..Settings::for_cards(100) };
        let stream: Vec<Payment> = Generator::new(settings).take(1_500).collect();
        for length in 1..=stream.len() {
            if let Some(aggregates) = stream[length - 1].aggregates {
                prop_assert_eq!(aggregates, count_afresh(&stream[..length]));
            }
        }
    }
}

#[test]
fn payments_and_truth_are_two_files() {
    let folder = tempfile::tempdir().unwrap();
    let request = |out: &str, truth: &str| files::Request {
        settings: Settings::for_cards(100),
        events: 3,
        avro: false,
        out: Some(folder.path().join(out)),
        truth: Some(folder.path().join(truth)),
    };
    std::fs::create_dir(folder.path().join("a")).unwrap();
    for truth in ["same", "a/../same"] {
        let refused = files::write(&request("same", truth)).unwrap_err();
        assert!(refused.message.contains("one file"), "{refused}");
        assert!(!folder.path().join("same").is_file());
    }
    files::write(&request("one", "other")).unwrap();
    std::os::unix::fs::symlink(folder.path().join("one"), folder.path().join("link")).unwrap();
    files::write(&request("one", "link")).unwrap_err();
}

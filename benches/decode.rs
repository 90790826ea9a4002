//! What decoding costs, in nanoseconds per row, JSON and Avro.
//!
//! 65 536 different card payments of about 300 bytes of JSON are rotated, so that neither the branch
//! predictor nor the cache learns them. Arguments are ignored.

use std::hint::black_box;
use std::time::{Duration, Instant};

use probity::decode::{Decoder, Format, Settings, UnknownFields};
use probity::schema::InputSchema;

const MESSAGES: usize = 65_536;
const BATCH: usize = 512;
const ROUNDS: usize = 12;

const SCHEMA: &str = r#"{"type": "record", "name": "Payment", "fields": [
    {"name": "id", "type": "string"},
    {"name": "time", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    {"name": "card", "type": "string", "personal": true},
    {"name": "amount", "type": "long"},
    {"name": "cur", "type": {"type": "enum", "name": "Currency", "symbols":
        ["EUR", "USD", "GBP", "JPY", "CHF"]}},
    {"name": "mcc", "type": "int"},
    {"name": "merch", "type": "string"},
    {"name": "term", "type": ["null", "string"]},
    {"name": "acq", "type": "string"},
    {"name": "iss", "type": "string"},
    {"name": "entry", "type": "int"},
    {"name": "ecom", "type": "boolean"},
    {"name": "cvv", "type": ["null", "boolean"], "default": null},
    {"name": "lat", "type": ["null", "double"], "default": null},
    {"name": "lon", "type": ["null", "double"], "default": null},
    {"name": "chan", "type": "string"},
    {"name": "n1h", "type": ["null", "int"], "default": null},
    {"name": "n24h", "type": ["null", "int"], "default": null},
    {"name": "avg30", "type": ["null", "double"], "default": null},
    {"name": "dist", "type": ["null", "float"], "default": null}
]}"#;

/// A payment, by a fixed sequence of numbers.
struct Payment {
    seed: u64,
}

impl Payment {
    fn number(&self, field: u64, below: u64) -> u64 {
        let mixed = (self.seed * 64 + field).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) % below
    }

    fn small(&self, field: u64, below: u64) -> i32 {
        i32::try_from(self.number(field, below)).expect("below is small")
    }

    fn fraction(&self, field: u64, decimals: i32) -> f64 {
        f64::from(self.small(field, 1_000_000)) / 10_f64.powi(decimals)
    }

    fn currency(&self) -> (u64, &'static str) {
        let index = self.number(4, 5);
        let names = ["EUR", "USD", "GBP", "JPY", "CHF"];
        (index, names[usize::try_from(index).expect("below five")])
    }

    fn json(&self) -> Vec<u8> {
        format!(
            concat!(
                r#"{{"id":"pay-{:012x}","time":{},"card":"tok_{:014x}","amount":{},"cur":"{}","#,
                r#""mcc":{},"merch":"M{:09}","term":"T{:06}","acq":"GB","iss":"DE","entry":{},"#,
                r#""ecom":{},"cvv":true,"lat":{},"lon":{},"chan":"web","n1h":{},"n24h":{},"#,
                r#""avg30":{},"dist":{}}}"#
            ),
            self.number(0, 1 << 48),
            1_760_000_000_000 + self.number(1, 1 << 30),
            self.number(2, 1 << 54),
            self.number(3, 1_000_000),
            self.currency().1,
            self.number(5, 9999),
            self.number(6, 1_000_000_000),
            self.number(7, 1_000_000),
            self.number(10, 9),
            self.number(11, 2) == 0,
            self.fraction(13, 4),
            self.fraction(14, 4),
            self.number(16, 20),
            self.number(17, 99),
            self.fraction(18, 2),
            self.fraction(19, 3),
        )
        .into_bytes()
    }

    fn avro(&self) -> Vec<u8> {
        let mut out = Vec::new();
        text(&mut out, &format!("pay-{:012x}", self.number(0, 1 << 48)));
        long(&mut out, 1_760_000_000_000 + self.number(1, 1 << 30));
        text(&mut out, &format!("tok_{:014x}", self.number(2, 1 << 54)));
        long(&mut out, self.number(3, 1_000_000));
        long(&mut out, self.currency().0);
        long(&mut out, self.number(5, 9999));
        text(&mut out, &format!("M{:09}", self.number(6, 1_000_000_000)));
        long(&mut out, 1);
        text(&mut out, &format!("T{:06}", self.number(7, 1_000_000)));
        text(&mut out, "GB");
        text(&mut out, "DE");
        long(&mut out, self.number(10, 9));
        out.push(u8::from(self.number(11, 2) == 0));
        out.extend([2, 1]);
        for field in [13, 14] {
            long(&mut out, 1);
            out.extend(self.fraction(field, 4).to_le_bytes());
        }
        text(&mut out, "web");
        for (field, below) in [(16, 20), (17, 99)] {
            long(&mut out, 1);
            long(&mut out, self.number(field, below));
        }
        long(&mut out, 1);
        out.extend(self.fraction(18, 2).to_le_bytes());
        long(&mut out, 1);
        out.extend(f32::to_le_bytes(self.small(19, 1_000) as f32));
        out
    }
}

/// Avro's zigzag varint of a number that is not negative.
fn long(out: &mut Vec<u8>, number: u64) {
    let mut rest = number << 1;
    while rest >= 0x80 {
        out.push(u8::try_from(rest & 0x7f).expect("seven bits") | 0x80);
        rest >>= 7;
    }
    out.push(u8::try_from(rest).expect("seven bits"));
}

fn text(out: &mut Vec<u8>, text: &str) {
    long(out, text.len() as u64);
    out.extend(text.as_bytes());
}

fn decoder(schema: &InputSchema, format: Format) -> Decoder {
    let settings = Settings {
        format,
        unknown_fields: UnknownFields::Ignore,
        max_bytes: 1 << 20,
        max_depth: 64,
        registry: Vec::new(),
    };
    Decoder::new(schema, settings).expect("the schema of the benchmark is right")
}

fn decode(decoder: &Decoder, batch: &[Vec<u8>]) {
    let decoded = decoder.decode(batch.iter().map(|value| Some(value.as_slice())));
    assert!(decoded.rejected.iter().all(Option::is_none));
    black_box(decoded);
}

/// The sum of each batch's best time, which other programs on the machine disturb least.
fn report(name: &str, values: &[Vec<u8>], run: impl Fn(&[Vec<u8>])) {
    let mut best = vec![Duration::MAX; values.len().div_ceil(BATCH)];
    for _ in 0..ROUNDS {
        for (best, batch) in best.iter_mut().zip(values.chunks(BATCH)) {
            let start = Instant::now();
            run(batch);
            *best = start.elapsed().min(*best);
        }
    }
    let nanos = best.iter().sum::<Duration>().as_nanos() as f64;
    let rows = values.len() as f64;
    let bytes = values.iter().map(Vec::len).sum::<usize>() as f64;
    println!(
        "{name:<12} {:>7.1} ns/row {:>7.1} bytes/row",
        nanos / rows,
        bytes / rows
    );
}

fn main() {
    let schema = InputSchema::parse(SCHEMA).expect("the schema of the benchmark is right");
    let payments = || (0..MESSAGES as u64).map(|seed| Payment { seed });
    let json: Vec<_> = payments().map(|payment| payment.json()).collect();
    let avro: Vec<_> = payments().map(|payment| payment.avro()).collect();
    let from_json = decoder(&schema, Format::Json);
    let from_avro = decoder(&schema, Format::Avro);
    report("json", &json, |batch| decode(&from_json, batch));
    report("avro", &avro, |batch| decode(&from_avro, batch));
}

//! Evidence with everything in it that evidence can have: each type of column, nulls, extremes, gaps and
//! every stage of rejects, decisions at and beside each threshold.
//!
//! Made of offsets alone, so that it is the same for ever.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int32Array,
    Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, TimeUnit};
use bytes::Bytes;

use crate::archive::fixture::{NOON, Topic};
use crate::archive::layout;
use crate::decide::Policy;
use crate::evidence::{
    Context, Facts, Flags, Kind, Payload, Place, Seal, ShadowFacts, Verdict, lay_out, row_schema,
    with_shadows,
};
use crate::keys::Commitment;
use crate::record::{Decision, Digest, NextOffset, Offset, Reason, Rejection, Stage};

/// A model package with its policy, and the context of what it decides.
pub struct Model {
    pub context: Arc<Context>,
    policy: Policy,
    has_margin: bool,
    /// Everything that a row names by its digest, with its path.
    pub objects: Vec<(String, Bytes)>,
}

/// What differs between the models.
struct Package<'a> {
    version: &'a str,
    input_topic_id: &'a str,
    policy: Policy,
    has_margin: bool,
    has_shadow: bool,
    events: &'a [(&'a str, DataType)],
    features: &'a [(&'a str, DataType)],
}

fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// Thresholds that 32 bits hold exactly.
pub fn first() -> Model {
    model(Package {
        version: "1.0.0",
        input_topic_id: "input-1",
        policy: Policy::new("2023-11", 0.5, 0.75).unwrap(),
        has_margin: true,
        has_shadow: false,
        events: &[
            ("id", DataType::Utf8),
            ("time", time()),
            ("amount_minor", DataType::Int64),
            ("currency", DataType::Utf8),
            ("merchant_category", DataType::Int32),
            ("is_recurring", DataType::Boolean),
            ("exchange_rate", DataType::Decimal128(9, 4)),
        ],
        features: &[
            ("amount", DataType::Float32),
            ("hour", DataType::Int64),
            ("is_new_card", DataType::Boolean),
        ],
    })
}

/// Thresholds that 32 bits do not hold, no margin, a shadow, and other columns. `input_topic_id` is another one
/// where the input topic was created again.
pub fn second(input_topic_id: &str) -> Model {
    model(Package {
        version: "2.0.0",
        input_topic_id,
        policy: Policy::new("2023-12", 0.1, 0.9).unwrap(),
        has_margin: false,
        has_shadow: true,
        events: &[
            ("id", DataType::Utf8),
            ("time", time()),
            ("amount_minor", DataType::Int64),
            ("currency", DataType::Utf8),
            ("card_opened_on", DataType::Date32),
            ("balance", DataType::Decimal128(38, 10)),
            ("distance", DataType::Float64),
            ("hint", DataType::Float32),
        ],
        features: &[
            ("amount", DataType::Float32),
            ("ratio", DataType::Float64),
            ("currency", DataType::Utf8),
        ],
    })
}

fn model(package: Package<'_>) -> Model {
    let Package {
        version, policy, ..
    } = &package;
    let fields = |named: &[(&str, DataType)]| -> Vec<Field> {
        let field = |(name, kind): &(&str, DataType)| Field::new(*name, kind.clone(), true);
        named.iter().map(field).collect()
    };
    let ([onnx, manifest], list) = files(version);
    let shadow = package.has_shadow.then(|| files(SHADOW));
    let config = "[input]\ntopic = \"payments\"\n".to_owned();
    let schema = "{\"type\":\"record\",\"name\":\"payment\",\"fields\":[]}\n".to_owned();
    let runtime = "{\"library\":{\"name\":\"onnxruntime\",\"version\":\"1.32.0\"}}\n".to_owned();
    let digest = |text: &str| Digest::of(text.as_bytes());
    let facts = Facts {
        cluster_id: "cluster".into(),
        input_topic: "payments".into(),
        input_topic_id: package.input_topic_id.into(),
        input_schema: digest(&schema).to_string(),
        event_id: "event_id".into(),
        event_time: "event_time".into(),
        model_name: "card-risk".into(),
        model_version: (*version).into(),
        model_sha256: digest(&onnx).to_string(),
        package_sha256: digest(&list).to_string(),
        policy_version: policy.version().into(),
        policy_sha256: policy.digest().to_string(),
        runtime: "onnxruntime 1.32.0".into(),
        runtime_sha256: digest(&runtime).to_string(),
        provider: "cpu".into(),
        admission: if package.has_margin {
            "deterministic".into()
        } else {
            "tolerant(2)".into()
        },
        config_sha256: digest(&config).to_string(),
        commitment_key: commitment().id(),
        shadows: shadow.iter().map(shadow_facts).collect(),
    };
    let schema_of_rows = row_schema(&fields(package.events), &fields(package.features), &[]);
    let schema_of_rows = with_shadows(&schema_of_rows.unwrap(), facts.shadows.len());
    let kept =
        |path: fn(Digest) -> String, text: &str| (path(digest(text)), text.to_owned().into());
    let packaged = [([onnx, manifest], list)].into_iter().chain(shadow);
    let packaged = packaged.flat_map(|([onnx, manifest], list)| [onnx, manifest, list]);
    let mut objects: Vec<_> = packaged.map(|file| kept(layout::model, &file)).collect();
    objects.extend([
        kept(layout::policy, &policy.canonical()),
        kept(layout::runtime, &runtime),
        kept(layout::config, &config),
        kept(layout::schema, &schema),
    ]);
    Model {
        context: Arc::new(Context::new(&schema_of_rows.unwrap(), facts)),
        objects,
        policy: package.policy,
        has_margin: package.has_margin,
    }
}

/// The version of the package that scores beside the second model.
const SHADOW: &str = "3.0.0";

/// The files of a package, and the list of them.
fn files(version: &str) -> ([String; 2], String) {
    let [onnx, manifest] = [
        format!("no model, version {version}\n"),
        format!("version = \"{version}\"\n"),
    ];
    let digest = |text: &str| Digest::of(text.as_bytes());
    let list = format!(
        "{}  model.onnx\n{}  model.toml\n",
        digest(&onnx),
        digest(&manifest)
    );
    ([onnx, manifest], list)
}

fn shadow_facts((_, list): &([String; 2], String)) -> ShadowFacts {
    ShadowFacts {
        model_name: "card-risk".into(),
        model_version: SHADOW.into(),
        package_sha256: Digest::of(list.as_bytes()).to_string(),
        policy_version: "2024-01".into(),
    }
}

fn commitment() -> Commitment {
    Commitment::new([5; 32])
}

impl Model {
    /// Appends one message of `rows` rows that were scored at `time`.
    pub fn write(&self, topic: &mut Topic, rows: usize, time: i64) {
        let mut next = topic.offset;
        let place = |row| {
            let place = self.place(topic.partition, next, row);
            next = place.next.0;
            place
        };
        let places: Vec<Place> = (0..rows).map(place).collect();
        let verdicts: Vec<_> = places.iter().map(|place| self.verdict(place)).collect();
        let (mut events, mut features, mut shadows) = (Vec::new(), Vec::new(), Vec::new());
        for (at, field) in self.context.schema().fields().iter().enumerate() {
            let (name, kind) = (field.name().as_str(), field.data_type());
            if name == "event_id" {
                events.push(ids(topic.partition, &places));
            } else if name.starts_with("event_") {
                events.push(column(kind, at, &places, has_event));
            } else if name.starts_with("feature_") {
                features.push(column(kind, at, &places, has_features));
            } else if name.starts_with("shadow_") {
                shadows.push(shadow(kind, &places));
            }
        }
        let schema = self.context.schema();
        let batch = lay_out(
            schema,
            &places,
            &verdicts,
            &[events, features, shadows].concat(),
        );
        topic.send(&self.context, &places, &batch, time);
    }

    fn place(&self, partition: i32, offset: i64, row: usize) -> Place {
        let kind = match offset % 7 {
            3 => Kind::Rejected,
            5 => Kind::Gap,
            _ => Kind::Scored,
        };
        let rejection = (kind == Kind::Rejected).then(|| {
            let (stage, reason) = *cycle(&REJECTIONS, offset / 7);
            Rejection::new(stage, reason)
        });
        let is_record = kind != Kind::Gap;
        Place {
            kind,
            offset: Offset(offset),
            next: NextOffset(offset + if is_record { 1 } else { 3 }),
            // Some brokers tell neither.
            broker_time: (is_record && offset % 11 != 0).then_some(NOON + offset * 1000),
            leader_epoch: (is_record && offset % 11 != 0).then_some(partition),
            batch_row: is_record.then_some(row as i32),
            rejection,
            flags: Flags {
                imputed: kind == Kind::Scored && offset % 2 == 0,
                unknown_fields: kind == Kind::Scored && offset % 3 == 0,
            },
            seal: self.seal(partition, offset, is_record, rejection),
        }
    }

    fn seal(
        &self,
        partition: i32,
        offset: i64,
        is_record: bool,
        rejection: Option<Rejection>,
    ) -> Seal {
        let is_empty = rejection.is_some_and(|r| r.reason == Reason::EmptyValue);
        let payload = format!("payment {offset} of partition {partition}");
        let topic_id = &self.context.facts().input_topic_id;
        let of = |bytes| commitment().of(topic_id, partition, Offset(offset), bytes);
        let payload = (is_record && !is_empty).then(|| Payload {
            bytes: payload.len() as i32,
            commitment: of(payload.as_bytes()).0,
        });
        let salt = Digest::of(format!("salt {topic_id} {partition} {offset}").as_bytes());
        Seal {
            payload,
            salt: *salt.0.first_chunk().unwrap(),
        }
    }

    fn verdict(&self, place: &Place) -> Option<Verdict> {
        if place.kind != Kind::Scored {
            return None;
        }
        let score = f32::from_bits(*cycle(&SCORES, place.offset.0));
        let decision: Decision = self.policy.by_thresholds(score);
        Some(Verdict {
            score,
            margin: self.has_margin.then_some(*cycle(&MARGINS, place.offset.0)),
            decision,
            threshold: self.policy.threshold(decision),
            chunk_rows: 8,
        })
    }
}

const REJECTIONS: [(Stage, Reason); 5] = [
    (Stage::Decode, Reason::Malformed),
    (Stage::Decode, Reason::EmptyValue),
    (Stage::Infer, Reason::ScoreNotFinite),
    (Stage::Features, Reason::OutOfRange),
    (Stage::Publish, Reason::EvidenceTooLarge),
];

/// Bits of scores at each threshold, next to it, and at the ends.
const SCORES: [u32; 11] = [
    0x3f66_6666, // 0.9 in 32 bits, which is less than in 64
    0x3f00_0000, // 0.5
    0x3f40_0000, // 0.75
    0,
    0x3f66_6667, // the next after 0.9
    1,           // the least above 0
    0x3dcc_cccd, // 0.1 in 32 bits, which is more than in 64
    0x3dcc_cccc, // the one before
    0x3f3f_ffff, // the one before 0.75
    0x3eff_ffff, // the one before 0.5
    0x3f80_0000, // 1
];

const MARGINS: [f32; 6] = [0.0, -0.0, 3.5, -17.25, f32::MAX, f32::MIN_POSITIVE];

const INTS: [Option<i64>; 7] = [
    Some(0),
    Some(i64::MAX),
    None,
    Some(i64::MIN),
    Some(-1),
    Some(4_999),
    Some(1 << 53),
];

const FLOATS: [Option<f64>; 10] = [
    Some(0.1),
    Some(-0.0),
    None,
    Some(f64::NAN),
    Some(f64::INFINITY),
    Some(f64::NEG_INFINITY),
    Some(f64::MAX),
    Some(5e-324),
    Some(0.0),
    Some(-1e-40),
];

const BOOLS: [Option<bool>; 3] = [Some(true), None, Some(false)];

const TEXTS: [Option<&str>; 8] = [
    Some("EUR"),
    Some("USD"),
    None,
    Some("¥ 円 \u{1f4b3}"),
    Some("line\nbreak\ttab \"quote\" back\\slash"),
    Some(""),
    Some("e\u{301}"),
    Some("\u{0}"),
];

/// The first and the last day of the years that all tools know, and around 1970.
const DAYS: [Option<i32>; 6] = [
    Some(19_675),
    Some(-719_162),
    None,
    Some(2_932_896),
    Some(-1),
    Some(0),
];

/// Of at most 38 digits.
const DIGITS: [Option<i128>; 6] = [
    Some(12_500),
    Some(0),
    None,
    Some(10i128.pow(38) - 1),
    Some(1 - 10i128.pow(38)),
    Some(-1),
];

fn cycle<T>(values: &[T], at: i64) -> &T {
    &values[usize::try_from(at).unwrap() % values.len()]
}

/// Decoding gave the event's columns.
fn has_event(place: &Place) -> bool {
    match place.kind {
        Kind::Scored => true,
        Kind::Gap => false,
        Kind::Rejected => place
            .rejection
            .is_some_and(|r| matches!(r.stage, Stage::Features | Stage::Infer)),
    }
}

/// The features were computed.
fn has_features(place: &Place) -> bool {
    has_event(place)
        && place
            .rejection
            .is_none_or(|rejection| rejection.stage == Stage::Infer)
}

/// Ids with quotes and letters that JSON and UTF-8 write in more bytes than one, and some that occur twice.
fn ids(partition: i32, places: &[Place]) -> ArrayRef {
    let prefix = ["tx-0", "tx-\"1\"", "tx-zwei-\u{fc}"][usize::try_from(partition).unwrap()];
    let id = |place: &Place| {
        let offset = place.offset.0;
        let of = if offset % 16 == 1 { offset - 1 } else { offset };
        has_event(place).then(|| format!("{prefix}-{of:04}"))
    };
    Arc::new(places.iter().map(id).collect::<StringArray>())
}

/// What the shadow says of rows that are scored, its score or its decision: nothing where it failed.
fn shadow(kind: &DataType, places: &[Place]) -> ArrayRef {
    let policy = Policy::new("2024-01", 0.25, 0.75).unwrap();
    let scores = places.iter().map(|place| {
        let has_one = place.kind == Kind::Scored && place.offset.0 % 13 != 4;
        has_one.then(|| f32::from_bits(*cycle(&SCORES, place.offset.0 + 3)))
    });
    match kind {
        DataType::Float32 => Arc::new(scores.collect::<Float32Array>()),
        _ => {
            let decided = scores.map(|score| Some(policy.by_thresholds(score?).as_str()));
            Arc::new(decided.collect::<StringArray>())
        }
    }
}

/// Values of this type for the rows that have one.
fn column(kind: &DataType, shift: usize, places: &[Place], has: fn(&Place) -> bool) -> ArrayRef {
    let rows = places
        .iter()
        .map(|place| has(place).then_some(place.offset.0 + shift as i64));
    fn pick<T: Copy>(values: &[Option<T>], at: Option<i64>) -> Option<T> {
        at.and_then(|at| *cycle(values, at))
    }
    match kind {
        DataType::Boolean => Arc::new(rows.map(|at| pick(&BOOLS, at)).collect::<BooleanArray>()),
        DataType::Int64 => Arc::new(rows.map(|at| pick(&INTS, at)).collect::<Int64Array>()),
        DataType::Int32 => {
            let narrow = |value: i64| value.clamp(i32::MIN.into(), i32::MAX.into()) as i32;
            let values = rows.map(|at| pick(&INTS, at).map(narrow));
            Arc::new(values.collect::<Int32Array>())
        }
        DataType::Float64 => Arc::new(rows.map(|at| pick(&FLOATS, at)).collect::<Float64Array>()),
        DataType::Float32 => {
            let values = rows.map(|at| pick(&FLOATS, at).map(|value| value as f32));
            Arc::new(values.collect::<Float32Array>())
        }
        DataType::Utf8 => Arc::new(rows.map(|at| pick(&TEXTS, at)).collect::<StringArray>()),
        DataType::Date32 => Arc::new(rows.map(|at| pick(&DAYS, at)).collect::<Date32Array>()),
        DataType::Timestamp(..) => {
            let micros = |day: i32| i64::from(day) * 86_400_000_000 + 123_456;
            let values = rows.map(|at| pick(&DAYS, at).map(micros));
            let values: TimestampMicrosecondArray = values.collect();
            Arc::new(values.with_timezone("UTC"))
        }
        DataType::Decimal128(precision, scale) => {
            let limit = 10i128.pow((*precision).into()) - 1;
            let values = rows.map(|at| pick(&DIGITS, at).map(|value| value.clamp(-limit, limit)));
            let values: Decimal128Array = values.collect();
            Arc::new(values.with_precision_and_scale(*precision, *scale).unwrap())
        }
        other => unreachable!("no model here has a column of type {other}"),
    }
}

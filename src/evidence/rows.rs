//! The columns of evidence, and the rows of one batch laid out in them.
//!
//! Columns that every pipeline has come first, in a fixed order; then the event's columns that are
//! not personal, as `event_<name>`; then the model's inputs, as `feature_<name>`; then `rule`, where the policy
//! has rules, and `explanation`, where the package explains; then what shadows said, as `shadow_<n>_<what>`. All
//! are nullable where a rejected record or a gap has nothing to say.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::AsArray as _;
use arrow::array::{
    Array, ArrayRef, FixedSizeBinaryArray, Float32Array, Float64Array, Int32Array, Int64Array,
    RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::buffer::{Buffer, NullBuffer};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit};

use crate::record::{Decision, Digest, NextOffset, Offset, Rejection};

/// The metadata key under which Parquet readers and writers agree on a column's identity.
pub const FIELD_ID: &str = "PARQUET:field_id";

/// Names of the fixed columns.
pub mod columns {
    pub const KIND: &str = "kind";
    pub const OFFSET: &str = "offset";
    pub const NEXT_OFFSET: &str = "next_offset";
    pub const BROKER_TIME: &str = "broker_time";
    pub const SCORE: &str = "score";
    pub const MARGIN: &str = "margin";
    pub const DECISION: &str = "decision";
    pub const CHUNK_ROWS: &str = "chunk_rows";
    pub const LEADER_EPOCH: &str = "leader_epoch";
    pub const PAYLOAD_BYTES: &str = "payload_bytes";
    pub const PAYLOAD_COMMITMENT: &str = "payload_commitment";
    pub const ROW_SALT: &str = "row_salt";
    pub const THRESHOLD: &str = "threshold";
    pub const BATCH_ROW: &str = "batch_row";
    pub const FLAGS: &str = "flags";
    pub const REJECT_STAGE: &str = "reject_stage";
    pub const REJECT_REASON: &str = "reject_reason";
    pub const EVENT_PREFIX: &str = "event_";
    pub const FEATURE_PREFIX: &str = "feature_";
    /// Only where the policy has rules.
    pub const RULE: &str = "rule";
    /// Only where the package says how to explain.
    pub const EXPLANATION: &str = "explanation";
    pub const SHADOW_PREFIX: &str = "shadow_";
}

/// What a row stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Scored,
    Rejected,
    Gap,
}

impl Kind {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Scored => "scored",
            Kind::Rejected => "rejected",
            Kind::Gap => "gap",
        }
    }
}

/// UTC microseconds, the one type of time.
fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// Bytes of a commitment to a payload.
pub const COMMITMENT_LEN: usize = 32;
/// Bytes of a row's salt.
pub const SALT_LEN: usize = 16;

/// So many bytes in every row.
fn binary(len: usize) -> DataType {
    DataType::FixedSizeBinary(i32::try_from(len).expect("a few bytes"))
}

/// The fixed columns with their ids, in order. Ids are for ever; a column that goes away takes its id
/// with it.
fn fixed() -> Vec<Field> {
    let column = |name: &str, kind: DataType, nullable: bool, id: i32| {
        Field::new(name, kind, nullable).with_metadata(id_metadata(id))
    };
    vec![
        column(columns::KIND, DataType::Utf8, false, 1),
        column(columns::OFFSET, DataType::Int64, false, 2),
        column(columns::NEXT_OFFSET, DataType::Int64, false, 3),
        column(columns::BROKER_TIME, timestamp(), true, 4),
        column(columns::SCORE, DataType::Float32, true, 5),
        column(columns::MARGIN, DataType::Float32, true, 6),
        column(columns::DECISION, DataType::Utf8, true, 7),
        column(columns::REJECT_STAGE, DataType::Utf8, true, 8),
        column(columns::REJECT_REASON, DataType::Utf8, true, 9),
        column(columns::CHUNK_ROWS, DataType::Int32, true, 64),
        column(columns::LEADER_EPOCH, DataType::Int32, true, 65),
        column(columns::PAYLOAD_BYTES, DataType::Int32, true, 66),
        column(
            columns::PAYLOAD_COMMITMENT,
            binary(COMMITMENT_LEN),
            true,
            67,
        ),
        column(columns::ROW_SALT, binary(SALT_LEN), false, 68),
        column(columns::THRESHOLD, DataType::Float64, true, 69),
        column(columns::BATCH_ROW, DataType::Int32, true, 70),
        column(columns::FLAGS, DataType::Int32, false, 71),
    ]
}

fn id_metadata(id: i32) -> HashMap<String, String> {
    HashMap::from([(FIELD_ID.to_owned(), id.to_string())])
}

/// The id of a column that the input schema or the model names. It follows from the name alone, so
/// that it stays when columns come, go or move. The first 1,024 ids are for fixed columns.
#[must_use]
pub fn field_id(name: &str) -> i32 {
    let digest = Digest::of(name.as_bytes()).0;
    let word = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    let id = (word & 0x3fff_ffff) + 1024;
    i32::try_from(id).expect("thirty bits and a little fit")
}

/// The columns of a row: `events` are those of the input schema that are not personal, `texts` those that only some
/// packages have, after all others.
///
/// # Errors
/// Two names that share an id or a column name; one of them must be renamed.
pub fn row_schema(events: &[Field], features: &[Field], texts: &[&str]) -> Result<Schema, String> {
    let named = |prefix: &str, field: &Field| {
        own(
            format!("{prefix}{}", field.name()),
            field.data_type().clone(),
        )
    };
    let mut fields = fixed();
    fields.extend(
        events
            .iter()
            .map(|field| named(columns::EVENT_PREFIX, field)),
    );
    fields.extend(
        features
            .iter()
            .map(|field| named(columns::FEATURE_PREFIX, field)),
    );
    let texts = texts.iter();
    fields.extend(texts.map(|name| own((*name).to_owned(), DataType::Utf8)));
    distinct(fields)
}

/// What the archive says of a shadow in every row.
pub const SHADOW_FACTS: [&str; 3] = ["model", "policy_version", "package_sha256"];

/// The name of a column of the shadow with this number, from 1 on.
#[must_use]
pub fn shadow_column(number: usize, what: &str) -> String {
    format!("{}{number}_{what}", columns::SHADOW_PREFIX)
}

/// The columns of a row, and those of so many shadows: the score and the decision of each.
///
/// # Errors
/// As [`row_schema`].
pub fn with_shadows(schema: &Schema, shadows: usize) -> Result<Schema, String> {
    let mut fields: Vec<Field> = schema.fields().iter().map(|f| f.as_ref().clone()).collect();
    for number in 1..=shadows {
        for (what, kind) in [("score", DataType::Float32), ("decision", DataType::Utf8)] {
            fields.push(own(shadow_column(number, what), kind));
        }
    }
    // Those that the archive adds must fit in as well.
    let names = (1..=shadows).flat_map(|n| SHADOW_FACTS.map(|what| shadow_column(n, what)));
    let added = names.map(|name| own(name, DataType::Utf8));
    distinct(fields.iter().cloned().chain(added).collect())?;
    Ok(Schema::new(fields))
}

/// A column whose id follows from its name.
fn own(name: String, kind: DataType) -> Field {
    let id = field_id(&name);
    Field::new(name, kind, true).with_metadata(id_metadata(id))
}

fn distinct(fields: Vec<Field>) -> Result<Schema, String> {
    let mut seen: HashMap<&str, &str> = HashMap::new();
    for field in &fields {
        if let Some(other) = seen.insert(&field.metadata()[FIELD_ID], field.name()) {
            return Err(format!(
                "columns `{other}` and `{}` share an id",
                field.name()
            ));
        }
    }
    Ok(Schema::new(fields))
}

/// Where a row stands in the input, and what became of it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Place {
    pub kind: Kind,
    pub offset: Offset,
    pub next: NextOffset,
    /// The broker's time of the record, µs; none for a gap or where the broker has none.
    pub broker_time: Option<i64>,
    /// The epoch of the leader that appended the record; none for a gap or where the broker tells none.
    pub leader_epoch: Option<i32>,
    /// The row in its batch, which is what the model was run on; none for a gap.
    pub batch_row: Option<i32>,
    pub rejection: Option<Rejection>,
    pub flags: Flags,
    pub seal: Seal,
}

/// What else is worth knowing of a row.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Flags {
    /// The model package stood in for a feature that the event gave no value for.
    pub imputed: bool,
    /// The payload had fields that the input schema does not know, and they were passed over.
    pub unknown_fields: bool,
}

impl Flags {
    #[must_use]
    pub fn bits(self) -> i32 {
        i32::from(self.imputed) | i32::from(self.unknown_fields) << 1
    }
}

/// What ties a row to its payload without showing it, and keeps its hash from being guessed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seal {
    /// None for a gap, or where the record has no value.
    pub payload: Option<Payload>,
    pub salt: [u8; SALT_LEN],
}

/// The value of a record, by its length and a keyed commitment to its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Payload {
    pub bytes: i32,
    pub commitment: [u8; COMMITMENT_LEN],
}

/// What the model and the policy said of a row.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Verdict {
    pub score: f32,
    pub margin: Option<f32>,
    pub decision: Decision,
    /// The lowest score that gets this decision; none where every score below the others' gets it, or a rule
    /// made the decision.
    pub threshold: Option<f64>,
    /// The size of the chunk that the row was run in; its bits may depend on it.
    pub chunk_rows: u16,
}

/// Lays rows out. `verdicts` and each of the event's and the model's `own` columns are as long as `places` and in its
/// order; what they hold for a row that is not scored is left out.
///
/// # Panics
/// When lengths differ: a stage has lost a row.
#[must_use]
pub fn lay_out(
    schema: &Arc<Schema>,
    places: &[Place],
    verdicts: &[Option<Verdict>],
    own: &[ArrayRef],
) -> RecordBatch {
    assert_eq!(places.len(), verdicts.len(), "a stage has lost a row");
    let verdict = |get: fn(&Verdict) -> Option<f32>| -> ArrayRef {
        let values = verdicts.iter().map(|v| v.as_ref().and_then(get));
        Arc::new(values.collect::<Float32Array>())
    };
    let rejection = |get: fn(&Rejection) -> &'static str| -> ArrayRef {
        let values = places.iter().map(|p| p.rejection.as_ref().map(get));
        Arc::new(values.collect::<StringArray>())
    };
    let kinds = places.iter().map(|p| Some(p.kind.as_str()));
    let offsets = places.iter().map(|p| p.offset.0);
    let next_offsets = places.iter().map(|p| p.next.0);
    let times: TimestampMicrosecondArray = places.iter().map(|p| p.broker_time).collect();
    let decisions = verdicts
        .iter()
        .map(|v| v.as_ref().map(|v| v.decision.as_str()));
    let chunks = verdicts
        .iter()
        .map(|v| v.as_ref().map(|v| i32::from(v.chunk_rows)));
    let thresholds = verdicts
        .iter()
        .map(|v| v.as_ref().and_then(|v| v.threshold));
    let number = |get: fn(&Place) -> Option<i32>| -> ArrayRef {
        Arc::new(places.iter().map(get).collect::<Int32Array>())
    };
    let payloads = places.iter().map(|p| p.seal.payload.map(|p| p.commitment));
    let salts = places.iter().map(|p| Some(p.seal.salt));
    let mut arrays: Vec<ArrayRef> = vec![
        Arc::new(kinds.collect::<StringArray>()),
        Arc::new(Int64Array::from_iter_values(offsets)),
        Arc::new(Int64Array::from_iter_values(next_offsets)),
        Arc::new(times.with_timezone("UTC")),
        verdict(|v| Some(v.score)),
        verdict(|v| v.margin),
        Arc::new(decisions.collect::<StringArray>()),
        rejection(|r| r.stage.as_str()),
        rejection(|r| r.reason.as_str()),
        Arc::new(chunks.collect::<Int32Array>()),
        number(|p| p.leader_epoch),
        number(|p| p.seal.payload.map(|p| p.bytes)),
        bytes(payloads),
        bytes(salts),
        Arc::new(thresholds.collect::<Float64Array>()),
        number(|p| p.batch_row),
        number(|p| Some(p.flags.bits())),
    ];
    arrays.extend(own.iter().cloned());
    RecordBatch::try_new(schema.clone(), arrays).expect("the columns are the schema's")
}

/// A column with as many bytes in every row; zeros beneath a null.
fn bytes<const LEN: usize>(values: impl ExactSizeIterator<Item = Option<[u8; LEN]>>) -> ArrayRef {
    let mut bytes = Vec::with_capacity(values.len() * LEN);
    let is_valid: Vec<bool> = values
        .map(|value| {
            bytes.extend_from_slice(&value.unwrap_or([0; LEN]));
            value.is_some()
        })
        .collect();
    let nulls = NullBuffer::from(is_valid);
    let nulls = Some(nulls).filter(|nulls| nulls.null_count() > 0);
    let len = i32::try_from(LEN).expect("a few bytes");
    Arc::new(FixedSizeBinaryArray::new(
        len,
        Buffer::from_vec(bytes),
        nulls,
    ))
}

fn int64<'a>(rows: &'a RecordBatch, name: &str) -> &'a Int64Array {
    rows.column_by_name(name)
        .expect("a fixed column")
        .as_primitive::<Int64Type>()
}

pub(super) fn offset(rows: &RecordBatch, row: usize) -> Offset {
    Offset(int64(rows, columns::OFFSET).value(row))
}

pub(super) fn next_offset(rows: &RecordBatch, row: usize) -> NextOffset {
    NextOffset(int64(rows, columns::NEXT_OFFSET).value(row))
}

/// Whether the rows cover `[first, next)` without hole or overlap.
pub(super) fn check_tiling(
    rows: &RecordBatch,
    first: Offset,
    next: NextOffset,
) -> Result<(), &'static str> {
    let column = |name| {
        let column = rows
            .column_by_name(name)
            .filter(|c| c.data_type() == &DataType::Int64);
        column
            .ok_or("it has no offsets")
            .map(|c| c.as_primitive::<Int64Type>())
    };
    let (offsets, nexts) = (column(columns::OFFSET)?, column(columns::NEXT_OFFSET)?);
    if offsets.null_count() + nexts.null_count() > 0 {
        return Err("it has rows without an offset");
    }
    let mut expected = first.0;
    for (&offset, &next) in offsets.values().iter().zip(nexts.values()) {
        if offset != expected || next <= offset {
            return Err("its rows do not join");
        }
        expected = next;
    }
    if expected == next.0 {
        Ok(())
    } else {
        Err("its rows do not end where its header says")
    }
}

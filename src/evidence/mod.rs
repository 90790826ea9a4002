//! Evidence: the full rows that explain and reproduce decisions, as messages of the evidence topic.
//!
//! One message covers a contiguous range of input offsets of one partition, `[first, next)`. Its
//! coordinates travel in one binary header, its rows as one Arrow IPC record batch. What is constant
//! over many messages (the columns, the model, the policy, the runtime, the input topic) is the
//! *context*: an Arrow IPC schema message that is sent once and named by its SHA-256 afterwards, so
//! that a message with one row does not pay for it. `schemas/evidence.md` is the contract.
//!
//! Messages of a partition form a chain: each names the [`head`] of its predecessor, so that
//! nothing can be dropped, swapped or put between them without the next one showing it. Each head is
//! signed ([`sign`]), so that who may write to the topic cannot write evidence.
//!
//! Knows nothing of Kafka clients, models or Parquet.

mod encode;
mod rows;
mod signature;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::writer::StreamWriter;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use crate::record::{Digest, NextOffset, Offset};

use encode::Encoder;
pub use rows::{
    COMMITMENT_LEN, FIELD_ID, Flags, Kind, Payload, Place, SALT_LEN, SHADOW_FACTS, Seal, Verdict,
    columns, field_id, lay_out, row_schema, shadow_column, with_shadows,
};
pub use signature::{SIGNATURE, sign, verify};

/// The version of the header and of the columns.
pub const VERSION: u8 = 1;

/// The coordinates of one message. Integers are big-endian:
///
/// | bytes | field |
/// |---|---|
/// | 1 | version, [`VERSION`] |
/// | 1 | flags; bit 0: the value begins with the context |
/// | 8 | first input offset covered |
/// | 8 | next offset: one past the last covered |
/// | 4 | rows |
/// | 8 | ingest time, µs since the epoch, UTC |
/// | 8 | score time, µs since the epoch, UTC |
/// | 32 | SHA-256 of the context |
/// | 32 | head of the partition's previous message; zeros before the first |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    pub brings_context: bool,
    pub first: Offset,
    pub next: NextOffset,
    pub rows: u32,
    pub ingest_time: i64,
    pub score_time: i64,
    pub context: Digest,
    pub prev: Digest,
}

impl Header {
    /// The name of the Kafka header.
    pub const NAME: &'static str = "probity-evidence";
    pub const LEN: usize = 2 + 8 + 8 + 4 + 8 + 8 + 32 + 32;

    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::LEN);
        bytes.extend([VERSION, u8::from(self.brings_context)]);
        bytes.extend(self.first.0.to_be_bytes());
        bytes.extend(self.next.0.to_be_bytes());
        bytes.extend(self.rows.to_be_bytes());
        bytes.extend(self.ingest_time.to_be_bytes());
        bytes.extend(self.score_time.to_be_bytes());
        bytes.extend(self.context.0);
        bytes.extend(self.prev.0);
        assert_eq!(bytes.len(), Self::LEN);
        bytes
    }

    /// # Errors
    /// When the bytes are not a header of this version, or cover no offset, or more rows than offsets.
    pub fn parse(bytes: &[u8]) -> Result<Header, EvidenceError> {
        let fault = |what| Err(EvidenceError::Header(what));
        if bytes.len() != Self::LEN {
            return fault("its length is wrong");
        }
        if bytes[0] != VERSION {
            return fault("its version is unknown");
        }
        if bytes[1] > 1 {
            return fault("its flags are unknown");
        }
        let (mut at, number) = (2, |at: usize| {
            i64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
        });
        let mut take = |len: usize| {
            at += len;
            at - len
        };
        let header = Header {
            brings_context: bytes[1] == 1,
            first: Offset(number(take(8))),
            next: NextOffset(number(take(8))),
            rows: {
                let at = take(4);
                u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
            },
            ingest_time: number(take(8)),
            score_time: number(take(8)),
            context: digest(bytes, take(32)),
            prev: digest(bytes, take(32)),
        };
        if header.first.0 < 0 || header.next.0 <= header.first.0 {
            return fault("its range is empty or reversed");
        }
        if header.rows == 0 || i64::from(header.rows) > header.next.0 - header.first.0 {
            return fault("its rows do not fit its range");
        }
        Ok(header)
    }
}

fn digest(bytes: &[u8], at: usize) -> Digest {
    Digest(bytes[at..at + 32].try_into().expect("thirty-two bytes"))
}

/// The link of the chain that a message makes: SHA-256 of its header and its value.
#[must_use]
pub fn head(header: &[u8], value: &[u8]) -> Digest {
    let mut hash = sha2::Sha256::new();
    hash.update(header);
    hash.update(value);
    Digest(hash.finalize().into())
}

/// What is constant over many messages, as it is written in the schema's metadata.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    pub cluster_id: String,
    pub input_topic: String,
    /// Survives nothing: a topic that was re-created has another one.
    pub input_topic_id: String,
    /// SHA-256 of the input schema's file.
    pub input_schema: String,
    /// The column that names the event, `event_…`.
    pub event_id: String,
    /// The column that dates the event, `event_…`.
    pub event_time: String,
    pub model_name: String,
    pub model_version: String,
    /// SHA-256 of the ONNX file.
    pub model_sha256: String,
    /// SHA-256 of the list of the package's files, as `sha256sum` prints it.
    pub package_sha256: String,
    pub policy_version: String,
    /// SHA-256 of the policy's canonical text.
    pub policy_sha256: String,
    /// The inference library and its version.
    pub runtime: String,
    /// SHA-256 of the document that says on what the model ran.
    pub runtime_sha256: String,
    /// The execution provider that ran the model.
    pub provider: String,
    /// `deterministic` or `tolerant(…)`.
    pub admission: String,
    /// SHA-256 of the effective configuration.
    pub config_sha256: String,
    /// Names the secret key of the payloads' commitments.
    pub commitment_key: String,
    /// The models that scored without deciding, in the order of their columns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shadows: Vec<ShadowFacts>,
}

/// A model that scored without deciding.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShadowFacts {
    pub model_name: String,
    pub model_version: String,
    pub package_sha256: String,
    pub policy_version: String,
}

/// The columns of the rows and the [`Facts`] that hold for all of them.
#[derive(Clone, Debug)]
pub struct Context {
    schema: SchemaRef,
    facts: Facts,
    bytes: Vec<u8>,
    digest: Digest,
}

impl Context {
    /// The one key of the schema's metadata. One, because Arrow keeps metadata in a hash map and the
    /// bytes must not depend on its order.
    const KEY: &'static str = "probity";

    /// # Panics
    /// When a column has a type that Arrow IPC cannot write; [`row_schema`] makes none.
    #[must_use]
    pub fn new(columns: &Schema, facts: Facts) -> Context {
        let text = serde_json::to_string(&facts).expect("strings and numbers serialize");
        let metadata = HashMap::from([(Self::KEY.to_owned(), text)]);
        let schema = Arc::new(Schema::new_with_metadata(
            columns.fields().clone(),
            metadata,
        ));
        let bytes = StreamWriter::try_new(Vec::new(), &schema)
            .expect("the columns are plain")
            .get_ref()
            .clone();
        Context {
            schema,
            facts,
            digest: Digest::of(&bytes),
            bytes,
        }
    }

    /// # Errors
    /// When the bytes are not exactly one IPC schema message with [`Facts`] in its metadata.
    pub fn parse(bytes: &[u8]) -> Result<Context, EvidenceError> {
        if message_len(bytes) != Some(bytes.len()) {
            return Err(EvidenceError::Context("it is not exactly one message"));
        }
        let mut decoder = StreamDecoder::new();
        // The decoder looks at a message without a body only when something follows.
        let mut stream = Buffer::from([bytes, &END_OF_STREAM].concat());
        decoder.decode(&mut stream)?;
        let schema = decoder
            .schema()
            .ok_or(EvidenceError::Context("it holds no schema"))?;
        let text = schema
            .metadata()
            .get(Self::KEY)
            .ok_or(EvidenceError::Context("its schema has no facts"))?;
        let facts = serde_json::from_str(text)
            .map_err(|_| EvidenceError::Context("its facts are not what this version writes"))?;
        Ok(Context {
            schema,
            facts,
            digest: Digest::of(bytes),
            bytes: bytes.to_vec(),
        })
    }

    /// The columns of a row in the evidence topic.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The IPC schema message.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

/// Writes rows of one context as messages.
pub struct Writer {
    context: Arc<Context>,
    encoder: Encoder,
}

/// A message that is ready to be produced.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    pub header: Header,
    pub value: Vec<u8>,
    /// The link of the chain that it makes: [`head`] of its bytes.
    pub head: Digest,
}

/// What the messages of one range have in common.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    pub first: Offset,
    pub next: NextOffset,
    pub ingest_time: i64,
    pub score_time: i64,
    pub prev: Digest,
    /// Whether the first message brings the context.
    pub brings_context: bool,
}

/// A row whose evidence does not fit one message even alone: its index in the batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RowTooLarge(pub usize);

impl Writer {
    #[must_use]
    pub fn new(context: Arc<Context>) -> Writer {
        let encoder = Encoder::new(context.schema()).expect("the context has evidence's columns");
        Writer { context, encoder }
    }

    #[must_use]
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Writes the rows of one partition, in as many messages as `value_bytes_max` asks for. Ranges of
    /// the messages are contiguous and the messages chained. Returns them with the new head.
    ///
    /// # Errors
    /// [`RowTooLarge`] when one row does not fit; nothing is written then.
    ///
    /// # Panics
    /// When `rows` is empty, has other columns than the context, or does not tile the range.
    pub fn write(
        &self,
        rows: &RecordBatch,
        range: Range,
        value_bytes_max: usize,
    ) -> Result<(Vec<Message>, Digest), RowTooLarge> {
        let schema = self.context.schema();
        let is_ours = Arc::ptr_eq(rows.schema_ref(), schema) || rows.schema_ref() == schema;
        assert!(is_ours, "rows have the context's columns");
        let mut messages = Vec::with_capacity(1);
        let mut prev = range.prev;
        let mut pending = vec![(0, rows.num_rows())];
        while let Some((start, end)) = pending.pop() {
            let brings_context = range.brings_context && messages.is_empty();
            let value = self.encode(rows, start..end, brings_context);
            if value.len() > value_bytes_max {
                if end - start == 1 {
                    return Err(RowTooLarge(start));
                }
                let middle = start + (end - start) / 2;
                pending.extend([(middle, end), (start, middle)]);
                continue;
            }
            let header = Header {
                brings_context,
                first: if start == 0 {
                    range.first
                } else {
                    rows::offset(rows, start)
                },
                next: rows::next_offset(rows, end - 1),
                rows: u32::try_from(end - start).expect("a batch is far smaller"),
                ingest_time: range.ingest_time,
                score_time: range.score_time,
                context: self.context.digest,
                prev,
            };
            prev = head(&header.to_bytes(), &value);
            messages.push(Message {
                header,
                value,
                head: prev,
            });
        }
        let last = messages.last().expect("a range has at least one row");
        assert_eq!(last.header.next, range.next, "the rows must tile the range");
        Ok((messages, prev))
    }

    fn encode(
        &self,
        batch: &RecordBatch,
        rows: std::ops::Range<usize>,
        brings_context: bool,
    ) -> Vec<u8> {
        // Most messages are little more than their metadata.
        let mut value = Vec::with_capacity(8 << 10);
        if brings_context {
            value.extend_from_slice(&self.context.bytes);
        }
        self.encoder.encode(batch, rows, &mut value);
        value
    }
}

/// Reads messages: remembers every context that it was shown.
#[derive(Default)]
pub struct Reader {
    known: HashMap<Digest, Known>,
}

struct Known {
    context: Arc<Context>,
    /// Has read the context's schema and stands before a record batch.
    decoder: StreamDecoder,
}

impl Known {
    fn new(context: Arc<Context>) -> Result<Known, ArrowError> {
        let mut decoder = StreamDecoder::new();
        decoder.decode(&mut Buffer::from(context.bytes.as_slice()))?;
        Ok(Known { context, decoder })
    }
}

impl Reader {
    /// Makes a context known that the messages to come may name.
    ///
    /// # Errors
    /// Never for a context that [`Context::parse`] accepted.
    pub fn learn(&mut self, context: Arc<Context>) -> Result<(), EvidenceError> {
        self.known.insert(context.digest, Known::new(context)?);
        Ok(())
    }

    #[must_use]
    pub fn knows(&self, context: Digest) -> bool {
        self.known.contains_key(&context)
    }

    /// The context that a message brings, if it brings one; it is known from then on.
    ///
    /// # Errors
    /// When the value does not begin with the context that the header names.
    pub fn context_of(
        &mut self,
        header: &Header,
        value: &[u8],
    ) -> Result<Option<Arc<Context>>, EvidenceError> {
        if !header.brings_context {
            return Ok(None);
        }
        let bytes = message_len(value)
            .and_then(|len| value.get(..len))
            .ok_or(EvidenceError::Context("it is cut off"))?;
        if Digest::of(bytes) != header.context {
            return Err(EvidenceError::Context(
                "it is not the one that the header names",
            ));
        }
        if let Some(known) = self.known.get(&header.context) {
            return Ok(Some(known.context.clone()));
        }
        let context = Arc::new(Context::parse(bytes)?);
        self.learn(context.clone())?;
        Ok(Some(context))
    }

    /// The rows of a message, with the context that they belong to.
    ///
    /// # Errors
    /// When the context is unknown, the value is damaged, or the rows are not what the header says.
    pub fn rows(
        &mut self,
        header: &Header,
        value: &[u8],
    ) -> Result<(Arc<Context>, RecordBatch), EvidenceError> {
        let brought = self.context_of(header, value)?;
        let skip = brought.map_or(0, |context| context.bytes.len());
        let known = self
            .known
            .get_mut(&header.context)
            .ok_or(EvidenceError::UnknownContext(header.context))?;
        let context = known.context.clone();
        let rows = read_batch(&mut known.decoder, &value[skip..]);
        if rows.is_err() {
            // A decoder that failed is in no known state.
            *known = Known::new(context.clone())?;
        }
        let rows = rows?;
        if rows.num_rows() != header.rows as usize {
            return Err(EvidenceError::Rows("its row count is not the header's"));
        }
        rows::check_tiling(&rows, header.first, header.next).map_err(EvidenceError::Rows)?;
        Ok((context, rows))
    }
}

fn read_batch(decoder: &mut StreamDecoder, bytes: &[u8]) -> Result<RecordBatch, EvidenceError> {
    if message_len(bytes).is_none_or(|len| len > bytes.len()) {
        return Err(EvidenceError::Rows("it is cut off"));
    }
    let mut buffer = Buffer::from(bytes);
    let rows = decoder
        .decode(&mut buffer)?
        .ok_or(EvidenceError::Rows("it is cut off"))?;
    if !buffer.is_empty() {
        return Err(EvidenceError::Rows("it goes on after the rows"));
    }
    Ok(rows)
}

/// What ends an IPC stream.
const END_OF_STREAM: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];

/// The length of the encapsulated message that `bytes` begins with, without its body: a marker,
/// the little-endian length of the metadata, the metadata.
fn message_len(bytes: &[u8]) -> Option<usize> {
    let (marker, rest) = bytes.split_first_chunk::<4>()?;
    let (len, _) = rest.split_first_chunk::<4>()?;
    (*marker == END_OF_STREAM[..4]).then_some(8 + u32::from_le_bytes(*len) as usize)
}

/// Evidence that contradicts its own contract: somebody else wrote to the topic, or a bug did.
#[derive(Debug)]
pub enum EvidenceError {
    Header(&'static str),
    Context(&'static str),
    UnknownContext(Digest),
    Rows(&'static str),
    Signature(&'static str),
    Arrow(ArrowError),
}

impl fmt::Display for EvidenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EvidenceError::Header(what) => write!(f, "the evidence header is not valid: {what}"),
            EvidenceError::Context(what) => write!(f, "the evidence context is not valid: {what}"),
            EvidenceError::UnknownContext(digest) => {
                write!(
                    f,
                    "the evidence names context {digest}, which was never seen"
                )
            }
            EvidenceError::Rows(what) => write!(f, "the evidence value is not valid: {what}"),
            EvidenceError::Signature(what) => {
                write!(f, "the evidence signature is not valid: {what}")
            }
            EvidenceError::Arrow(_) => f.write_str("the evidence value is not arrow ipc"),
        }
    }
}

impl std::error::Error for EvidenceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            EvidenceError::Arrow(error) => Some(error),
            EvidenceError::Header(_)
            | EvidenceError::Context(_)
            | EvidenceError::UnknownContext(_)
            | EvidenceError::Rows(_)
            | EvidenceError::Signature(_) => None,
        }
    }
}

impl From<ArrowError> for EvidenceError {
    fn from(error: ArrowError) -> Self {
        EvidenceError::Arrow(error)
    }
}

#[cfg(test)]
mod tests;

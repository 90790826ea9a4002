//! The columns of a segment: those of its evidence, and what holds for whole messages or for all of
//! them, as columns too, so that a file can be read without any other.
//!
//! Knows Arrow and how each column is best written as Parquet; no files, no messages' bytes.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::AsArray as _;
use arrow::array::{ArrayRef, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{
    DataType, Field, Int32Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType,
};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

use super::leaf::GROUP_ROWS;
use crate::evidence::{
    Context, FIELD_ID, Facts, Header, Kind, SHADOW_FACTS, columns, field_id, shadow_column,
};
use crate::record::Position;

/// Rows of a row group. Also how many distinct event ids a bloom filter is made for.
const ROW_GROUP_ROWS: usize = GROUP_ROWS as usize;

/// Rows of a page. What is not in a whole page is held unencoded, in every column of every open segment:
/// so pages are smaller than Parquet's usual 20,000 rows.
const PAGE_ROWS: usize = 8_192;

/// Level 3 costs a third more and gives the same size.
const ZSTD_LEVEL: i32 = 1;

/// One event id in a hundred that is not there is looked for in vain.
const BLOOM_FALSE_POSITIVES: f64 = 0.01;

/// Where the values of a column come from.
#[derive(Clone, Debug)]
enum Source {
    /// The column of the evidence with this index.
    Evidence(usize),
    /// The same text in every row.
    Text(ArrayRef),
    Partition,
    EvidencePosition,
    IngestTime,
    ScoreTime,
}

/// The columns for the evidence of one context.
#[derive(Clone, Debug)]
pub struct Columns {
    evidence: SchemaRef,
    schema: SchemaRef,
    sources: Vec<Source>,
    kind: usize,
    properties: WriterProperties,
}

/// Rows of one message, and what is constant for them.
#[derive(Clone, Debug)]
pub struct Rows {
    pub position: Position,
    pub header: Header,
    pub rows: RecordBatch,
}

/// How many rows are of each kind.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Kinds {
    pub scored: u64,
    pub rejected: u64,
    pub gaps: u64,
}

/// The fixed columns, in the order in which people read them: what, when, the verdict, by which model.
/// Those of the evidence have ids below 10 or from 64 on, these the ids that are said here. Ids are for ever.
fn fixed(facts: &Facts) -> Vec<(&'static str, i32, Source)> {
    // The index and the id of the evidence's own columns are looked up.
    let evidence = |name| (name, 0, Source::Evidence(0));
    vec![
        ("cluster_id", 10, text(&facts.cluster_id)),
        ("input_topic", 11, text(&facts.input_topic)),
        ("input_topic_id", 12, text(&facts.input_topic_id)),
        ("partition", 13, Source::Partition),
        evidence(columns::OFFSET),
        evidence(columns::NEXT_OFFSET),
        evidence(columns::KIND),
        evidence(columns::LEADER_EPOCH),
        ("evidence_position", 14, Source::EvidencePosition),
        evidence(columns::BROKER_TIME),
        ("ingest_time", 15, Source::IngestTime),
        ("score_time", 16, Source::ScoreTime),
        evidence(columns::DECISION),
        evidence(columns::SCORE),
        evidence(columns::MARGIN),
        evidence(columns::THRESHOLD),
        evidence(columns::FLAGS),
        evidence(columns::REJECT_STAGE),
        evidence(columns::REJECT_REASON),
        ("model_name", 17, text(&facts.model_name)),
        ("model_version", 18, text(&facts.model_version)),
        ("model_sha256", 19, text(&facts.model_sha256)),
        ("package_sha256", 20, text(&facts.package_sha256)),
        ("policy_version", 21, text(&facts.policy_version)),
        ("policy_sha256", 28, text(&facts.policy_sha256)),
        ("runtime", 22, text(&facts.runtime)),
        ("runtime_sha256", 29, text(&facts.runtime_sha256)),
        ("provider", 23, text(&facts.provider)),
        ("admission", 25, text(&facts.admission)),
        ("config_sha256", 26, text(&facts.config_sha256)),
        ("input_schema", 27, text(&facts.input_schema)),
        evidence(columns::BATCH_ROW),
        evidence(columns::CHUNK_ROWS),
        evidence(columns::PAYLOAD_BYTES),
        ("commitment_key", 30, text(&facts.commitment_key)),
        evidence(columns::PAYLOAD_COMMITMENT),
        evidence(columns::ROW_SALT),
    ]
}

/// The same text in every row.
fn text(text: &str) -> Source {
    let values = StringArray::from_iter_values([text]);
    Source::Text(Arc::new(values))
}

impl Columns {
    /// # Errors
    /// When the context has not the columns of evidence.
    pub fn new(context: &Context, writer: &str) -> Result<Columns, String> {
        let evidence = context.schema();
        let mut fields = Vec::new();
        let mut sources = Vec::new();
        for (name, id, source) in fixed(context.facts()) {
            let (field, source) = match source {
                Source::Evidence(_) => {
                    let index = evidence
                        .index_of(name)
                        .map_err(|_| format!("its evidence has no column `{name}`"))?;
                    (evidence.field(index).clone(), Source::Evidence(index))
                }
                source => (added(name, id, &source), source),
            };
            fields.push(field);
            sources.push(source);
        }
        for (index, field) in evidence.fields().iter().enumerate() {
            let name = field.name();
            let named_elsewhere = name.starts_with(columns::EVENT_PREFIX)
                || name.starts_with(columns::FEATURE_PREFIX)
                || name.starts_with(columns::SHADOW_PREFIX)
                || [columns::RULE, columns::EXPLANATION].contains(&name.as_str());
            if named_elsewhere {
                fields.push(field.as_ref().clone());
                sources.push(Source::Evidence(index));
            }
        }
        for (index, shadow) in context.facts().shadows.iter().enumerate() {
            let model = format!("{} {}", shadow.model_name, shadow.model_version);
            let values = [&model, &shadow.policy_version, &shadow.package_sha256];
            for (what, value) in SHADOW_FACTS.into_iter().zip(values) {
                let name = shadow_column(index + 1, what);
                let source = text(value);
                fields.push(added(&name, field_id(&name), &source));
                sources.push(source);
            }
        }
        let kind = evidence.index_of(columns::KIND).expect("looked up above");
        if *evidence.field(kind).data_type() != DataType::Utf8 {
            return Err("its column `kind` is not text".into());
        }
        let of_evidence = sources.iter().filter(|s| matches!(s, Source::Evidence(_)));
        if of_evidence.count() != evidence.fields().len() {
            return Err("its evidence has a column that this version does not know".into());
        }
        let properties = properties(&fields, &context.facts().event_id, writer);
        Ok(Columns {
            evidence: evidence.clone(),
            schema: Arc::new(Schema::new(fields)),
            sources,
            kind,
            properties,
        })
    }

    /// The columns of the file.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The columns in the order in which rows are hashed: those first that are the same in all rows, which
    /// then are hashed once.
    #[must_use]
    pub fn hashed(&self) -> Schema {
        let fields = self.schema.fields().iter().zip(&self.sources);
        let (same, other): (Vec<_>, Vec<_>) =
            fields.partition(|(_, source)| matches!(source, Source::Text(_) | Source::Partition));
        let fields = same.into_iter().chain(other);
        Schema::new(fields.map(|(field, _)| field.clone()).collect::<Vec<_>>())
    }

    #[must_use]
    pub fn properties(&self) -> &WriterProperties {
        &self.properties
    }

    /// Counts the rows of one message by kind.
    ///
    /// # Errors
    /// When a row is of no known kind.
    pub fn count(&self, rows: &RecordBatch) -> Result<Kinds, String> {
        let mut kinds = Kinds::default();
        for kind in rows.column(self.kind).as_string::<i32>() {
            match kind {
                Some(kind) if kind == Kind::Scored.as_str() => kinds.scored += 1,
                Some(kind) if kind == Kind::Rejected.as_str() => kinds.rejected += 1,
                Some(kind) if kind == Kind::Gap.as_str() => kinds.gaps += 1,
                _ => return Err("it has a row that is neither scored, rejected nor a gap".into()),
            }
        }
        Ok(kinds)
    }

    /// The rows of some messages of one partition, one after the other, with all columns.
    ///
    /// # Panics
    /// When a message is of another context.
    #[must_use]
    pub fn assemble(&self, messages: &[Rows], partition: i32) -> RecordBatch {
        let batches = messages.iter().map(|message| &message.rows);
        let rows = arrow::compute::concat_batches(&self.evidence, batches)
            .expect("the rows of one context have the same columns");
        let len = rows.num_rows();
        let repeat = |value: fn(&Rows) -> i64| {
            let each =
                |message: &'_ Rows| std::iter::repeat_n(value(message), message.rows.num_rows());
            Int64Array::from_iter_values(messages.iter().flat_map(each))
        };
        let time = |value: fn(&Rows) -> i64| -> ArrayRef {
            let times = repeat(value).reinterpret_cast::<TimestampMicrosecondType>();
            Arc::new(times.with_timezone("UTC"))
        };
        let column = |source: &Source| -> ArrayRef {
            match source {
                Source::Evidence(index) => rows.column(*index).clone(),
                Source::Text(text) => {
                    let keys = Int32Array::from_value(0, len);
                    let column = DictionaryArray::<Int32Type>::try_new(keys, text.clone());
                    Arc::new(column.expect("the one text has key 0"))
                }
                Source::Partition => Arc::new(Int32Array::from_value(partition, len)),
                Source::EvidencePosition => Arc::new(repeat(|message| message.position.0)),
                Source::IngestTime => time(|message| message.header.ingest_time),
                Source::ScoreTime => time(|message| message.header.score_time),
            }
        };
        let columns = self.sources.iter().map(column).collect();
        RecordBatch::try_new(self.schema.clone(), columns)
            .expect("each source has its field's type")
    }
}

fn added(name: &str, id: i32, source: &Source) -> Field {
    let kind = match source {
        // Written as plain text; the dictionary only saves work here.
        Source::Text(_) => DataType::Dictionary(DataType::Int32.into(), DataType::Utf8.into()),
        Source::Partition => DataType::Int32,
        Source::EvidencePosition => DataType::Int64,
        Source::IngestTime | Source::ScoreTime => {
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
        }
        Source::Evidence(_) => unreachable!("the evidence's columns have their own fields"),
    };
    let id = HashMap::from([(FIELD_ID.to_owned(), id.to_string())]);
    Field::new(name, kind, false).with_metadata(id)
}

/// How each column is written. Measured: half the work of the defaults, and smaller files.
fn properties(fields: &[Field], event_id: &str, writer: &str) -> WriterProperties {
    let zstd = ZstdLevel::try_new(ZSTD_LEVEL).expect("the level is one of zstd's");
    let mut builder = WriterProperties::builder()
        .set_created_by(writer.to_owned())
        .set_compression(Compression::ZSTD(zstd))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_dictionary_enabled(false);
    for field in fields {
        builder = encode(builder, field, field.name() == event_id);
    }
    builder.build()
}

fn encode(
    builder: WriterPropertiesBuilder,
    field: &Field,
    is_event_id: bool,
) -> WriterPropertiesBuilder {
    let path = ColumnPath::new(vec![field.name().clone()]);
    let is_feature = field.name().starts_with(columns::FEATURE_PREFIX);
    let builder = match is_feature {
        // Nobody looks for a feature's value: the range over the file is enough.
        true => builder.set_column_statistics_enabled(path.clone(), EnabledStatistics::Chunk),
        false => builder,
    };
    if is_event_id {
        return builder
            .set_column_bloom_filter_fpp(path.clone(), BLOOM_FALSE_POSITIVES)
            .set_column_bloom_filter_max_ndv(path, ROW_GROUP_ROWS as u64);
    }
    let kind = field.data_type();
    if matches!(kind, DataType::FixedSizeBinary(_)) {
        // As good as random: nothing is found by its range, and nothing makes it smaller.
        return builder
            .set_column_statistics_enabled(path.clone(), EnabledStatistics::None)
            .set_column_compression(path, Compression::UNCOMPRESSED);
    }
    if kind.is_floating() {
        builder.set_column_encoding(path, Encoding::BYTE_STREAM_SPLIT)
    } else if kind.is_integer() || kind.is_temporal() {
        builder.set_column_encoding(path, Encoding::DELTA_BINARY_PACKED)
    } else if *kind == DataType::Boolean {
        builder
    } else {
        builder.set_column_dictionary_enabled(path, true)
    }
}

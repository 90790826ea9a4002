//! An open segment: evidence of one stream, one context and one day on its way to one Parquet file.
//!
//! Pure: messages in, bytes out. The same messages give the same bytes, whoever writes them and when,
//! as long as it is the same version: so a file that a crash lost can be made again. What is open is
//! kept encoded, not as rows, so that many open segments cost little memory.

use std::sync::Arc;

use arrow::array::{AsArray as _, RecordBatch};
use arrow::compute::{max_string, min_string};
use arrow::datatypes::{DataType, Schema};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;

use super::columns::{Columns, Kinds, Rows};
use super::layout::{self, Day};
use super::leaf::{self, Leaves, Roots, RowTree};
use super::ledger::{Coverage, File, Segment, StreamId, Tip};
use crate::evidence::Context;
use crate::record::{Digest, NextOffset, NextPosition, Offset};

/// Messages wait until there are this many rows or messages: writing columns has a price per call.
const PENDING_ROWS: usize = 1024;
const PENDING_MESSAGES: usize = 32;

/// What an array costs besides its values, about. Matters for messages of few rows.
const ARRAY_OVERHEAD: usize = 256;

/// What the compressor of a column holds, about. Measured; the Parquet writer does not count it.
const COMPRESSOR_OVERHEAD: usize = 48 << 10;

/// Where a segment begins.
#[derive(Clone, Debug)]
pub struct Start {
    pub stream: StreamId,
    /// The stream's tip.
    pub first: NextPosition,
    pub prev_head: Digest,
    /// The first input offset.
    pub covered: Offset,
    /// The score time of the first message.
    pub time: i64,
    pub day: Day,
    /// Program and version, as in `probity 0.1.0`.
    pub writer: String,
}

/// Evidence that is not in a file yet.
pub struct Open {
    start: Start,
    context: Arc<Context>,
    columns: Columns,
    writer: ArrowWriter<Vec<u8>>,
    /// What the leaves are of.
    cells: leaf::Columns,
    leaves: Leaves,
    tree: RowTree,
    ids: Ids,
    pending: Vec<Rows>,
    pending_rows: usize,
    pending_bytes: usize,
    next: NextPosition,
    covered: NextOffset,
    head: Digest,
    kinds: Kinds,
    min_time: i64,
    max_time: i64,
}

impl Open {
    /// # Errors
    /// When the context is not one of evidence.
    pub fn new(start: Start, context: Arc<Context>) -> Result<Open, String> {
        let columns = Columns::new(&context, &start.writer)?;
        // The Arrow schema would say nothing that the Parquet schema does not.
        let options = ArrowWriterOptions::new()
            .with_properties(columns.properties().clone())
            .with_schema_root("segment".to_owned())
            .with_skip_arrow_metadata(true);
        let writer =
            ArrowWriter::try_new_with_options(Vec::new(), columns.schema().clone(), options)
                .map_err(|error| format!("its columns do not fit a parquet file: {error}"))?;
        let cells = leaf::Columns::of(&columns.hashed())?;
        Ok(Open {
            leaves: Leaves::new(&cells, columns.schema())?,
            cells,
            tree: RowTree::default(),
            ids: Ids::of(columns.schema(), &context.facts().event_id),
            context,
            columns,
            writer,
            pending: Vec::new(),
            pending_rows: 0,
            pending_bytes: 0,
            next: start.first,
            covered: NextOffset(start.covered.0),
            head: start.prev_head,
            kinds: Kinds::default(),
            min_time: start.time,
            max_time: start.time,
            start,
        })
    }

    /// Adds a message whose head is `head`; `value_bytes` is how much memory its rows hold on to.
    ///
    /// # Errors
    /// When the rows are of no known kind: nothing was added then. Or when they cannot be encoded.
    pub fn push(&mut self, message: Rows, head: Digest, value_bytes: usize) -> Result<(), Refused> {
        let kinds = self.columns.count(&message.rows).map_err(Refused::Rows)?;
        self.kinds.scored += kinds.scored;
        self.kinds.rejected += kinds.rejected;
        self.kinds.gaps += kinds.gaps;
        self.next = message.position.next();
        self.covered = message.header.next;
        self.head = head;
        self.min_time = self.min_time.min(message.header.score_time);
        self.max_time = self.max_time.max(message.header.score_time);
        self.pending_rows += message.rows.num_rows();
        self.pending_bytes += value_bytes + message.rows.num_columns() * ARRAY_OVERHEAD;
        self.pending.push(message);
        if self.pending_rows >= PENDING_ROWS || self.pending.len() >= PENDING_MESSAGES {
            self.encode().map_err(Refused::Encoding)?;
        }
        Ok(())
    }

    fn encode(&mut self) -> Result<(), ParquetError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let rows = self
            .columns
            .assemble(&self.pending, self.start.stream.partition);
        self.pending.clear();
        self.pending_rows = 0;
        self.pending_bytes = 0;
        self.tree.extend(self.leaves.of(&rows).iter().copied());
        self.ids.take(&rows);
        self.writer.write(&rows)
    }

    #[must_use]
    pub fn start(&self) -> &Start {
        &self.start
    }

    #[must_use]
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }

    #[must_use]
    pub fn rows(&self) -> u64 {
        self.kinds.scored + self.kinds.rejected + self.kinds.gaps
    }

    /// The size of the file so far, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.writer.bytes_written() + self.writer.in_progress_size()
    }

    /// Bytes of memory that this holds, about.
    #[must_use]
    pub fn memory(&self) -> usize {
        let compressors = match self.writer.in_progress_rows() {
            0 => 0,
            _ => self.columns.schema().fields().len() * COMPRESSOR_OVERHEAD,
        };
        let encoded = self.writer.memory_size() + self.writer.inner().capacity();
        encoded + compressors + self.pending_bytes
    }

    /// Ends the file.
    ///
    /// # Errors
    /// When it cannot be encoded: a bug.
    pub fn close(mut self) -> Result<Closed, ParquetError> {
        self.encode()?;
        let stream = &self.start.stream;
        for (key, value) in [
            ("probity.cluster_id", stream.cluster_id.clone()),
            ("probity.evidence_topic", stream.topic.clone()),
            ("probity.evidence_topic_id", stream.topic_id.clone()),
            ("probity.partition", stream.partition.to_string()),
            ("probity.first", self.start.first.to_string()),
            ("probity.next", self.next.to_string()),
            ("probity.prev_head", self.start.prev_head.to_string()),
            ("probity.head", self.head.to_string()),
            ("probity.context", self.context.digest().to_string()),
            ("probity.writer", self.start.writer.clone()),
        ] {
            let pair = KeyValue::new(key.to_owned(), value);
            self.writer.append_key_value_metadata(pair);
        }
        let facts = self.context.facts();
        let coverage = Coverage {
            topic: facts.input_topic.clone(),
            topic_id: facts.input_topic_id.clone(),
            partition: stream.partition,
            first: self.start.covered,
            next: self.covered,
        };
        let rows = self.rows();
        let bytes = Bytes::from(self.writer.into_inner()?);
        Ok(Closed {
            columns: self.cells,
            roots: self.tree.roots(),
            ids: self.ids.range,
            sha256: Digest::of(&bytes),
            bytes,
            start: self.start,
            context: self.context,
            coverage,
            next: self.next,
            head: self.head,
            rows,
            kinds: self.kinds,
            min_time: self.min_time,
            max_time: self.max_time,
        })
    }
}

/// Why a message was not added.
#[derive(Debug)]
pub enum Refused {
    Rows(String),
    Encoding(ParquetError),
}

/// A whole file, and what its entry says of it.
#[derive(Clone, Debug)]
pub struct Closed {
    pub bytes: Bytes,
    pub sha256: Digest,
    pub columns: leaf::Columns,
    pub roots: Roots,
    /// The least and the greatest event id.
    pub ids: Option<(String, String)>,
    pub start: Start,
    pub context: Arc<Context>,
    pub coverage: Coverage,
    pub next: NextPosition,
    pub head: Digest,
    pub rows: u64,
    pub kinds: Kinds,
    pub min_time: i64,
    pub max_time: i64,
}

impl Closed {
    /// Whether it begins where the stream stands.
    #[must_use]
    pub fn joins(&self, tip: &Tip) -> bool {
        let covered = tip.coverage.get(&self.coverage.input());
        self.start.first == tip.next
            && self.start.prev_head == tip.head
            && covered.is_none_or(|next| next.expected() == self.coverage.first)
    }

    #[must_use]
    pub fn file(&self) -> File {
        File {
            sha256: self.sha256,
            bytes: self.bytes.len() as u64,
        }
    }

    /// The entry that commits this file as number `n`.
    #[must_use]
    pub fn entry(&self, n: u64) -> Segment {
        let Start { stream, first, .. } = &self.start;
        Segment {
            stream: stream.clone(),
            first: *first,
            next: self.next,
            coverage: vec![self.coverage.clone()],
            prev_head: self.start.prev_head,
            head: self.head,
            rows: self.rows,
            scored: self.kinds.scored,
            rejected: self.kinds.rejected,
            gaps: self.kinds.gaps,
            columns: self.columns.digest(),
            row_root: self.roots.row_root,
            group_roots: self.roots.group_roots.clone(),
            min_id: self.ids.as_ref().map(|ids| ids.0.clone()),
            max_id: self.ids.as_ref().map(|ids| ids.1.clone()),
            sha256: self.sha256,
            bytes: self.bytes.len() as u64,
            path: layout::segment(self.start.day, &stream.topic, stream.partition, *first, n),
            context: self.context.digest(),
            min_time: self.min_time,
            max_time: self.max_time,
            writer: self.start.writer.clone(),
        }
    }
}

/// Longer event ids are not put in the ledger.
const ID_BYTES_MAX: usize = 128;

/// The range of the event ids so far: for look-ups, where ids grow with time.
struct Ids {
    column: Option<usize>,
    range: Option<(String, String)>,
}

impl Ids {
    fn of(schema: &Schema, name: &str) -> Ids {
        let column = schema.index_of(name).ok();
        let is_text = |index: &usize| *schema.field(*index).data_type() == DataType::Utf8;
        Ids {
            column: column.filter(is_text),
            range: None,
        }
    }

    fn take(&mut self, rows: &RecordBatch) {
        let Some(column) = self.column else {
            return;
        };
        let ids = rows.column(column).as_string::<i32>();
        let (Some(min), Some(max)) = (min_string(ids), max_string(ids)) else {
            return;
        };
        if min.len().max(max.len()) > ID_BYTES_MAX {
            self.column = None;
            self.range = None;
            return;
        }
        match &mut self.range {
            None => self.range = Some((min.to_owned(), max.to_owned())),
            Some((least, greatest)) => {
                if min < least.as_str() {
                    min.clone_into(least);
                }
                if max > greatest.as_str() {
                    max.clone_into(greatest);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;

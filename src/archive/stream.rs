//! One partition that the archiver follows: where the next message must join, and what is open.
//!
//! Pure: decides from a message and what came before it. Knows no store.

use std::sync::Arc;

use super::columns::Rows;
use super::layout::Day;
use super::ledger::{Committed, InputId, Segment, StreamId, Tip};
use super::segment::{Closed, Open, Refused, Start};
use crate::error::{Exit, Fatal, Result};
use crate::evidence::{self, Context, Header, Reader, head};
use crate::record::{Digest, NextOffset, NextPosition, Position};
use crate::tlog::Verifier;

/// One message of the evidence topic.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    pub position: Position,
    /// The value of the Kafka header [`Header::NAME`], if it has one.
    pub header: Option<&'a [u8]>,
    /// The value of the Kafka header [`SIGNATURE`](crate::evidence::SIGNATURE), if it has one.
    pub signature: Option<&'a [u8]>,
    pub value: &'a [u8],
}

pub(super) struct Stream {
    pub id: StreamId,
    pub phase: Phase,
    pub cursor: Cursor,
    pub open: Option<Open>,
    /// Bytes of memory that `open` holds, about.
    pub memory: usize,
    /// A message did not join; it may be a stale one from before a seek. The next time it counts.
    pub in_doubt: bool,
    /// The driver has seen the end of the partition, and nothing after it.
    pub is_drained: bool,
    /// Since when there is evidence that is not archived, µs since the epoch; where the next message is not
    /// read yet, the time of the last one that is.
    pub waits_since: Option<i64>,
}

pub(super) enum Phase {
    /// The file of the last entry is there. Messages make new segments.
    Following,
    /// The file of this entry, the stream's last, is missing. Its messages make it again.
    Finishing(Box<Committed>),
    /// Something does not join. Only an operator can help.
    Stopped,
}

/// Where the next message must join.
pub(super) struct Cursor {
    /// It may stand at a later position, after a transaction's marker.
    pub next: NextPosition,
    tip: Tip,
}

impl Cursor {
    pub fn following(tip: Tip) -> Cursor {
        Cursor {
            next: tip.next,
            tip,
        }
    }

    /// Before the messages of `entry`, which is the last one of `tip`.
    pub fn before(entry: &Segment, mut tip: Tip) -> Cursor {
        tip.head = entry.prev_head;
        for covered in &entry.coverage {
            let first = NextOffset(covered.first.0);
            tip.coverage.insert(covered.input(), first);
        }
        Cursor {
            next: entry.first,
            tip,
        }
    }
}

/// A message that joins, with its rows.
pub(super) struct Joined {
    pub rows: Rows,
    context: Arc<Context>,
    head: Digest,
    day: Day,
    value_bytes: usize,
}

impl Stream {
    pub fn new(id: StreamId, phase: Phase, cursor: Cursor) -> Stream {
        Stream {
            id,
            phase,
            cursor,
            open: None,
            memory: 0,
            in_doubt: false,
            is_drained: false,
            waits_since: None,
        }
    }

    /// What was open is archived, and nothing that was made before `time` comes any more.
    pub fn is_archived(&mut self, time: i64) {
        self.waits_since = (!self.is_drained).then_some(time);
    }

    /// Since when evidence waits: where it is not known, and nobody reads on, since now.
    pub fn waits_since(&mut self, now: i64) -> Option<i64> {
        if !self.is_active() {
            self.waits_since.get_or_insert(now);
        }
        self.waits_since
    }

    /// There is nothing after the last message, for now.
    pub fn drained(&mut self) {
        self.is_drained = true;
        if self.open.is_none() && self.is_active() {
            self.waits_since = None;
        }
    }

    pub fn is_active(&self) -> bool {
        !matches!(self.phase, Phase::Stopped)
    }

    /// The input partition that a message of this stream covers: the one with the same number.
    fn input(&self, context: &Context) -> InputId {
        InputId {
            topic: context.facts().input_topic.clone(),
            topic_id: context.facts().input_topic_id.clone(),
            partition: self.id.partition,
        }
    }

    /// Checks that a message joins what is before it, and reads its rows. `bytes` are the header's.
    ///
    /// # Errors
    /// Why it does not.
    pub fn join(
        &self,
        reader: &mut Reader,
        header: Header,
        bytes: &[u8],
        record: Record<'_>,
        scorers: &[Verifier],
    ) -> Result<Joined, String> {
        // Before anything in it is believed.
        let head = head(bytes, record.value);
        let signature = record.signature.unwrap_or_default();
        evidence::verify(scorers, self.id.partition, head, signature)
            .map_err(|error| error.to_string())?;
        let (context, rows) = reader
            .rows(&header, record.value)
            .map_err(|error| error.to_string())?;
        let tip = &self.cursor.tip;
        if header.prev != tip.head {
            let (prev, last) = (header.prev, tip.head);
            return Err(format!(
                "its predecessor has head {prev}, but the last one read has {last}"
            ));
        }
        let expected = tip
            .coverage
            .get(&self.input(&context))
            .map(|next| next.expected());
        if let Some(expected) = expected.filter(|expected| *expected != header.first) {
            let first = header.first;
            return Err(format!(
                "it begins at input offset {first}, but {expected} was expected"
            ));
        }
        if let Phase::Finishing(entry) = &self.phase
            && (record.position.0 >= entry.segment.next.0
                || header.context != entry.segment.context)
        {
            return Err(format!(
                "it is not what ledger entry {} says is there",
                entry.n
            ));
        }
        let day =
            Day::of(header.score_time).ok_or("its score time is not of the years 1970 to 9999")?;
        Ok(Joined {
            rows: Rows {
                position: record.position,
                header,
                rows,
            },
            context,
            head,
            day,
            value_bytes: record.value.len(),
        })
    }

    /// Adds a message to the open segment, or to a new one. The inner error says why it does not fit,
    /// and leaves everything as it was.
    ///
    /// # Errors
    /// When it cannot be encoded: a bug.
    pub fn push(&mut self, joined: Joined, writer: &str) -> Result<Result<(), String>> {
        let Joined {
            rows,
            context,
            head,
            day,
            value_bytes,
        } = joined;
        let (header, position) = (rows.header, rows.position);
        let input = self.input(&context);
        if self.open.is_none() {
            let start = Start {
                stream: self.id.clone(),
                first: self.cursor.next,
                prev_head: header.prev,
                covered: header.first,
                time: header.score_time,
                day,
                writer: writer.to_owned(),
            };
            match Open::new(start, context) {
                Ok(open) => self.open = Some(open),
                Err(reason) => return Ok(Err(reason)),
            }
        }
        let open = self.open.as_mut().expect("opened above");
        match open.push(rows, head, value_bytes) {
            Ok(()) => {}
            Err(Refused::Rows(reason)) => {
                // A segment begins with a message that was added.
                self.open = self.open.take().filter(|open| open.rows() > 0);
                return Ok(Err(reason));
            }
            Err(Refused::Encoding(error)) => return Err(cannot_encode(&self.id, error)),
        }
        self.memory = open.memory();
        self.cursor.next = position.next();
        self.cursor.tip.head = head;
        self.cursor.tip.coverage.insert(input, header.next);
        self.in_doubt = false;
        Ok(Ok(()))
    }

    /// Ends the open segment, if there is one.
    ///
    /// # Errors
    /// When it cannot be encoded: a bug.
    pub fn close(&mut self) -> Result<Option<Closed>> {
        self.memory = 0;
        let Some(open) = self.open.take() else {
            return Ok(None);
        };
        let closed = open.close();
        closed
            .map(Some)
            .map_err(|error| cannot_encode(&self.id, error))
    }
}

fn cannot_encode(stream: &StreamId, error: parquet::errors::ParquetError) -> Fatal {
    let message = format!("cannot write the evidence of {stream} as parquet");
    Fatal::new(Exit::Bug, message).because(error)
}

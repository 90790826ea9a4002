//! The ledger: the gapless sequence of entries that says what the archive holds. The only commit point.
//!
//! Pure: entries as JSON documents, and their fold, the [`State`]. Knows no store. It promises that an
//! entry that [`State::fold`] accepts leaves each stream tiled: no evidence missing, none twice, and no
//! hole in the input offsets that it covers.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::layout;
use crate::record::{Digest, NextOffset, NextPosition, Offset};

/// What the archive follows: one partition of an evidence topic. A re-created topic has another id.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamId {
    pub cluster_id: String,
    pub topic: String,
    pub topic_id: String,
    pub partition: i32,
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "partition {} of `{}`", self.partition, self.topic)
    }
}

/// One partition of an input topic.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputId {
    pub topic: String,
    pub topic_id: String,
    pub partition: i32,
}

/// The input offsets `[first, next)` that an entry accounts for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Coverage {
    pub topic: String,
    pub topic_id: String,
    pub partition: i32,
    #[serde(with = "OffsetNumber")]
    pub first: Offset,
    #[serde(with = "NextOffsetNumber")]
    pub next: NextOffset,
}

impl Coverage {
    #[must_use]
    pub fn input(&self) -> InputId {
        InputId {
            topic: self.topic.clone(),
            topic_id: self.topic_id.clone(),
            partition: self.partition,
        }
    }
}

/// One document of the ledger.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Entry {
    /// Commits the evidence positions `[first, next)` of a stream to one file.
    Segment(Box<Segment>),
    /// An operator's word that evidence or offsets are missing, and where the stream goes on.
    Break(Break),
    /// The file of an older entry has other bytes with the same rows: another version rebuilt it.
    Reseal(Reseal),
}

/// One Parquet file, and what it accounts for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    pub n: u64,
    pub stream: StreamId,
    /// The stream's tip before, which need not hold a message: transactions leave markers.
    #[serde(with = "NextPositionNumber")]
    pub first: NextPosition,
    #[serde(with = "NextPositionNumber")]
    pub next: NextPosition,
    pub coverage: Vec<Coverage>,
    /// Heads of the chain of messages, before the first and after the last one.
    #[serde(with = "hex")]
    pub prev_head: Digest,
    #[serde(with = "hex")]
    pub head: Digest,
    pub rows: u64,
    pub scored: u64,
    pub rejected: u64,
    pub gaps: u64,
    #[serde(with = "hex")]
    pub sha256: Digest,
    pub bytes: u64,
    pub path: String,
    #[serde(with = "hex")]
    pub context: Digest,
    /// Score times, µs since the epoch, UTC.
    pub min_time: i64,
    pub max_time: i64,
    pub writer: String,
}

/// A tip that moves by an operator's word instead of by a segment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Break {
    pub n: u64,
    pub stream: StreamId,
    #[serde(with = "NextPositionNumber")]
    pub first: NextPosition,
    #[serde(with = "NextPositionNumber")]
    pub next: NextPosition,
    /// The input offsets that are given up; `next` is where the stream goes on.
    pub coverage: Vec<Coverage>,
    /// The head that the first message after the break names as its predecessor.
    #[serde(with = "hex")]
    pub head: Digest,
    pub reason: String,
    pub operator: String,
}

/// Other bytes for the file of entry `entry`, of the same messages.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reseal {
    pub n: u64,
    pub entry: u64,
    #[serde(with = "hex")]
    pub sha256: Digest,
    pub bytes: u64,
}

impl Entry {
    #[must_use]
    pub fn n(&self) -> u64 {
        match self {
            Entry::Segment(segment) => segment.n,
            Entry::Break(brk) => brk.n,
            Entry::Reseal(reseal) => reseal.n,
        }
    }

    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        to_document(self)
    }

    /// # Errors
    /// When the bytes are not exactly what [`Entry::to_bytes`] of this version writes.
    pub fn parse(bytes: &[u8]) -> Result<Entry, Invalid> {
        from_document(bytes)
    }
}

/// A JSON document that ends with a newline; the same value always gives the same bytes.
pub(super) fn to_document(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(value).expect("texts, numbers and lists serialize");
    bytes.push(b'\n');
    bytes
}

/// Reads a document, and only in the one form in which it is written.
fn from_document<T: Serialize + for<'a> Deserialize<'a>>(bytes: &[u8]) -> Result<T, Invalid> {
    let value = serde_json::from_slice(bytes).map_err(|error| Invalid(error.to_string()))?;
    if to_document(&value) == bytes {
        Ok(value)
    } else {
        Err(Invalid("it is not written as this version writes".into()))
    }
}

/// Why a document is not one of the ledger, or does not follow those before it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Invalid(pub String);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Invalid {}

/// The fold of all entries before some number.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct State {
    entries: u64,
    streams: BTreeMap<StreamId, Tip>,
}

/// Where a stream stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tip {
    /// Everything before is committed.
    pub next: NextPosition,
    /// What the next message must name as its predecessor.
    pub head: Digest,
    /// Per input partition, the offset at which the next message must begin.
    pub coverage: BTreeMap<InputId, NextOffset>,
    /// The last segment, whose file may not be there yet; none before the first and after a break.
    pub last: Option<Segment>,
    /// The files that would do for it: its own, then those of its reseals.
    pub files: Vec<File>,
}

/// What identifies the bytes of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    #[serde(with = "hex")]
    pub sha256: Digest,
    pub bytes: u64,
}

impl Tip {
    /// A stream that has no entry: its first message is at position 0 or later, since topics are
    /// created empty, and begins a chain.
    fn genesis() -> Tip {
        Tip {
            next: NextPosition(0),
            head: Digest::ZERO,
            coverage: BTreeMap::new(),
            last: None,
            files: Vec::new(),
        }
    }

    fn accepts(&self, coverage: &[Coverage], may_skip: bool) -> Result<(), Invalid> {
        let mut inputs: Vec<_> = coverage.iter().map(Coverage::input).collect();
        inputs.sort();
        inputs.dedup();
        if inputs.len() != coverage.len() {
            return invalid("it covers one input twice");
        }
        for covered in coverage {
            let is_range = covered.first.0 >= 0
                && (covered.next.0 > covered.first.0
                    || (may_skip && covered.next.0 >= covered.first.0));
            if !is_range {
                return invalid("it covers an empty or reversed range of its input");
            }
            let tip = self.coverage.get(&covered.input());
            if tip.is_some_and(|tip| tip.expected() != covered.first) {
                return invalid("it does not join the input offsets before it");
            }
        }
        Ok(())
    }

    fn cover(&mut self, coverage: &[Coverage]) {
        for covered in coverage {
            self.coverage.insert(covered.input(), covered.next);
        }
    }
}

fn invalid<T>(why: &str) -> Result<T, Invalid> {
    Err(Invalid(why.to_owned()))
}

impl State {
    /// How many entries were folded: the number of the next one.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Where a stream stands; at its genesis if no entry names it.
    #[must_use]
    pub fn tip(&self, stream: &StreamId) -> Tip {
        self.streams
            .get(stream)
            .cloned()
            .unwrap_or_else(Tip::genesis)
    }

    /// Every stream that has an entry, in the order of their ids.
    pub fn streams(&self) -> impl Iterator<Item = (&StreamId, &Tip)> {
        self.streams.iter()
    }

    /// Adds the next entry.
    ///
    /// # Errors
    /// When it does not follow; the state is as before then.
    pub fn fold(&mut self, entry: Entry) -> Result<(), Invalid> {
        if entry.n() != self.entries {
            return invalid("its number is not the next one");
        }
        match entry {
            Entry::Segment(segment) => self.fold_segment(*segment)?,
            Entry::Break(brk) => self.fold_break(brk)?,
            Entry::Reseal(reseal) => self.fold_reseal(&reseal)?,
        }
        self.entries += 1;
        Ok(())
    }

    fn fold_segment(&mut self, segment: Segment) -> Result<(), Invalid> {
        let mut tip = self.tip(&segment.stream);
        if segment.first != tip.next {
            return invalid("it does not begin at the stream's tip");
        }
        if segment.next <= segment.first {
            return invalid("it holds no evidence");
        }
        if segment.prev_head != tip.head {
            return invalid("it does not continue the chain of messages");
        }
        if segment.coverage.is_empty() {
            return invalid("it covers no input");
        }
        tip.accepts(&segment.coverage, false)?;
        let kinds = [segment.scored, segment.rejected, segment.gaps];
        let rows = kinds
            .iter()
            .try_fold(0u64, |sum, &count| sum.checked_add(count));
        if rows != Some(segment.rows) || segment.rows == 0 {
            return invalid("its rows do not add up");
        }
        if !layout::is_segment(&segment.path, segment.n) {
            return invalid("its path is not one for a segment of this number");
        }
        tip.cover(&segment.coverage);
        tip.next = segment.next;
        tip.head = segment.head;
        tip.files = vec![File {
            sha256: segment.sha256,
            bytes: segment.bytes,
        }];
        let stream = segment.stream.clone();
        tip.last = Some(segment);
        self.streams.insert(stream, tip);
        Ok(())
    }

    fn fold_break(&mut self, brk: Break) -> Result<(), Invalid> {
        let mut tip = self.tip(&brk.stream);
        if brk.first != tip.next {
            return invalid("it does not begin at the stream's tip");
        }
        if brk.next < brk.first {
            return invalid("it goes backwards");
        }
        tip.accepts(&brk.coverage, true)?;
        if brk.reason.is_empty() || brk.operator.is_empty() {
            return invalid("a break needs a reason and an operator");
        }
        tip.cover(&brk.coverage);
        tip.next = brk.next;
        tip.head = brk.head;
        tip.last = None;
        tip.files = Vec::new();
        self.streams.insert(brk.stream, tip);
        Ok(())
    }

    fn fold_reseal(&mut self, reseal: &Reseal) -> Result<(), Invalid> {
        let is_resealed =
            |tip: &&mut Tip| tip.last.as_ref().is_some_and(|last| last.n == reseal.entry);
        let Some(tip) = self.streams.values_mut().find(is_resealed) else {
            return invalid("it reseals an entry that is not the last segment of its stream");
        };
        if tip.files.iter().any(|file| file.sha256 == reseal.sha256) {
            return invalid("it reseals an entry with bytes that it has");
        }
        tip.files.push(File {
            sha256: reseal.sha256,
            bytes: reseal.bytes,
        });
        Ok(())
    }

    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let streams = self.streams.iter().map(|(stream, tip)| StreamDocument {
            stream: stream.clone(),
            next: tip.next,
            head: tip.head,
            coverage: tip
                .coverage
                .iter()
                .map(|(input, &next)| CoverageDocument {
                    topic: input.topic.clone(),
                    topic_id: input.topic_id.clone(),
                    partition: input.partition,
                    next,
                })
                .collect(),
            last: tip.last.clone(),
            files: tip.files.clone(),
        });
        to_document(&StateDocument {
            entries: self.entries,
            streams: streams.collect(),
        })
    }

    /// # Errors
    /// When the bytes are not exactly what [`State::to_bytes`] of this version writes.
    pub fn parse(bytes: &[u8]) -> Result<State, Invalid> {
        let document: StateDocument = from_document(bytes)?;
        let streams = document.streams.into_iter().map(|stream| {
            let coverage = stream.coverage.into_iter().map(|covered| {
                let input = InputId {
                    topic: covered.topic,
                    topic_id: covered.topic_id,
                    partition: covered.partition,
                };
                (input, covered.next)
            });
            let tip = Tip {
                next: stream.next,
                head: stream.head,
                coverage: coverage.collect(),
                last: stream.last,
                files: stream.files,
            };
            (stream.stream, tip)
        });
        Ok(State {
            entries: document.entries,
            streams: streams.collect(),
        })
    }
}

/// The number of entries in a sequence without holes, given which numbers exist: gallops upwards, then
/// bisects. Asks at most 2·log2(n) + 2 times.
///
/// # Errors
/// The first of `exists`.
pub fn find_end<E>(mut exists: impl FnMut(u64) -> Result<bool, E>) -> Result<u64, E> {
    let (mut present, mut absent) = (0, 1);
    while exists(absent - 1)? {
        present = absent;
        absent *= 2;
    }
    // `present` entries are there; entry `absent - 1` is not.
    while absent - present > 1 {
        let middle = present + (absent - present) / 2;
        if exists(middle - 1)? {
            present = middle;
        } else {
            absent = middle;
        }
    }
    Ok(present)
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateDocument {
    entries: u64,
    streams: Vec<StreamDocument>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamDocument {
    stream: StreamId,
    #[serde(with = "NextPositionNumber")]
    next: NextPosition,
    #[serde(with = "hex")]
    head: Digest,
    coverage: Vec<CoverageDocument>,
    last: Option<Segment>,
    files: Vec<File>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CoverageDocument {
    topic: String,
    topic_id: String,
    partition: i32,
    #[serde(with = "NextOffsetNumber")]
    next: NextOffset,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Offset")]
struct OffsetNumber(i64);

#[derive(Serialize, Deserialize)]
#[serde(remote = "NextOffset")]
struct NextOffsetNumber(i64);

#[derive(Serialize, Deserialize)]
#[serde(remote = "NextPosition")]
struct NextPositionNumber(i64);

/// Digests as hexadecimal text.
mod hex {
    use super::Digest;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub fn serialize<S: Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(digest)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        let text = String::deserialize(deserializer)?;
        Digest::parse(&text).ok_or_else(|| D::Error::custom("a digest is 64 hexadecimal digits"))
    }
}

#[cfg(test)]
pub(super) mod tests;

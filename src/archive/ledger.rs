//! The ledger: the gapless sequence of entries that says what the archive holds. The only commit point.
//!
//! Pure: the fold of signed entries, the [`State`]. Knows no store. It promises that an entry that
//! [`State::accept`] takes was signed by a key that may, and leaves each stream tiled: no evidence
//! missing, none twice, and no hole in the input offsets that it covers.

mod entry;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{layout, leaf};
use crate::keys::Role;
use crate::record::{Digest, NextOffset, NextPosition};
use crate::tlog::{Note, Verifier};

pub(super) use entry::to_document;
pub use entry::{
    Act, Body, Break, Coverage, Entry, Event, InputId, Invalid, KeyChange, Reseal, Segment,
    StreamId,
};
use entry::{NextOffsetNumber, NextPositionNumber, from_document, hex};

/// Names an archive. It follows from what is archived, so that archivers that start together make the same
/// one.
#[must_use]
pub fn archive_id(cluster_id: &str, evidence_topic_id: &str) -> Digest {
    // Neither id can hold a line break.
    Digest::of(format!("{cluster_id}\n{evidence_topic_id}").as_bytes())
}

/// Which archive a ledger is of, and the keys that all others follow from.
#[derive(Clone, Debug)]
pub struct Authority {
    pub archive: Digest,
    pub log: Vec<Verifier>,
}

/// The fold of all entries before some number.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct State {
    entries: u64,
    /// The notes of all entries of type `key`: they prove themselves, so a stored fold cannot smuggle
    /// a key in.
    keys: Vec<Keyed>,
    streams: BTreeMap<StreamId, Tip>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Keyed {
    change: KeyChange,
    note: String,
}

/// A segment with the number of its entry.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Committed {
    pub n: u64,
    pub segment: Segment,
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
    pub last: Option<Committed>,
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

impl Segment {
    /// What it says of its rows agrees with itself.
    fn check_rows(&self) -> Result<(), Invalid> {
        let kinds = [self.scored, self.rejected, self.gaps];
        let rows = kinds
            .iter()
            .try_fold(0u64, |sum, &count| sum.checked_add(count));
        if rows != Some(self.rows) || self.rows == 0 {
            return invalid("its rows do not add up");
        }
        if leaf::fold(self.rows, &self.group_roots) != Some(self.row_root) {
            return invalid("the roots of its row groups do not give the root of its rows");
        }
        Ok(())
    }
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

    /// The keys that may act in a role now.
    #[must_use]
    pub fn holders(&self, role: Role, authority: &Authority) -> Vec<Verifier> {
        let mut holders = match role {
            Role::Log => authority.log.clone(),
            _ => Vec::new(),
        };
        for KeyChange { act, key, .. } in self.changes(role) {
            let Ok(key) = Verifier::parse(key) else {
                unreachable!("the fold has read it");
            };
            match act {
                Act::Add if holders.contains(&key) => {}
                Act::Add => holders.push(key),
                Act::Retire => holders.retain(|holder| *holder != key),
            }
        }
        holders
    }

    /// Whether a key has had a role, then or now.
    #[must_use]
    pub fn has_held(&self, role: Role, key: &Verifier) -> bool {
        let key = key.to_string();
        self.changes(role).any(|change| change.key == key)
    }

    fn changes(&self, role: Role) -> impl Iterator<Item = &KeyChange> {
        let changes = self.keys.iter().map(|keyed| &keyed.change);
        changes.filter(move |change| change.role == role)
    }

    /// Adds the next entry, as it is stored.
    ///
    /// # Errors
    /// When it is no entry, is of another archive, is not signed by a key that may, or does not follow;
    /// the state is as before then.
    pub fn accept(&mut self, bytes: &[u8], authority: &Authority) -> Result<Entry, Invalid> {
        let (entry, note) = Entry::parse(bytes)?;
        if entry.archive != authority.archive {
            return invalid("it is of another archive");
        }
        self.check_signature(&entry.body, &note, authority)?;
        self.fold(entry.clone(), bytes)?;
        Ok(entry)
    }

    /// # Errors
    /// When no key has signed the note that may sign what it says, here and now.
    pub fn check_signature(
        &self,
        body: &Body,
        note: &Note<'_>,
        authority: &Authority,
    ) -> Result<(), Invalid> {
        let holders: Vec<Verifier> = body
            .signers()
            .iter()
            .flat_map(|role| self.holders(*role, authority))
            .collect();
        // A false signature in the name of a key that may spoils the note, as everywhere in C2SP.
        let signers = note
            .signers(&holders)
            .map_err(|error| Invalid(error.to_string()))?;
        if !signers.is_empty() {
            return Ok(());
        }
        let roles: Vec<_> = body.signers().iter().map(|role| role.as_str()).collect();
        Err(Invalid(format!(
            "it is not signed by a key of role {}",
            roles.join(" or ")
        )))
    }

    /// Adds the next entry, whoever signed it. `bytes` are what is stored.
    ///
    /// # Errors
    /// When it does not follow; the state is as before then.
    pub fn fold(&mut self, entry: Entry, bytes: &[u8]) -> Result<(), Invalid> {
        let Entry {
            n,
            archive,
            state,
            body,
            ..
        } = entry;
        if n != self.entries {
            return invalid("its number is not the next one");
        }
        if state != self.commitment() {
            return invalid("it does not name the fold of the entries before it");
        }
        let (stream, coverage) = match &body {
            Body::Segment(segment) => (Some(&segment.stream), &segment.coverage[..]),
            Body::Break(brk) => (Some(&brk.stream), &brk.coverage[..]),
            Body::Reseal(_) | Body::Key(_) | Body::Event(_) | Body::Heartbeat => (None, &[][..]),
        };
        if let Some(stream) = stream {
            if archive_id(&stream.cluster_id, &stream.topic_id) != archive {
                return invalid("its stream is of another evidence topic than the archive's");
            }
            // So no input partition is in two streams, and no event in two rows.
            if coverage
                .iter()
                .any(|covered| covered.partition != stream.partition)
            {
                return invalid("it covers a partition with another number than its stream");
            }
        }
        match body {
            Body::Segment(segment) => self.fold_segment(n, *segment)?,
            Body::Break(brk) => self.fold_break(brk)?,
            Body::Reseal(reseal) => self.fold_reseal(&reseal)?,
            Body::Key(change) => self.fold_key(change, bytes)?,
            Body::Event(_) | Body::Heartbeat => {}
        }
        self.entries += 1;
        Ok(())
    }

    /// Goes on at entry `n` whatever was before: for audits, which tell of every entry. Archivers stop.
    pub fn go_on(&mut self, n: u64) {
        self.entries = n;
    }

    /// What the next entry must say of this state: its digest, where a snapshot is kept.
    #[must_use]
    pub fn commitment(&self) -> Option<Digest> {
        let is_kept = self.entries > 0 && self.entries.is_multiple_of(layout::STATE_INTERVAL);
        is_kept.then(|| Digest::of(&self.to_bytes()))
    }

    fn fold_segment(&mut self, n: u64, segment: Segment) -> Result<(), Invalid> {
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
        segment.check_rows()?;
        if !layout::is_segment(&segment.path, n) {
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
        tip.last = Some(Committed { n, segment });
        self.streams.insert(stream, tip);
        Ok(())
    }

    fn fold_key(&mut self, change: KeyChange, bytes: &[u8]) -> Result<(), Invalid> {
        change.verifier()?;
        let note = String::from_utf8(bytes.to_vec()).expect("a note that was parsed is text");
        self.keys.push(Keyed { change, note });
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
            keys: self.keys.iter().map(|keyed| keyed.note.clone()).collect(),
            streams: streams.collect(),
        })
    }

    /// Reads a stored state. Its keys are proven by their notes; that the rest is true is shown by the
    /// entry that names its digest.
    ///
    /// # Errors
    /// When the bytes are not exactly what [`State::to_bytes`] of this version writes, or a key in it
    /// was not given its role by one that may.
    pub fn parse(bytes: &[u8], authority: &Authority) -> Result<State, Invalid> {
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
        let mut state = State {
            entries: document.entries,
            keys: Vec::new(),
            streams: streams.collect(),
        };
        for note in document.keys {
            let (entry, parsed) = Entry::parse(note.as_bytes())?;
            state.check_signature(&entry.body, &parsed, authority)?;
            let Body::Key(change) = entry.body else {
                return invalid("it has a key that no entry gave");
            };
            if entry.archive != authority.archive {
                return invalid("it has a key of another archive");
            }
            state.fold_key(change, note.as_bytes())?;
        }
        Ok(state)
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
    keys: Vec<String>,
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
    last: Option<Committed>,
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

#[cfg(test)]
pub(super) mod tests;

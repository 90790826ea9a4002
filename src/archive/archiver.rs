//! The archiver: messages of the evidence topic in, entries and files out.
//!
//! Knows a [`Store`] and evidence, no Kafka and no clock: who drives it assigns partitions, hands over
//! messages in the order of their positions, and carries out the [`Move`]s. Of two archivers that think
//! they own a partition, whatever their clocks, versions and delays, each message ends in exactly one
//! committed segment; the simulation below drives several through crashes and lost answers to see it.

mod commit;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::Observer;
use super::head::Head;
use super::keeper::Board;
use super::layout;
use super::ledger::{Authority, Committed, File, StreamId};
use super::log::{self, Clock, Log, Origin};
use super::roll::Settings;
use super::segment::Open;
use super::store::{self, Store};
use super::stream::{Cursor, Joined, Phase, Record, Stream};
use crate::error::{Fatal, Result};
use crate::evidence::{Context, Header, Reader};
use crate::keys::{Keys, Role};
use crate::record::{Digest, NextPosition, Position};
use crate::tlog::{Signer, Verifier};

/// What the driver must do with its source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Move {
    /// Read the partition from this position on.
    Seek(i32, NextPosition),
    /// Read the partition no more, until it is assigned again.
    Stop(i32),
    /// Everything before this position is committed: worth telling the group, for its lag.
    Committed(i32, NextPosition),
}

/// Follows the partitions that it is assigned.
pub struct Archiver {
    store: Arc<dyn Store>,
    log: Log,
    origin: Origin,
    identity: Identity,
    settings: Settings,
    observer: Arc<dyn Observer>,
    head: Option<Head>,
    reader: Reader,
    /// Whose evidence is believed.
    scorers: Vec<Verifier>,
    /// Contexts and columns that are in the store.
    stored: BTreeSet<Digest>,
    streams: BTreeMap<i32, Stream>,
    moves: Vec<Move>,
}

/// Who archives.
#[derive(Clone)]
pub struct Identity {
    /// Program and version, as in `probity 0.1.0`.
    pub writer: String,
    pub keys: Arc<Keys>,
    pub clock: Clock,
}

impl Identity {
    fn signer(&self) -> Result<&Signer> {
        signer(&self.keys)
    }
}

/// What signs entries.
///
/// # Errors
/// When the archiver's key is not there.
pub fn signer(keys: &Keys) -> Result<&Signer> {
    keys.archiver.as_ref().ok_or_else(|| {
        Fatal::usage(
            "there is no archiver.key, which signs what is archived; see `keys.folder`, and make \
             keys with `probity keys init`",
        )
    })
}

/// Who holds this partition of the evidence keeps the head.
const KEEPERS_PARTITION: i32 = 0;

/// Whether a segment was committed by us, or the tip had moved.
#[derive(PartialEq, Eq)]
enum Outcome {
    Committed,
    LostRace,
}

impl Archiver {
    /// Checks the store and the archive, and reads the ledger.
    ///
    /// # Errors
    /// When the store does not answer or breaks its promises, or the archive is another one's.
    pub fn open(
        store: Arc<dyn Store>,
        origin: Origin,
        identity: Identity,
        settings: Settings,
        observer: Arc<dyn Observer>,
        board: Option<(Box<dyn Board>, Duration)>,
    ) -> Result<Archiver> {
        let signer = identity.signer()?.verifier();
        store::probe(&*store)?;
        log::claim(&*store, &origin)?;
        let authority = Authority {
            archive: origin.archive_id(),
            log: identity.keys.trust.log.clone(),
        };
        let mut log = Log::open(store.clone(), authority, identity.clock)?;
        // Before anything is appended: the store may be an older one.
        let head = match board {
            Some((board, interval)) => Some(Head::open(store.clone(), board, interval, &log)?),
            None => None,
        };
        log.introduce(&identity.keys)?;
        if !log.holders(Role::Archiver).contains(signer) {
            return Err(Fatal::usage(format!(
                "the ledger at {} gives {signer} no right to archive. name it under `archiver` in the \
                 trust.toml of the archiver that has log.key, and start that one first",
                store.place()
            )));
        }
        Ok(Archiver {
            scorers: log.holders(Role::Scorer),
            log,
            store,
            origin,
            identity,
            settings,
            observer,
            head,
            reader: Reader::default(),
            stored: BTreeSet::new(),
            streams: BTreeMap::new(),
            moves: Vec::new(),
        })
    }

    /// Takes a partition over. Returns the position to read from.
    ///
    /// # Errors
    /// When the store does not answer, or contradicts itself.
    pub fn assign(&mut self, partition: i32) -> Result<NextPosition> {
        self.log.catch_up()?;
        let id = StreamId {
            cluster_id: self.origin.cluster_id.clone(),
            topic: self.origin.evidence_topic.clone(),
            topic_id: self.origin.evidence_topic_id.clone(),
            partition,
        };
        let tip = self.log.state().tip(&id);
        let (phase, cursor) = match tip.last.clone() {
            // Finish first: no entry may follow one whose file is not there.
            Some(last) if !self.has_file(&last, &tip.files)? => {
                tracing::info!(
                    partition,
                    entry = last.n,
                    path = last.segment.path,
                    "finishing a segment"
                );
                let cursor = Cursor::before(&last.segment, tip);
                (Phase::Finishing(Box::new(last)), cursor)
            }
            _ => (Phase::Following, Cursor::following(tip)),
        };
        let next = cursor.next;
        self.streams
            .insert(partition, Stream::new(id, phase, cursor));
        Ok(next)
    }

    /// Looks at the size only: a file appears whole, and `probity verify` reads the bytes.
    fn has_file(&self, last: &Committed, files: &[File]) -> Result<bool> {
        match store::size(&*self.store, &last.segment.path)? {
            None => Ok(false),
            Some(size) if files.iter().any(|file| file.bytes == size) => Ok(true),
            Some(_) => Err(self.foreign_file(last)),
        }
    }

    fn foreign_file(&self, entry: &Committed) -> Fatal {
        Fatal::integrity(format!(
            "`{}` in the archive at {} is not the file that ledger entry {} commits: something else \
             wrote it. find out what, keep a copy, and remove it: the archiver makes the right one \
             again from the evidence topic",
            entry.segment.path,
            self.store.place(),
            entry.n
        ))
    }

    /// Gives a partition up. What is open is dropped; it is still in the topic.
    pub fn revoke(&mut self, partition: i32) {
        self.streams.remove(&partition);
    }

    /// Says which positions the topic still holds of an assigned partition: `[low, high)`.
    pub fn has_bounds(&mut self, partition: i32, low: i64, high: i64) {
        let Some(stream) = self.streams.get(&partition) else {
            return;
        };
        let next = stream.cursor.next;
        if low > next.0 {
            self.stop(
                partition,
                &format!("the topic begins at {low}, but the archive ends at {next}"),
            );
        } else if high < next.0 {
            self.stop(
                partition,
                &format!("the topic ends at {high}, but the archive at {next}"),
            );
        }
    }

    /// Says that the end of a partition was read, for now.
    pub fn drained(&mut self, partition: i32) {
        if let Some(stream) = self.streams.get_mut(&partition) {
            stream.drained();
        }
    }

    /// Forgets what was said by [`Archiver::drained`], and returns where to read from to say it again.
    pub fn doubt_drained(&mut self) -> Vec<(i32, NextPosition)> {
        let active = self
            .streams
            .iter_mut()
            .filter(|(_, stream)| stream.is_active());
        let places = active.map(|(&partition, stream)| {
            stream.is_drained = false;
            (partition, stream.cursor.next)
        });
        places.collect()
    }

    /// Whether all partitions that are read at all are drained.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        let mut active = self.streams.values().filter(|stream| stream.is_active());
        active.all(|stream| stream.is_drained)
    }

    /// Bytes of memory that all open segments hold together, about.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.streams.values().map(|stream| stream.memory).sum()
    }

    /// Age of the oldest evidence that was read and is not archived. `now` is in µs since the epoch.
    #[must_use]
    pub fn behind(&mut self, now: i64) -> Duration {
        let streams = self.streams.values_mut();
        let since = streams.filter_map(|it| it.waits_since(now)).min();
        let age = since.map_or(0, |since| now.saturating_sub(since).max(0));
        Duration::from_micros(age.unsigned_abs())
    }

    /// The partitions that are assigned.
    #[must_use]
    pub fn partitions(&self) -> Vec<i32> {
        self.streams.keys().copied().collect()
    }

    /// How many partitions wait for an operator.
    #[must_use]
    pub fn stopped(&self) -> usize {
        let streams = self.streams.values();
        streams.filter(|stream| !stream.is_active()).count()
    }

    /// What the driver must do, in this order, before it hands over another message.
    pub fn take_moves(&mut self) -> Vec<Move> {
        std::mem::take(&mut self.moves)
    }

    /// Takes the next message of a partition.
    ///
    /// # Errors
    /// When the store does not answer, or contradicts itself or the topic.
    pub fn message(&mut self, partition: i32, record: Record<'_>) -> Result<()> {
        let Some(stream) = self.streams.get_mut(&partition) else {
            return Ok(());
        };
        if !stream.is_active() || record.position.0 < stream.cursor.next.0 {
            return Ok(());
        }
        stream.is_drained = false;
        match self.join(partition, record)? {
            Ok(joined) => self.add(partition, joined),
            Err(reason) => self.refuse(partition, record.position, &reason),
        }
    }

    /// Checks that a message joins what is before it, and reads its rows.
    fn join(&mut self, partition: i32, record: Record<'_>) -> Result<Result<Joined, String>> {
        let Some(bytes) = record.header else {
            let reason = format!("it has no header `{}`: it is not evidence", Header::NAME);
            return Ok(Err(reason));
        };
        let header = match Header::parse(bytes) {
            Ok(header) => header,
            Err(error) => return Ok(Err(error.to_string())),
        };
        if !header.brings_context && !self.reader.knows(header.context) {
            self.fetch_context(header.context)?;
        }
        let stream = &self.streams[&partition];
        Ok(stream.join(&mut self.reader, header, bytes, record, &self.scorers))
    }

    /// A message may name a context that a committed segment already had: then the archive has it.
    fn fetch_context(&mut self, digest: Digest) -> Result<()> {
        let path = layout::context(digest);
        let Some(bytes) = store::get(&*self.store, &path)? else {
            return Ok(());
        };
        let context = Context::parse(&bytes).ok();
        let learnt = context
            .filter(|context| context.digest() == digest)
            .and_then(|context| self.reader.learn(Arc::new(context)).ok());
        if learnt.is_none() {
            return Err(self.foreign_object(&path));
        }
        self.stored.insert(digest);
        Ok(())
    }

    fn foreign_object(&self, path: &str) -> Fatal {
        let place = self.store.place();
        Fatal::integrity(format!(
            "`{path}` in the archive at {place} does not hold what its name promises: it was altered. \
             restore it from a backup"
        ))
    }

    /// A message that does not join: looked at twice, because it may be one from before a seek.
    fn refuse(&mut self, partition: i32, position: Position, reason: &str) -> Result<()> {
        let stream = self
            .streams
            .get_mut(&partition)
            .expect("the caller has found it");
        if !stream.in_doubt {
            stream.in_doubt = true;
            let next = stream.cursor.next;
            self.moves.push(Move::Seek(partition, next));
            // Or its scorer's key is new.
            self.log.catch_up()?;
            self.scorers = self.log.holders(Role::Scorer);
            return Ok(());
        }
        if matches!(stream.phase, Phase::Following) && self.seal(partition)? == Outcome::LostRace {
            return Ok(());
        }
        self.stop(
            partition,
            &format!("the message at {position} does not join: {reason}"),
        );
        Ok(())
    }

    fn stop(&mut self, partition: i32, reason: &str) {
        let Some(stream) = self.streams.get_mut(&partition) else {
            return;
        };
        stream.phase = Phase::Stopped;
        stream.open = None;
        let topic = &stream.id.topic;
        tracing::error!(
            topic,
            partition,
            reason,
            "archiving of a partition has stopped; other partitions go on. find out why, and restore what \
             is missing; what is lost for good an operator accepts with `probity ledger break --partition \
             {partition} --at POSITION`"
        );
        self.observer.stopped(partition, reason);
        self.moves.push(Move::Stop(partition));
    }

    /// Adds a message to the open segment, which may end before or after it.
    fn add(&mut self, partition: i32, joined: Joined) -> Result<()> {
        let stream = &self.streams[&partition];
        let is_following = matches!(stream.phase, Phase::Following);
        let header = &joined.rows.header;
        let ends = |open: &Open| is_following && self.settings.ends_before(open, header);
        if stream.open.as_ref().is_some_and(ends) && self.seal(partition)? == Outcome::LostRace {
            return Ok(());
        }
        let position = joined.rows.position;
        let stream = self
            .streams
            .get_mut(&partition)
            .expect("the caller has found it");
        let (rows, time) = (joined.rows.header.rows, joined.rows.header.score_time);
        if stream.open.is_none() {
            stream.waits_since = Some(time);
        }
        if let Err(reason) = stream.push(joined, &self.identity.writer)? {
            return self.refuse(partition, position, &reason);
        }
        self.observer.taken(partition, rows);
        let is_full = stream
            .open
            .as_ref()
            .is_some_and(|open| self.settings.is_full(open));
        match &stream.phase {
            Phase::Finishing(entry) if position.next() == entry.segment.next => {
                self.finish(partition)?
            }
            Phase::Following if is_full => {
                self.seal(partition)?;
            }
            Phase::Following | Phase::Finishing(_) | Phase::Stopped => {}
        }
        self.keep_budget()
    }

    /// Ends segments early while all together hold more than the budget, the largest first.
    fn keep_budget(&mut self) -> Result<()> {
        while self.memory() > self.settings.buffer_bytes {
            let following = self
                .streams
                .iter()
                .filter(|(_, s)| matches!(s.phase, Phase::Following));
            let open = following.filter(|(_, s)| s.open.is_some());
            let Some((_, largest)) = open.map(|(&p, s)| (s.memory, p)).max() else {
                return Ok(());
            };
            self.seal(largest)?;
        }
        Ok(())
    }

    /// Ends the segments to which nothing more came for long. `now`: µs since the epoch, UTC.
    ///
    /// # Errors
    /// As [`Archiver::message`].
    pub fn tick(&mut self, now: i64) -> Result<()> {
        let is_due = |stream: &Stream, settings: &Settings| {
            let open = stream.open.as_ref();
            stream.is_drained && open.is_some_and(|open| settings.is_due(open, now))
        };
        self.seal_where(is_due)
    }

    /// Ends every open segment.
    ///
    /// # Errors
    /// As [`Archiver::message`].
    pub fn seal_all(&mut self) -> Result<()> {
        self.seal_where(|_, _| true)
    }

    fn seal_where(&mut self, chosen: impl Fn(&Stream, &Settings) -> bool) -> Result<()> {
        let streams = self.streams.iter();
        let following = streams.filter(|(_, stream)| matches!(stream.phase, Phase::Following));
        let chosen = following.filter(|(_, stream)| chosen(stream, &self.settings));
        let partitions: Vec<i32> = chosen.map(|(&partition, _)| partition).collect();
        for partition in partitions {
            self.seal(partition)?;
        }
        Ok(())
    }

    /// Signs the head of the ledger, if it is time and we keep it. `now` is in µs since the epoch.
    ///
    /// # Errors
    /// As [`Archiver::message`].
    pub fn keep_head(&mut self, now: i64) -> Result<()> {
        match &mut self.head {
            Some(head) if self.streams.contains_key(&KEEPERS_PARTITION) => {
                head.tick(&mut self.log, &self.identity.keys, now)
            }
            _ => Ok(()),
        }
    }

    /// Signs the head of the ledger now, if we keep it.
    ///
    /// # Errors
    /// As [`Archiver::message`].
    pub fn sign_head(&mut self) -> Result<()> {
        match &mut self.head {
            Some(head) if self.streams.contains_key(&KEEPERS_PARTITION) => {
                head.sign(&self.log, &self.identity.keys)
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

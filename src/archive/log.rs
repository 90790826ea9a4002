//! The ledger in a store: finds its end, follows it, appends to it.
//!
//! One promise carries the archive: entry `n` is put only by who has folded `0 … n − 1`, and whoever
//! finds another entry at `n` folds it and asks again whether its own is still wanted. Never lists.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use super::layout;
use super::ledger::{self, Act, Authority, Body, Committed, Entry, File, KeyChange, Reseal, State};
use super::store::{self, Ensured, Store};
use crate::error::{Exit, Fatal, Result};
use crate::keys::{Keys, Role};
use crate::record::Digest;
use crate::tlog::tile::RECORD_BYTES_MAX;
use crate::tlog::{Signer, Verifier};

/// The version of everything in an archive that is not evidence.
pub const FORMAT: u32 = 2;

/// Whose evidence an archive holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    pub cluster_id: String,
    pub evidence_topic: String,
    pub evidence_topic_id: String,
}

#[derive(Serialize)]
struct OriginDocument<'a> {
    format: u32,
    archive_id: String,
    cluster_id: &'a str,
    evidence_topic: &'a str,
    evidence_topic_id: &'a str,
}

impl Origin {
    /// Names the archive.
    #[must_use]
    pub fn archive_id(&self) -> Digest {
        ledger::archive_id(&self.cluster_id, &self.evidence_topic_id)
    }

    fn to_bytes(&self) -> Bytes {
        let document = ledger::to_document(&OriginDocument {
            format: FORMAT,
            archive_id: self.archive_id().to_string(),
            cluster_id: &self.cluster_id,
            evidence_topic: &self.evidence_topic,
            evidence_topic_id: &self.evidence_topic_id,
        });
        Bytes::from(document)
    }
}

/// Makes the archive this origin's, or checks that it is.
///
/// # Errors
/// When it is another one's.
pub fn claim(store: &dyn Store, origin: &Origin) -> Result<()> {
    let ours = origin.to_bytes();
    let Ensured::Other(theirs) = store::ensure(store, layout::ARCHIVE, &ours)? else {
        return Ok(());
    };
    Err(Fatal::integrity(format!(
        "the archive at {} belongs to another evidence topic or another version. `{}` says {}, but this \
         process archives {}. if the topic or the cluster was made again, use a new, empty archive and \
         keep the old one; else correct `archive.url` or the topic",
        store.place(),
        layout::ARCHIVE,
        String::from_utf8_lossy(&theirs).trim_end(),
        String::from_utf8_lossy(&ours).trim_end(),
    )))
}

/// Gives the time, µs since the epoch.
pub type Clock = fn() -> i64;

/// A store's ledger, as far as it was read.
pub struct Log {
    store: Arc<dyn Store>,
    authority: Authority,
    clock: Clock,
    state: State,
    time_of_last: i64,
}

impl Log {
    /// Finds the end of the ledger and folds it from the newest snapshot on.
    ///
    /// # Errors
    /// When the store does not answer, or an entry does not follow those before it.
    pub fn open(store: Arc<dyn Store>, authority: Authority, clock: Clock) -> Result<Log> {
        let end = ledger::find_end(|n| {
            let size = store::size(&*store, &layout::entry(n))?;
            Ok::<_, Fatal>(size.is_some())
        })?;
        let state = newest_snapshot(&*store, end, &authority)?;
        let mut log = Log {
            store,
            authority,
            clock,
            state,
            time_of_last: 0,
        };
        log.catch_up()?;
        Ok(log)
    }

    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// When the last entry was written, µs since the epoch, by the clock of who wrote it.
    #[must_use]
    pub fn time_of_last(&self) -> i64 {
        self.time_of_last
    }

    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The keys that may act in a role now.
    #[must_use]
    pub fn holders(&self, role: Role) -> Vec<Verifier> {
        self.state.holders(role, &self.authority)
    }

    /// Gives each trusted key its role in the ledger, if a log key is here and it never had it. A key
    /// that lost its role stays without.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub fn introduce(&mut self, keys: &Keys) -> Result<()> {
        let Some(signer) = keys.log.first() else {
            return Ok(());
        };
        for role in Role::ALL {
            for key in keys.trust.of(role) {
                let is_root = role == Role::Log && key == signer.verifier();
                let change = || KeyChange {
                    act: Act::Add,
                    role,
                    key: key.to_string(),
                };
                let is_wanted = |state: &State| !is_root && !state.has_held(role, key);
                self.append(is_wanted, |_| Body::Key(change()), signer)?;
            }
        }
        Ok(())
    }

    /// Folds what others have appended.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub fn catch_up(&mut self) -> Result<()> {
        while let Some(bytes) = store::get(&*self.store, &layout::entry(self.state.entries()))? {
            self.fold(&bytes)?;
        }
        Ok(())
    }

    /// Appends the entry that `make` gives for its number, signed. Whenever another entry is found at
    /// that number, it is folded, and `is_wanted` asked again. Returns the entry, or none if it is not
    /// wanted any more.
    ///
    /// # Errors
    /// As [`Log::open`]. After [`Exit::Unreachable`](crate::error::Exit::Unreachable) the entry may be
    /// there, or appear later.
    pub fn append(
        &mut self,
        mut is_wanted: impl FnMut(&State) -> bool,
        make: impl Fn(u64) -> Body,
        signer: &Signer,
    ) -> Result<Option<Entry>> {
        while is_wanted(&self.state) {
            let n = self.state.entries();
            let entry = Entry {
                n,
                archive: self.authority.archive,
                time: (self.clock)(),
                state: self.state.commitment(),
                body: make(n),
            };
            let bytes = entry.sign(signer);
            if bytes.len() > RECORD_BYTES_MAX {
                // It could never be taken back, and no head could cover it.
                let what = format!(
                    "an entry of {} bytes does not fit the log, which takes {RECORD_BYTES_MAX}",
                    bytes.len()
                );
                return Err(Fatal::new(Exit::Bug, what));
            }
            self.check_follows(&entry, &bytes)?;
            match store::ensure(&*self.store, &layout::entry(n), &bytes)? {
                Ensured::Same => {
                    self.fold(&bytes)?;
                    return Ok(Some(entry));
                }
                Ensured::Other(theirs) => self.fold(&theirs)?,
            }
        }
        Ok(None)
    }

    /// The files that would do for a committed segment: its own, and those of its reseals.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub fn files_of(&mut self, committed: &Committed) -> Result<Vec<File>> {
        self.catch_up()?;
        let tip = self.state.tip(&committed.segment.stream);
        if tip.last.is_some_and(|last| last.n == committed.n) {
            return Ok(tip.files);
        }
        // The stream has gone on; its reseals are among the entries since.
        let own = File {
            sha256: committed.segment.sha256,
            bytes: committed.segment.bytes,
        };
        let mut files = vec![own];
        for n in committed.n + 1..self.state.entries() {
            let Some(bytes) = store::get(&*self.store, &layout::entry(n))? else {
                continue;
            };
            if let Ok((
                Entry {
                    body: Body::Reseal(reseal),
                    ..
                },
                _,
            )) = Entry::parse(&bytes)
                && reseal.entry == committed.n
            {
                let Reseal { sha256, bytes, .. } = reseal;
                files.push(File { sha256, bytes });
            }
        }
        Ok(files)
    }

    /// What others would refuse must not be put: it could never be taken back.
    fn check_follows(&self, entry: &Entry, bytes: &[u8]) -> Result<()> {
        let follows = self.state.clone().accept(bytes, &self.authority);
        follows.map(|_| ()).map_err(|error| {
            let n = entry.n;
            Fatal::new(
                crate::error::Exit::Bug,
                format!("made a ledger entry {n} that does not follow; nothing was written"),
            )
            .because(error)
        })
    }

    fn fold(&mut self, bytes: &[u8]) -> Result<()> {
        let n = self.state.entries();
        let accepted = self.state.accept(bytes, &self.authority);
        let entry = accepted.map_err(|error| {
            Fatal::integrity(format!(
                "`{}` in the archive at {} does not follow the entries before it. either it was not \
                 written by probity or it was altered: compare it with a backup, and do not remove it",
                layout::entry(n),
                self.store.place()
            ))
            .because(error)
        })?;
        self.time_of_last = entry.time;
        if self.state.entries().is_multiple_of(layout::STATE_INTERVAL) {
            self.put_snapshot()?;
        }
        Ok(())
    }

    /// Snapshots only save reading: a store that fails here costs the next start some time.
    fn put_snapshot(&self) -> Result<()> {
        let path = layout::state(self.state.entries());
        let bytes = Bytes::from(self.state.to_bytes());
        match self.store.create(&path, &bytes) {
            Ok(store::Created::New) => {}
            Ok(store::Created::Refused) => {
                let found = store::get(&*self.store, &path)?;
                if found.is_some_and(|found| found != bytes) {
                    return Err(Fatal::integrity(format!(
                        "`{path}` in the archive at {} is not the fold of the entries before it: it was \
                         altered, or entries were. run `probity verify`",
                        self.store.place()
                    )));
                }
            }
            Err(error) => tracing::warn!(path, %error, "ledger snapshot not written"),
        }
        Ok(())
    }
}

/// The newest snapshot before the entry of its number, which names its digest. Some may be missing: who
/// appended the entry before died.
pub(super) fn newest_snapshot(store: &dyn Store, end: u64, authority: &Authority) -> Result<State> {
    let mut entries = end.saturating_sub(1);
    entries -= entries % layout::STATE_INTERVAL;
    while entries > 0 {
        let path = layout::state(entries);
        if let Some(bytes) = store::get(store, &path)? {
            let state = State::parse(&bytes, authority).ok();
            return state.filter(|state| state.entries() == entries).ok_or_else(|| {
                let place = store.place();
                Fatal::integrity(format!(
                    "`{path}` in the archive at {place} is not a snapshot that this version wrote; \
                     remove it: it is made again from the entries"
                ))
            });
        }
        entries -= layout::STATE_INTERVAL;
    }
    Ok(State::default())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::archive::ledger::Event;
    use crate::archive::ledger::tests::{authority, segment, signer, stream};
    use crate::archive::store::memory::{Fault, Memory};
    use crate::error::Exit;

    fn open(store: &Arc<Memory>) -> Result<Log> {
        let mut log = Log::open(store.clone(), authority(), || 7)?;
        let change = KeyChange {
            act: Act::Add,
            role: Role::Archiver,
            key: signer().verifier().to_string(),
        };
        let is_wanted = |state: &State| !state.has_held(Role::Archiver, signer().verifier());
        log.append(is_wanted, |_| Body::Key(change.clone()), &signer())?;
        Ok(log)
    }

    fn append(log: &mut Log, partition: i32) -> Result<Option<Entry>> {
        append_of(log, partition, 2)
    }

    fn append_of(log: &mut Log, partition: i32, len: i64) -> Result<Option<Entry>> {
        let tip = log.state().tip(&stream(partition));
        log.append(
            |state| state.tip(&stream(partition)).next == tip.next,
            |n| Body::Segment(Box::new(segment(n, partition, &tip, len))),
            &signer(),
        )
    }

    #[test]
    fn an_entry_that_no_head_could_cover_is_never_put() {
        let store = Arc::new(Memory::default());
        let mut log = open(&store).unwrap();
        let before = log.state().entries();
        let event = |text: String| {
            Body::Event(Event {
                kind: "model refused".to_owned(),
                instance: "a".to_owned(),
                facts: BTreeMap::from([("why".to_owned(), text)]),
            })
        };
        let mut record = |len: usize| {
            let mut is_put = false;
            let once = |_: &State| !std::mem::replace(&mut is_put, true);
            log.append(once, |_| event("x".repeat(len)), &signer())
        };
        let refusal = record(RECORD_BYTES_MAX).unwrap_err();
        assert!(
            refusal.to_string().contains("does not fit the log"),
            "{refusal}"
        );
        assert!(record(1000).unwrap().is_some());
        assert_eq!(open(&store).unwrap().state().entries(), before + 1);
    }

    #[test]
    fn an_archive_has_one_origin() {
        let store = Memory::default();
        let origin = Origin {
            cluster_id: "c".into(),
            evidence_topic: "e".into(),
            evidence_topic_id: "i".into(),
        };
        claim(&store, &origin).unwrap();
        claim(&store, &origin).unwrap();
        let id = Digest::of(b"c\ni");
        assert_eq!(
            store.get(layout::ARCHIVE).unwrap().unwrap(),
            format!(
                "{{\"format\":2,\"archive_id\":\"{id}\",\"cluster_id\":\"c\",\"evidence_topic\":\"e\",\"evidence_topic_id\":\"i\"}}\n"
            )
        );
        let again = Origin {
            evidence_topic_id: "j".into(),
            ..origin
        };
        let error = claim(&store, &again).unwrap_err();
        assert_eq!(error.exit, Exit::Integrity);
        assert!(
            error.message.contains("use a new, empty archive"),
            "{error}"
        );
    }

    #[test]
    fn conflicts_are_folded_and_the_next_number_taken_if_still_wanted() {
        let store = Arc::new(Memory::default());
        let (mut one, mut two) = (open(&store).unwrap(), open(&store).unwrap());
        assert_eq!(append(&mut one, 0).unwrap().unwrap().n, 1);
        assert_eq!(append(&mut two, 1).unwrap().unwrap().n, 2, "another stream");
        assert_eq!(append_of(&mut one, 1, 3).unwrap(), None, "lost the race");
        assert_eq!(one.state(), two.state());
        assert_eq!(append(&mut one, 1).unwrap().unwrap().n, 3);
    }

    #[test]
    fn archivers_that_write_the_same_entry_both_have_it() {
        let store = Arc::new(Memory::default());
        let (mut one, mut two) = (open(&store).unwrap(), open(&store).unwrap());
        assert_eq!(append(&mut one, 0).unwrap(), append(&mut two, 0).unwrap());
        assert_eq!(store.paths("ledger/entry/").len(), 2, "a key and it");
    }

    #[test]
    fn an_unknown_outcome_is_looked_up() {
        for fault in [Fault::Lost, Fault::AnswerLost, Fault::Conflict] {
            let store = Arc::new(Memory::default());
            let mut log = open(&store).unwrap();
            store.faults.lock().unwrap().push_back(fault);
            assert_eq!(append(&mut log, 0).unwrap().unwrap().n, 1);
            assert_eq!(append(&mut log, 0).unwrap().unwrap().n, 2);
            assert_eq!(store.paths("ledger/entry/").len(), 3);
        }
    }

    #[test]
    fn a_long_log_is_opened_with_few_reads_with_or_without_its_snapshots() {
        let store = Arc::new(Memory::default());
        let mut log = open(&store).unwrap();
        for i in 0..1_100 {
            append(&mut log, i % 5).unwrap().unwrap();
        }
        assert_eq!(
            store.paths("ledger/state/"),
            [
                "ledger/state/1024",
                "ledger/state/256",
                "ledger/state/512",
                "ledger/state/768"
            ]
        );
        store.take_reads();
        let again = open(&store).unwrap();
        assert_eq!(again.state(), log.state());
        let reads = store.take_reads();
        assert!(
            reads <= 2 * 11 + 2 + 1 + (1_100 - 1_024) + 1,
            "{reads} reads"
        );
        store.objects.lock().unwrap().remove("ledger/state/1024");
        assert_eq!(open(&store).unwrap().state(), log.state());
        assert_eq!(store.paths("ledger/state/").len(), 4, "it is made again");
    }

    #[test]
    fn foreign_entries_and_snapshots_stop_everyone() {
        let store = Arc::new(Memory::default());
        let mut log = open(&store).unwrap();
        append(&mut log, 0).unwrap();
        store.put(&layout::entry(2), "{}\n");
        assert_eq!(append(&mut log, 0).unwrap_err().exit, Exit::Integrity);
        let error = open(&store).err().unwrap();
        assert!(error.message.contains("ledger/entry/002"), "{error}");
    }

    #[test]
    fn a_stored_fold_that_was_altered_is_not_believed() {
        let store = Arc::new(Memory::default());
        let mut log = open(&store).unwrap();
        for _ in 0..300 {
            append(&mut log, 0).unwrap();
        }
        let path = layout::state(256);
        let kept = store.get(&path).unwrap().unwrap();
        let text = String::from_utf8(kept.to_vec()).unwrap();
        let altered = text
            .replace("\"rows\":3", "\"rows\":4")
            .replace("\"scored\":1", "\"scored\":2");
        assert_ne!(altered, text);
        store.put(&path, altered);
        let error = open(&store).err().unwrap();
        assert_eq!(error.exit, Exit::Integrity);
        assert!(error.message.contains("ledger/entry/256"), "{error}");
        store.put(&path, kept);
        assert_eq!(open(&store).unwrap().state(), log.state());
    }
}

//! The keeper signs the head of the ledger: one short note that stands for every entry below it.
//!
//! It believes nothing: each entry was folded with its signature, each file that an entry names was
//! there with its digest, before a checkpoint covers them. At a start, the newest checkpoint that is
//! known anywhere must be of this very ledger, or the store was replaced by an older or another one.
//!
//! One archiver at a time keeps the head, those that hold partition 0 and the log key. That is
//! convenience: two of them sign prefixes of one ledger, and a checkpoint is created once.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::layout;
use super::ledger::{Authority, Body, Entry, File, State};
use super::log::{Log, newest_snapshot};
use super::store::{self, Ensured, Store};
use crate::error::{Fatal, Result};
use crate::keys::Role;
use crate::record::Digest;
use crate::tlog::checkpoint::Checkpoint;
use crate::tlog::edge::Edge;
use crate::tlog::reader::{TileError, TileReader};
use crate::tlog::tile::{Bundle, WIDTH, bundles_between};
use crate::tlog::{Signer, tree};

/// Where checkpoints are kept besides the archive, by somebody else if possible.
pub trait Board: Send {
    /// All notes that may be the newest checkpoint; none where there is none yet.
    ///
    /// # Errors
    /// When the board does not answer now.
    fn newest(&mut self) -> std::result::Result<Vec<Bytes>, String>;

    /// Puts a checkpoint up.
    ///
    /// # Errors
    /// When the board does not take it now.
    fn post(&mut self, checkpoint: &str) -> std::result::Result<(), String>;
}

/// Keeps the head of one ledger.
pub struct Keeper {
    store: Arc<dyn Store>,
    authority: Authority,
    origin: String,
    /// The ledger up to the newest checkpoint.
    edge: Edge,
    /// Its entries that the last bundle, which is not full, holds.
    tail: Vec<Bytes>,
    /// The fold of all entries that were seen.
    state: State,
    /// Those that no checkpoint covers yet.
    unsigned: Vec<Unsigned>,
    /// Files that this process put there, and so need not be read again.
    own: BTreeSet<Digest>,
    /// A checkpoint that the board has not taken yet.
    unposted: Option<String>,
}

struct Unsigned {
    bytes: Bytes,
    /// The file that it commits, as long as that was not seen.
    awaited: Option<Awaited>,
}

struct Awaited {
    path: String,
    files: Vec<File>,
}

/// The first line of every checkpoint: who signs, and of which archive.
#[must_use]
pub fn origin(log_key: &str, archive: Digest) -> String {
    format!("{log_key}/{archive}")
}

impl Keeper {
    /// Checks that the ledger is the one that every known checkpoint is of, and stands ready to sign
    /// what came after.
    ///
    /// # Errors
    /// When the store does not answer, or the ledger is another or a shorter one.
    pub fn open(store: Arc<dyn Store>, log: &Log, boards: Vec<Bytes>) -> Result<Keeper> {
        let authority = log.authority().clone();
        let origin = origin(authority.log[0].name(), authority.archive);
        let hint = store::get(&*store, layout::CHECKPOINT)?;
        let known = log.holders(Role::Log);
        let open = |note: &Bytes| match Checkpoint::open(note, &origin, &known) {
            Ok(checkpoint) => Some(checkpoint),
            Err(error) => {
                tracing::warn!(%error, "a checkpoint is passed over");
                None
            }
        };
        let mut checkpoints: Vec<Checkpoint> = boards.iter().filter_map(open).collect();
        let posted = checkpoints.iter().map(|posted| posted.size).max();
        let mut unposted = None;
        let hint = hint.and_then(|note| Some((open(&note)?, note)));
        if let Some((checkpoint, note)) = &hint {
            // Who signed it may have died before it was posted.
            if posted < Some(checkpoint.size) {
                let note = String::from_utf8(note.to_vec());
                unposted = Some(note.expect("a note that was parsed is text"));
            }
            checkpoints.push(checkpoint.clone());
        }
        checkpoints.sort_by_key(|checkpoint| checkpoint.size);
        let empty = |unposted| Keeper {
            store: store.clone(),
            authority: authority.clone(),
            origin: origin.clone(),
            edge: Edge::default(),
            tail: Vec::new(),
            state: State::default(),
            unsigned: Vec::new(),
            own: BTreeSet::new(),
            unposted,
        };
        let mut keeper = empty(unposted);
        let Some(newest) = checkpoints.pop() else {
            return Ok(keeper);
        };
        keeper.resume(&newest, &checkpoints)?;
        if store::size(&*store, &layout::checkpoint(newest.size))?.is_some() {
            return Ok(keeper);
        }
        // The store is from a backup that has the entries, but maybe neither all tiles nor all files of
        // them: it is signed again from where it was.
        let mut keeper = empty(None);
        if let Some((hint, _)) = hint {
            keeper.resume(&hint, &[])?;
        }
        Ok(keeper)
    }

    /// Up to which entry the ledger is signed.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.edge.size()
    }

    /// How many entries were seen.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.state.entries()
    }

    /// This process has put a file with these bytes.
    pub fn has_put(&mut self, sha256: Digest) {
        self.own.insert(sha256);
    }

    fn resume(&mut self, newest: &Checkpoint, older: &[Checkpoint]) -> Result<()> {
        let store = self.store.clone();
        let read = |path: &str| store::get(&*store, &layout::log_file(path));
        let mut tiles = TileReader::new(newest.size, newest.root, read);
        let (edge, mut has_tiles) = match tiles.edge() {
            Ok(edge) => (edge, true),
            Err(TileError::Read(fatal)) => return Err(fatal),
            // Tiles are derived: without them, the entries say what they are.
            Err(_) => (self.edge_of_entries(newest)?, false),
        };
        for old in older {
            match tiles.consistency(old.size, old.root) {
                Ok(_) => {}
                Err(TileError::Read(fatal)) => return Err(fatal),
                Err(_) => drop(self.edge_of_entries(old)?),
            }
        }
        self.state = newest_snapshot(&*self.store, newest.size, &self.authority)?;
        let tail = newest.size - newest.size % WIDTH;
        for n in self.state.entries().min(tail)..newest.size {
            let Some(bytes) = store::get(&*self.store, &layout::entry(n))? else {
                return Err(self.other_ledger(newest));
            };
            if has_tiles {
                match tiles.inclusion(n, tree::leaf_hash(&bytes)) {
                    Ok(_) => {}
                    Err(TileError::Read(fatal)) => return Err(fatal),
                    Err(_) => {
                        self.edge_of_entries(newest)?;
                        has_tiles = false;
                    }
                }
            }
            if n == self.state.entries() {
                self.accept(&bytes)?;
            }
            if n >= tail {
                self.tail.push(bytes);
            }
        }
        self.edge = edge;
        Ok(())
    }

    /// The edge at a checkpoint, from the entries themselves.
    fn edge_of_entries(&self, checkpoint: &Checkpoint) -> Result<Edge> {
        let mut edge = Edge::default();
        for n in 0..checkpoint.size {
            let Some(bytes) = store::get(&*self.store, &layout::entry(n))? else {
                return Err(self.other_ledger(checkpoint));
            };
            let tiles = edge.grow([tree::leaf_hash(&bytes)]);
            for (tile, bytes) in tiles.into_iter().filter(|(tile, _)| tile.is_full()) {
                self.put_derived(&tile.path(), bytes)?;
            }
        }
        match edge.root() == checkpoint.root {
            true => Ok(edge),
            false => Err(self.other_ledger(checkpoint)),
        }
    }

    fn other_ledger(&self, checkpoint: &Checkpoint) -> Fatal {
        Fatal::integrity(format!(
            "the ledger at {} is not the one that was signed: there is a checkpoint of its first {} \
             entries, with root {}, and they are gone or others. the store was restored from an older \
             backup, or altered; nothing was appended. restore what is missing, and run `probity verify`",
            self.store.place(),
            checkpoint.size,
            checkpoint.root
        ))
    }

    fn accept(&mut self, bytes: &[u8]) -> Result<Entry> {
        let n = self.state.entries();
        self.state.accept(bytes, &self.authority).map_err(|error| {
            Fatal::integrity(format!(
                "`{}` in the archive at {} cannot be signed for; run `probity verify`",
                layout::entry(n),
                self.store.place()
            ))
            .because(error)
        })
    }

    /// Takes in the entries that were appended since.
    ///
    /// # Errors
    /// When the store does not answer, or an entry does not follow.
    pub fn catch_up(&mut self) -> Result<()> {
        while let Some(bytes) = store::get(&*self.store, &layout::entry(self.state.entries()))? {
            let entry = self.accept(&bytes)?;
            let mut awaited = None;
            match entry.body {
                Body::Segment(segment) => {
                    let file = File {
                        sha256: segment.sha256,
                        bytes: segment.bytes,
                    };
                    awaited = Some(Awaited {
                        path: segment.path,
                        files: vec![file],
                    });
                }
                Body::Reseal(reseal) => {
                    let signed = self.edge.size();
                    let resealed = reseal.entry.checked_sub(signed);
                    let resealed = resealed.and_then(|at| self.unsigned.get_mut(at as usize));
                    if let Some(awaited) = resealed.and_then(|entry| entry.awaited.as_mut()) {
                        awaited.files.push(File {
                            sha256: reseal.sha256,
                            bytes: reseal.bytes,
                        });
                    }
                }
                Body::Break(_) | Body::Key(_) | Body::Event(_) | Body::Heartbeat => {}
            }
            self.unsigned.push(Unsigned { bytes, awaited });
        }
        Ok(())
    }

    /// How many of the unsigned entries may be signed for: all before the first whose file is not there.
    fn count_signable(&mut self) -> Result<usize> {
        let count = self.unsigned.len();
        for at in 0..count {
            if !self.is_signable(at)? {
                return Ok(at);
            }
        }
        Ok(count)
    }

    /// Whether the file of an unsigned entry is there, if it has one.
    fn is_signable(&mut self, at: usize) -> Result<bool> {
        let Some(Awaited { path, files }) = &self.unsigned[at].awaited else {
            return Ok(true);
        };
        if !files.iter().any(|file| self.own.contains(&file.sha256)) {
            let path = path.clone();
            let Some(found) = store::get(&*self.store, &path)? else {
                return Ok(false);
            };
            let found = Digest::of(&found);
            if !self.awaits(at, found) {
                // A reseal comes before its file, and may have come since we looked.
                self.catch_up()?;
            }
            if !self.awaits(at, found) {
                return Err(Fatal::integrity(format!(
                    "`{path}` in the archive at {} is not the file that ledger entry {} commits, and is \
                     not signed for; run `probity verify`",
                    self.store.place(),
                    self.edge.size() + at as u64
                )));
            }
        }
        for file in self.unsigned[at]
            .awaited
            .take()
            .into_iter()
            .flat_map(|awaited| awaited.files)
        {
            self.own.remove(&file.sha256);
        }
        Ok(true)
    }

    fn awaits(&self, at: usize, found: Digest) -> bool {
        let awaited = self.unsigned[at].awaited.iter();
        awaited
            .flat_map(|awaited| &awaited.files)
            .any(|file| file.sha256 == found)
    }

    /// Signs the longest part of the ledger that may be signed, if it has grown. Returns its size.
    ///
    /// # Errors
    /// When the store does not answer, or holds what contradicts the ledger.
    pub fn sign(&mut self, signers: &[Signer]) -> Result<Option<u64>> {
        let count = self.count_signable()?;
        if count == 0 || signers.is_empty() {
            return Ok(None);
        }
        let old = self.edge.size();
        let records: Vec<Bytes> = self
            .unsigned
            .drain(..count)
            .map(|entry| entry.bytes)
            .collect();
        let tiles = self
            .edge
            .grow(records.iter().map(|bytes| tree::leaf_hash(bytes)));
        let size = self.edge.size();
        let first = old - self.tail.len() as u64;
        self.tail.extend(records);
        for (tile, bytes) in tiles {
            self.put_derived(&tile.path(), bytes)?;
        }
        for bundle in bundles_between(old, size) {
            self.put_bundle(&bundle, first)?;
        }
        self.tail.drain(..self.tail.len() - (size % WIDTH) as usize);
        let checkpoint = Checkpoint {
            origin: self.origin.clone(),
            size,
            root: self.edge.root(),
        };
        let signers: Vec<&Signer> = signers.iter().collect();
        let note = checkpoint.sign(&signers);
        self.put_checkpoint(&checkpoint, &note)?;
        self.unposted = Some(note);
        Ok(Some(size))
    }

    fn put_bundle(&self, bundle: &Bundle, first: u64) -> Result<()> {
        let records = bundle.records();
        let at = (records.start - first) as usize..(records.end - first) as usize;
        let bytes = bundle.encode(&self.tail[at]).map_err(|error| {
            Fatal::integrity("an entry of the ledger is too long for its log").because(error)
        })?;
        self.put_derived(&bundle.path(), bytes)
    }

    /// What follows from the entries is the same whoever writes it.
    fn put_derived(&self, path: &str, bytes: Vec<u8>) -> Result<()> {
        let path = layout::log_file(path);
        match store::ensure(&*self.store, &path, &Bytes::from(bytes))? {
            Ensured::Same => Ok(()),
            Ensured::Other(_) => Err(Fatal::integrity(format!(
                "`{path}` in the archive at {} does not follow from the entries: it was altered, or they \
                 were. run `probity verify`",
                self.store.place()
            ))),
        }
    }

    fn put_checkpoint(&self, checkpoint: &Checkpoint, note: &str) -> Result<()> {
        let path = layout::checkpoint(checkpoint.size);
        let bytes = Bytes::copy_from_slice(note.as_bytes());
        if let Ensured::Other(found) = store::ensure(&*self.store, &path, &bytes)? {
            // Another key may have signed the same root, while the log key changes.
            let known = self.state.holders(Role::Log, &self.authority);
            let same = Checkpoint::open(&found, &self.origin, &known)
                .is_ok_and(|found| found == *checkpoint);
            if !same {
                return Err(Fatal::integrity(format!(
                    "`{path}` in the archive at {} is a checkpoint of another ledger of {} entries: one of \
                     the two was altered. keep both, and run `probity verify`",
                    self.store.place(),
                    checkpoint.size
                )));
            }
        }
        let hint = store::get(&*self.store, layout::CHECKPOINT)?;
        let size = hint.and_then(|note| size_of(&note)).unwrap_or(0);
        if size < checkpoint.size {
            store::replace(&*self.store, layout::CHECKPOINT, &bytes)?;
        }
        Ok(())
    }

    /// Puts up what the board has not taken yet.
    ///
    /// # Errors
    /// When it does not take it now; it is tried again the next time.
    pub fn post(&mut self, board: &mut dyn Board) -> std::result::Result<(), String> {
        if let Some(note) = &self.unposted {
            board.post(note)?;
            self.unposted = None;
        }
        Ok(())
    }
}

/// The size that a checkpoint claims, signed or not.
#[must_use]
pub fn size_of(note: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(note).ok()?;
    text.lines().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests;

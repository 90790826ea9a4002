//! The ledger as the world has seen it grow: what is true, for the checks to compare with.
//!
//! Shares with the archivers how an entry is read and follows, and how a note is read. Roots and tiles are
//! computed again at each size from the hashes of all entries, by the definition of RFC 6962.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use bytes::Bytes;

use crate::archive::fixture::{NOON, identity, origin};
use crate::archive::keeper;
use crate::archive::layout;
use crate::archive::ledger::{Authority, Body, Committed, Entry, State};
use crate::archive::log::Log;
use crate::archive::store::memory::Memory;
use crate::keys::Role;
use crate::record::Digest;
use crate::tlog::checkpoint::Checkpoint;
use crate::tlog::tile::{Tile, bundles_between, tiles_between};
use crate::tlog::tree;

pub type Objects = BTreeMap<String, Bytes>;

/// Everything that follows from the entries so far.
#[derive(Clone)]
pub struct History {
    authority: Authority,
    pub entries: Vec<Entry>,
    records: Vec<Bytes>,
    leaves: Vec<Digest>,
    /// The root at each size.
    roots: Vec<Digest>,
    state: State,
    /// The stored folds, by the number of entries.
    folds: BTreeMap<u64, Vec<u8>>,
    /// Entries whose file was seen to be right. Files do not change.
    filed: BTreeSet<u64>,
}

impl Default for History {
    fn default() -> History {
        History {
            authority: authority(),
            entries: Vec::new(),
            records: Vec::new(),
            leaves: Vec::new(),
            roots: vec![tree::empty_root()],
            state: State::default(),
            folds: BTreeMap::new(),
            filed: BTreeSet::new(),
        }
    }
}

fn authority() -> Authority {
    Authority {
        archive: origin().archive_id(),
        log: identity("").keys.trust.log.clone(),
    }
}

impl History {
    pub fn size(&self) -> u64 {
        self.leaves.len() as u64
    }

    /// Adds the next entry. Says what is wrong with it.
    pub fn append(&mut self, bytes: &Bytes) -> Result<(), String> {
        let n = self.size();
        let (entry, _) = Entry::parse(bytes).unwrap();
        self.entries.push(entry);
        self.records.push(bytes.clone());
        self.leaves.push(tree::leaf_hash(bytes));
        self.roots.push(tree::root(&self.leaves));
        let accepted = self.state.accept(bytes, &self.authority);
        self.state.go_on(n + 1);
        if self.state.commitment().is_some() {
            self.folds.insert(n + 1, self.state.to_bytes());
        }
        accepted.map(drop).map_err(|why| why.0)
    }

    /// The fold of the first `entries` entries, where one is kept.
    pub fn fold(&self, entries: u64) -> Option<&Vec<u8>> {
        self.folds.get(&entries)
    }

    pub fn segments(&self) -> impl Iterator<Item = Committed> {
        self.entries.iter().filter_map(|entry| match &entry.body {
            Body::Segment(segment) => Some(Committed {
                n: entry.n,
                segment: *segment.clone(),
            }),
            _ => None,
        })
    }

    /// Whether the file of an entry is there with its bytes, or those of a reseal.
    pub fn has_right_file(&mut self, objects: &Objects, committed: &Committed) -> bool {
        let Committed { n, segment } = committed;
        if self.filed.contains(n) {
            return true;
        }
        let resealed = self.entries.iter().filter_map(|entry| match &entry.body {
            Body::Reseal(reseal) if reseal.entry == *n => Some(reseal.sha256),
            _ => None,
        });
        let found = objects.get(&segment.path).map(|bytes| Digest::of(bytes));
        let mut right = resealed.chain([segment.sha256]);
        let is_right = found.is_some_and(|found| right.any(|right| right == found));
        if is_right {
            self.filed.insert(*n);
        }
        is_right
    }

    /// Reads a checkpoint that a log key has signed.
    pub fn open(&self, note: &[u8]) -> Option<Checkpoint> {
        let known = self.state.holders(Role::Log, &self.authority);
        let line = keeper::origin("bank.example", self.authority.archive);
        Checkpoint::open(note, &line, &known).ok()
    }

    /// Whether a checkpoint is of the first entries of this ledger.
    pub fn extends(&self, checkpoint: &Checkpoint) -> bool {
        let root = self.roots.get(checkpoint.size as usize);
        root == Some(&checkpoint.root)
    }

    /// What must lie at a path below `ledger/tile/`; none if no log of up to so many entries has it.
    pub fn derived(&self, path: &str) -> Option<Vec<u8>> {
        (0..self.size()).find_map(|old| {
            let tiles = tiles_between(old, old + 1).into_iter();
            let mut bundles = bundles_between(old, old + 1).into_iter();
            tiles
                .filter(|tile| layout::log_file(&tile.path()) == path)
                .map(|tile| self.tile(tile))
                .next()
                .or_else(|| {
                    let bundle = bundles.find(|each| layout::log_file(&each.path()) == path)?;
                    let records = bundle.records();
                    let records = &self.records[records.start as usize..records.end as usize];
                    Some(bundle.encode(records).unwrap())
                })
        })
    }

    fn tile(&self, tile: Tile) -> Vec<u8> {
        let each = 256_usize.pow(tile.level.into());
        let hashes = tile.hashes();
        let leaves = &self.leaves[hashes.start as usize * each..hashes.end as usize * each];
        let hashes = leaves.chunks(each).map(tree::root);
        hashes.flat_map(|hash| hash.0).collect()
    }
}

/// A ledger that is about to reach the number at which a fold is kept and a tile is full.
pub fn long() -> &'static (Objects, History) {
    const ENTRIES: u64 = 246;
    static LONG: OnceLock<(Objects, History)> = OnceLock::new();
    LONG.get_or_init(|| {
        let store = std::sync::Arc::new(Memory::default());
        let keys = identity("").keys;
        let mut log = Log::open(store.clone(), authority(), || NOON).unwrap();
        log.introduce(&keys).unwrap();
        let archiver = keys.archiver.as_ref().unwrap();
        let is_wanted = |state: &State| state.entries() < ENTRIES;
        for _ in log.state().entries()..ENTRIES {
            log.append(is_wanted, |_| Body::Heartbeat, archiver)
                .unwrap();
        }
        let objects = store.objects.lock().unwrap().clone();
        let mut history = History::default();
        for n in 0..ENTRIES {
            history.append(&objects[&layout::entry(n)]).unwrap();
        }
        (objects, history)
    })
}

//! Reads the ledger against the keys that the auditor trusts: entries, their tree, checkpoints, tiles.
//!
//! Goes on after a finding, so that one report names them all. What an entry says is used only as far as
//! the entry is sound.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::finding::{Finding, Name};
use crate::archive::keeper;
use crate::archive::ledger::{
    Authority, Body, Break, Committed, Entry, File, State, StreamId, archive_id,
};
use crate::archive::log::FORMAT;
use crate::archive::store;
use crate::archive::{Store, layout};
use crate::error::Result;
use crate::keys::{Role, Trust};
use crate::record::Digest;
use crate::tlog::checkpoint::Checkpoint;
use crate::tlog::edge::Edge;
use crate::tlog::tile::{Bundle, RECORD_BYTES_MAX, Tile};
use crate::tlog::tree;

/// `archive.json`, with its keys in their order.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
pub struct Origin {
    pub format: u32,
    pub archive_id: String,
    pub cluster_id: String,
    pub evidence_topic: String,
    pub evidence_topic_id: String,
}

impl Origin {
    /// As it must stand in the archive: one line without blanks.
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(self).expect("texts and a number");
        bytes.push(b'\n');
        bytes
    }
}

/// A checkpoint that the auditor kept from earlier.
#[derive(Clone, Debug)]
pub struct KeptNote {
    /// Where it was kept.
    pub place: String,
    pub note: Bytes,
}

/// A segment that was committed, with every file that would do for it.
#[derive(Clone, Debug)]
pub struct Filed {
    pub committed: Committed,
    pub files: Vec<File>,
}

/// The ledger as it was read.
pub struct Ledger {
    pub origin: Origin,
    pub authority: Authority,
    /// The stored bytes of each entry, up to the first that is missing beyond the checkpoint.
    pub records: Vec<Option<Bytes>>,
    /// The times of the entries.
    pub times: Vec<i64>,
    pub segments: Vec<Filed>,
    pub breaks: Vec<(u64, Break)>,
    pub state: State,
    /// The largest that a trusted key signed and that is of these entries.
    pub checkpoint: Option<(Checkpoint, Bytes)>,
    pub findings: Vec<Finding>,
}

impl Ledger {
    /// Entries below this number are signed for.
    #[must_use]
    pub fn signed(&self) -> u64 {
        self.checkpoint
            .as_ref()
            .map_or(0, |(checkpoint, _)| checkpoint.size)
    }

    /// Whether the file of a segment that is not signed for yet may still appear.
    #[must_use]
    pub fn awaits_file(&self, folder: &Path, filed: &Filed) -> bool {
        let Committed { n, segment } = &filed.committed;
        *n >= self.signed() && !folder.join(&segment.path).exists()
    }

    /// When the newest entry below the checkpoint was written.
    #[must_use]
    pub fn signed_time(&self) -> Option<i64> {
        let last = usize::try_from(self.signed()).ok()?.checked_sub(1)?;
        self.times.get(last).copied()
    }
}

/// A note that may be a checkpoint, and where it was found.
struct Candidate {
    place: String,
    note: Bytes,
    /// The auditor kept it: the log must reach it.
    is_kept: bool,
}

/// Reads all of it.
///
/// # Errors
/// When the store does not answer. What is wrong with the archive is a finding.
pub fn read(store: &Arc<dyn Store>, trust: &Trust, kept: &[KeptNote]) -> Result<Ledger> {
    let mut findings = Vec::new();
    let origin = read_origin(&**store, &mut findings)?;
    let authority = Authority {
        archive: Digest::parse(&origin.archive_id).unwrap_or(Digest::ZERO),
        log: trust.log.clone(),
    };
    let mut reader = Reader {
        store: &**store,
        line: keeper::origin(authority.log[0].name(), authority.archive),
        candidates: BTreeMap::new(),
        edge: Edge::default(),
        tiles: BTreeMap::new(),
        ledger: Ledger {
            origin,
            authority,
            records: Vec::new(),
            times: Vec::new(),
            segments: Vec::new(),
            breaks: Vec::new(),
            state: State::default(),
            checkpoint: None,
            findings,
        },
    };
    reader.find_checkpoints(kept)?;
    // Listed before the entries are read: they follow from entries that are there, also in an archive that grows.
    let [tiles, states] = [
        store::list(&**store, layout::TILES)?,
        store::list(&**store, layout::STATES)?,
    ];
    reader.read_entries()?;
    reader.conclude();
    reader.check_tiles(tiles)?;
    reader.check_states(states)?;
    Ok(reader.ledger)
}

fn read_origin(store: &dyn Store, findings: &mut Vec<Finding>) -> Result<Origin> {
    let mut fault = |what: &str| {
        findings.push(Finding::new(Name::Archive, layout::ARCHIVE, what));
    };
    let bytes = store::get(store, layout::ARCHIVE)?;
    let parse = |bytes: Bytes| Some((serde_json::from_slice::<Origin>(&bytes).ok()?, bytes));
    let Some((origin, bytes)) = bytes.and_then(parse) else {
        fault("it is missing, or does not say which archive this is");
        return Ok(Origin {
            archive_id: first_claim(store)?.to_string(),
            ..Origin::default()
        });
    };
    if origin.format != FORMAT {
        fault("its format is not 2, the one of this version");
    }
    let id = archive_id(&origin.cluster_id, &origin.evidence_topic_id);
    if origin.archive_id != id.to_string() {
        fault("its id does not follow from its cluster and topic");
    }
    if origin.to_bytes() != bytes {
        fault("it has other keys, or is written otherwise, than an archive has it");
    }
    Ok(origin)
}

/// Of which archive the first entry says that it is: good enough to look at the rest.
fn first_claim(store: &dyn Store) -> Result<Digest> {
    let first = store::get(store, &layout::entry(0))?;
    let first = first.and_then(|bytes| Some(Entry::parse(&bytes).ok()?.0.archive));
    Ok(first.unwrap_or(Digest::ZERO))
}

struct Reader<'a> {
    store: &'a dyn Store,
    /// The first line that checkpoints must have.
    line: String,
    /// By the size that they claim.
    candidates: BTreeMap<u64, Vec<Candidate>>,
    edge: Edge,
    /// What each tile must hold, by level and index.
    tiles: BTreeMap<(u8, u64), Vec<u8>>,
    ledger: Ledger,
}

impl Reader<'_> {
    fn fault(&mut self, name: Name, object: impl Into<String>, what: impl Into<String>) {
        self.ledger.findings.push(Finding::new(name, object, what));
    }

    fn find_checkpoints(&mut self, kept: &[KeptNote]) -> Result<()> {
        for KeptNote { place, note } in kept {
            self.add_candidate(place, note.clone(), true);
        }
        let mut paths = store::list(self.store, layout::CHECKPOINTS)?;
        paths.push(layout::CHECKPOINT.to_owned());
        for path in paths {
            if let Some(note) = store::get(self.store, &path)? {
                self.add_candidate(&path, note, false);
            }
        }
        Ok(())
    }

    fn add_candidate(&mut self, place: &str, note: Bytes, is_kept: bool) {
        let Some(size) = keeper::size_of(&note) else {
            return self.fault(Name::CheckpointSignature, place, "it is no checkpoint");
        };
        let is_named = !is_kept && place != layout::CHECKPOINT;
        if is_named && place != layout::checkpoint(size) {
            self.fault(
                Name::CheckpointSignature,
                place,
                "it is of another size than its name says",
            );
        }
        let candidate = Candidate {
            place: place.to_owned(),
            note,
            is_kept,
        };
        self.candidates.entry(size).or_default().push(candidate);
    }

    fn read_entries(&mut self) -> Result<()> {
        let end = self.find_entries()?;
        let mut n = 0;
        loop {
            self.judge(n);
            let path = layout::entry(n);
            let Some(bytes) = store::get(self.store, &path)? else {
                // What came since they were listed has no holes.
                if n >= end {
                    break;
                }
                self.fault(Name::EntryMissing, path, "it is not there");
                self.push(None, Digest::ZERO);
                n += 1;
                continue;
            };
            let leaf = tree::leaf_hash(&bytes);
            self.take(n, &path, &bytes);
            self.push(Some(bytes), leaf);
            n += 1;
        }
        self.rollback(n);
        self.compare_streams();
        Ok(())
    }

    /// One beyond the last entry that is there.
    fn find_entries(&mut self) -> Result<u64> {
        let mut numbers = BTreeSet::new();
        for path in store::list(self.store, layout::ENTRIES)? {
            match layout::entry_at(&path) {
                Some(n) => drop(numbers.insert(n)),
                None => self.fault(Name::EntryMalformed, path, "it has no entry's name"),
            }
        }
        // How many are there bounds the search for what is missing: what a name or a checkpoint claims does not.
        let far = numbers.split_off(&(2 * numbers.len() as u64 + 256));
        for n in far {
            let what = "the entries before it are not there";
            self.fault(Name::EntryMissing, layout::entry(n), what);
        }
        Ok(numbers.last().map_or(0, |last| last + 1))
    }

    /// `archive.json` is signed by nobody: what it says must be what the entries say.
    fn compare_streams(&mut self) {
        let Ledger { origin, state, .. } = &self.ledger;
        let is_other = |stream: &StreamId| {
            [&stream.cluster_id, &stream.topic, &stream.topic_id]
                != [
                    &origin.cluster_id,
                    &origin.evidence_topic,
                    &origin.evidence_topic_id,
                ]
        };
        // Where there is none, that is said.
        if origin.format == FORMAT && state.streams().any(|(stream, _)| is_other(stream)) {
            let what = "its cluster or topic is not that of the entries";
            self.fault(Name::Archive, layout::ARCHIVE, what);
        }
    }

    fn push(&mut self, record: Option<Bytes>, leaf: Digest) {
        self.ledger.records.push(record);
        self.ledger.state.go_on(self.ledger.records.len() as u64);
        let times = self.ledger.records.len();
        self.ledger.times.resize(times, 0);
        for (tile, bytes) in self.edge.grow([leaf]) {
            self.tiles.insert((tile.level, tile.index), bytes);
        }
    }

    /// One entry: its form, its signature, whether it follows.
    fn take(&mut self, n: u64, path: &str, bytes: &Bytes) {
        if bytes.len() > RECORD_BYTES_MAX {
            let what =
                format!("it is longer than the {RECORD_BYTES_MAX} bytes that a bundle holds");
            return self.fault(Name::EntryMalformed, path, what);
        }
        let parsed = Entry::parse(bytes);
        let (entry, note) = match parsed {
            Ok(parsed) => parsed,
            Err(error) => return self.fault(Name::EntryMalformed, path, error.0),
        };
        self.ledger.times.resize(n as usize, 0);
        self.ledger.times.push(entry.time);
        if entry.archive != self.ledger.authority.archive {
            self.fault(Name::EntryOrder, path, "it is of another archive");
        }
        let Ledger {
            state, authority, ..
        } = &self.ledger;
        if let Err(error) = state.check_signature(&entry.body, &note, authority) {
            self.fault(Name::EntrySignature, path, error.0);
        }
        let body = entry.body.clone();
        if let Err(error) = self.ledger.state.fold(entry, bytes) {
            self.fault(Name::EntryOrder, path, error.0);
            return;
        }
        match body {
            Body::Segment(segment) => {
                let file = File {
                    sha256: segment.sha256,
                    bytes: segment.bytes,
                };
                self.ledger.segments.push(Filed {
                    committed: Committed {
                        n,
                        segment: *segment,
                    },
                    files: vec![file],
                });
            }
            Body::Reseal(reseal) => {
                let mut segments = self.ledger.segments.iter_mut();
                if let Some(filed) = segments.find(|filed| filed.committed.n == reseal.entry) {
                    filed.files.push(File {
                        sha256: reseal.sha256,
                        bytes: reseal.bytes,
                    });
                }
            }
            Body::Break(brk) => self.ledger.breaks.push((n, brk)),
            Body::Key(_) | Body::Event(_) | Body::Heartbeat => {}
        }
    }

    /// Compares the checkpoints of the entries so far.
    fn judge(&mut self, size: u64) {
        let Some(candidates) = self.candidates.remove(&size) else {
            return;
        };
        let root = self.edge.root();
        let signed = self.open(candidates);
        let is_forked = signed
            .iter()
            .any(|(_, checkpoint)| checkpoint.root != signed[0].1.root);
        for (
            Candidate {
                place,
                note,
                is_kept,
            },
            checkpoint,
        ) in signed
        {
            if checkpoint.root == root {
                self.ledger.checkpoint = Some((checkpoint, note));
            } else if is_kept || is_forked {
                let what = "a trusted key signed it, and another one of this size or another log";
                self.fault(Name::CheckpointFork, place, what);
            } else {
                self.fault(
                    Name::CheckpointRoot,
                    place,
                    "its root is not that of the entries",
                );
            }
        }
    }

    /// Those that a key signed that may, here and now.
    fn open(&mut self, candidates: Vec<Candidate>) -> Vec<(Candidate, Checkpoint)> {
        let known = self.ledger.state.holders(Role::Log, &self.ledger.authority);
        let mut signed = Vec::new();
        for candidate in candidates {
            match Checkpoint::open(&candidate.note, &self.line, &known) {
                Ok(checkpoint) => signed.push((candidate, checkpoint)),
                Err(error) => {
                    self.fault(
                        Name::CheckpointSignature,
                        candidate.place,
                        error.to_string(),
                    );
                }
            }
        }
        signed
    }

    /// Checkpoints of more entries than there are.
    fn rollback(&mut self, entries: u64) {
        for (size, candidates) in std::mem::take(&mut self.candidates) {
            for (Candidate { place, is_kept, .. }, _) in self.open(candidates) {
                let what = format!("a checkpoint is of {size} entries, and {entries} are there");
                match is_kept {
                    true => self.fault(Name::Rollback, place, what),
                    false => self.fault(Name::EntryMissing, layout::entry(entries), what),
                }
            }
        }
    }

    fn conclude(&mut self) {
        if self.ledger.checkpoint.is_none() {
            let what = "there is no checkpoint of these entries that a trusted key signed";
            self.fault(Name::CheckpointMissing, layout::CHECKPOINT, what);
        }
    }

    /// Tiles and bundles that are there must be those of the entries. That all are there is not asked: they
    /// follow from the entries.
    fn check_tiles(&mut self, paths: Vec<String>) -> Result<()> {
        for path in paths {
            let bytes = store::get(self.store, &path)?.unwrap_or_default();
            let is_right = match parse_tile(&path) {
                Some(Derived::Tile(tile)) => self.tile(tile).is_some_and(|tile| tile == bytes),
                Some(Derived::Bundle(bundle)) => self.is_bundle(bundle, &bytes),
                None => false,
            };
            if !is_right {
                self.fault(Name::Tile, path, "it does not follow from the entries");
            }
        }
        Ok(())
    }

    /// What a tile must hold; none if it reaches beyond the entries.
    fn tile(&self, tile: Tile) -> Option<&[u8]> {
        let hashes = self.tiles.get(&(tile.level, tile.index))?;
        hashes.get(..usize::from(tile.width) * size_of::<Digest>())
    }

    /// Whether a bundle is that of the entries. One that lacks, or fits no bundle, has a finding already.
    fn is_bundle(&self, bundle: Bundle, bytes: &Bytes) -> bool {
        let range = bundle.records();
        let Some(records) = self
            .ledger
            .records
            .get(range.start as usize..range.end as usize)
        else {
            return false;
        };
        let records: Option<Vec<&Bytes>> = records.iter().map(Option::as_ref).collect();
        let wanted = records.and_then(|records| bundle.encode(&records).ok());
        wanted.is_none_or(|wanted| wanted == *bytes)
    }

    /// The entry of a fold's number names its digest. The fold of all entries waits for the entry that will.
    fn check_states(&mut self, paths: Vec<String>) -> Result<()> {
        for path in paths {
            let n = layout::state_at(&path);
            if n == Some(self.ledger.records.len() as u64) {
                continue;
            }
            let record = n.and_then(|n| self.ledger.records.get(n as usize)?.clone());
            let named = record.and_then(|record| Entry::parse(&record).ok()?.0.state);
            let found = store::get(self.store, &path)?.map(|bytes| Digest::of(&bytes));
            if named.is_none() || named != found {
                self.fault(Name::EntryOrder, path, "no entry names it");
            }
        }
        Ok(())
    }
}

/// What can be made again from the entries.
enum Derived {
    Tile(Tile),
    Bundle(Bundle),
}

/// The tile or bundle of a path.
fn parse_tile(path: &str) -> Option<Derived> {
    let rest = path.strip_prefix(layout::TILES)?.strip_prefix('/')?;
    let (level, rest) = rest.split_once('/')?;
    let (number, width) = match rest.split_once(".p/") {
        Some((number, width)) => (number, width.parse().ok()?),
        None => (rest, 256),
    };
    let digits: String = number.chars().filter(char::is_ascii_digit).collect();
    let index = digits.parse().ok()?;
    let derived = match level {
        "entries" => Derived::Bundle(Bundle { index, width }),
        level => Derived::Tile(Tile {
            level: level.parse().ok()?,
            index,
            width,
        }),
    };
    // One path per tile: 0067 is none.
    let own = match &derived {
        Derived::Tile(tile) => tile.path(),
        Derived::Bundle(bundle) => bundle.path(),
    };
    (layout::log_file(&own) == path).then_some(derived)
}

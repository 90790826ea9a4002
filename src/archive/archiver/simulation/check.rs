//! What must hold in the world: at each object that appears, at each checkpoint that is posted, and in
//! the end.

use std::sync::Arc;

use arrow::array::AsArray as _;
use arrow::datatypes::Int64Type;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::world::{Kind, Weather, World};
use crate::archive::Store;
use crate::archive::fixture::{Topic, identity};
use crate::archive::layout;
use crate::archive::ledger::{Body, Segment};
use crate::archive::store::memory::Memory;
use crate::audit;
use crate::error::{Exit, Result};
use crate::evidence::{Header, Reader};
use crate::tlog::reader::TileReader;
use crate::tlog::tree;

/// In the place of a path, where a checkpoint is posted.
pub const BOARD: &str = "the board";

impl World {
    fn find(&mut self, told: String) {
        self.found.push(told);
    }

    /// An object is there that was not there before.
    pub fn check_created(&mut self, path: &str, bytes: &Bytes) {
        if path.starts_with("ledger/entry/") {
            self.check_entry(path, bytes);
        } else if let Some(size) = path.strip_prefix("ledger/cp/") {
            self.counts.checkpoints += 1;
            self.check_checkpoint(path, bytes, Some(size));
        } else if path.starts_with("ledger/tile/") {
            if self.history.derived(path).as_deref() != Some(bytes) {
                self.find(format!("`{path}` does not follow from the entries"));
            }
        } else if let Some(entries) = path.strip_prefix("ledger/state/") {
            let fold = self.history.fold(entries.parse().unwrap());
            if fold.map(Vec::as_slice) != Some(bytes) {
                self.find(format!("`{path}` is not the fold"));
            }
        }
    }

    /// Objects are created once.
    pub fn check_kept(&mut self, path: &str, before: &Bytes, after: Option<&Bytes>) {
        if path.starts_with("ledger/cp/") {
            self.counts.seconds += 1;
        }
        if after != Some(before) {
            self.find(format!("`{path}` was overwritten"));
        }
    }

    /// Entries have no hole, follow, and are signed by who may. I3: one may follow another of its stream
    /// only if that one's file is there.
    fn check_entry(&mut self, path: &str, bytes: &Bytes) {
        let n = self.history.size();
        assert_eq!(path, layout::entry(n), "no hole in the ledger");
        let before: Vec<_> = self.history.segments().collect();
        if let Err(why) = self.history.append(bytes) {
            self.find(format!("entry {n}: {why}"));
        }
        if !self.agrees_with_board() {
            self.counts.blind += 1;
        }
        match self.history.entries[n as usize].body.clone() {
            Body::Segment(new) => {
                let older = before.iter().filter(|old| old.segment.stream == new.stream);
                for old in older {
                    if !self.history.has_right_file(&self.objects, old) {
                        let told = format!("entry {n} follows {} whose file is not right", old.n);
                        self.found.push(told);
                    }
                }
                self.intrude(&new);
            }
            Body::Heartbeat => self.counts.heartbeats += 1,
            Body::Reseal(_) => self.counts.reseals += 1,
            Body::Key(_) | Body::Break(_) | Body::Event(_) => {}
        }
    }

    fn intrude(&mut self, new: &Segment) {
        if self.kind == Kind::Intruder && self.random.one_in(3) {
            let foreign = Bytes::from_static(b"PAR");
            self.objects.entry(new.path.clone()).or_insert(foreign);
        }
    }

    /// A checkpoint is of this ledger, and covers no entry without its file.
    fn check_checkpoint(&mut self, place: &str, note: &Bytes, size: Option<&str>) {
        let Some(checkpoint) = self.history.open(note) else {
            return self.find(format!("`{place}` is not signed by a key that may"));
        };
        if size.is_some_and(|size| size != checkpoint.size.to_string()) {
            self.find(format!("`{place}` is of {} entries", checkpoint.size));
        }
        if !self.history.extends(&checkpoint) {
            self.find(format!("`{place}` is not the root of the entries"));
        }
        let covered: Vec<_> = self.history.segments().collect();
        let covered = covered.iter().filter(|each| each.n < checkpoint.size);
        for each in covered {
            if !self.history.has_right_file(&self.objects, each) {
                let told = format!("`{place}` signs for the file of entry {}", each.n);
                self.found.push(told);
            }
        }
    }

    /// What is posted is in the archive, and right.
    pub fn check_posted(&mut self, note: &Bytes) {
        self.check_checkpoint(BOARD, note, None);
        if !self.has_checkpoint(note) {
            self.find("the board has a checkpoint that the archive has not".into());
        }
    }

    fn has_checkpoint(&self, note: &Bytes) -> bool {
        let Some(checkpoint) = self.history.open(note) else {
            return false;
        };
        let kept = self.objects.get(&layout::checkpoint(checkpoint.size));
        kept.and_then(|kept| self.history.open(kept)) == Some(checkpoint)
    }

    pub fn check_hint(&mut self, path: &str) {
        assert_eq!(path, layout::CHECKPOINT, "nothing else is replaced");
        if !self.has_checkpoint(&self.objects[path]) {
            self.find("the hint is of no checkpoint that is there".into());
        }
    }

    /// Nobody appends to a ledger, or signs one, after the board has told of another.
    pub fn check_told(&mut self, id: usize, path: &str) {
        let promises = ["ledger/entry/", "ledger/cp/", layout::CHECKPOINT, BOARD];
        if !promises.iter().any(|promise| path.starts_with(promise)) {
            return;
        }
        let told = self.lives[id].told.as_ref();
        if told.is_some_and(|told| !self.history.extends(told)) {
            self.find(format!(
                "`{path}` is put, but the board was of another ledger"
            ));
        }
    }

    /// Whether the newest checkpoint on the board is of the ledger.
    pub fn agrees_with_board(&self) -> bool {
        let newest = self.newest_posted();
        newest.is_none_or(|newest| self.history.extends(&newest))
    }

    /// A life has ended by itself.
    pub fn ended(&mut self, result: Result<()>) {
        let agrees = self.agrees_with_board();
        match result {
            Ok(()) if agrees => {}
            Ok(()) => self.find("the last archiver has not noticed that the store is older".into()),
            Err(error) if error.exit == Exit::Unreachable && self.weather != Weather::Fair => {}
            Err(error) if error.exit == Exit::Integrity && self.kind == Kind::Intruder => {}
            Err(error) if error.exit == Exit::Integrity && !agrees => self.counts.noticed += 1,
            Err(error) => self.find(format!("an archiver ended: {error}")),
        }
    }

    pub fn check_end(&mut self, topics: &[Topic]) {
        self.check_head();
        self.check_rows(topics);
    }

    /// The whole ledger is signed, and every entry proven by the last checkpoint; an auditor who kept all
    /// that was posted finds nothing.
    fn check_head(&mut self) {
        let entries = self.history.size();
        let newest = self.objects.get(&layout::checkpoint(entries)).cloned();
        let Some(newest) = newest.and_then(|note| self.history.open(&note)) else {
            let hint = self.objects.get(layout::CHECKPOINT);
            let size = hint.and_then(|note| crate::archive::keeper::size_of(note));
            return self.find(format!(
                "of {entries} entries, the head is signed up to {size:?}"
            ));
        };
        let posted = self.newest_posted().map(|checkpoint| checkpoint.size);
        if posted != Some(entries) {
            self.find(format!("of {entries} entries, the board has {posted:?}"));
        }
        let read = |path: &str| Ok::<_, ()>(self.objects.get(&layout::log_file(path)).cloned());
        let mut tiles = TileReader::new(entries, newest.root, read);
        let unproven = (0..entries).find(|&n| {
            let leaf = tree::leaf_hash(&self.objects[&layout::entry(n)]);
            tiles.inclusion(n, leaf).is_err()
        });
        if let Some(n) = unproven {
            self.find(format!("entry {n} is not proven by the tiles"));
        }
        self.audit(entries);
    }

    fn audit(&mut self, entries: u64) {
        let memory = Memory::default();
        *memory.objects.lock().unwrap() = self.objects.clone();
        let store: Arc<dyn Store> = Arc::new(memory);
        let trust = &identity("").keys.trust;
        let place = "the board".to_owned();
        let kept = self.board.iter().cloned();
        let kept = kept.map(|note| audit::ledger::KeptNote {
            place: place.clone(),
            note,
        });
        let kept: Vec<_> = kept.collect();
        let ledger = audit::ledger::read(&store, trust, &kept).unwrap();
        if ledger.signed() != entries || !ledger.findings.is_empty() {
            let signed = ledger.signed();
            let findings = ledger.findings;
            self.find(format!(
                "an auditor finds {findings:?}, and {signed} signed"
            ));
        }
    }

    /// I1, I2, and every row exactly once.
    fn check_rows(&mut self, topics: &[Topic]) {
        let segments: Vec<_> = self.history.segments().collect();
        let files = self
            .objects
            .keys()
            .filter(|path| path.starts_with(layout::SEGMENTS));
        let mut files: Vec<&String> = files.collect();
        let mut paths: Vec<&String> = segments.iter().map(|each| &each.segment.path).collect();
        paths.sort();
        files.sort();
        assert_eq!(files, paths, "each file has one entry, each entry a file");
        for (partition, topic) in (0..).zip(topics) {
            let mine = segments
                .iter()
                .filter(|each| each.segment.stream.partition == partition);
            let mine: Vec<_> = mine.collect();
            let mut at = 0;
            for each in &mine {
                assert_eq!(each.segment.first.0, at, "entries tile");
                let is_right = self.history.has_right_file(&self.objects, each);
                assert!(is_right, "the file is the entry's");
                at = each.segment.next.0;
            }
            let end = topic.records.last().unwrap().position.0 + 1;
            assert_eq!(at, end, "all is committed");
            let rows = mine.iter().flat_map(|each| self.rows(&each.segment));
            let rows: Vec<_> = rows.collect();
            assert_eq!(rows, expected_rows(topic), "each row once, in order");
        }
    }

    fn rows(&self, segment: &Segment) -> Vec<(i64, i64)> {
        let bytes = self.objects[&segment.path].clone();
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
        let batches = reader.build().unwrap().map(std::result::Result::unwrap);
        let rows = batches.flat_map(|batch| {
            let column = |name| {
                batch
                    .column_by_name(name)
                    .unwrap()
                    .as_primitive::<Int64Type>()
                    .values()
                    .to_vec()
            };
            let (positions, offsets) = (column("evidence_position"), column("offset"));
            positions.into_iter().zip(offsets).collect::<Vec<_>>()
        });
        rows.collect()
    }
}

/// Evidence position and input offset of each row.
fn expected_rows(topic: &Topic) -> Vec<(i64, i64)> {
    let mut reader = Reader::default();
    let rows = topic.records.iter().flat_map(|record| {
        let header = Header::parse(&record.header).unwrap();
        let (_, rows) = reader.rows(&header, &record.value).unwrap();
        let offsets = rows["offset"].as_primitive::<Int64Type>().values().to_vec();
        offsets
            .into_iter()
            .map(|offset| (record.position.0, offset))
            .collect::<Vec<_>>()
    });
    rows.collect()
}

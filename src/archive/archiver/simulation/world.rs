//! The store of the simulation, with its faults and planted bugs, and what must hold in it.

use std::collections::BTreeMap;

use arrow::array::AsArray as _;
use arrow::datatypes::Int64Type;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::{Answer, Ask, Input, PARTITIONS};
use crate::archive::fixture::Topic;
use crate::archive::fixture::identity;
use crate::archive::layout;
use crate::archive::ledger::{self, Body, Committed, Entry};
use crate::archive::store::memory::{self, Fault};
use crate::archive::store::{Created, StoreError};
use crate::error::{Exit, Result};
use crate::evidence::{Header, Reader};
use crate::record::Digest;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    /// Takes the next number after a conflict without looking at what it lost to.
    NoTipCheck,
    /// Goes on before the last entry's file exists.
    NoFinishFirst,
    /// Takes whatever has the right name for the right file.
    AdoptsByName,
}

pub struct Random(pub u64);

impl Random {
    /// A number below `limit` (splitmix64).
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    pub fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }
}

fn segments(entries: &[Entry]) -> impl Iterator<Item = Committed> {
    entries.iter().filter_map(|entry| match &entry.body {
        Body::Segment(segment) => Some(Committed {
            n: entry.n,
            segment: *segment.clone(),
        }),
        _ => None,
    })
}

pub struct World {
    pub seed: u64,
    pub random: Random,
    pub bug: Option<Bug>,
    pub objects: BTreeMap<String, Bytes>,
    /// The entries among them.
    pub entries: Vec<Entry>,
    /// Creates that were answered with an error and may still happen.
    pub late: Vec<(String, Bytes)>,
    /// Something puts a file of its own under a segment's name.
    pub has_intruder: bool,
    pub has_faults: bool,
    /// What each archiver was last refused, for [`Bug::NoTipCheck`].
    pub refused: Vec<Option<String>>,
    /// Broken promises.
    pub found: Vec<String>,
}

impl World {
    fn create(
        &mut self,
        path: &str,
        bytes: &Bytes,
        fault: Option<Fault>,
    ) -> Result<Created, StoreError> {
        let was_there = self.objects.contains_key(path);
        if path.starts_with("ledger/entry/")
            && !was_there
            && !matches!(fault, Some(Fault::Lost | Fault::Conflict))
        {
            self.check_new_entry(bytes);
        }
        memory::create(&mut self.objects, path, bytes, fault)
    }

    /// I3: an entry may follow another of its stream only if that one's file is there.
    fn check_new_entry(&mut self, bytes: &Bytes) {
        let (entry, _) = Entry::parse(bytes).unwrap();
        let n = entry.n;
        assert_eq!(n, self.entries.len() as u64, "no hole in the ledger");
        if let Body::Segment(new) = &entry.body {
            for old in segments(&self.entries).filter(|old| old.segment.stream == new.stream) {
                if !self.has_right_file(&old) {
                    let told = format!("entry {n} follows {} whose file is not right", old.n);
                    self.found.push(told);
                }
            }
            if self.has_intruder && self.random.one_in(3) {
                let foreign = Bytes::from_static(b"PAR");
                self.objects.entry(new.path.clone()).or_insert(foreign);
            }
        }
        self.entries.push(entry);
    }

    fn has_right_file(&self, Committed { n, segment }: &Committed) -> bool {
        let resealed = self.entries.iter().filter_map(|entry| match &entry.body {
            Body::Reseal(reseal) if reseal.entry == *n => Some(reseal.sha256),
            _ => None,
        });
        let digest = self
            .objects
            .get(&segment.path)
            .map(|bytes| Digest::of(bytes));
        let mut right = resealed.chain([segment.sha256]);
        digest.is_some_and(|digest| right.any(|right| right == digest))
    }

    pub fn answer(&mut self, id: usize, ask: Ask) -> Answer {
        if !self.late.is_empty() && self.random.one_in(6) {
            let which = self.random.below(self.late.len() as u64) as usize;
            let (path, bytes) = self.late.swap_remove(which);
            let _ = self.create(&path, &bytes, None);
        }
        match ask {
            Ask::Get(_) if self.has_faults && self.random.one_in(40) => {
                Answer::Object(Err(memory::error("503")))
            }
            Ask::Size(_) if self.has_faults && self.random.one_in(40) => {
                Answer::Size(Err(memory::error("503")))
            }
            Ask::Get(path) => Answer::Object(Ok(self.get(id, &path))),
            Ask::Size(path) => Answer::Size(Ok(self.size(&path))),
            Ask::Create(path, bytes) => Answer::Created(self.create_unreliably(id, path, bytes)),
            Ask::Replace(path, bytes) => {
                self.objects.insert(path, bytes);
                Answer::Replaced
            }
            Ask::Input => Answer::Input(self.input()),
            Ask::Ended(_) => unreachable!("who has ended asks nothing"),
        }
    }

    fn get(&mut self, id: usize, path: &str) -> Option<Bytes> {
        let found = self.objects.get(path).cloned();
        let was_refused = self.refused[id]
            .take()
            .is_some_and(|refused| refused == path);
        match (self.bug, found) {
            (Some(Bug::NoTipCheck), Some(found))
                if was_refused && path.starts_with("ledger/entry/") =>
            {
                let entry = Entry::parse(&found).unwrap().0;
                if !matches!(entry.body, Body::Segment(_)) {
                    return Some(found);
                }
                let nothing = Entry {
                    body: Body::Heartbeat,
                    ..entry
                };
                let keys = identity("a bug").keys;
                Some(nothing.sign(keys.archiver.as_ref().unwrap()))
            }
            (_, found) => found,
        }
    }

    fn size(&self, path: &str) -> Option<u64> {
        let size = self.objects.get(path).map(|bytes| bytes.len() as u64);
        let believed = || {
            let mut all = segments(&self.entries).map(|committed| committed.segment);
            let segment = all.find(|segment| segment.path == path);
            segment.map(|segment| segment.bytes)
        };
        match self.bug {
            Some(Bug::NoFinishFirst) => size.or_else(believed),
            Some(Bug::AdoptsByName) if size.is_some() => believed().or(size),
            _ => size,
        }
    }

    fn create_unreliably(
        &mut self,
        id: usize,
        path: String,
        bytes: Bytes,
    ) -> Result<Created, StoreError> {
        let fault = match self.random.below(40) {
            _ if !self.has_faults => None,
            0 => Some(Fault::Lost),
            1 => Some(Fault::AnswerLost),
            2 => Some(Fault::Conflict),
            3 => {
                self.late.push((path, bytes));
                return Err(memory::error("timed out"));
            }
            _ => None,
        };
        let created = self.create(&path, &bytes, fault);
        let adopts = self.bug == Some(Bug::AdoptsByName) && path.starts_with(layout::SEGMENTS);
        if adopts && matches!(created, Ok(Created::Refused)) {
            return Ok(Created::New);
        }
        self.refused[id] = matches!(created, Ok(Created::Refused)).then_some(path);
        created
    }

    fn input(&mut self) -> Input {
        let partition = self.random.below(PARTITIONS as u64) as i32;
        match self.random.below(20) {
            0..3 => Input::Assign(partition),
            3 => Input::Revoke(partition),
            4 => Input::Seal,
            5 => Input::ReadStale(partition),
            _ => Input::Read(partition),
        }
    }

    /// I1, I2, and every row exactly once.
    pub fn check_end(&self, topics: &[Topic]) {
        let segments: Vec<_> = segments(&self.entries).collect();
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
                assert!(self.has_right_file(each), "the file is the entry's");
                at = each.segment.next.0;
            }
            assert_eq!(
                at,
                topic.records.last().unwrap().position.0 + 1,
                "all is committed"
            );
            let rows: Vec<_> = mine
                .iter()
                .flat_map(|each| self.rows(&each.segment))
                .collect();
            assert_eq!(rows, expected_rows(topic), "each row once, in order");
        }
    }

    fn rows(&self, segment: &ledger::Segment) -> Vec<(i64, i64)> {
        let bytes = self.objects[&segment.path].clone();
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
        let batches = reader.build().unwrap().map(Result::unwrap);
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

impl World {
    pub fn ended(&mut self, result: Result<()>) {
        match result {
            Ok(()) => {}
            Err(error) if self.has_intruder && error.exit == Exit::Integrity => {}
            Err(error) => self.found.push(format!("an archiver ended: {error}")),
        }
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

//! Several archivers over one store and one topic, interleaved at every call of the store, killed
//! anywhere, with lost, late and false answers, assigned whatever partition at whatever time, and of
//! two versions. Afterwards, and at every entry, what DESIGN §6 promises must hold.
//!
//! Everything follows from the seed: each archiver runs on a thread of its own, but only one at a time,
//! and only until its next call. Bugs are planted between archiver and store, and must be found.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use arrow::array::AsArray as _;
use arrow::datatypes::Int64Type;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;
use crate::archive::Nobody;
use crate::archive::fixture::{DAY, NOON, Topic, context, origin};
use crate::archive::ledger::Break;
use crate::archive::store::memory::{self, Fault};
use crate::archive::store::{Created, StoreError};
use crate::error::Exit;

const PARTITIONS: i32 = 2;
const ARCHIVERS: usize = 3;
const STEPS: usize = 260;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bug {
    /// Takes the next number after a conflict without looking at what it lost to.
    NoTipCheck,
    /// Goes on before the last entry's file exists.
    NoFinishFirst,
    /// Takes whatever has the right name for the right file.
    AdoptsByName,
}

struct Random(u64);

impl Random {
    /// A number below `limit` (splitmix64).
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }
}

/// What an archiver's thread asks for.
enum Ask {
    Get(String),
    Size(String),
    Create(String, Bytes),
    Input,
    Ended(Result<()>),
}

enum Answer {
    Object(Result<Option<Bytes>, StoreError>),
    Size(Result<Option<u64>, StoreError>),
    Created(Result<Created, StoreError>),
    Input(Input),
    Die,
}

#[derive(Clone, Copy)]
enum Input {
    Assign(i32),
    Revoke(i32),
    Read(i32),
    /// As [`Input::Read`], but what comes is a message from before a seek.
    ReadStale(i32),
    Seal,
    ReadAllAndEnd,
}

struct Killed;

/// The store, as an archiver's thread sees it.
struct Line {
    id: usize,
    asks: Sender<(usize, Ask)>,
    answers: std::sync::Mutex<Receiver<Answer>>,
}

impl Line {
    fn ask(&self, ask: Ask) -> Answer {
        let _ = self.asks.send((self.id, ask));
        let answer = self.answers.lock().unwrap().recv();
        match answer {
            Ok(Answer::Die) | Err(_) => resume_unwind(Box::new(Killed)),
            Ok(answer) => answer,
        }
    }
}

impl Store for Line {
    fn get(&self, path: &str) -> Result<Option<Bytes>, StoreError> {
        match self.ask(Ask::Get(path.into())) {
            Answer::Object(object) => object,
            _ => unreachable!(),
        }
    }

    fn size(&self, path: &str) -> Result<Option<u64>, StoreError> {
        match self.ask(Ask::Size(path.into())) {
            Answer::Size(size) => size,
            _ => unreachable!(),
        }
    }

    fn create(&self, path: &str, bytes: &Bytes) -> Result<Created, StoreError> {
        match self.ask(Ask::Create(path.into(), bytes.clone())) {
            Answer::Created(created) => created,
            _ => unreachable!(),
        }
    }

    fn place(&self) -> String {
        "simulation".into()
    }

    fn wait(&self, failures: u32) -> bool {
        failures < 100
    }
}

/// The life of one archiver.
fn live(line: Arc<Line>, topics: &[Topic], version: u64) -> Result<()> {
    let settings = Settings {
        rows_max: 9,
        ..Settings::default()
    };
    let writer = format!("probity {version}");
    let mut archiver = Archiver::open(line.clone(), origin(), writer, settings, Arc::new(Nobody))?;
    let mut positions = BTreeMap::new();
    let mut trusted = BTreeSet::new();
    loop {
        let Answer::Input(input) = line.ask(Ask::Input) else {
            unreachable!()
        };
        match input {
            Input::Assign(partition) => {
                let next = archiver.assign(partition)?;
                positions.insert(partition, next.0);
            }
            Input::Revoke(partition) => {
                archiver.revoke(partition);
                positions.remove(&partition);
            }
            Input::Read(partition) => {
                read(&mut archiver, topics, &mut positions, partition, 0)?;
                trusted.insert(partition);
            }
            // Once, and then what was sought: so the client promises.
            Input::ReadStale(partition) if trusted.remove(&partition) => {
                read(&mut archiver, topics, &mut positions, partition, 2)?;
            }
            Input::ReadStale(_) => {}
            Input::Seal => archiver.seal_all()?,
            Input::ReadAllAndEnd => {
                for partition in 0..PARTITIONS {
                    let next = archiver.assign(partition)?;
                    positions.insert(partition, next.0);
                    while read(&mut archiver, topics, &mut positions, partition, 0)? {}
                }
                return archiver.seal_all();
            }
        }
        follow(&mut archiver, &mut positions);
    }
}

fn follow(archiver: &mut Archiver, positions: &mut BTreeMap<i32, i64>) {
    for each in archiver.take_moves() {
        match each {
            Move::Seek(partition, next) => {
                positions.insert(partition, next.0);
            }
            Move::Stop(partition) => panic!("partition {partition} stopped"),
            Move::Committed(..) => {}
        }
    }
}

/// Hands over the next message, or the one that is `ahead` further; says whether there was one.
fn read(
    archiver: &mut Archiver,
    topics: &[Topic],
    positions: &mut BTreeMap<i32, i64>,
    partition: i32,
    ahead: usize,
) -> Result<bool> {
    let Some(&position) = positions.get(&partition) else {
        return Ok(false);
    };
    let records = &topics[usize::try_from(partition).unwrap()].records;
    let mut rest = records
        .iter()
        .filter(|record| record.position.0 >= position);
    let Some(record) = rest.nth(ahead) else {
        archiver.drained(partition);
        return Ok(false);
    };
    if ahead == 0 {
        positions.insert(partition, record.position.0 + 1);
    }
    archiver.message(partition, record.record())?;
    follow(archiver, positions);
    Ok(true)
}

/// A partition's worth of evidence with holes, two contexts, two days.
fn topic(random: &mut Random, partition: i32) -> Topic {
    let contexts = [context("1"), context("2")];
    let mut topic = Topic::new(partition);
    let mut time = NOON;
    let mut current = 0;
    for _ in 0..12 {
        if random.one_in(3) {
            topic.skip(1 + random.below(3) as i64);
        }
        if random.one_in(5) {
            current = 1 - current;
        }
        time += if random.one_in(8) { DAY } else { 1 };
        topic.write(&contexts[current], 1 + random.below(4) as usize, time);
    }
    topic
}

fn segments(entries: &[Entry]) -> impl Iterator<Item = &Segment> {
    entries.iter().filter_map(|entry| match entry {
        Entry::Segment(segment) => Some(&**segment),
        Entry::Break(_) | Entry::Reseal(_) => None,
    })
}

struct World {
    seed: u64,
    random: Random,
    bug: Option<Bug>,
    objects: BTreeMap<String, Bytes>,
    /// The entries among them.
    entries: Vec<Entry>,
    /// Creates that were answered with an error and may still happen.
    late: Vec<(String, Bytes)>,
    /// Something puts a file of its own under a segment's name.
    has_intruder: bool,
    has_faults: bool,
    /// What each archiver was last refused, for [`Bug::NoTipCheck`].
    refused: Vec<Option<String>>,
    /// Broken promises.
    found: Vec<String>,
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
        let entry = Entry::parse(bytes).unwrap();
        assert_eq!(
            entry.n(),
            self.entries.len() as u64,
            "no hole in the ledger"
        );
        if let Entry::Segment(new) = &entry {
            for old in segments(&self.entries).filter(|old| old.stream == new.stream) {
                if !self.has_right_file(old) {
                    let told = format!("entry {} follows {} whose file is not right", new.n, old.n);
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

    fn has_right_file(&self, segment: &Segment) -> bool {
        let resealed = self.entries.iter().filter_map(|entry| match entry {
            Entry::Reseal(reseal) if reseal.entry == segment.n => Some(reseal.sha256),
            _ => None,
        });
        let digest = self
            .objects
            .get(&segment.path)
            .map(|bytes| Digest::of(bytes));
        let mut right = resealed.chain([segment.sha256]);
        digest.is_some_and(|digest| right.any(|right| right == digest))
    }

    fn answer(&mut self, id: usize, ask: Ask) -> Answer {
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
                let n = Entry::parse(&found).unwrap().n();
                let mut stream = crate::archive::ledger::tests::stream(99);
                stream.topic_id = format!("nobody's {n}");
                let nothing = Entry::Break(Break {
                    n,
                    stream,
                    first: NextPosition(0),
                    next: NextPosition(0),
                    coverage: Vec::new(),
                    head: Digest::ZERO,
                    reason: "a bug".into(),
                    operator: "nobody".into(),
                });
                Some(Bytes::from(nothing.to_bytes()))
            }
            (_, found) => found,
        }
    }

    fn size(&self, path: &str) -> Option<u64> {
        let size = self.objects.get(path).map(|bytes| bytes.len() as u64);
        let believed = || {
            let segment = segments(&self.entries).find(|segment| segment.path == path);
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
    fn check_end(&self, topics: &[Topic]) {
        let segments: Vec<_> = segments(&self.entries).collect();
        let files = self
            .objects
            .keys()
            .filter(|path| path.starts_with(layout::SEGMENTS));
        let mut files: Vec<&String> = files.collect();
        let mut paths: Vec<&String> = segments.iter().map(|segment| &segment.path).collect();
        paths.sort();
        files.sort();
        assert_eq!(files, paths, "each file has one entry, each entry a file");
        for (partition, topic) in (0..).zip(topics) {
            let mine = segments
                .iter()
                .filter(|segment| segment.stream.partition == partition);
            let mine: Vec<_> = mine.collect();
            let mut at = 0;
            for segment in &mine {
                assert_eq!(segment.first.0, at, "entries tile");
                assert!(self.has_right_file(segment), "the file is the entry's");
                at = segment.next.0;
            }
            assert_eq!(
                at,
                topic.records.last().unwrap().position.0 + 1,
                "all is committed"
            );
            let rows: Vec<_> = mine.iter().flat_map(|segment| self.rows(segment)).collect();
            assert_eq!(rows, expected_rows(topic), "each row once, in order");
        }
    }

    fn rows(&self, segment: &Segment) -> Vec<(i64, i64)> {
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

/// One archiver at a time runs; the others wait in `asks` for their answers.
fn simulate(seed: u64, bug: Option<Bug>, has_intruder: bool) -> World {
    let mut random = Random(seed);
    let topics: Vec<Topic> = (0..PARTITIONS).map(|p| topic(&mut random, p)).collect();
    let mut world = World {
        seed,
        random,
        bug,
        objects: BTreeMap::new(),
        entries: Vec::new(),
        late: Vec::new(),
        has_intruder,
        has_faults: true,
        refused: vec![None; ARCHIVERS],
        found: Vec::new(),
    };
    std::thread::scope(|scope| {
        let (sender, asks) = channel();
        let topics = &topics;
        let start = |id: usize, version: u64| {
            let (answer, answers) = channel();
            let asks = sender.clone();
            let line = Arc::new(Line {
                id,
                asks,
                answers: answers.into(),
            });
            scope.spawn(move || {
                let asks = line.asks.clone();
                let life = catch_unwind(AssertUnwindSafe(|| live(line, topics, version)));
                match life {
                    Ok(result) => drop(asks.send((id, Ask::Ended(result)))),
                    Err(reason) if reason.is::<Killed>() => {}
                    Err(_) => {
                        drop(asks.send((id, Ask::Ended(Err(Fatal::new(Exit::Bug, "panicked"))))))
                    }
                }
            });
            answer
        };
        let mut running: Vec<Option<(Sender<Answer>, Ask)>> = Vec::new();
        for id in 0..ARCHIVERS {
            let answer = start(id, world.random.below(2));
            running.push(Some((answer, asks.recv().unwrap().1)));
        }
        for _ in 0..STEPS {
            let id = world.random.below(ARCHIVERS as u64) as usize;
            let Some((answer, ask)) = running[id].take() else {
                continue;
            };
            if let Ask::Ended(result) = ask {
                world.ended(result);
                continue;
            }
            if world.random.one_in(50) {
                // Half of the deaths come when the store has done it, but not said so.
                if world.random.one_in(2) {
                    world.answer(id, ask);
                }
                let _ = answer.send(Answer::Die);
                let answer = start(id, world.random.below(2));
                running[id] = Some((answer, asks.recv().unwrap().1));
                continue;
            }
            let reply = world.answer(id, ask);
            answer.send(reply).unwrap();
            running[id] = Some((answer, asks.recv().unwrap().1));
        }
        // All die; the last one finds what they left, in good weather.
        for (answer, _) in running.drain(..).flatten() {
            let _ = answer.send(Answer::Die);
        }
        world.has_faults = false;
        let answer = start(0, world.random.below(2));
        loop {
            match asks.recv().unwrap().1 {
                Ask::Ended(result) => break world.ended(result),
                Ask::Input => answer.send(Answer::Input(Input::ReadAllAndEnd)).unwrap(),
                ask => {
                    let reply = world.answer(0, ask);
                    answer.send(reply).unwrap();
                }
            }
        }
    });
    if world.found.is_empty() && !has_intruder {
        let checked = catch_unwind(AssertUnwindSafe(|| world.check_end(&topics)));
        if checked.is_err() {
            world
                .found
                .push("the archive is not right in the end".into());
        }
    }
    world
}

impl World {
    fn ended(&mut self, result: Result<()>) {
        match result {
            Ok(()) => {}
            Err(error) if self.has_intruder && error.exit == Exit::Integrity => {}
            Err(error) => self.found.push(format!("an archiver ended: {error}")),
        }
    }
}

fn run(seeds: std::ops::Range<u64>, bug: Option<Bug>, has_intruder: bool) -> Vec<String> {
    let halves = [
        seeds.clone().step_by(2),
        (seeds.start + 1..seeds.end).step_by(2),
    ];
    std::thread::scope(|scope| {
        let workers = halves.map(|seeds| {
            scope.spawn(move || {
                let worlds = seeds.map(|seed| simulate(seed, bug, has_intruder));
                let broken = worlds.filter(|world| !world.found.is_empty());
                let told = broken.map(|world| format!("seed {}: {:?}", world.seed, world.found));
                told.collect::<Vec<_>>()
            })
        });
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap())
            .collect()
    })
}

/// `make soak` asks for more.
fn seeds(usual: u64) -> std::ops::Range<u64> {
    let wish = std::env::var("PROBITY_SIMULATION_SEEDS").ok();
    0..wish.and_then(|wish| wish.parse().ok()).unwrap_or(usual)
}

#[test]
fn every_row_is_archived_once_whatever_happens() {
    let broken = run(seeds(400), None, false);
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn a_foreign_file_stops_its_stream_and_nothing_follows_it() {
    let broken = run(seeds(100), None, true);
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn planted_bugs_are_found() {
    for bug in [Bug::NoTipCheck, Bug::NoFinishFirst, Bug::AdoptsByName] {
        let broken = run(0..60, Some(bug), bug == Bug::AdoptsByName);
        assert!(!broken.is_empty(), "{bug:?} was not found");
    }
}

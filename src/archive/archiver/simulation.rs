//! Several archivers over one store and one topic, interleaved at every call of the store, killed
//! anywhere, with lost, late and false answers, assigned whatever partition at whatever time, and of
//! two versions. Afterwards, and at every entry, what DESIGN §6 promises must hold.
//!
//! Everything follows from the seed: each archiver runs on a thread of its own, but only one at a time,
//! and only until its next call. Bugs are planted between archiver and store, and must be found.

mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;
use crate::archive::Nobody;
use crate::archive::fixture::{DAY, NOON, Topic, context, identity, origin};
use crate::archive::store::{Created, StoreError};
use crate::error::Exit;
use world::{Bug, Random, World};

const PARTITIONS: i32 = 2;
const ARCHIVERS: usize = 3;
const STEPS: usize = 260;
/// Far more than the last archiver can need.
const LAST_CALLS: usize = 1_000;

/// What an archiver's thread asks for.
enum Ask {
    Get(String),
    Size(String),
    Create(String, Bytes),
    Replace(String, Bytes),
    Input,
    Ended(Result<()>),
}

enum Answer {
    Object(Result<Option<Bytes>, StoreError>),
    Size(Result<Option<u64>, StoreError>),
    Created(Result<Created, StoreError>),
    Replaced,
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

    fn replace(&self, path: &str, bytes: &Bytes) -> Result<(), StoreError> {
        match self.ask(Ask::Replace(path.into(), bytes.clone())) {
            Answer::Replaced => Ok(()),
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
    let identity = identity(&format!("probity {version}"));
    let mut archiver = Archiver::open(
        line.clone(),
        origin(),
        identity,
        settings,
        Arc::new(Nobody),
        None,
    )?;
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
        for _ in 0..LAST_CALLS {
            match asks.recv().unwrap().1 {
                Ask::Ended(result) => return world.ended(result),
                Ask::Input => answer.send(Answer::Input(Input::ReadAllAndEnd)).unwrap(),
                ask => {
                    let reply = world.answer(0, ask);
                    answer.send(reply).unwrap();
                }
            }
        }
        world.found.push("the last archiver comes to no end".into());
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
                // A few tell enough.
                told.take(3).collect::<Vec<_>>()
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

//! Several archivers over one store, one topic and one board of checkpoints, interleaved at every call,
//! killed anywhere, with lost, late and false answers, assigned whatever partition at whatever time, with
//! clocks hours apart, and of two versions, of which one brings a new log key. Each may sign the head.
//! What ARCHITECTURE promises of the archive (invariants 14 to 23) must hold at every object that appears,
//! at every checkpoint that is posted, and in the end.
//!
//! Everything follows from the seed: each archiver runs on a thread of its own, but only one at a time,
//! and only until its next call. Bugs are planted between archivers and world, and must be found.

mod bugs;
mod check;
mod history;
mod life;
mod world;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Scope;

use crate::archive::fixture::{DAY, NOON, Topic, context};
use crate::archive::layout;
use crate::error::{Exit, Fatal};
use bugs::Bug;
use life::{Answer, Ask, Input, Killed, Line, live};
use world::{Counts, Kind, Memory, Random, Weather, World};

const PARTITIONS: i32 = 2;
const ARCHIVERS: usize = 3;
const STEPS: u64 = 420;
/// Far more than the last archiver can need.
const LAST_CALLS: usize = 2_000;

/// A partition's worth of evidence with holes, two contexts, two days.
fn topic(random: &mut Random, partition: i32) -> Topic {
    let contexts = [context("1"), context("2")];
    let mut topic = Topic::new(partition);
    let mut time = NOON;
    let mut current = 0;
    // Some have come to rest before the end, some never do.
    for _ in 0..2 + random.below(11) {
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

/// Whose turn it is. Now and then one sleeps while the others run: a zombie when it wakes.
#[derive(Default)]
struct Schedule {
    sleeper: usize,
    sleeps: u64,
}

impl Schedule {
    fn next(&mut self, random: &mut Random) -> usize {
        let id = random.below(ARCHIVERS as u64) as usize;
        if self.sleeps > 0 {
            self.sleeps -= 1;
            let other = (self.sleeper + 1 + id % (ARCHIVERS - 1)) % ARCHIVERS;
            return if id == self.sleeper { other } else { id };
        }
        if random.one_in(15) {
            (self.sleeper, self.sleeps) = (id, random.below(40));
        }
        id
    }
}

/// One archiver at a time runs; the others wait for the answers to what they asked.
struct Stage<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    topics: &'env [Topic],
    sender: Sender<(usize, Ask)>,
    asks: Receiver<(usize, Ask)>,
}

/// An archiver that has asked something.
struct Actor {
    id: usize,
    answer: Sender<Answer>,
    ask: Ask,
}

impl<'scope, 'env> Stage<'scope, 'env> {
    fn new(scope: &'scope Scope<'scope, 'env>, topics: &'env [Topic]) -> Self {
        let (sender, asks) = channel();
        Stage {
            scope,
            topics,
            sender,
            asks,
        }
    }

    /// Begins a life and waits for its first question.
    fn start(&self, world: &mut World, id: usize) -> Actor {
        world.lives[id] = Memory::default();
        let version = world.random.below(2);
        let is_impatient = world.weather != Weather::Fair && world.random.one_in(3);
        let (answer, answers) = channel();
        let line = Arc::new(Line {
            id,
            asks: self.sender.clone(),
            answers: answers.into(),
            patience: if is_impatient { 4 } else { 100 },
        });
        let topics = self.topics;
        self.scope.spawn(move || {
            let life = catch_unwind(AssertUnwindSafe(|| live(&line, topics, version)));
            let result = match life {
                Ok(result) => result,
                Err(reason) if reason.is::<Killed>() => return,
                Err(_) => Err(Fatal::new(Exit::Bug, "panicked")),
            };
            let _ = line.asks.send((id, Ask::Ended(result)));
        });
        self.hear(world, id, answer)
    }

    /// Waits for the next question that takes a step to answer.
    fn hear(&self, world: &World, id: usize, answer: Sender<Answer>) -> Actor {
        loop {
            let (_, ask) = self.asks.recv().unwrap();
            match world.old_news(&ask) {
                Some(news) => answer.send(news).unwrap(),
                None => return Actor { id, answer, ask },
            }
        }
    }

    /// One archiver gets its answer, or dies, or has ended; then another begins in its place.
    fn step(&self, world: &mut World, Actor { id, answer, ask }: Actor) -> Actor {
        if let Ask::Ended(result) = ask {
            world.ended(result);
            return self.start(world, id);
        }
        let is_killed = world.random.one_in(if is_critical(&ask) { 8 } else { 90 });
        // Half of the deaths come when the world has done it, but not said so.
        let reply = match is_killed && world.random.one_in(2) {
            true => Answer::Die,
            false => world.answer(id, ask),
        };
        if is_killed {
            let _ = answer.send(Answer::Die);
            return self.start(world, id);
        }
        answer.send(reply).unwrap();
        self.hear(world, id, answer)
    }

    /// All begin, live for so many steps, and die.
    fn play(&self, world: &mut World, steps: u64) {
        let backup_at = world.random.below(steps);
        let mut actors: Vec<_> = (0..ARCHIVERS)
            .map(|id| Some(self.start(world, id)))
            .collect();
        let mut schedule = Schedule::default();
        for step in 0..steps {
            if step == backup_at {
                world.back_up();
            }
            let id = schedule.next(&mut world.random);
            let actor = actors[id].take().expect("one begins where one ends");
            actors[id] = Some(self.step(world, actor));
        }
        for Actor { answer, ask, .. } in actors.into_iter().flatten() {
            match ask {
                Ask::Ended(result) => world.ended(result),
                _ => answer.send(Answer::Die).unwrap(),
            }
        }
    }

    /// The last one finds what the others left, in good weather.
    fn end(&self, world: &mut World) {
        world.weather = Weather::Fair;
        let mut actor = self.start(world, 0);
        for _ in 0..LAST_CALLS {
            let reply = match actor.ask {
                Ask::Ended(result) => return world.ended(result),
                Ask::Input => Answer::Input(Input::ReadAllAndEnd),
                ask => world.answer(0, ask),
            };
            actor.answer.send(reply).unwrap();
            actor = self.hear(world, 0, actor.answer);
        }
        world.found.push("the last archiver comes to no end".into());
    }
}

/// Deaths are most telling between an entry and its file, and between a checkpoint and its post.
fn is_critical(ask: &Ask) -> bool {
    match ask {
        Ask::Create(path, _) => path.starts_with(layout::SEGMENTS),
        Ask::Post(_) => true,
        _ => false,
    }
}

fn simulate(seed: u64, kind: Kind, bug: Option<Bug>) -> World {
    let mut world = World::new(seed, kind, bug, ARCHIVERS);
    let topics: Vec<Topic> = (0..PARTITIONS)
        .map(|partition| topic(&mut world.random, partition))
        .collect();
    std::thread::scope(|scope| {
        let stage = Stage::new(scope, &topics);
        stage.play(&mut world, STEPS);
        if kind == Kind::Restored {
            world.restore();
            stage.play(&mut world, STEPS / 2);
        }
        stage.end(&mut world);
    });
    let is_to_be_whole = kind != Kind::Intruder && world.agrees_with_board();
    if world.found.is_empty() && is_to_be_whole {
        let checked = catch_unwind(AssertUnwindSafe(|| world.check_end(&topics)));
        if checked.is_err() {
            let told = "the archive is not right in the end".into();
            world.found.push(told);
        }
    }
    world
}

/// Every seed's world, on two threads, summed up.
fn run(seeds: Range<u64>, kind: Kind) -> Counts {
    let halves = [0, 1].map(|half| seeds.clone().skip(half).step_by(2));
    let worlds: Vec<World> = std::thread::scope(|scope| {
        let workers = halves.map(|seeds| {
            scope.spawn(move || {
                let worlds = seeds.map(|seed| simulate(seed, kind, None));
                worlds.collect::<Vec<_>>()
            })
        });
        let worlds = workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap());
        worlds.collect()
    });
    let broken = worlds.iter().filter(|world| !world.found.is_empty());
    let told = broken.map(|world| format!("seed {}: {:#?}", world.seed, world.found));
    let told: Vec<_> = told.take(5).collect();
    assert!(told.is_empty(), "{kind:?}: {}", told.join("\n"));
    let counts: Counts = worlds.iter().map(|world| world.counts).sum();
    println!("{kind:?}: {counts:?}");
    counts
}

/// `make soak` asks for more.
fn seeds(usual: u64) -> Range<u64> {
    let wish = std::env::var("PROBITY_SIMULATION_SEEDS").ok();
    0..wish.and_then(|wish| wish.parse().ok()).unwrap_or(usual)
}

#[test]
fn every_row_is_archived_once_and_signed_for_whatever_happens() {
    let counts = run(seeds(240), Kind::Usual);
    assert!(counts.checkpoints > 0 && counts.seconds > 0, "{counts:?}");
}

#[test]
fn a_foreign_file_stops_its_stream_and_nothing_follows_it_or_signs_for_it() {
    run(seeds(60), Kind::Intruder);
}

#[test]
fn a_store_from_a_backup_is_neither_appended_to_nor_signed_once_the_board_has_told() {
    let counts = run(seeds(80), Kind::Restored);
    assert!(counts.noticed > 0 && counts.blind > 0, "{counts:?}");
}

#[test]
fn a_ledger_grows_past_a_full_tile_and_a_fold() {
    run(seeds(12), Kind::Long);
}

#[test]
fn planted_bugs_are_found() {
    for (bug, kind, told) in Bug::ALL {
        let mut worlds = (0..60).map(|seed| simulate(seed, kind, Some(bug)));
        let is_told = |world: &World| world.found.iter().any(|found| found.contains(told));
        assert!(worlds.any(|world| is_told(&world)), "{bug:?} was not found");
    }
}

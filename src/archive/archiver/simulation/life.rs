//! The life of one simulated archiver: the real one, on a thread of its own, which asks the world for
//! everything and waits for each answer. Knows no other archiver, and not what is true.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::PARTITIONS;
use crate::archive::archiver::{Archiver, Identity, Move, Settings};
use crate::archive::fixture::{NOON, Topic, identity, origin};
use crate::archive::keeper::Board;
use crate::archive::store::{Created, Store, StoreError};
use crate::archive::{Nobody, Observer};
use crate::error::Result;
use crate::tlog::Signer;

/// What an archiver's thread asks for.
pub enum Ask {
    Get(String),
    Size(String),
    Create(String, Bytes),
    Replace(String, Bytes),
    Newest,
    Post(Bytes),
    Input,
    Ended(Result<()>),
}

pub enum Answer {
    Object(Result<Option<Bytes>, StoreError>),
    Size(Result<Option<u64>, StoreError>),
    Created(Result<Created, StoreError>),
    Replaced(Result<(), StoreError>),
    Newest(Result<Vec<Bytes>, String>),
    Posted(Result<(), String>),
    Input(Input),
    Die,
}

#[derive(Clone, Copy)]
pub enum Input {
    Assign(i32),
    Revoke(i32),
    Read(i32),
    /// As [`Input::Read`], but what comes is a message from before a seek.
    ReadStale(i32),
    Seal,
    /// So many minutes have passed.
    Tick(i64),
    Sign,
    ReadAllAndEnd,
}

/// What an archiver dies of that does not end by itself.
pub struct Killed;

/// Store and board, as an archiver's thread sees them.
pub struct Line {
    pub id: usize,
    pub asks: Sender<(usize, Ask)>,
    pub answers: Mutex<Receiver<Answer>>,
    /// How often something is tried before it is given up.
    pub patience: u32,
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
            Answer::Replaced(replaced) => replaced,
            _ => unreachable!(),
        }
    }

    fn list(&self, _: &str) -> Result<Vec<String>, StoreError> {
        unreachable!("an archiver lists nothing")
    }

    fn place(&self) -> String {
        "simulation".into()
    }

    fn wait(&self, failures: u32) -> bool {
        failures < self.patience
    }
}

/// The board, at the end of the same line.
struct Poster(Arc<Line>);

impl Board for Poster {
    fn newest(&mut self) -> Result<Vec<Bytes>, String> {
        match self.0.ask(Ask::Newest) {
            Answer::Newest(notes) => notes,
            _ => unreachable!(),
        }
    }

    fn post(&mut self, checkpoint: &str) -> Result<(), String> {
        match self.0.ask(Ask::Post(Bytes::from(checkpoint.to_owned()))) {
            Answer::Posted(posted) => posted,
            _ => unreachable!(),
        }
    }
}

thread_local! {
    /// The clock of the archiver whose thread it is.
    static NOW: Cell<i64> = const { Cell::new(NOON) };
}

const MINUTE: i64 = 60_000_000;

/// Clocks are hours apart, and jump back when an archiver starts again.
fn set_clock(id: usize) {
    NOW.set(NOON + [0, -170, 130][id] * MINUTE);
}

/// Archivers of the newer version hold the next log key too, and bring it into the ledger.
fn identity_of(version: u64) -> Identity {
    let mut identity = identity(&format!("probity {version}"));
    identity.clock = || NOW.get();
    if version > 0 {
        let next = Signer::from_seed("bank.example", [4; 32]).unwrap();
        let keys = Arc::get_mut(&mut identity.keys).unwrap();
        keys.trust.log.push(next.verifier().clone());
        keys.log.push(next);
    }
    identity
}

fn open(line: &Arc<Line>, version: u64) -> Result<Archiver> {
    let settings = Settings {
        rows_max: 9,
        ..Settings::default()
    };
    let board: Box<dyn Board> = Box::new(Poster(line.clone()));
    let observer: Arc<dyn Observer> = Arc::new(Nobody);
    Archiver::open(
        line.clone(),
        origin(),
        identity_of(version),
        settings,
        observer,
        Some((board, Duration::from_secs(60))),
    )
}

/// Lives until it is killed, fails, or is told to end.
pub fn live(line: &Arc<Line>, topics: &[Topic], version: u64) -> Result<()> {
    set_clock(line.id);
    let mut life = Life {
        archiver: open(line, version)?,
        topics,
        positions: BTreeMap::new(),
        trusted: BTreeSet::new(),
    };
    loop {
        let Answer::Input(input) = line.ask(Ask::Input) else {
            unreachable!()
        };
        if let Input::ReadAllAndEnd = input {
            return life.end();
        }
        life.take(input)?;
        life.follow();
    }
}

struct Life<'a> {
    archiver: Archiver,
    topics: &'a [Topic],
    /// Where each assigned partition is read next.
    positions: BTreeMap<i32, i64>,
    /// What was read since a seek.
    trusted: BTreeSet<i32>,
}

impl Life<'_> {
    fn take(&mut self, input: Input) -> Result<()> {
        match input {
            Input::Assign(partition) => self.assign(partition),
            Input::Revoke(partition) => {
                self.archiver.revoke(partition);
                self.positions.remove(&partition);
                Ok(())
            }
            Input::Read(partition) => {
                self.trusted.insert(partition);
                self.read(partition, 0).map(drop)
            }
            // Once, and then what was sought: so the client promises.
            Input::ReadStale(partition) if self.trusted.remove(&partition) => {
                self.read(partition, 2).map(drop)
            }
            Input::ReadStale(_) => Ok(()),
            Input::Seal => self.archiver.seal_all(),
            Input::Tick(minutes) => {
                NOW.set(NOW.get() + minutes * MINUTE);
                self.archiver.tick(NOW.get())?;
                self.archiver.keep_head(NOW.get())
            }
            Input::Sign => self.archiver.sign_head(),
            Input::ReadAllAndEnd => unreachable!("that ends it"),
        }
    }

    fn assign(&mut self, partition: i32) -> Result<()> {
        let next = self.archiver.assign(partition)?;
        self.positions.insert(partition, next.0);
        Ok(())
    }

    fn end(mut self) -> Result<()> {
        for partition in 0..PARTITIONS {
            self.assign(partition)?;
            while self.read(partition, 0)? {}
        }
        self.archiver.seal_all()?;
        self.archiver.sign_head()
    }

    fn follow(&mut self) {
        for each in self.archiver.take_moves() {
            match each {
                Move::Seek(partition, next) => {
                    self.positions.insert(partition, next.0);
                }
                Move::Stop(partition) => panic!("partition {partition} stopped"),
                Move::Committed(..) => {}
            }
        }
    }

    /// Hands over the next message, or the one that is `ahead` further; says whether there was one.
    fn read(&mut self, partition: i32, ahead: usize) -> Result<bool> {
        let Some(&position) = self.positions.get(&partition) else {
            return Ok(false);
        };
        let records = &self.topics[usize::try_from(partition).unwrap()].records;
        let mut rest = records
            .iter()
            .filter(|record| record.position.0 >= position);
        let Some(record) = rest.nth(ahead) else {
            self.archiver.drained(partition);
            return Ok(false);
        };
        if ahead == 0 {
            self.positions.insert(partition, record.position.0 + 1);
        }
        self.archiver.message(partition, record.record())?;
        self.follow();
        Ok(true)
    }
}

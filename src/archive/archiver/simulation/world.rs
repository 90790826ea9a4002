//! The store and the board of the simulation, with the weather that they stand in.

use std::iter::Sum;

use bytes::Bytes;

use super::PARTITIONS;
use super::bugs::Bug;
use super::check::BOARD;
use super::history::{History, Objects, long};
use super::life::{Answer, Ask, Input};
use crate::archive::layout;
use crate::archive::store::memory::{self, Fault};
use crate::archive::store::{Created, StoreError};
use crate::tlog::checkpoint::Checkpoint;

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

/// What is special about a world.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Usual,
    /// Something puts a file of its own under a segment's name.
    Intruder,
    /// After a while all archivers die, and the store is restored from a backup.
    Restored,
    /// The ledger is long already.
    Long,
}

/// How likely calls fail.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    Fair,
    Usual,
    /// The next so many calls.
    Storm(u64),
}

/// What was answered with an error and may still happen.
enum Late {
    Create(String, Bytes),
    Replace(String, Bytes),
    Post(Bytes),
}

/// What becomes of a call that changes something.
enum Fate {
    Done,
    Lost,
    AnswerLost,
    Conflict,
    Late,
}

/// What the world remembers of each archiver's present life.
#[derive(Clone, Default)]
pub struct Memory {
    /// What it was last refused, for [`Bug::NoTipCheck`].
    pub refused: Option<String>,
    /// The newest checkpoint on the board when that answered it.
    pub told: Option<Checkpoint>,
}

/// What happened how often, so that tests can see that they try what they mean to.
#[derive(Clone, Copy, Default, Debug)]
pub struct Counts {
    pub checkpoints: u64,
    /// Creates of a checkpoint that was there: another keeper was first.
    pub seconds: u64,
    pub heartbeats: u64,
    pub reseals: u64,
    pub posts: u64,
    /// Lives that ended because the ledger is not the one on the board.
    pub noticed: u64,
    /// Entries that were appended to a restored store while the board did not answer.
    pub blind: u64,
}

impl Sum for Counts {
    fn sum<I: Iterator<Item = Counts>>(all: I) -> Counts {
        all.fold(Counts::default(), |sum, each| Counts {
            checkpoints: sum.checkpoints + each.checkpoints,
            seconds: sum.seconds + each.seconds,
            heartbeats: sum.heartbeats + each.heartbeats,
            reseals: sum.reseals + each.reseals,
            posts: sum.posts + each.posts,
            noticed: sum.noticed + each.noticed,
            blind: sum.blind + each.blind,
        })
    }
}

pub struct World {
    pub seed: u64,
    pub random: Random,
    pub kind: Kind,
    pub bug: Option<Bug>,
    pub objects: Objects,
    pub history: History,
    pub board: Vec<Bytes>,
    late: Vec<Late>,
    pub weather: Weather,
    pub lives: Vec<Memory>,
    backup: Option<(Objects, History)>,
    pub counts: Counts,
    /// Broken promises.
    pub found: Vec<String>,
}

impl World {
    pub fn new(seed: u64, kind: Kind, bug: Option<Bug>, archivers: usize) -> World {
        let (objects, history) = match kind {
            Kind::Long => long().clone(),
            _ => Default::default(),
        };
        World {
            seed,
            random: Random(seed),
            kind,
            bug,
            objects,
            history,
            board: Vec::new(),
            late: Vec::new(),
            weather: Weather::Usual,
            lives: vec![Memory::default(); archivers],
            backup: None,
            counts: Counts::default(),
            found: Vec::new(),
        }
    }

    /// The answer to what takes no step to ask: of what a long ledger begins with.
    pub fn old_news(&self, ask: &Ask) -> Option<Answer> {
        let old = |path: &str| {
            let found = (self.kind == Kind::Long).then(|| long().0.get(path).cloned());
            found.flatten()
        };
        match ask {
            Ask::Get(path) => old(path).map(|found| Answer::Object(Ok(Some(found)))),
            Ask::Size(path) => old(path).map(|found| Answer::Size(Ok(Some(found.len() as u64)))),
            _ => None,
        }
    }

    pub fn answer(&mut self, id: usize, ask: Ask) -> Answer {
        self.pass_time();
        match ask {
            Ask::Get(_) if self.fails(40) => Answer::Object(Err(memory::error("503"))),
            Ask::Size(_) if self.fails(40) => Answer::Size(Err(memory::error("503"))),
            Ask::Get(path) => Answer::Object(Ok(self.get(id, &path))),
            Ask::Size(path) => Answer::Size(Ok(self.size(&path))),
            Ask::Create(path, bytes) => Answer::Created(self.ask_create(id, path, bytes)),
            Ask::Replace(path, bytes) => Answer::Replaced(self.ask_replace(id, path, bytes)),
            Ask::Newest => Answer::Newest(self.newest(id)),
            Ask::Post(note) => Answer::Posted(self.ask_post(id, note)),
            Ask::Input => Answer::Input(self.input()),
            Ask::Ended(_) => unreachable!("who has ended asks nothing"),
        }
    }

    fn pass_time(&mut self) {
        self.weather = match self.weather {
            Weather::Usual if self.random.one_in(150) => Weather::Storm(self.random.below(60)),
            Weather::Storm(0) => Weather::Usual,
            Weather::Storm(left) => Weather::Storm(left - 1),
            weather => weather,
        };
        if !self.late.is_empty() && self.random.one_in(6) {
            let which = self.random.below(self.late.len() as u64) as usize;
            match self.late.swap_remove(which) {
                Late::Create(path, bytes) => drop(self.create(&path, &bytes, None)),
                Late::Replace(path, bytes) => self.replace(path, bytes),
                Late::Post(note) => self.post(note),
            }
        }
        if self.weather != Weather::Fair && self.random.one_in(80) {
            self.turn_hint_back();
        }
    }

    fn fails(&mut self, usual: u64) -> bool {
        match self.weather {
            Weather::Fair => false,
            Weather::Usual => self.random.one_in(usual),
            Weather::Storm(_) => self.random.one_in(2),
        }
    }

    fn fate(&mut self, usual: u64) -> Fate {
        let sides = match self.weather {
            Weather::Fair => return Fate::Done,
            Weather::Usual => usual,
            Weather::Storm(_) => 8,
        };
        match self.random.below(sides) {
            0 => Fate::Lost,
            1 => Fate::AnswerLost,
            2 => Fate::Conflict,
            3 => Fate::Late,
            _ => Fate::Done,
        }
    }

    /// The hint may be any checkpoint: somebody puts an old one in its place.
    fn turn_hint_back(&mut self) {
        let checkpoints = self
            .objects
            .iter()
            .filter(|(path, _)| path.starts_with("ledger/cp/"));
        let notes: Vec<Bytes> = checkpoints.map(|(_, note)| note.clone()).collect();
        if !notes.is_empty() {
            let which = self.random.below(notes.len() as u64) as usize;
            self.objects
                .insert(layout::CHECKPOINT.into(), notes[which].clone());
        }
    }

    fn get(&mut self, id: usize, path: &str) -> Option<Bytes> {
        let refused = self.lives[id].refused.take();
        let found = self.objects.get(path).cloned()?;
        Some(self.shown(id, path, found, refused.as_deref() == Some(path)))
    }

    fn size(&self, path: &str) -> Option<u64> {
        let size = self.objects.get(path).map(|bytes| bytes.len() as u64);
        self.shown_size(path, size)
    }

    fn ask_create(&mut self, id: usize, path: String, bytes: Bytes) -> Result<Created, StoreError> {
        self.check_told(id, &path);
        let bytes = self.tampered(&path, bytes);
        if self.forgets(&path) {
            return Ok(Created::New);
        }
        let fault = match self.fate(40) {
            Fate::Late => {
                self.late.push(Late::Create(path, bytes));
                return Err(memory::error("timed out"));
            }
            Fate::Lost => Some(Fault::Lost),
            Fate::AnswerLost => Some(Fault::AnswerLost),
            Fate::Conflict => Some(Fault::Conflict),
            Fate::Done => None,
        };
        let created = self.create(&path, &bytes, fault);
        if matches!(created, Ok(Created::Refused)) {
            if self.adopts(&path) {
                return Ok(Created::New);
            }
            self.lives[id].refused = Some(path);
        }
        created
    }

    fn create(
        &mut self,
        path: &str,
        bytes: &Bytes,
        fault: Option<Fault>,
    ) -> Result<Created, StoreError> {
        let fault = self.overwrites(path).then_some(Fault::Overwrite).or(fault);
        let before = self.objects.get(path).cloned();
        let created = memory::create(&mut self.objects, path, bytes, fault);
        let after = self.objects.get(path).cloned();
        match (before, after) {
            (None, Some(bytes)) => self.check_created(path, &bytes),
            (Some(before), after) => self.check_kept(path, &before, after.as_ref()),
            (None, None) => {}
        }
        created
    }

    fn ask_replace(&mut self, id: usize, path: String, bytes: Bytes) -> Result<(), StoreError> {
        self.check_told(id, &path);
        match self.fate(12) {
            Fate::Done => self.replace(path, bytes),
            Fate::Lost | Fate::Conflict => return Err(memory::error("500")),
            Fate::AnswerLost => {
                self.replace(path, bytes);
                return Err(memory::error("timed out"));
            }
            Fate::Late => {
                self.late.push(Late::Replace(path, bytes));
                return Err(memory::error("timed out"));
            }
        }
        Ok(())
    }

    fn replace(&mut self, path: String, bytes: Bytes) {
        self.objects.insert(path.clone(), bytes);
        self.check_hint(&path);
    }

    /// What is on the board. Whoever is answered knows its newest checkpoint from then on.
    fn newest(&mut self, id: usize) -> Result<Vec<Bytes>, String> {
        if self.fails(5) || self.bug == Some(Bug::BoardIsAway) {
            return Err("away".into());
        }
        self.lives[id].told = self.newest_posted();
        match self.bug {
            Some(Bug::BoardForgets) => Ok(Vec::new()),
            _ => Ok(self.board.clone()),
        }
    }

    pub fn newest_posted(&self) -> Option<Checkpoint> {
        let posted = self.board.iter();
        let posted = posted.filter_map(|note| self.history.open(note));
        posted.max_by_key(|checkpoint| checkpoint.size)
    }

    fn ask_post(&mut self, id: usize, note: Bytes) -> Result<(), String> {
        self.check_told(id, BOARD);
        if self.bug == Some(Bug::BoardLosesPosts) {
            return Ok(());
        }
        match self.fate(10) {
            Fate::Done => {
                self.post(note);
                return Ok(());
            }
            Fate::Lost | Fate::Conflict => {}
            Fate::AnswerLost => self.post(note),
            Fate::Late => self.late.push(Late::Post(note)),
        }
        Err("timed out".into())
    }

    fn post(&mut self, note: Bytes) {
        self.counts.posts += 1;
        self.check_posted(&note);
        self.board.push(note);
    }

    fn input(&mut self) -> Input {
        let partition = self.random.below(PARTITIONS as u64) as i32;
        match self.random.below(26) {
            0..3 => Input::Assign(partition),
            3 => Input::Revoke(partition),
            4 => Input::Seal,
            5 => Input::ReadStale(partition),
            6..9 => Input::Tick(self.random.below(30) as i64),
            9..11 => Input::Sign,
            _ => Input::Read(partition),
        }
    }

    pub fn back_up(&mut self) {
        self.backup = Some((self.objects.clone(), self.history.clone()));
    }

    /// The store becomes what it was at the backup. The board does not.
    pub fn restore(&mut self) {
        for late in std::mem::take(&mut self.late) {
            // Whatever else was under way is long lost.
            if let Late::Post(note) = late
                && self.random.one_in(2)
            {
                self.post(note);
            }
        }
        (self.objects, self.history) = self.backup.take().unwrap_or_default();
    }
}

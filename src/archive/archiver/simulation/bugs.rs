//! Bugs that are planted between the archivers and the world, each to be found by one of the checks.

use bytes::Bytes;

use super::world::{Kind, World};
use crate::archive::fixture::identity;
use crate::archive::layout;
use crate::archive::ledger::{Body, Entry};
use crate::tlog::Signer;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    /// Takes the next number after a conflict without looking at what it lost to.
    NoTipCheck,
    /// Goes on before the last entry's file exists.
    NoFinishFirst,
    /// Takes whatever has the right name for the right file.
    AdoptsByName,
    /// Signs entries with a key that has no role.
    SignsAsAnybody,
    /// Believes that a file is there which is not, and signs for it.
    FilesVanish,
    /// Signs for other entries than those that are there.
    SignsTwins,
    /// Puts its checkpoint in the place of another keeper's.
    OverwritesCheckpoints,
    /// Puts the hint before there is a checkpoint.
    HintsFirst,
    /// Writes tiles and bundles that do not follow from the entries.
    SpoilsTiles,
    /// Stores a fold that is not one.
    SpoilsFolds,
    /// Takes a board that has forgotten everything for an empty one.
    BoardForgets,
    /// Takes a checkpoint for posted that was not.
    BoardLosesPosts,
    /// Never tries the board again.
    BoardIsAway,
}

impl Bug {
    /// Each with the world in which it shows, and what is said of it.
    pub const ALL: [(Bug, Kind, &str); 13] = [
        (Bug::NoTipCheck, Kind::Usual, "begin at the stream's tip"),
        (Bug::NoFinishFirst, Kind::Usual, "whose file is not right"),
        (Bug::AdoptsByName, Kind::Intruder, "whose file is not right"),
        (Bug::SignsAsAnybody, Kind::Usual, "not signed by a key"),
        (Bug::FilesVanish, Kind::Usual, "signs for the file of entry"),
        (Bug::SignsTwins, Kind::Usual, "is not the root"),
        (Bug::OverwritesCheckpoints, Kind::Usual, "was overwritten"),
        (Bug::HintsFirst, Kind::Usual, "no checkpoint that is there"),
        (Bug::SpoilsTiles, Kind::Usual, "follow from the entries"),
        (Bug::SpoilsFolds, Kind::Long, "is not the fold"),
        (Bug::BoardForgets, Kind::Restored, "of another ledger"),
        (Bug::BoardLosesPosts, Kind::Usual, "the board has"),
        (Bug::BoardIsAway, Kind::Usual, "is signed up to"),
    ];
}

fn is_file(path: &str) -> bool {
    path.starts_with(layout::SEGMENTS)
}

fn is_entry(path: &str) -> bool {
    path.starts_with("ledger/entry/")
}

impl World {
    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// What an archiver gets to see of an object.
    pub fn shown(&self, id: usize, path: &str, found: Bytes, was_refused: bool) -> Bytes {
        if !is_entry(path) {
            return found;
        }
        let (entry, _) = Entry::parse(&found).unwrap();
        let is_segment = matches!(entry.body, Body::Segment(_));
        let other = if self.has(Bug::NoTipCheck) && was_refused && is_segment {
            Entry {
                body: Body::Heartbeat,
                ..entry
            }
        } else if self.has(Bug::SignsTwins) && id == 0 && is_segment {
            Entry {
                time: entry.time + 1,
                ..entry
            }
        } else {
            return found;
        };
        other.sign(identity("").keys.archiver.as_ref().unwrap())
    }

    pub fn shown_size(&self, path: &str, size: Option<u64>) -> Option<u64> {
        let believed = || {
            let mut all = self.history.segments().map(|committed| committed.segment);
            let segment = all.find(|segment| segment.path == path);
            segment.map(|segment| segment.bytes)
        };
        match self.bug {
            Some(Bug::NoFinishFirst) => size.or_else(believed),
            Some(Bug::AdoptsByName) if size.is_some() => believed().or(size),
            _ => size,
        }
    }

    /// What reaches the store of what is created.
    pub fn tampered(&self, path: &str, bytes: Bytes) -> Bytes {
        let is_spoilt = (self.has(Bug::SpoilsTiles) && path.starts_with("ledger/tile/"))
            || (self.has(Bug::SpoilsFolds) && path.starts_with("ledger/state/"));
        if is_spoilt {
            return bytes.slice(1..);
        }
        if self.has(Bug::SignsAsAnybody) && is_entry(path) {
            let anybody = Signer::from_seed("bank.example/archiver", [9; 32]).unwrap();
            return Entry::parse(&bytes).unwrap().0.sign(&anybody);
        }
        bytes
    }

    /// Whether the store says that it has created an object and has not.
    pub fn forgets(&mut self, path: &str) -> bool {
        (self.has(Bug::FilesVanish) && is_file(path) && self.random.one_in(3))
            || (self.has(Bug::HintsFirst) && path.starts_with("ledger/cp/"))
    }

    pub fn adopts(&self, path: &str) -> bool {
        self.has(Bug::AdoptsByName) && is_file(path)
    }

    pub fn overwrites(&self, path: &str) -> bool {
        self.has(Bug::OverwritesCheckpoints) && path.starts_with("ledger/cp/")
    }
}

use super::*;
use crate::archive::archiver::Archiver;
use crate::archive::fixture::{NOON, Paper, Topic, context, identity, origin as origin_of};
use crate::archive::head::Head;
use crate::archive::store::memory::Memory;
use crate::archive::{Nobody, Settings};
use crate::error::Exit;
use std::time::Duration;

const SECOND: i64 = 1_000_000;

/// An archiver with the log key, one partition, and `segments` of two rows each.
struct House {
    store: Arc<Memory>,
    paper: Paper,
    topic: Topic,
}

impl House {
    fn new() -> House {
        House {
            store: Arc::default(),
            paper: Paper::default(),
            topic: Topic::new(0),
        }
    }

    fn archiver(&self) -> Result<Archiver> {
        let board = Box::new(self.paper.clone());
        let mut archiver = Archiver::open(
            self.store.clone(),
            origin_of(),
            identity("probity 0.1.0"),
            Settings::default(),
            Arc::new(Nobody),
            Some((board, Duration::from_secs(1))),
        )?;
        archiver.assign(0)?;
        Ok(archiver)
    }

    /// Archives so many messages, each as a segment of its own.
    fn archive(&mut self, archiver: &mut Archiver, segments: usize) {
        for _ in 0..segments {
            self.topic.write(&context("1"), 2, NOON);
            let record = self.topic.records.last().unwrap();
            archiver.message(0, record.record()).unwrap();
            archiver.seal_all().unwrap();
        }
    }

    fn sizes(&self) -> Vec<u64> {
        let paths = self.store.paths("ledger/cp/");
        let mut sizes: Vec<u64> = paths
            .iter()
            .map(|path| path[10..].parse().unwrap())
            .collect();
        sizes.sort_unstable();
        sizes
    }

    fn log(&self) -> Log {
        let authority = Authority {
            archive: origin_of().archive_id(),
            log: identity("").keys.trust.log.clone(),
        };
        Log::open(self.store.clone(), authority, || NOON).unwrap()
    }

    fn checkpoint(&self, size: u64) -> Checkpoint {
        let note = self.store.get(&layout::checkpoint(size)).unwrap().unwrap();
        let log = self.log();
        let origin = origin("bank.example", log.authority().archive);
        Checkpoint::open(&note, &origin, &log.authority().log).unwrap()
    }

    fn remove(&self, prefix: &str) {
        for path in self.store.paths(prefix) {
            self.store.objects.lock().unwrap().remove(&path);
        }
    }
}

#[test]
fn checkpoints_cover_all_entries_and_prove_each_of_them() {
    let mut house = House::new();
    let mut archiver = house.archiver().unwrap();
    for (round, segments) in [1, 2, 300, 1, 250].into_iter().enumerate() {
        house.archive(&mut archiver, segments);
        archiver.keep_head(NOON + round as i64 * SECOND).unwrap();
    }
    // Two keys were introduced first.
    assert_eq!(house.sizes(), [3, 5, 305, 306, 556]);
    assert_eq!(house.paper.0.lock().unwrap().len(), 5);
    let newest = house.checkpoint(556);
    let store = house.store.clone();
    let read = |path: &str| store.get(&layout::log_file(path)).map_err(drop);
    let mut tiles = TileReader::new(newest.size, newest.root, read);
    for n in 0..556 {
        let bytes = store.get(&layout::entry(n)).unwrap().unwrap();
        assert!(tiles.inclusion(n, tree::leaf_hash(&bytes)).is_ok(), "{n}");
    }
    for old in [3, 5, 305, 306] {
        let old = house.checkpoint(old);
        assert!(tiles.consistency(old.size, old.root).is_ok());
    }
    let hint = store.get(layout::CHECKPOINT).unwrap();
    assert_eq!(hint, store.get(&layout::checkpoint(556)).unwrap());
    for bundle in bundles_between(0, 556) {
        let bytes = store
            .get(&layout::log_file(&bundle.path()))
            .unwrap()
            .unwrap();
        let records = bundle.decode(bytes).unwrap();
        for (n, record) in bundle.records().zip(records) {
            assert_eq!(store.get(&layout::entry(n)).unwrap(), Some(record));
        }
    }
}

#[test]
fn a_head_is_signed_seldom_and_only_when_it_has_grown() {
    let mut house = House::new();
    let mut archiver = house.archiver().unwrap();
    house.archive(&mut archiver, 1);
    archiver.keep_head(NOON).unwrap();
    house.archive(&mut archiver, 1);
    archiver.keep_head(NOON + SECOND - 1).unwrap();
    assert_eq!(house.sizes(), [3]);
    archiver.keep_head(NOON + SECOND).unwrap();
    archiver.keep_head(NOON + 2 * SECOND).unwrap();
    assert_eq!(house.sizes(), [3, 4]);
    archiver.revoke(0);
    house.archive(&mut house.archiver().unwrap(), 1);
    archiver.keep_head(NOON + 3 * SECOND).unwrap();
    assert_eq!(house.sizes(), [3, 4], "who holds the first partition signs");
}

#[test]
fn an_idle_archiver_says_each_hour_that_it_lives() {
    let mut house = House::new();
    let mut archiver = house.archiver().unwrap();
    house.archive(&mut archiver, 1);
    let hour = 3600 * SECOND;
    archiver.keep_head(NOON + hour - 1).unwrap();
    assert_eq!(house.sizes(), [3]);
    archiver.keep_head(NOON + 2 * hour).unwrap();
    assert_eq!(house.sizes(), [3, 4]);
}

#[test]
fn nothing_is_signed_beyond_a_file_that_is_not_there_or_not_right() {
    let mut house = House::new();
    let mut archiver = house.archiver().unwrap();
    house.archive(&mut archiver, 3);
    let paths = house.store.paths(layout::SEGMENTS);
    let second = house.store.get(&paths[1]).unwrap().unwrap();
    house.remove(&paths[1]);
    // Another process looks, which did not put the files itself.
    let mut keeper = Keeper::open(house.store.clone(), &house.log(), Vec::new()).unwrap();
    keeper.catch_up().unwrap();
    let keys = identity("").keys;
    assert_eq!(keeper.sign(&keys.log).unwrap(), Some(3));
    assert_eq!(keeper.sign(&keys.log).unwrap(), None);
    house.store.put(&paths[1], "something else");
    assert_eq!(keeper.sign(&keys.log).unwrap_err().exit, Exit::Integrity);
    house.store.put(&paths[1], second);
    assert_eq!(keeper.sign(&keys.log).unwrap(), Some(5));
}

#[test]
fn two_keepers_fork_nothing() {
    let mut house = House::new();
    let mut archiver = house.archiver().unwrap();
    let keys = identity("").keys;
    let open = |house: &House| Keeper::open(house.store.clone(), &house.log(), Vec::new()).unwrap();
    house.archive(&mut archiver, 2);
    let mut one = open(&house);
    one.catch_up().unwrap();
    house.archive(&mut archiver, 3);
    let mut two = open(&house);
    two.catch_up().unwrap();
    assert_eq!(two.sign(&keys.log).unwrap(), Some(7));
    assert_eq!(one.sign(&keys.log).unwrap(), Some(4), "late, and a prefix");
    one.catch_up().unwrap();
    assert_eq!(one.sign(&keys.log).unwrap(), Some(7));
    assert_eq!(house.sizes(), [4, 7]);
    let hint = house.store.get(layout::CHECKPOINT).unwrap().unwrap();
    assert_eq!(size_of(&hint), Some(7), "never smaller than what was there");
    let older = house.checkpoint(4);
    let mut again = open(&house);
    again.catch_up().unwrap();
    assert_eq!(again.size(), 7);
    assert!(older.root != house.checkpoint(7).root);
}

#[test]
fn another_root_of_the_same_size_is_a_violation() {
    let mut house = House::new();
    let mut archiver = house.archiver().unwrap();
    house.archive(&mut archiver, 1);
    let keys = identity("").keys;
    let forked = Checkpoint {
        origin: origin("bank.example", origin_of().archive_id()),
        size: 3,
        root: Digest::ZERO,
    };
    house
        .store
        .put(&layout::checkpoint(3), forked.sign(&[&keys.log[0]]));
    let mut keeper = Keeper::open(house.store.clone(), &house.log(), Vec::new()).unwrap();
    keeper.catch_up().unwrap();
    assert_eq!(keeper.sign(&keys.log).unwrap_err().exit, Exit::Integrity);
}

#[test]
fn a_store_from_a_backup_is_noticed_before_anything_is_appended() {
    let mut house = House::new();
    let mut archiver = house.archiver().unwrap();
    house.archive(&mut archiver, 2);
    archiver.keep_head(NOON).unwrap();
    let backup = house.store.objects.lock().unwrap().clone();
    house.archive(&mut archiver, 2);
    archiver.keep_head(NOON + SECOND).unwrap();
    *house.store.objects.lock().unwrap() = backup.clone();
    let error = house.archiver().err().unwrap();
    assert_eq!(error.exit, Exit::Integrity);
    assert!(error.message.contains("older backup"), "{error}");
    assert_eq!(*house.store.objects.lock().unwrap(), backup);
    // All of it lost: the topic of checkpoints remembers.
    house.store.objects.lock().unwrap().clear();
    assert_eq!(house.archiver().err().unwrap().exit, Exit::Integrity);
    assert!(house.store.paths("ledger/").is_empty());
}

#[test]
fn an_entry_that_was_replaced_is_noticed_at_the_next_start() {
    let mut house = House::new();
    let mut archiver = house.archiver().unwrap();
    house.archive(&mut archiver, 2);
    archiver.keep_head(NOON).unwrap();
    // Well-formed, signed by the right key, and not what was signed for.
    let path = layout::entry(3);
    let bytes = house.store.get(&path).unwrap().unwrap();
    let (mut entry, _) = Entry::parse(&bytes).unwrap();
    entry.time += 1;
    let keys = identity("").keys;
    house
        .store
        .put(&path, entry.sign(keys.archiver.as_ref().unwrap()));
    assert_eq!(house.archiver().err().unwrap().exit, Exit::Integrity);
    house.store.put(&path, bytes);
    assert!(house.archiver().is_ok());
}

#[test]
fn tiles_that_were_lost_follow_from_the_entries() {
    let mut house = House::new();
    let mut archiver = house.archiver().unwrap();
    house.archive(&mut archiver, 270);
    archiver.keep_head(NOON).unwrap();
    house.remove("ledger/tile/");
    let mut again = house.archiver().unwrap();
    house.archive(&mut again, 1);
    again.keep_head(NOON + SECOND).unwrap();
    assert_eq!(house.sizes(), [272, 273]);
}

#[test]
fn what_others_write_on_the_board_is_passed_over() {
    let mut house = House::new();
    let mut archiver = house.archiver().unwrap();
    house.archive(&mut archiver, 1);
    archiver.keep_head(NOON).unwrap();
    let stranger = Signer::from_seed("bank.example", [9; 32]).unwrap();
    let fork = Checkpoint {
        origin: origin("bank.example", origin_of().archive_id()),
        size: 99,
        root: Digest::ZERO,
    };
    for note in [fork.sign(&[&stranger]), "garbage".to_owned()] {
        house.paper.0.lock().unwrap().push(note.into());
    }
    assert!(house.archiver().is_ok());
}

/// A board that cannot be reached.
struct Away;

impl Board for Away {
    fn newest(&mut self) -> std::result::Result<Vec<Bytes>, String> {
        Err("away".into())
    }

    fn post(&mut self, _: &str) -> std::result::Result<(), String> {
        Err("away".into())
    }
}

#[test]
fn without_the_board_it_is_archived_and_not_signed() {
    let mut house = House::new();
    let mut archiver = house.archiver().unwrap();
    house.archive(&mut archiver, 1);
    let mut log = house.log();
    let interval = Duration::from_secs(1);
    let mut head = Head::open(house.store.clone(), Box::new(Away), interval, &log).unwrap();
    head.tick(&mut log, &identity("").keys, NOON).unwrap();
    assert!(house.sizes().is_empty());
}

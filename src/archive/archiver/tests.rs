use super::*;
use crate::archive::Nobody;
use crate::archive::fixture::{DAY, NOON, Topic, context, identity, origin};
use crate::archive::ledger::{Body, Entry, Reseal, Segment};
use crate::archive::store::memory::Memory;
use crate::error::Exit;
use std::time::Duration;

fn open(store: &Arc<Memory>, settings: Settings) -> Archiver {
    let identity = identity("probity 0.1.0");
    Archiver::open(
        store.clone(),
        origin(),
        identity,
        settings,
        Arc::new(Nobody),
        None,
    )
    .unwrap()
}

fn feed(archiver: &mut Archiver, topic: &Topic) -> Vec<Move> {
    for record in &topic.records {
        archiver.message(topic.partition, record.record()).unwrap();
    }
    archiver.take_moves()
}

fn entry_of(bytes: &[u8]) -> Entry {
    Entry::parse(bytes).unwrap().0
}

fn segments(store: &Arc<Memory>) -> Vec<Segment> {
    let paths = store.paths("ledger/entry/");
    let entries = paths
        .iter()
        .map(|path| entry_of(&store.get(path).unwrap().unwrap()));
    let segments = entries.filter_map(|entry| match entry.body {
        Body::Segment(segment) => Some(*segment),
        _ => None,
    });
    segments.collect()
}

/// One partition of one context, a message of `rows` rows at each of `times`.
fn topic(rows: usize, times: &[i64]) -> Topic {
    let context = context("1");
    let mut topic = Topic::new(0);
    for &time in times {
        topic.write(&context, rows, time);
    }
    topic
}

/// The rows of the segments that `times` are cut into.
fn cuts(settings: Settings, rows: usize, times: &[i64]) -> Vec<u64> {
    let store = Arc::new(Memory::default());
    let mut archiver = open(&store, settings);
    archiver.assign(0).unwrap();
    feed(&mut archiver, &topic(rows, times));
    archiver.seal_all().unwrap();
    segments(&store)
        .iter()
        .map(|segment| segment.rows)
        .collect()
}

#[test]
fn segments_end_at_rows_days_and_age() {
    let usual = Settings::default;
    assert_eq!(cuts(usual(), 3, &[NOON; 5]), [15]);
    let few = Settings {
        rows_max: 7,
        ..usual()
    };
    assert_eq!(cuts(few.clone(), 3, &[NOON; 5]), [6, 6, 3]);
    assert_eq!(cuts(few, 9, &[NOON; 2]), [9, 9], "a message is never cut");
    assert_eq!(
        cuts(usual(), 3, &[NOON, NOON + DAY, NOON + DAY, NOON]),
        [3, 6, 3]
    );
    let young = Settings {
        age_max: Duration::from_secs(60),
        ..usual()
    };
    let minute = 60_000_000;
    assert_eq!(
        cuts(young, 3, &[NOON, NOON + minute - 1, NOON + minute, NOON]),
        [6, 6]
    );
    let small = Settings {
        bytes_max: 1,
        ..usual()
    };
    assert!(cuts(small, 600, &[NOON; 10]).len() > 1);
}

#[test]
fn segments_lie_under_the_day_of_their_rows() {
    let store = Arc::new(Memory::default());
    let mut archiver = open(&store, Settings::default());
    archiver.assign(0).unwrap();
    feed(&mut archiver, &topic(1, &[NOON, NOON + DAY]));
    archiver.seal_all().unwrap();
    assert_eq!(
        store.paths(layout::SEGMENTS),
        [
            "segments/dt=2023-11-14/payments.evidence-0-00000000000000000000-2.parquet",
            "segments/dt=2023-11-15/payments.evidence-0-00000000000000000001-3.parquet",
        ]
    );
}

#[test]
fn another_context_is_another_segment_and_is_kept() {
    let store = Arc::new(Memory::default());
    let (one, two) = (context("1"), context("2"));
    let mut topic = Topic::new(0);
    for context in [&one, &one, &two, &one] {
        topic.write(context, 2, NOON);
    }
    let mut archiver = open(&store, Settings::default());
    archiver.assign(0).unwrap();
    feed(&mut archiver, &topic);
    archiver.seal_all().unwrap();
    let contexts: Vec<_> = segments(&store)
        .iter()
        .map(|s| (s.rows, s.context))
        .collect();
    assert_eq!(
        contexts,
        [(4, one.digest()), (2, two.digest()), (2, one.digest())]
    );
    let kept = store.get(&layout::context(two.digest())).unwrap().unwrap();
    assert_eq!(kept, two.bytes());
    // Who starts behind the messages that brought them knows them from the archive.
    topic.records.clear();
    topic.write(&two, 1, NOON);
    let mut later = open(&store, Settings::default());
    assert_eq!(later.assign(0).unwrap(), NextPosition(4));
    assert_eq!(feed(&mut later, &topic), []);
    store.put(&layout::context(two.digest()), one.bytes().to_vec());
    let mut misled = open(&store, Settings::default());
    misled.assign(0).unwrap();
    let error = misled.message(0, topic.records[0].record()).unwrap_err();
    assert_eq!(error.exit, Exit::Integrity);
}

#[test]
fn what_does_not_join_stops_its_partition_after_a_second_look() {
    let store = Arc::new(Memory::default());
    let good = topic(2, &[NOON; 4]);
    let record = |index: usize| good.records[index].record();
    let foreign = Record {
        header: None,
        ..record(1)
    };
    let cut_off = Record {
        value: &record(1).value[1..],
        ..record(1)
    };
    for bad in [record(2), foreign, cut_off] {
        let mut archiver = open(&store, Settings::default());
        archiver.assign(0).unwrap();
        archiver.message(0, record(0)).unwrap();
        archiver.message(0, bad).unwrap();
        assert_eq!(archiver.take_moves(), [Move::Seek(0, NextPosition(1))]);
        archiver.message(0, record(1)).unwrap();
        assert_eq!(archiver.take_moves(), [], "it was a stale one");
    }
    assert!(segments(&store).is_empty());
    let mut archiver = open(&store, Settings::default());
    archiver.assign(0).unwrap();
    archiver.message(0, record(0)).unwrap();
    archiver.message(0, record(3)).unwrap();
    archiver.message(0, record(3)).unwrap();
    let moves = archiver.take_moves();
    assert_eq!(moves.last(), Some(&Move::Stop(0)));
    assert_eq!(archiver.stopped(), 1);
    assert_eq!(segments(&store).len(), 1, "what joined is archived");
    archiver.message(0, record(1)).unwrap();
    archiver.seal_all().unwrap();
    assert_eq!(segments(&store).len(), 1);
}

#[test]
fn input_offsets_must_join_across_segments_and_archivers() {
    let store = Arc::new(Memory::default());
    let mut topic = topic(2, &[NOON]);
    let mut archiver = open(&store, Settings::default());
    archiver.assign(0).unwrap();
    feed(&mut archiver, &topic);
    archiver.seal_all().unwrap();
    topic.records.clear();
    topic.offset += 1;
    topic.write(&context("1"), 1, NOON);
    let mut later = open(&store, Settings::default());
    later.assign(0).unwrap();
    feed(&mut later, &topic);
    assert_eq!(feed(&mut later, &topic), [Move::Stop(0)]);
}

#[test]
fn a_topic_that_lost_evidence_is_not_archived_further() {
    let store = Arc::new(Memory::default());
    let mut archiver = open(&store, Settings::default());
    archiver.assign(0).unwrap();
    feed(&mut archiver, &topic(2, &[NOON; 4]));
    archiver.seal_all().unwrap();
    for (low, high, stops) in [(0, 4, false), (4, 9, false), (5, 9, true), (0, 3, true)] {
        let mut archiver = open(&store, Settings::default());
        archiver.assign(0).unwrap();
        archiver.has_bounds(0, low, high);
        assert_eq!(archiver.stopped() == 1, stops, "[{low}, {high})");
    }
}

#[test]
fn what_is_drained_and_old_is_archived_and_nothing_else() {
    let store = Arc::new(Memory::default());
    let age_max = Duration::from_secs(60);
    let mut archiver = open(
        &store,
        Settings {
            age_max,
            ..Settings::default()
        },
    );
    archiver.assign(0).unwrap();
    archiver.drained(0);
    feed(&mut archiver, &topic(1, &[NOON]));
    let late = NOON + 60_000_000;
    archiver.tick(late).unwrap();
    assert!(segments(&store).is_empty(), "more may come");
    archiver.drained(0);
    archiver.tick(late - 1).unwrap();
    assert!(segments(&store).is_empty(), "too young");
    archiver.tick(late).unwrap();
    assert_eq!(segments(&store).len(), 1);
    assert_eq!(archiver.take_moves(), [Move::Committed(0, NextPosition(1))]);
    assert_eq!(archiver.memory(), 0);
}

#[test]
fn sixty_four_partitions_stay_within_the_budget() {
    let store = Arc::new(Memory::default());
    let budget = 24 << 20;
    let mut archiver = open(
        &store,
        Settings {
            buffer_bytes: budget,
            ..Settings::default()
        },
    );
    let context = context("1");
    let mut topics: Vec<Topic> = (0..64).map(Topic::new).collect();
    let mut most = 0;
    for partition in 0..64 {
        archiver.assign(partition).unwrap();
    }
    for round in 0..6 {
        for topic in &mut topics {
            // The first ones have more.
            let rows = if topic.partition < 4 { 1_500 } else { 300 };
            topic.write(&context, rows, NOON + round);
            feed(&mut archiver, topic);
            topic.records.clear();
            most = most.max(archiver.memory());
        }
    }
    assert!(most <= budget, "{most} bytes");
    assert!(
        most > budget / 2,
        "the budget was never needed: {most} bytes"
    );
    let early = segments(&store);
    assert!(!early.is_empty());
    archiver.seal_all().unwrap();
    let rows: u64 = segments(&store).iter().map(|segment| segment.rows).sum();
    assert_eq!(rows, 6 * (4 * 1_500 + 60 * 300));
}

#[test]
fn a_file_that_is_missing_is_made_again_to_the_byte_before_anything_follows() {
    let store = Arc::new(Memory::default());
    let topic = topic(2, &[NOON; 4]);
    let mut first = open(&store, Settings::default());
    first.assign(0).unwrap();
    feed(&mut first, &topic);
    first.seal_all().unwrap();
    let entry = &segments(&store)[0];
    let file = store.objects.lock().unwrap().remove(&entry.path).unwrap();
    let mut second = open(
        &store,
        Settings {
            rows_max: 1,
            ..Settings::default()
        },
    );
    assert_eq!(
        second.assign(0).unwrap(),
        NextPosition(0),
        "its evidence is read again"
    );
    feed(&mut second, &topic);
    assert_eq!(store.get(&entry.path).unwrap(), Some(file));
    assert_eq!(segments(&store).len(), 1);
    // Another version makes other bytes of the same rows, and says so first.
    store.objects.lock().unwrap().remove(&entry.path);
    let (newer, told) = (identity("probity 9"), Arc::new(Told::default()));
    let mut newer = Archiver::open(
        store.clone(),
        origin(),
        newer,
        Settings::default(),
        told.clone(),
        None,
    )
    .unwrap();
    newer.assign(0).unwrap();
    feed(&mut newer, &topic);
    let bytes = store.get(&entry.path).unwrap().unwrap();
    let reseal = store.get(&layout::entry(3)).unwrap().unwrap();
    assert_eq!(
        entry_of(&reseal).body,
        Body::Reseal(Reseal {
            entry: 2,
            sha256: Digest::of(&bytes),
            bytes: bytes.len() as u64
        })
    );
    assert_ne!(Digest::of(&bytes), entry.sha256);
    assert_eq!(*told.0.lock().unwrap(), ["reseal"]);
}

#[test]
fn what_is_read_and_not_archived_is_as_old_as_its_oldest_message() {
    let store = Arc::new(Memory::default());
    let settings = Settings {
        rows_max: 2,
        ..Settings::default()
    };
    let mut archiver = open(&store, settings);
    let behind = |archiver: &mut Archiver| archiver.behind(NOON + 9_000_000).as_secs();
    archiver.assign(0).unwrap();
    assert_eq!(behind(&mut archiver), 0, "nothing was read");
    let times = [NOON, NOON + 1_000_000, NOON + 2_000_000, NOON + 3_000_000];
    let topic = topic(1, &times);
    let read = |archiver: &mut Archiver, at: usize| {
        archiver.message(0, topic.records[at].record()).unwrap();
        behind(archiver)
    };
    assert_eq!(read(&mut archiver, 0), 9);
    assert_eq!(read(&mut archiver, 1), 8, "archived, and more may come");
    assert_eq!(read(&mut archiver, 2), 7);
    archiver.drained(0);
    assert_eq!(behind(&mut archiver), 7, "read, and not archived");
    archiver.message(0, topic.records[3].record()).unwrap();
    archiver.drained(0);
    assert_eq!(behind(&mut archiver), 0, "all is archived");
    // What waits for an operator gets older, and no end of the topic hides it.
    archiver.has_bounds(0, 100, 200);
    archiver.drained(0);
    assert_eq!(behind(&mut archiver), 0);
    assert_eq!(archiver.behind(NOON + 14_000_000).as_secs(), 5);
}

/// Remembers what was appended.
#[derive(Default)]
struct Told(std::sync::Mutex<Vec<&'static str>>);

impl Observer for Told {
    fn appended(&self, body: &Body) {
        self.0.lock().unwrap().push(match body {
            Body::Segment(_) => "segment",
            Body::Reseal(_) => "reseal",
            _ => "other",
        });
    }
}

#[test]
fn each_entry_of_a_segment_is_told_once() {
    let store = Arc::new(Memory::default());
    let told = Arc::new(Told::default());
    let identity = identity("probity 0.1.0");
    let settings = Settings {
        rows_max: 1,
        ..Settings::default()
    };
    let mut archiver =
        Archiver::open(store, origin(), identity, settings, told.clone(), None).unwrap();
    archiver.assign(0).unwrap();
    feed(&mut archiver, &topic(1, &[NOON, NOON]));
    assert_eq!(*told.0.lock().unwrap(), ["segment", "segment"]);
}

/// A change that somebody without the key can make.
type Forgery = fn(&mut crate::archive::fixture::Written);

#[test]
fn evidence_that_no_scorer_signed_is_never_archived() {
    let forgeries: [(&str, Forgery); 3] = [
        ("another value", |written| {
            *written.value.last_mut().unwrap() ^= 1;
        }),
        ("no signature", |written| written.signature.clear()),
        ("another key", |written| {
            let key = Signer::from_seed("bank.example/scorer", [9; 32]).unwrap();
            let head = crate::evidence::head(&written.header, &written.value);
            written.signature = crate::evidence::sign(&key, 0, head).to_vec();
        }),
    ];
    for (what, forge) in forgeries {
        let store = Arc::new(Memory::default());
        let mut archiver = open(&store, Settings::default());
        archiver.assign(0).unwrap();
        let mut topic = topic(2, &[NOON, NOON]);
        forge(&mut topic.records[1]);
        let moves = feed(&mut archiver, &topic);
        assert_eq!(moves, [Move::Seek(0, NextPosition(1))], "{what}");
        archiver.message(0, topic.records[1].record()).unwrap();
        archiver.seal_all().unwrap();
        assert_eq!(archiver.stopped(), 1, "{what}");
        let rows: Vec<_> = segments(&store).iter().map(|s| s.rows).collect();
        assert_eq!(rows, [2], "what came before it is good: {what}");
    }
}

#[test]
fn a_scorer_whose_key_is_new_is_believed_once_the_ledger_names_it() {
    let store = Arc::new(Memory::default());
    let mut archiver = open(&store, Settings::default());
    archiver.assign(0).unwrap();
    let key = Signer::from_seed("bank.example/scorer", [9; 32]).unwrap();
    let mut topic = topic(2, &[NOON]);
    let written = &mut topic.records[0];
    let head = crate::evidence::head(&written.header, &written.value);
    written.signature = crate::evidence::sign(&key, 0, head).to_vec();
    // The archiver that has the log key starts with a trust.toml that names it.
    let mut other = identity("probity 0.1.0");
    let keys = Arc::get_mut(&mut other.keys).unwrap();
    keys.trust.scorer.push(key.verifier().clone());
    let nobody = Arc::new(Nobody);
    Archiver::open(
        store.clone(),
        origin(),
        other,
        Settings::default(),
        nobody,
        None,
    )
    .unwrap();
    feed(&mut archiver, &topic);
    archiver.message(0, topic.records[0].record()).unwrap();
    archiver.seal_all().unwrap();
    assert_eq!(archiver.stopped(), 0);
    assert_eq!(segments(&store).len(), 1);
}

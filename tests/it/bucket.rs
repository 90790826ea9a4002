//! The archive in a bucket: on a server of S3's protocol that misbehaves on request.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::{Arc, Barrier};

use bytes::Bytes;
use probity::archive::ledger::{Act, Authority, Body, Break, KeyChange, StreamId, archive_id};
use probity::archive::log::Log;
use probity::archive::store::{self, Created, Ensured, StoreError};
use probity::archive::{Bucket as Archive, Store};
use probity::error::Exit;
use probity::keys::Role;
use probity::record::{Digest, NextPosition};
use probity::tlog::Signer;

use crate::kit::bucket::{Bucket, Fault};
use crate::kit::{self, Cluster, Guarded, Signal, pipeline::Pipeline};

/// 128 + SIGKILL.
const KILLED: i32 = 137;

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// Methods and statuses of all requests so far.
fn asked(bucket: &Bucket) -> Vec<(String, u64)> {
    let requests = bucket.requests().into_iter();
    requests
        .map(|request| (request.method, request.status))
        .collect()
}

fn steps(steps: &[(&str, u64)]) -> Vec<(String, u64)> {
    let owned = |&(method, status): &(&str, u64)| (method.to_owned(), status);
    steps.iter().map(owned).collect()
}

#[test]
fn an_object_is_created_once_and_stays() {
    let Some(bucket) = Bucket::create("created-once") else {
        return;
    };
    let store = bucket.open();
    assert_eq!(store.get("a/b").unwrap(), None);
    assert_eq!(store.size("a/b").unwrap(), None);
    assert_eq!(store.create("a/b", &bytes("first")).unwrap(), Created::New);
    assert_eq!(
        store.create("a/b", &bytes("other")).unwrap(),
        Created::Refused
    );
    assert_eq!(store.get("a/b").unwrap(), Some(bytes("first")));
    assert_eq!(store.size("a/b").unwrap(), Some(5));
    store::probe(&store).unwrap();
    bucket.assert_nothing_was_listed();
}

#[test]
fn of_many_threads_exactly_one_creates_an_object() {
    let Some(bucket) = Bucket::create("lost-race") else {
        return;
    };
    let stores: Vec<Archive> = (0..8).map(|_| bucket.open()).collect();
    let together = Barrier::new(stores.len());
    for round in 0..5 {
        let path = format!("ledger/entry/{round:03}");
        let texts: Vec<Bytes> = (0..8).map(|i| Bytes::from(vec![i; 10_000])).collect();
        let create = &|(store, text): (&Archive, &Bytes)| {
            together.wait();
            store.create(&path, text).unwrap()
        };
        let answers: Vec<Created> = std::thread::scope(|scope| {
            let pairs = stores.iter().zip(&texts);
            let threads: Vec<_> = pairs
                .map(|pair| scope.spawn(move || create(pair)))
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        let winners: Vec<_> = (0..8).filter(|&i| answers[i] == Created::New).collect();
        assert_eq!(winners.len(), 1, "{answers:?}");
        let found = stores[0].get(&path).unwrap();
        assert_eq!(found.as_ref(), Some(&texts[winners[0]]));
    }
}

#[test]
fn a_409_is_looked_up_and_tried_again() {
    let Some(bucket) = Bucket::create("conflict") else {
        return;
    };
    let store = bucket.open();
    bucket.plant("PUT", "a", Fault::Conflict, Some(2));
    let ensured = store::ensure(&store, "a", &bytes("mine")).unwrap();
    assert_eq!(ensured, Ensured::Same);
    let first = [
        ("PUT", 409),
        ("GET", 404),
        ("PUT", 409),
        ("GET", 404),
        ("PUT", 200),
    ];
    assert_eq!(asked(&bucket), steps(&first));
    bucket.plant("PUT", "a", Fault::Conflict, Some(1));
    let ensured = store::ensure(&store, "a", &bytes("late")).unwrap();
    assert_eq!(ensured, Ensured::Other(bytes("mine")));
    assert_eq!(asked(&bucket)[5..], steps(&[("PUT", 409), ("GET", 200)]));
}

#[test]
fn an_answer_that_is_lost_after_the_object_was_stored_is_looked_up() {
    let Some(bucket) = Bucket::create("lost-answer") else {
        return;
    };
    let store = bucket.open();
    for (path, fault) in [("a", Fault::ErrorAfter), ("b", Fault::DropAfter)] {
        bucket.plant("PUT", path, fault, Some(1));
        assert!(store.create(path, &bytes("mine")).is_err());
        let ensured = store::ensure(&store, path, &bytes("mine")).unwrap();
        assert_eq!(ensured, Ensured::Same);
        bucket.assert_faults_met(fault, 1);
    }
    bucket.plant("PUT", "c", Fault::ErrorAfter, Some(1));
    let before = bucket.requests().len();
    let ensured = store::ensure(&store, "c", &bytes("mine")).unwrap();
    assert_eq!(ensured, Ensured::Same);
    let since = asked(&bucket).split_off(before);
    assert_eq!(since, steps(&[("PUT", 500), ("GET", 200)]));
}

/// A bucket whose users have less patience than production's, which is half a minute.
struct Hasty(Archive);

impl Store for Hasty {
    fn get(&self, path: &str) -> Result<Option<Bytes>, StoreError> {
        self.0.get(path)
    }

    fn size(&self, path: &str) -> Result<Option<u64>, StoreError> {
        self.0.size(path)
    }

    fn create(&self, path: &str, bytes: &Bytes) -> Result<Created, StoreError> {
        self.0.create(path, bytes)
    }

    fn replace(&self, path: &str, bytes: &Bytes) -> Result<(), StoreError> {
        self.0.replace(path, bytes)
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        self.0.list(folder)
    }

    fn place(&self) -> String {
        self.0.place()
    }

    fn wait(&self, failures: u32) -> bool {
        failures < 4
    }
}

#[test]
fn a_503_is_tried_again_and_then_said() {
    let Some(bucket) = Bucket::create("busy") else {
        return;
    };
    let store = Hasty(bucket.open());
    bucket.plant("PUT", "a", Fault::Busy, Some(2));
    bucket.plant("GET", "a", Fault::Busy, Some(2));
    let ensured = store::ensure(&store, "a", &bytes("mine")).unwrap();
    assert_eq!(ensured, Ensured::Same);
    bucket.assert_faults_met(Fault::Busy, 4);
    bucket.plant("*", "b", Fault::Busy, None);
    let fatal = store::ensure(&store, "b", &bytes("mine")).unwrap_err();
    assert_eq!(fatal.exit, Exit::Unreachable);
    let text = fatal.to_string();
    for word in ["`b`", "s3://busy/an/archive", "503", "SlowDown"] {
        assert!(text.contains(word), "{text}");
    }
    assert!(!text.contains("<Code>"), "{text}");
    // Four creates, each with a look for what became of it, and no more.
    bucket.assert_faults_met(Fault::Busy, 4 + 8);
}

#[test]
fn a_store_that_is_not_fit_is_refused() {
    let Some(bucket) = Bucket::create("unfit") else {
        return;
    };
    let store = bucket.open();
    bucket.plant("PUT", ".probe/*", Fault::Overwrite, Some(6));
    for _ in 0..2 {
        let fatal = store::probe(&store).unwrap_err();
        assert_eq!(fatal.exit, Exit::Integrity);
        for words in ["created one object twice", "If-None-Match"] {
            assert!(fatal.message.contains(words), "{fatal}");
        }
    }
    bucket.assert_faults_met(Fault::Overwrite, 6);
    // It does not overwrite any more, but what it overwrote is still there.
    let fatal = store::probe(&store).unwrap_err();
    assert!(fatal.message.contains("remove `.probe/"), "{fatal}");

    bucket.plant("PUT", ".probe/*", Fault::NotImplemented, Some(1));
    let fatal = store::probe(&store).unwrap_err();
    assert_eq!(fatal.exit, Exit::Unreachable);
    assert!(fatal.message.contains("conditional put"), "{fatal}");
}

#[test]
fn a_bucket_that_is_absent_is_not_an_empty_one() {
    let Some(bucket) = Bucket::absent("absent") else {
        return;
    };
    let store = bucket.open();
    let error = store.get("archive.json").unwrap_err();
    assert!(error.to_string().contains("NoSuchBucket"), "{error}");
    // At once, not after half a minute.
    let fatal = store::probe(&store).unwrap_err();
    assert_eq!(fatal.exit, Exit::Unreachable);
    assert!(fatal.message.contains("create the bucket"), "{fatal}");
    assert_eq!(asked(&bucket), steps(&[("GET", 404), ("PUT", 404)]));
}

fn key() -> Signer {
    Signer::from_seed("test.example", [1; 32]).unwrap()
}

fn open_log(store: Arc<dyn Store>) -> Log {
    let authority = Authority {
        archive: archive_id("c", "i"),
        log: vec![key().verifier().clone()],
    };
    Log::open(store, authority, || 0).unwrap()
}

/// An entry of a stream of its own, with which no other one interferes.
fn entry(stream: &StreamId, first: NextPosition) -> Body {
    Body::Break(Break {
        stream: stream.clone(),
        first,
        next: NextPosition(first.0 + 1),
        coverage: Vec::new(),
        head: Digest::ZERO,
        reason: "a test".to_owned(),
        operator: "nobody".to_owned(),
    })
}

/// Appends five entries to a partition's stream, and returns their numbers.
fn append_five(store: Arc<dyn Store>, partition: i32) -> Vec<u64> {
    let stream = StreamId {
        cluster_id: "c".to_owned(),
        topic: "t".to_owned(),
        topic_id: "i".to_owned(),
        partition,
    };
    let mut log = open_log(store);
    let mut append = |_| {
        let next = log.state().tip(&stream).next;
        let appended = log.append(|_| true, |_| entry(&stream, next), &key());
        appended.unwrap().expect("it is wanted").n
    };
    (0..5).map(&mut append).collect()
}

#[test]
fn writers_of_one_ledger_leave_no_hole_and_nothing_twice_whatever_the_server_answers() {
    let Some(bucket) = Bucket::create("ledger") else {
        return;
    };
    let faults = [
        Fault::ErrorAfter,
        Fault::Conflict,
        Fault::DropAfter,
        Fault::Busy,
    ];
    for (n, fault) in faults.into_iter().enumerate() {
        for path in [format!("ledger/entry/00{n}"), format!("ledger/entry/01{n}")] {
            bucket.plant("PUT", &path, fault, Some(1));
        }
    }
    let role = KeyChange {
        act: Act::Add,
        role: Role::Operator,
        key: key().verifier().to_string(),
    };
    let mut log = open_log(Arc::new(bucket.open()));
    log.append(|_| true, |_| Body::Key(role.clone()), &key())
        .unwrap();
    let numbers: Vec<u64> = std::thread::scope(|scope| {
        let append = |partition| append_five(Arc::new(bucket.open()), partition);
        let threads: Vec<_> = (0..4).map(|p| scope.spawn(move || append(p))).collect();
        let numbers = threads.into_iter().flat_map(|t| t.join().unwrap());
        numbers.collect()
    });
    let distinct: BTreeSet<u64> = numbers.iter().copied().collect();
    assert_eq!(distinct, (1..21).collect(), "{numbers:?}");
    let log = open_log(Arc::new(bucket.open()));
    assert_eq!(log.state().entries(), 21);
    assert!(log.state().streams().all(|(_, tip)| tip.next.0 == 5));
    for fault in faults {
        bucket.assert_faults_met(fault, 2);
    }
    bucket.assert_nothing_was_listed();
}

/// A cluster and a bucket, for a pipeline of the test's own.
fn places(name: &str) -> Option<(&'static Cluster, Bucket)> {
    Some((kit::kafka()?, Bucket::create(name)?))
}

fn stop(mut process: Guarded) {
    process.signal(Signal::Terminate);
    assert_eq!(process.wait(), 0, "{}", process.lines().join("\n"));
}

#[test]
fn every_payment_is_archived_in_a_bucket() {
    let Some((kafka, bucket)) = places("spine-s3") else {
        return;
    };
    let pipeline = Pipeline::create_on(kafka, &bucket, "spine-s3");
    pipeline.produce_payments(1, 500);
    let process = pipeline.run("a", &[], &[]);
    pipeline.assert_books_agree(true);
    stop(process);
    assert_eq!(kafka.read_committed("spine-s3.scored").len(), 500);
    pipeline.assert_contracts_hold();
    bucket.assert_nothing_was_listed();
}

/// A process that is killed at a point after its put, and one that goes on after it.
fn survives(point: &str) {
    let name = format!("s3-kill-{}", point.replace('.', "-"));
    let Some((kafka, bucket)) = places(&name) else {
        return;
    };
    let pipeline = Pipeline::create_on(kafka, &bucket, &name);
    pipeline.produce_payments(1, 200);
    let crash = format!("{point}:2");
    let mut first = pipeline.run("a", &[], &[("PROBITY_CRASH", &crash)]);
    assert_eq!(first.wait(), KILLED, "{}", first.lines().join("\n"));
    pipeline.produce_payments(2, 100);
    let second = pipeline.run("a", &[], &[]);
    pipeline.assert_books_agree(true);
    stop(second);
    assert_eq!(kafka.read_committed(&format!("{name}.scored")).len(), 300);
    bucket.assert_nothing_was_listed();
}

#[test]
fn killed_between_entry_and_file_in_a_bucket() {
    survives("archive.after-entry");
}

#[test]
fn killed_after_a_file_in_a_bucket() {
    survives("archive.after-file");
}

#[test]
fn answers_that_are_lost_during_a_run_lose_and_double_nothing() {
    let Some((kafka, bucket)) = places("s3-faults") else {
        return;
    };
    let faults = [
        Fault::ErrorAfter,
        Fault::DropAfter,
        Fault::Conflict,
        Fault::Busy,
    ];
    for fault in faults {
        for pattern in ["ledger/entry/*", "segments/*"] {
            bucket.plant("PUT", pattern, fault, Some(1));
        }
    }
    let pipeline = Pipeline::create_on(kafka, &bucket, "s3-faults");
    pipeline.produce_payments(1, 300);
    let process = pipeline.run("a", &["--set", "archive.segment_rows_max=32"], &[]);
    pipeline.assert_books_agree(true);
    stop(process);
    for fault in faults {
        bucket.assert_faults_met(fault, 2);
    }
    bucket.assert_nothing_was_listed();
}

/// What `run` and `check` say of an archive that they cannot use.
fn assert_refused(
    pipeline: &Pipeline<'_>,
    changes: &[&str],
    variables: &[(&str, &str)],
    exit: Exit,
    words: &[&str],
) {
    let set = changes.iter().flat_map(|change| ["--set", change]);
    let set: Vec<&str> = set.collect();
    let arguments = |command| [&[command], set.as_slice()].concat();
    let mut run = pipeline.start("run", &arguments("run"), variables);
    let mut check = pipeline.start("check", &arguments("check"), variables);
    for (process, code) in [(&mut run, exit as i32), (&mut check, 1)] {
        let ended = process.wait();
        let said = process.lines().join("\n");
        assert_eq!(ended, code, "{said}");
        for word in words {
            assert!(said.contains(word), "{word:?} is not in: {said}");
        }
    }
}

#[test]
fn an_archive_that_cannot_be_used_is_refused_with_the_fix() {
    let Some((kafka, bucket)) = places("s3-refused") else {
        return;
    };
    let pipeline = Pipeline::create_on(kafka, &bucket, "s3-refused");
    let refused = |changes: &[&str], variables: &[(&str, &str)], exit, words: &[&str]| {
        assert_refused(&pipeline, changes, variables, exit, words);
    };
    let elsewhere = ["archive.url=s3://s3-nowhere/p"];
    let words = ["NoSuchBucket", "s3://s3-nowhere/p; create the bucket"];
    refused(&elsewhere, &[], Exit::Unreachable, &words);
    let stranger = [("AWS_ACCESS_KEY_ID", "stranger")];
    let words = [
        "InvalidAccessKeyId",
        "see that the credentials",
        "s3:ListBucket",
    ];
    refused(&[], &stranger, Exit::Unreachable, &words);
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let endpoint = format!("archive.s3.endpoint=http://{port}");
    let words = [
        "Connection refused",
        "see that it can be reached",
        &port.to_string(),
    ];
    refused(&[&endpoint], &[], Exit::Unreachable, &words);
    bucket.plant("PUT", "*", Fault::Overwrite, None);
    let words = ["created one object twice", "If-None-Match"];
    refused(&[], &[], Exit::Integrity, &words);
}

#[test]
fn credentials_that_are_absent_are_said_at_once() {
    let Some(kafka) = kit::kafka() else { return };
    let pipeline = Pipeline::create(kafka, "s3-no-credentials", "");
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let metadata = format!("http://{nobody}");
    let variables = [("AWS_METADATA_ENDPOINT", metadata.as_str())];
    let elsewhere = ["archive.url=s3://s3-nowhere/p"];
    let words = ["set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"];
    assert_refused(&pipeline, &elsewhere, &variables, Exit::Unreachable, &words);
}

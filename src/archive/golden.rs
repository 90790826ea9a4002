//! The golden archive, `tests/data/golden`: made by the archiver, with everything in it that an archive
//! can have, for verifiers in any language to be tried on. `tests/data/README.md` tells what that is.
//!
//! It is the same to the byte every time. Where it must change, `PROBITY_GOLDEN=write` writes it again;
//! a difference that nobody meant is a format that somebody's verifier no longer reads.

mod evidence;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::archiver::{Archiver, Identity};
use super::fixture::{DAY, NOON, Paper, Topic, origin};
use super::ledger::{Act, Authority, Body, Break, Coverage, Event, KeyChange, StreamId};
use super::log::Log;
use super::roll::Settings;
use super::store::Store as _;
use super::store::memory::Memory;
use super::{Nobody, layout};
use crate::archive::layout::SEGMENTS;
use crate::keys::{Keys, Role, Trust};
use crate::record::{NextOffset, NextPosition, Offset};
use crate::tlog::Signer;
use evidence::Model;

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3600 * SECOND;

thread_local! {
    static CLOCK: Cell<i64> = const { Cell::new(NOON) };
}

/// A clock that goes on a little whenever it is looked at.
fn now() -> i64 {
    wait(SECOND + 1);
    CLOCK.get()
}

fn wait(micros: i64) {
    CLOCK.set(CLOCK.get() + micros);
}

/// The test keys, by the names of their files.
const LOG: &str = "log.key";
const LOG_NEXT: &str = "log-next.key";
const ARCHIVER: &str = "archiver.key";
const ARCHIVER_NEXT: &str = "archiver-next.key";
const SCORER: &str = "scorer.key";
const SCORER_NEXT: &str = "scorer-next.key";
const OPERATOR: &str = "operator.key";
const KEYS: [&str; 7] = [
    LOG,
    LOG_NEXT,
    ARCHIVER,
    ARCHIVER_NEXT,
    SCORER,
    SCORER_NEXT,
    OPERATOR,
];

fn key(file: &str) -> Signer {
    let role = file.split(['.', '-']).next().unwrap();
    let name = match role {
        "log" => "bank.example".to_owned(),
        role => format!("bank.example/{role}"),
    };
    let seed = KEYS.iter().position(|key| *key == file).unwrap() as u8 + 1;
    Signer::from_seed(&name, [seed; 32]).unwrap()
}

fn keys(archiver: &str, log: &[&str], trusted: &[&str]) -> Keys {
    let of = |role: &str| {
        let files = trusted.iter().filter(|file| file.starts_with(role));
        files.map(|file| key(file).verifier().clone()).collect()
    };
    Keys {
        scorer: None,
        archiver: Some(key(archiver)),
        log: log.iter().map(|file| key(file)).collect(),
        operator: None,
        commitment: None,
        trust: Trust {
            log: of("log"),
            archiver: of("archiver"),
            scorer: of("scorer"),
            operator: of("operator"),
            ..Trust::default()
        },
    }
}

/// The bank: a store, a topic of three partitions, and a topic of checkpoints.
struct Bank {
    store: Arc<Memory>,
    paper: Paper,
    topics: [Topic; 3],
}

impl Bank {
    fn new() -> Bank {
        let mut topics = [0, 1, 2].map(Topic::new);
        for topic in &mut topics {
            topic.scorer = || key(SCORER);
        }
        Bank {
            store: Arc::default(),
            paper: Paper::default(),
            topics,
        }
    }

    /// An archiver of this version that holds all partitions.
    fn archiver(&self, writer: &str, keys: Keys) -> Archiver {
        let identity = Identity {
            writer: writer.to_owned(),
            keys: Arc::new(keys),
            clock: now,
        };
        let board = Box::new(self.paper.clone());
        let mut archiver = Archiver::open(
            self.store.clone(),
            origin(),
            identity,
            Settings::default(),
            Arc::new(Nobody),
            Some((board, Duration::from_secs(1))),
        )
        .unwrap();
        for partition in 0..3 {
            archiver.assign(partition).unwrap();
        }
        archiver
    }

    fn append(&self, body: Body, signer: &str) {
        let authority = Authority {
            archive: origin().archive_id(),
            log: vec![key(LOG).verifier().clone()],
        };
        let mut log = Log::open(self.store.clone(), authority, now).unwrap();
        let appended = log.append(|_| true, |_| body.clone(), &key(signer));
        assert!(appended.unwrap().is_some());
    }

    fn happened(&self, kind: &str, instance: &str, facts: &[(&str, &str)], signer: &str) {
        let facts = facts.iter().map(|(k, v)| ((*k).into(), (*v).into()));
        let event = Event {
            kind: kind.into(),
            instance: instance.into(),
            facts: facts.collect(),
        };
        self.append(Body::Event(event), signer);
    }

    fn retire(&self, role: Role, retired: &str, signer: &str) {
        let change = KeyChange {
            act: Act::Retire,
            role,
            key: key(retired).verifier().to_string(),
        };
        self.append(Body::Key(change), signer);
    }

    fn write(&mut self, partition: usize, model: &Model, rows: usize) {
        for (path, bytes) in &model.objects {
            let _same = self.store.create(path, bytes).unwrap();
        }
        model.write(&mut self.topics[partition], rows, now());
    }

    /// Lets the archiver read what it has not read of a partition.
    fn read(&self, archiver: &mut Archiver, partition: usize) {
        for record in &self.topics[partition].records {
            archiver.message(partition as i32, record.record()).unwrap();
        }
    }

    fn archive(&self, archiver: &mut Archiver, partition: usize) {
        self.read(archiver, partition);
        archiver.seal_all().unwrap();
    }

    /// The file that was put last is lost, as by a crash before it was put.
    fn lose_newest_file(&self) {
        let number = |path: &String| -> u64 {
            let name = path.strip_suffix(".parquet").unwrap();
            name.rsplit('-').next().unwrap().parse().unwrap()
        };
        let newest = self.store.paths(SEGMENTS).into_iter().max_by_key(number);
        self.store.objects.lock().unwrap().remove(&newest.unwrap());
    }
}

/// A first day of usual life, under the first keys.
fn begin(bank: &mut Bank, model: &Model) {
    let trusted = [LOG, ARCHIVER, SCORER, OPERATOR];
    let mut archiver = bank.archiver("probity 0.1.0", keys(ARCHIVER, &[LOG], &trusted));
    bank.happened("started", "archiver-0", &[], ARCHIVER);
    let facts = [("version", "0.1.0"), ("model", "card-risk 1.0.0")];
    bank.happened("started", "scorer-0", &facts, SCORER);
    // A transaction's marker lies before the first message, and one between it and the second.
    bank.topics[0].skip(1);
    bank.write(0, model, 9);
    bank.topics[0].skip(1);
    bank.write(0, model, 8);
    bank.write(2, model, 7);
    bank.archive(&mut archiver, 0);
    bank.archive(&mut archiver, 2);
    wait(HOUR);
    archiver.keep_head(now()).unwrap();
    // It dies between entry and file.
    bank.write(1, model, 12);
    bank.archive(&mut archiver, 1);
    bank.lose_newest_file();
}

/// Another version finishes the segment with other bytes, and the log has two keys for a while.
fn change_the_log_key(bank: &mut Bank, models: [&Model; 2]) {
    let trusted = [LOG, LOG_NEXT, ARCHIVER, SCORER, OPERATOR];
    let both = keys(ARCHIVER, &[LOG, LOG_NEXT], &trusted);
    let mut archiver = bank.archiver("probity 0.1.1", both);
    bank.archive(&mut archiver, 1);
    lose_evidence(bank, &mut archiver, models[0]);
    bank.write(2, models[1], 13);
    archiver.revoke(2);
    archiver.assign(2).unwrap();
    bank.archive(&mut archiver, 2);
    archiver.sign_head().unwrap();
    bank.retire(Role::Log, LOG, LOG_NEXT);
}

/// A message of partition 2 is gone before it was archived, and an operator says so.
fn lose_evidence(bank: &mut Bank, archiver: &mut Archiver, model: &Model) {
    let (first, covered) = (bank.topics[2].end, bank.topics[2].offset);
    bank.write(2, model, 4);
    bank.topics[2].records.pop();
    let Topic {
        end, offset, head, ..
    } = bank.topics[2];
    archiver.has_bounds(2, end, end);
    assert_eq!(archiver.stopped(), 1);
    let topic = origin();
    bank.append(
        Body::Break(Break {
            stream: StreamId {
                cluster_id: topic.cluster_id,
                topic: topic.evidence_topic,
                topic_id: topic.evidence_topic_id,
                partition: 2,
            },
            first: NextPosition(first),
            next: NextPosition(end),
            coverage: vec![Coverage {
                topic: "payments".into(),
                topic_id: "input-1".into(),
                partition: 2,
                first: Offset(covered),
                next: NextOffset(offset),
            }],
            head,
            reason: "retention was set to \"1 h\" \u{2014} one message is lost".into(),
            operator: "J. \u{d8}rsted".into(),
        }),
        OPERATOR,
    );
}

/// The next day: new keys of archiver and scorer, and the second model.
fn change_the_other_keys(bank: &mut Bank, model: &Model) -> Archiver {
    wait(DAY);
    let mut trusted = KEYS;
    trusted.sort_unstable();
    let mut archiver = bank.archiver("probity 0.1.1", keys(ARCHIVER_NEXT, &[LOG_NEXT], &trusted));
    bank.retire(Role::Archiver, ARCHIVER, LOG_NEXT);
    archiver.sign_head().unwrap();
    bank.happened("stopped", "scorer-0", &[("exit", "0")], SCORER);
    bank.retire(Role::Scorer, SCORER, LOG_NEXT);
    for topic in &mut bank.topics {
        topic.scorer = || key(SCORER_NEXT);
    }
    bank.write(0, model, 16);
    bank.archive(&mut archiver, 0);
    archiver
}

/// Nothing for days; then the input topic is created again, and two segments are still in flight.
fn end(bank: &mut Bank, archiver: &mut Archiver, models: [&Model; 2]) {
    let entries = bank.store.paths("ledger/entry/").len();
    for _ in entries..257 {
        wait(HOUR);
        bank.append(Body::Heartbeat, ARCHIVER_NEXT);
    }
    bank.topics[0].offset = 0;
    bank.write(0, models[1], 10);
    bank.archive(archiver, 0);
    archiver.sign_head().unwrap();
    for partition in [1, 2] {
        bank.write(partition, models[0], 3);
        bank.archive(archiver, partition);
    }
    bank.lose_newest_file();
}

type Files = BTreeMap<String, Vec<u8>>;

/// Everything that is kept in `tests/data`, by its path there.
fn make() -> Files {
    CLOCK.set(NOON);
    let (first, second) = (evidence::first(), evidence::second("input-1"));
    let mut bank = Bank::new();
    begin(&mut bank, &first);
    change_the_log_key(&mut bank, [&first, &second]);
    let mut archiver = change_the_other_keys(&mut bank, &second);
    let again = evidence::second("input-2");
    end(&mut bank, &mut archiver, [&second, &again]);
    let objects = std::mem::take(&mut *bank.store.objects.lock().unwrap());
    let kept = objects
        .into_iter()
        .filter(|(path, _)| path != layout::PROBE);
    let mut files: Files = kept
        .map(|(path, bytes)| (format!("golden/{path}"), bytes.to_vec()))
        .collect();
    for file in KEYS {
        let text = format!("{}\n", key(file).to_secret());
        files.insert(format!("golden.keys/{file}"), text.into());
    }
    let trust = format!(
        "log = [\"{}\"]\nmax_age = \"1000000h\"\n",
        key(LOG).verifier()
    );
    files.insert("golden.trust.toml".into(), trust.into());
    files
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

fn read(folder: &Path, prefix: &str, files: &mut Files) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.path().is_dir() {
            read(&entry.path(), &format!("{path}/"), files);
        } else {
            files.insert(path, std::fs::read(entry.path()).unwrap());
        }
    }
}

fn write(files: &Files) {
    for part in ["golden", "golden.keys"] {
        let _absent = std::fs::remove_dir_all(folder().join(part));
    }
    for (path, bytes) in files {
        let path = folder().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

#[test]
fn the_golden_archive_is_made_again_to_the_byte() {
    let made = make();
    if std::env::var("PROBITY_GOLDEN").is_ok_and(|value| value == "write") {
        write(&made);
    }
    let mut kept = Files::new();
    read(&folder(), "", &mut kept);
    kept.retain(|path, _| path.starts_with("golden"));
    let differs = |path: &&String| made.get(*path) != kept.get(*path);
    let differing: Vec<&String> = made.keys().chain(kept.keys()).filter(differs).collect();
    assert!(
        differing.is_empty(),
        "these are others; if that is meant, write all again with PROBITY_GOLDEN=write: {differing:#?}"
    );
}

//! An archive proves itself: what an auditor learns from it with a key, and what that refuses.
//!
//! Here the archive is at rest; `growing` has those that are being written, `forged` those that somebody
//! wrote to who should not, `rewritten` those that other tools wrote again.

#![allow(
    clippy::disallowed_methods,
    reason = "archives are moved away and put back"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Instant;

use probity::keys::Trust;
use probity::record::Digest;
use probity::tlog::Signer;
use serde_json::{Value, json};

use crate::kit::auditor::{Ended, assert_standard, audit};
use crate::kit::pipeline::{PARTITIONS, Pipeline, payments};
use crate::kit::{self, Message, Signal};

mod forged;
mod growing;
mod parts;
mod rewritten;

/// How many decisions are replayed.
const PAYMENTS: usize = 100_000;
/// Records before them, in the last partition, that are no payments.
const REJECTED: usize = 3;
const SEED: u64 = 11;

/// An archive, and what an auditor has beside it.
struct Archive {
    folder: PathBuf,
    trust: PathBuf,
    /// The log key, as text.
    key: String,
}

impl Archive {
    fn of(pipeline: &Pipeline<'_>) -> Archive {
        Archive {
            folder: pipeline.archive(),
            trust: pipeline.trust(),
            key: Trust::load(&pipeline.trust()).unwrap().log[0].to_string(),
        }
    }

    /// A copy that a test may alter, in a new folder `name`.
    fn copy(&self, name: &str) -> Archive {
        let folder = kit::folder(name).join("archive");
        copy(&self.folder, &folder);
        Archive {
            folder,
            trust: self.trust.clone(),
            key: self.key.clone(),
        }
    }

    /// Runs a command on the archive, with the trust of its operator.
    fn audit(&self, command: &str, arguments: &[&str]) -> Ended {
        let [folder, trust] = [&self.folder, &self.trust].map(|path| path.to_str().unwrap());
        let all = [&[command, folder, "--trust", trust], arguments].concat();
        audit(self.folder.parent().unwrap(), all)
    }

    /// The report of a command that found nothing wrong.
    #[track_caller]
    fn report(&self, command: &str, arguments: &[&str]) -> Value {
        let ended = self.audit(command, &[&["--output", "json"], arguments].concat());
        assert_eq!(ended.code, 0, "{command} {arguments:?}: {ended}");
        ended.json()
    }

    /// Names and objects of what `verify` finds wrong.
    #[track_caller]
    fn findings(&self, arguments: &[&str]) -> Vec<(String, String)> {
        let ended = self.audit("verify", &[&["--output", "json"], arguments].concat());
        let found = findings(&ended.json());
        let code = if found.is_empty() { 0 } else { 4 };
        assert_eq!(ended.code, code, "{arguments:?}: {ended}");
        found
    }

    /// The proofs of an event, each as text.
    #[track_caller]
    fn prove(&self, event: &str) -> Vec<String> {
        let out = self.folder.with_file_name("proof.json");
        let ended = self.audit("prove", &[event, "--out", out.to_str().unwrap()]);
        assert_eq!(ended.code, 0, "{event}: {ended}");
        let written = ended.stdout.lines().map(|line| {
            let (path, bytes) = line.rsplit_once(": ").unwrap();
            let text = fs::read_to_string(path).unwrap();
            assert_eq!(bytes, format!("{} bytes", text.len()));
            println!("{event}: {bytes}");
            text
        });
        written.collect()
    }

    /// Paths of all segments' files, as the entries name them.
    fn segments(&self) -> Vec<String> {
        let days = children(&self.folder.join("segments"));
        let files = days.iter().flat_map(|day| children(day));
        let path = |file: PathBuf| {
            let path = file.strip_prefix(&self.folder).unwrap();
            path.to_str().unwrap().to_owned()
        };
        files.map(path).collect()
    }

    /// The sizes of all checkpoints, the smallest first.
    fn checkpoints(&self) -> Vec<u64> {
        let files = children(&self.folder.join("ledger/cp"));
        let size = |file: &PathBuf| file.file_name().unwrap().to_str().unwrap().parse().unwrap();
        let sizes: BTreeSet<u64> = files.iter().map(size).collect();
        sizes.into_iter().collect()
    }
}

fn findings(report: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let found = report["findings"].as_array().unwrap().iter();
    found
        .map(|finding| (text(&finding["name"]), text(&finding["object"])))
        .collect()
}

/// The files and folders of a folder, sorted.
fn children(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for path in children(from) {
        let target = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy(&path, &target),
            false => drop(fs::copy(&path, &target).unwrap()),
        }
    }
}

/// The payment whose id comes twice.
fn twice() -> Message {
    payments(SEED, 1).remove(0)
}

fn id_of(payment: &Message) -> String {
    let payment: Value = serde_json::from_slice(payment.value.as_ref().unwrap()).unwrap();
    payment["transaction_id"].as_str().unwrap().to_owned()
}

/// An archive at rest of [`PAYMENTS`], that all tests read and none alters.
fn at_rest() -> Option<&'static Archive> {
    static ARCHIVE: OnceLock<Archive> = OnceLock::new();
    let kafka = kit::kafka()?;
    Some(ARCHIVE.get_or_init(|| {
        let pipeline = Pipeline::create(kafka, "audit", "");
        let garbage = vec![Message::new(PARTITIONS - 1, "{no payment"); REJECTED];
        kafka.produce("audit", &garbage);
        for some in payments(SEED, PAYMENTS).chunks(20_000) {
            kafka.produce("audit", some);
        }
        kafka.produce("audit", &[twice()]);
        let mut process = pipeline.run("a", &["--seal-on-stop"], &[]);
        pipeline.await_processed();
        process.signal(Signal::Terminate);
        assert_eq!(process.wait(), 0, "{}", process.lines().join("\n"));
        Archive::of(&pipeline)
    }))
}

#[test]
fn a_hundred_thousand_decisions_are_verified_and_replay_to_the_bit_also_one_by_one() {
    let Some(archive) = at_rest() else { return };
    let verified = archive.report("verify", &[]);
    let scored = PAYMENTS + 1;
    for (name, wanted) in [
        ("scored", json!(scored)),
        ("rejected", json!(REJECTED)),
        ("streams", json!(PARTITIONS)),
        ("findings", json!([])),
        ("told", json!([])),
    ] {
        assert_eq!(verified[name], wanted, "{name}: {verified}");
    }
    let number = |name: &str| verified[name].as_u64().unwrap();
    assert_eq!(number("rows"), (scored + REJECTED) as u64 + number("gaps"));
    assert_eq!(number("files"), archive.segments().len() as u64);
    assert_eq!(number("segments"), number("files"));
    assert_eq!(verified["checkpoint"]["size"], verified["entries"]);
    assert_standard(&archive.folder, &archive.trust);

    for how in [&[][..], &["--alone"]] {
        let started = Instant::now();
        let replayed = archive.report("replay", how);
        println!("replay {how:?}: {:.1} s", started.elapsed().as_secs_f64());
        for (name, wanted) in [
            ("scored", json!(scored)),
            ("policy_same", json!(scored)),
            ("bits_same", json!(scored)),
            ("exact", json!(scored)),
            ("within_tolerance", json!(0)),
            ("boundary", json!([])),
            ("mismatches", json!([])),
            (
                "packages",
                json!(["card-risk 1.0.0: the runtime is the recorded one"]),
            ),
        ] {
            assert_eq!(replayed[name], wanted, "{how:?} {name}: {replayed}");
        }
    }
}

/// One that was scored, one that was rejected, one of which only the id is known, and which came twice.
fn events() -> [(String, usize); 3] {
    let rejected = format!("audit:{}:0", PARTITIONS - 1);
    [
        ("audit:0:100".to_owned(), 1),
        (rejected, 1),
        (id_of(&twice()), 2),
    ]
}

/// Checks a proof by the log key, in a folder where nothing else is. Its exit code, and what it said.
fn check(folder: &Path, key: &str, proof: &str) -> Ended {
    fs::write(folder.join("a.json"), proof).unwrap();
    audit(folder, ["prove", "--check", "a.json", "--key", key])
}

#[test]
fn a_proof_needs_no_archive_and_stands_no_alteration() {
    let Some(archive) = at_rest() else { return };
    let archive = archive.copy("audit-proofs");
    let proofs = events().map(|(event, count)| {
        let proofs = archive.prove(&event);
        assert_eq!(proofs.len(), count, "{event}");
        proofs
    });
    fs::rename(&archive.folder, archive.folder.with_extension("away")).unwrap();
    let folder = archive.folder.parent().unwrap();
    let id = id_of(&twice());
    let words: [&[&str]; 3] = [
        &[
            "input_topic \"audit\"",
            "partition 0",
            "offset 100",
            "kind \"scored\"",
        ],
        &[
            "offset 0",
            "kind \"rejected\"",
            "reject_reason \"malformed\"",
        ],
        &["kind \"scored\"", &id],
    ];
    for (proof, words) in proofs
        .iter()
        .zip(words)
        .flat_map(|(of, words)| of.iter().map(move |proof| (proof, words)))
    {
        let ended = check(folder, &archive.key, proof);
        assert_eq!(ended.code, 0, "{ended}");
        let said = ended
            .stdout
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        for word in words {
            assert!(said.contains(word), "{word} is not in {said}");
        }
        assert!(proof.len() < 16 << 10, "{} bytes", proof.len());
    }
    let [_, _, occurrences] = &proofs;
    assert_ne!(occurrences[0], occurrences[1]);

    let proof = &proofs[0][0];
    let altered = altered(proof);
    assert!(altered.len() > 30, "{}", altered.len());
    for (what, altered) in altered {
        let ended = check(folder, &archive.key, &altered);
        assert_eq!(ended.code, 4, "{what}: {ended}");
        assert!(
            ended.stderr.contains("proof") || ended.stderr.contains("proves"),
            "{what}: {ended}"
        );
    }
    let stranger = Signer::generate("test.example").unwrap();
    let ended = check(folder, &stranger.verifier().to_string(), proof);
    assert_eq!(ended.code, 4, "{ended}");
    assert!(ended.stderr.contains("its checkpoint"), "{ended}");
}

/// The proof with each of its parts altered once, and what was.
fn altered(proof: &str) -> Vec<(String, String)> {
    let proof: Value = serde_json::from_str(proof).unwrap();
    let mut all = Vec::new();
    let mut add = |what: String, change: &dyn Fn(&mut Value)| {
        let mut altered = proof.clone();
        change(&mut altered);
        assert_ne!(altered, proof, "{what}");
        all.push((what, altered.to_string()));
    };
    add("a field more".into(), &|proof| proof["more"] = json!(1));
    for (name, value) in proof.as_object().unwrap() {
        add(format!("without {name}"), &|proof| {
            proof.as_object_mut().unwrap().remove(name);
        });
        match value {
            Value::Number(number) => {
                let next = number.as_u64().unwrap() + 1;
                add(format!("{name} + 1"), &|proof| proof[name] = json!(next));
            }
            Value::String(text) => {
                let count = text.chars().count();
                for at in [0, count / 3, 2 * count / 3, count - 2] {
                    let altered = flipped(text, at);
                    add(format!("{name} at {at}"), &|proof| {
                        proof[name] = json!(altered)
                    });
                }
            }
            Value::Array(hashes) => {
                for at in 0..hashes.len() {
                    let altered = flipped(hashes[at].as_str().unwrap(), 31);
                    add(format!("{name} {at}"), &|proof| {
                        proof[name][at] = json!(altered)
                    });
                }
                add(format!("{name}, one less"), &|proof| {
                    proof[name].as_array_mut().unwrap().pop();
                });
                add(format!("{name}, one more"), &|proof| {
                    let list = proof[name].as_array_mut().unwrap();
                    list.push(list[0].clone());
                });
                add(format!("{name}, reversed"), &|proof| {
                    proof[name].as_array_mut().unwrap().reverse();
                });
            }
            other => panic!("{name} is {other}"),
        }
    }
    all
}

/// The text with another character at one place.
fn flipped(text: &str, at: usize) -> String {
    let flip = |c: char| if c == '1' { '2' } else { '1' };
    let chars = text.chars().enumerate();
    chars
        .map(|(n, c)| if n == at { flip(c) } else { c })
        .collect()
}

#[test]
fn the_life_of_a_decision_is_on_one_page() {
    let Some(archive) = at_rest() else { return };
    let size = archive.checkpoints().pop().unwrap();
    let proven = format!("proven by the checkpoint of {size} entries, root ");
    let model = "model card-risk 1.0.0, sha256 ";
    for (event, none, words) in [
        (
            "audit:0:100",
            0,
            &[
                "record audit:0:100, leader epoch ",
                "decision approve, below both thresholds",
                "score 1.7940998e-5, margin -10.928219",
                "event transaction_id \"snpntbqpncfrhfdj\" event_type \"authorization\" ",
                "features amount_log 2.1972246 amount_to_average 0.1034795 ",
            ][..],
        ),
        (
            "audit:3:0",
            1,
            &[
                "record audit:3:0, ",
                "rejected malformed in decode",
                "payload 11 bytes, committed to by ",
                "event transaction_id null event_type null ",
                "features amount_log null amount_to_average null ",
            ],
        ),
    ] {
        let ended = archive.audit("show", &[event]);
        assert_eq!(ended.code, 0, "{ended}");
        let page = ended
            .stdout
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        for word in words.iter().chain(&[&*proven, model]) {
            assert!(page.contains(word), "{word:?} is not in\n{}", ended.stdout);
        }
        // All is said but one: who is rejected was in no chunk.
        let unsaid = page.split([' ', ',', ';']).filter(|word| *word == "none");
        assert_eq!(unsaid.count(), none, "{ended}");
    }
    let ended = archive.audit("show", &[&id_of(&twice())]);
    let pages = ended
        .stdout
        .lines()
        .filter(|line| line.starts_with("record "));
    assert_eq!((ended.code, pages.count()), (0, 2), "{ended}");
}

#[test]
fn with_another_key_nothing_is_believed() {
    let Some(archive) = at_rest() else { return };
    let stranger = Signer::generate("test.example")
        .unwrap()
        .verifier()
        .to_string();
    let folder = archive.folder.to_str().unwrap();
    let arguments = ["verify", folder, "--output", "json", "--key", &stranger];
    let ended = audit(Path::new("."), arguments);
    assert_eq!(ended.code, 4, "{ended}");
    let names: BTreeSet<String> = findings(&ended.json())
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    let wanted = [
        "checkpoint-missing",
        "checkpoint-signature",
        "entry-signature",
    ];
    assert_eq!(names, wanted.map(String::from).into());
    assert_eq!(ended.json()["files"], 0);
    let arguments = ["verify", folder, "--output", "json", "--key", &archive.key];
    assert_eq!(audit(Path::new("."), arguments).code, 0);
    for command in ["prove", "replay", "show"] {
        let arguments = [command, folder, "audit:0:100", "--key", &stranger];
        let ended = audit(Path::new("."), arguments);
        assert_eq!(ended.code, 4, "{command}: {ended}");
        assert!(
            ended.stderr.contains("run `probity verify`"),
            "{command}: {ended}"
        );
    }
}

#[test]
fn no_command_hides_that_the_ledger_is_altered() {
    let Some(archive) = at_rest() else { return };
    let archive = archive.copy("audit-ledger");
    fs::remove_file(archive.folder.join("archive.json")).unwrap();
    for command in ["prove", "replay", "show", "explain"] {
        let ended = archive.audit(command, &["audit:0:100"]);
        assert_eq!(ended.code, 4, "{command}: {ended}");
        let words = "the ledger is not what was signed: archive ";
        assert!(ended.stderr.contains(words), "{command}: {ended}");
    }
    let shown = archive.audit("show", &["audit:0:100"]).stdout;
    assert!(shown.contains(" of audit.evidence\n"), "{shown}");
    let verified = archive.audit("verify", &[]).stdout;
    assert!(verified.starts_with("archive "), "{verified}");
    assert!(!verified.contains("\nevidence "), "{verified}");
}

#[test]
fn what_was_not_scored_is_not_replayed_and_is_told_why() {
    let Some(archive) = at_rest() else { return };
    let ended = archive.audit("replay", &["audit:3:0"]);
    assert_eq!((ended.code, &*ended.stdout), (1, ""), "{ended}");
    let words = "the event was rejected as malformed in decode";
    assert!(ended.stderr.contains(words), "{ended}");
}

#[test]
fn what_is_asked_wrongly_or_of_nobody_is_said() {
    let Some(archive) = at_rest() else { return };
    let here = kit::folder("audit-usage");
    let folder = archive.folder.to_str().unwrap();
    let trust = archive.trust.to_str().unwrap();
    let trusting = ["--trust", trust];
    for (arguments, words) in [
        (vec!["verify", folder], "--trust"),
        (vec!["verify", folder, "--key", "nobody"], "is no key"),
        (
            vec!["verify", folder, "--trust", "nowhere.toml"],
            "nowhere.toml",
        ),
        (
            vec!["verify", folder, "--trust", trust, "--key", &archive.key],
            "--key",
        ),
        (
            [&["verify", "nowhere"], &trusting[..]].concat(),
            "archive.json",
        ),
        (
            [&["verify", folder, "--days", "today"], &trusting[..]].concat(),
            "2026-11-23",
        ),
        (
            [&["verify", folder, "--days", "2026-02-30"], &trusting[..]].concat(),
            "a day that exists",
        ),
        (
            [&["replay", folder, "--partition", "9"], &trusting[..]].concat(),
            "nothing was scored there",
        ),
        (
            [&["replay", folder, "e", "--partition", "0"], &trusting[..]].concat(),
            "cannot be used with '--partition <P>'",
        ),
        (
            [&["replay", folder, "e", "--sample", "2"], &trusting[..]].concat(),
            "cannot be used with '--sample <N>'",
        ),
        (
            [
                &["replay", folder, "e", "--days", "2026-11-23"],
                &trusting[..],
            ]
            .concat(),
            "cannot be used with '--days",
        ),
        (
            [
                &["prove", folder, "audit:0:100", "--out", "nowhere/proof"],
                &trusting[..],
            ]
            .concat(),
            "cannot create nowhere/proof",
        ),
        (
            [&["verify", folder, "--partition", "9"], &trusting[..]].concat(),
            "no segment is of these days and partitions",
        ),
        (vec!["verify", folder], "--trust <FILE>|--key <KEY>"),
        (
            [
                &["show", folder, "e", "--set", "log.level=info"],
                &trusting[..],
            ]
            .concat(),
            "`show` reads no configuration",
        ),
        (
            [&["verify", folder, "--sample", "0"], &trusting[..]].concat(),
            "--sample",
        ),
        (
            [
                &["verify", folder, "--checkpoint", "nowhere"],
                &trusting[..],
            ]
            .concat(),
            "nowhere",
        ),
        ([&["prove", folder], &trusting[..]].concat(), "<EVENT>"),
        (
            [&["prove", "--check", "nowhere"], &trusting[..]].concat(),
            "nowhere",
        ),
        (
            [&["prove", folder, "e", "--check", "p"], &trusting[..]].concat(),
            "--check",
        ),
        ([&["show", folder], &trusting[..]].concat(), "<EVENT>"),
    ] {
        let ended = audit(&here, &arguments);
        assert_eq!(ended.code, 2, "{arguments:?}: {ended}");
        assert!(ended.stderr.contains(words), "{arguments:?}: {ended}");
    }
    for event in ["nobody", "audit:0:100000000", "audit:9:0", "another:0:0"] {
        for command in ["prove", "replay", "show"] {
            let ended = archive.audit(command, &[event]);
            assert_eq!(
                (ended.code, &*ended.stdout),
                (1, ""),
                "{command} {event}: {ended}"
            );
            assert!(ended.stderr.contains("no such event"), "{ended}");
        }
    }
}

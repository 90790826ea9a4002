//! The archive is being written, by one or by two, or by one that died; or an older copy was put in its place.

use std::collections::BTreeMap;

use super::*;
use crate::kit::Guarded;
use crate::kit::auditor::in_flight;

/// 128 + SIGKILL.
const KILLED: i32 = 137;

fn end(mut process: Guarded) {
    process.signal(Signal::Terminate);
    assert_eq!(process.wait(), 0, "{}", process.lines().join("\n"));
}

/// An archiver of two that both have the log key.
struct Archiver<'p> {
    pipeline: &'p Pipeline<'p>,
    process: Guarded,
}

impl Archiver<'_> {
    fn start<'p>(pipeline: &'p Pipeline<'p>, name: &str) -> Archiver<'p> {
        let arguments = ["--roles", "archive", "--set", "archive.segment_rows_max=8"];
        let tells = [("PROBITY_LOG", "info,probity::archive::head=debug")];
        Archiver {
            pipeline,
            process: pipeline.run(name, &arguments, &tells),
        }
    }

    fn signed(&self) -> usize {
        let lines = self.process.lines();
        let signed = lines
            .iter()
            .filter(|line| line.contains("the head of the ledger is signed"));
        signed.count()
    }

    /// Lets payments flow until this archiver has signed, and meanwhile verifies again and again.
    fn goes_on(&self, seed: u64) {
        let before = self.signed();
        let deadline = Instant::now() + kit::DEADLINE;
        for seed in seed.. {
            self.pipeline.produce_payments(seed, 400);
            let ended = self.pipeline.verify();
            let report = ended.stdout.contains("checkpoint-missing");
            assert!(ended.code == 0 || report && seed == 1, "{ended}");
            if self.signed() > before {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{}",
                self.process.lines().join("\n")
            );
        }
    }
}

#[test]
fn two_archivers_that_sign_at_once_fork_nothing() {
    let Some(kafka) = kit::kafka() else { return };
    let pipeline = Pipeline::create(kafka, "audit-two", "");
    let scorer = pipeline.run("scorer", &["--roles", "score"], &[]);
    let a = Archiver::start(&pipeline, "a");
    a.process.wait_for("the head of the ledger is signed");
    a.goes_on(100);
    // One is stopped while it holds all partitions, and wakes when the other has them and has signed.
    a.process.signal(Signal::Stop);
    let b = Archiver::start(&pipeline, "b");
    b.goes_on(200);
    a.process.signal(Signal::Continue);
    b.goes_on(300);
    // And the other way round.
    b.process.signal(Signal::Stop);
    a.goes_on(400);
    b.process.signal(Signal::Continue);
    a.goes_on(500);
    pipeline.assert_books_agree(true);
    for process in [scorer, a.process, b.process] {
        end(process);
    }

    // Each checkpoint that was ever put up is of this ledger.
    let kept = kit::folder("audit-two-kept");
    let mut arguments = Vec::new();
    for record in kafka.read_committed("audit-two.checkpoints") {
        let path = kept.join(record.offset.to_string());
        fs::write(&path, record.value.unwrap()).unwrap();
        arguments.extend(["--checkpoint".to_owned(), path.to_str().unwrap().to_owned()]);
    }
    assert!(arguments.len() > 2 * 4, "{arguments:?}");
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Archive::of(&pipeline).report("verify", &arguments);
}

/// Digests of all that is in a folder and means something to readers.
fn content(folder: &Path) -> BTreeMap<PathBuf, Digest> {
    let mut found = BTreeMap::new();
    for path in children(folder) {
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && !name.starts_with('.') {
            found.extend(content(&path));
        } else if path.is_file() {
            found.insert(path.clone(), Digest::of(&fs::read(&path).unwrap()));
        }
    }
    found
}

#[test]
fn a_store_that_was_restored_from_an_older_copy_is_noticed_before_anything_is_appended() {
    let Some(kafka) = kit::kafka() else { return };
    let pipeline = Pipeline::create(kafka, "audit-restored", "");
    let folder = pipeline.archive();
    let [early, late] = ["early", "late"].map(|name| folder.with_file_name(name));
    for (seed, place) in [(1, &early), (2, &late)] {
        pipeline.produce_payments(seed, 200);
        let process = pipeline.run("a", &[], &[]);
        pipeline.assert_books_agree(true);
        end(process);
        copy(&folder, place);
    }
    fs::remove_dir_all(&folder).unwrap();
    fs::rename(&early, &folder).unwrap();
    let before = content(&folder);
    let is_signed = |path: &PathBuf| path.ends_with("ledger/checkpoint");
    assert!(
        before.keys().any(is_signed) && before.len() > 10,
        "{before:?}"
    );
    pipeline.produce_payments(3, 200);
    let mut process = pipeline.run("a", &[], &[]);
    assert_eq!(process.wait(), 4, "{}", process.lines().join("\n"));
    process
        .wait_for("the store was restored from an older backup, or altered; nothing was appended");
    assert!(content(&folder) == before);

    fs::remove_dir_all(&folder).unwrap();
    fs::rename(&late, &folder).unwrap();
    let process = pipeline.run("a", &[], &[]);
    pipeline.assert_books_agree(true);
    end(process);
    assert_eq!(kafka.read_committed("audit-restored.scored").len(), 600);
}

#[test]
fn what_is_in_flight_alarms_nobody() {
    let Some(kafka) = kit::kafka() else { return };
    let pipeline = Pipeline::create(kafka, "audit-flight", "");
    pipeline.produce_payments(1, 200);
    let process = pipeline.run("a", &[], &[]);
    pipeline.assert_books_agree(true);
    end(process);
    let archive = Archive::of(&pipeline);
    let before = archive.report("verify", &[]);
    // Of each partition, the next event.
    let ends = kafka.ends("audit-flight");

    pipeline.produce_payments(2, 200);
    let crash = [("PROBITY_CRASH", "archive.after-entry:1")];
    let mut process = pipeline.run("a", &[], &crash);
    assert_eq!(process.wait(), KILLED, "{}", process.lines().join("\n"));
    // A hint may be any checkpoint.
    let smallest = archive.checkpoints()[0];
    let hint = archive.folder.join("ledger/checkpoint");
    fs::copy(archive.folder.join(format!("ledger/cp/{smallest}")), hint).unwrap();

    let after = archive.report("verify", &[]);
    for name in ["scored", "files", "findings"] {
        assert_eq!(after[name], before[name], "{name}: {after}");
    }
    let number = |report: &Value| report["entries"].as_u64().unwrap();
    assert_eq!(number(&after), number(&before) + 2, "a start and a segment");
    let said = in_flight(&after);
    assert!(said[0].contains("not signed for yet"), "{after}");
    let [_, awaited] = &said[..] else {
        panic!("{after}")
    };
    assert!(awaited.ends_with("is not there yet"), "{awaited}");
    assert_standard(&archive.folder, &archive.trust);
    assert_eq!(archive.report("replay", &[])["scored"], 200);
    for (partition, offset) in ends.iter().enumerate() {
        let ended = archive.audit("prove", &[&format!("audit-flight:{partition}:{offset}")]);
        assert_eq!(ended.code, 1, "{ended}");
    }

    let process = pipeline.run("a", &[], &[]);
    pipeline.assert_books_agree(true);
    end(process);
    assert_eq!(archive.report("verify", &[])["scored"], 400);
}

#[test]
fn decisions_of_another_runtime_need_not_be_the_same_to_the_bit() {
    let Some(kafka) = kit::kafka() else { return };
    let pipeline = Pipeline::create(kafka, "audit-runtimes", "");
    // As an update that changes no number.
    let other = pipeline.folder.join("libonnxruntime.so");
    let mut library = fs::read(std::env::var("ORT_DYLIB_PATH").unwrap()).unwrap();
    library.push(0);
    fs::write(&other, library).unwrap();
    let variables = [("ORT_DYLIB_PATH", other.to_str().unwrap())];
    for (seed, variables) in [(1, &[][..]), (2, &variables)] {
        pipeline.produce_payments(seed, 200);
        let process = pipeline.run("a", &[], variables);
        pipeline.assert_books_agree(true);
        end(process);
    }
    let archive = Archive::of(&pipeline);
    let title = "card-risk 1.0.0";
    for (arguments, near, far) in [
        (
            &[][..],
            "the runtime is the recorded one",
            "another runtime (library)",
        ),
        (
            &["--runtime", other.to_str().unwrap()],
            "another runtime (library)",
            "the runtime is the recorded one",
        ),
    ] {
        let replayed = archive.report("replay", arguments);
        assert_eq!(
            replayed["packages"],
            json!([format!("{title}: {near}"), format!("{title}: {far}")])
        );
        assert_eq!(
            (&replayed["bits_same"], &replayed["exact"]),
            (&json!(400), &json!(200))
        );
    }
}

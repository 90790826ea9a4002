//! What only an operator can do to the ledger: change its keys, and accept that evidence is missing.

use std::path::Path;

use crate::kit::{self, Guarded, Signal, pipeline::Pipeline};

/// A process that archives what there is and stops.
fn archive_all(pipeline: &Pipeline<'_>) {
    let process = pipeline.run("a", &["--seal-on-stop"], &[]);
    pipeline.await_processed();
    stop(process);
}

/// What was read contradicts what was written before.
const INTEGRITY: i32 = 4;

fn stop(process: Guarded) {
    assert_eq!(ended(process), 0);
}

fn ended(mut process: Guarded) -> i32 {
    process.signal(Signal::Terminate);
    process.wait()
}

fn trusted(pipeline: &Pipeline<'_>, role: &str) -> Vec<String> {
    let text = std::fs::read_to_string(pipeline.keys().join("trust.toml")).unwrap();
    let line = text.lines().find(|line| line.starts_with(role)).unwrap();
    let keys = line.split('"').skip(1).step_by(2);
    keys.map(str::to_owned).collect()
}

fn verify(pipeline: &Pipeline<'_>, key: &str) -> (i32, String) {
    let archive = pipeline.archive();
    let ended = kit::auditor::audit(&archive, ["verify", ".", "--key", key]);
    (ended.code, ended.stdout + &ended.stderr)
}

fn do_it(pipeline: &Pipeline<'_>, arguments: &[&str]) -> String {
    let (code, said) = pipeline.command(arguments);
    assert_eq!(code, 0, "{arguments:?}: {said}");
    said
}

fn signatures(checkpoint: &Path) -> usize {
    let note = std::fs::read_to_string(checkpoint).unwrap();
    note.lines()
        .filter(|line| line.starts_with('\u{2014}'))
        .count()
}

#[test]
fn a_log_key_hands_over_to_the_next_while_payments_flow() {
    let Some(kafka) = kit::kafka() else { return };
    let pipeline = Pipeline::create(kafka, "rotation", "");
    let checkpoint = pipeline.archive().join("ledger/checkpoint");
    pipeline.produce_payments(1, 50);
    archive_all(&pipeline);
    assert_eq!(signatures(&checkpoint), 1);
    let old = trusted(&pipeline, "log").remove(0);
    do_it(&pipeline, &["keys", "next", "--role", "log"]);
    let (code, said) = pipeline.command(&["keys", "next", "--role", "log"]);
    assert_eq!(code, 2, "one at a time: {said}");
    pipeline.produce_payments(2, 50);
    archive_all(&pipeline);
    assert_eq!(signatures(&checkpoint), 2, "both sign");
    assert_eq!(trusted(&pipeline, "log").len(), 2);
    // Who trusts the old key alone learns the new one from the ledger.
    assert_eq!(verify(&pipeline, &old).0, 0);
    let told = do_it(
        &pipeline,
        &["ledger", "retire", "--role", "log", "--key", &old],
    );
    assert!(told.contains("has no longer the role log"), "{told}");
    let keys = pipeline.keys();
    std::fs::copy(keys.join("log-next.key"), keys.join("log.key")).unwrap();
    std::fs::remove_file(keys.join("log-next.key")).unwrap();
    pipeline.produce_payments(3, 50);
    archive_all(&pipeline);
    assert_eq!(signatures(&checkpoint), 1, "the new one alone");
    let (code, said) = verify(&pipeline, &old);
    assert_eq!(code, 0, "{said}");
    let new = trusted(&pipeline, "log").remove(1);
    let (code, said) = pipeline.command(&["ledger", "retire", "--role", "log", "--key", &new]);
    assert_eq!(code, 2, "the last log key stays: {said}");
    pipeline.assert_books_agree(true);
}

#[test]
fn evidence_that_is_missing_is_accepted_by_a_signed_word_and_nothing_else() {
    let Some(kafka) = kit::kafka() else { return };
    let pipeline = Pipeline::create(kafka, "break", "");
    pipeline.produce_payments(1, 100);
    archive_all(&pipeline);
    // Scored, not archived, and then somebody deletes the beginning.
    let scorer = pipeline.run(
        "a",
        &["--roles", "score", "--set", "batch.max_rows=10"],
        &[],
    );
    pipeline.produce_payments(2, 200);
    pipeline.await_processed();
    stop(scorer);
    let end = kafka.ends("break.evidence")[0];
    let lost = end - 4;
    kafka.delete_records("break.evidence", &[(0, lost)]);
    let archiver = pipeline.run("a", &["--roles", "archive", "--seal-on-stop"], &[]);
    let words = archiver.wait_for("archiving of a partition has stopped");
    assert!(
        words.contains("probity ledger break --partition 0"),
        "{words}"
    );
    assert_eq!(ended(archiver), INTEGRITY);
    let at = lost.to_string();
    let words = [
        "--reason",
        "retention was set by mistake",
        "--operator",
        "A. Nonymous",
    ];
    let brk = ["ledger", "break", "--partition", "0", "--at", &at];
    let told = do_it(&pipeline, &[&brk[..], &words[..]].concat());
    assert!(told.contains("is given up"), "{told}");
    let (code, said) = pipeline.command(&[&brk[..], &words[..]].concat());
    assert_eq!(code, 2, "nothing more to accept: {said}");
    let archiver = pipeline.run("a", &["--roles", "archive", "--seal-on-stop"], &[]);
    archiver.wait_for("archiving");
    stop(archiver);
    let (code, said) = verify(&pipeline, &trusted(&pipeline, "log")[0]);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("retention was set by mistake (A. Nonymous)"),
        "{said}"
    );
    let (agree, report) = pipeline.books(true);
    assert!(
        !agree,
        "what is lost is lost, and the books say so: {report}"
    );
}

//! The accounting tool on real Kafka: a small pipeline makes one mistake, and the tool names it.

use std::time::Duration;

use crate::kit::accounts::{Pipeline, Report, python, python_program};
use crate::kit::{self, Cluster};

/// Runs the pipeline of `tests/python/plant.py` with `fault`, and takes its books.
fn accounts_of(fault: &str) -> Option<Report> {
    let (kafka, python) = (kit::kafka()?, python()?);
    let name = format!("accounting-{fault}");
    let archive = kit::folder(&name);
    let done = python_program(&python, "plant.py")
        .args([
            "--bootstrap",
            kafka.bootstrap(),
            "--prefix",
            &name,
            "--fault",
            fault,
        ])
        .arg("--archive")
        .arg(&archive)
        .status()
        .unwrap();
    assert!(done.success());
    let topic = |suffix: &str| format!("{name}-{suffix}");
    let pipeline = Pipeline {
        group: &name,
        input: &topic("in"),
        scored: &topic("scored"),
        evidence: &topic("evidence"),
        dead_letters: &topic("dlq"),
        archive: Some(&archive),
    };
    Some(Cluster::accounts(
        kafka,
        &python,
        &pipeline,
        Duration::from_secs(60),
    ))
}

#[test]
fn honest_books_agree() {
    let Some(report) = accounts_of("none") else {
        return;
    };
    assert!(report.findings.is_empty(), "{:#}", report.whole);
    let counts = &report.whole["counts"];
    assert_eq!(counts["input"], 200);
    assert_eq!(counts["scored"], 192);
    assert_eq!(counts["dead_letters"], 8);
    assert_eq!(counts["archive_rows"], 206);
}

#[test]
fn failed_seek_after_an_abort_is_found() {
    let Some(report) = accounts_of("failed-seek") else {
        return;
    };
    assert_eq!(
        report.findings,
        ["evidence_does_not_join", "gap_missing", "missing"]
    );
    assert_eq!(report.whole["findings"]["missing"]["count"], 25);
}

#[test]
fn revoke_in_the_gather_is_found() {
    let Some(report) = accounts_of("revoke-in-gather") else {
        return;
    };
    let found = &report.findings;
    for name in [
        "twice",
        "scored_twice",
        "dead_letter_twice",
        "evidence_does_not_join",
    ] {
        assert!(
            found.iter().any(|f| f == name),
            "{name} is not in {found:?}"
        );
    }
}

#[test]
fn rescored_range_is_found() {
    let Some(report) = accounts_of("rescored") else {
        return;
    };
    assert_eq!(
        report.findings,
        ["dead_letter_twice", "score_id_twice", "scored_twice"]
    );
    assert_eq!(report.whole["findings"]["scored_twice"]["count"], 24);
}

#[test]
fn skipped_range_is_found() {
    let Some(report) = accounts_of("skipped") else {
        return;
    };
    assert_eq!(report.findings, ["event_in_gap"]);
    assert_eq!(report.whole["findings"]["event_in_gap"]["count"], 25);
}

#[test]
fn scores_without_evidence_are_found() {
    let Some(report) = accounts_of("score-first") else {
        return;
    };
    assert!(
        report
            .findings
            .iter()
            .any(|f| f == "score_without_evidence"),
        "{report:?}"
    );
    assert!(report.findings.iter().any(|f| f == "missing"), "{report:?}");
}

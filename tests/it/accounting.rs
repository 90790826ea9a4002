//! The accounting tool on real Kafka: a small pipeline makes one mistake, and the tool names it.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::kit::{self, Cluster, pipeline::Pipeline};

/// What the accounting tool found.
struct Report {
    /// By name, sorted; none where the books agree.
    findings: Vec<String>,
    whole: Value,
}

/// Runs the pipeline of `tests/python/plant.py` with `fault`, and takes its books.
fn books_of(fault: &str) -> Option<Report> {
    let (kafka, python) = (kit::kafka()?, kit::python()?);
    let pipeline = Pipeline::prepare(kafka, &format!("planted-{fault}"), "");
    plant(&python, kafka, &pipeline, fault);
    let (agree, report) = pipeline.unsigned_books();
    let whole: Value = serde_json::from_str(&report).unwrap();
    let findings: Vec<_> = whole["findings"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    assert_eq!(agree, findings.is_empty(), "{report}");
    Some(Report { findings, whole })
}

fn plant(python: &Path, kafka: &Cluster, pipeline: &Pipeline<'_>, fault: &str) {
    let done = Command::new(python)
        .arg(kit::pipeline::root().join("tests/python/plant.py"))
        .args(["--bootstrap", kafka.bootstrap()])
        .args(["--prefix", &pipeline.name])
        .args(["--fault", fault])
        .arg("--archive")
        .arg(pipeline.archive())
        .status()
        .unwrap();
    assert!(done.success());
}

#[test]
fn honest_books_agree() {
    let Some(report) = books_of("none") else {
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
    let Some(report) = books_of("failed-seek") else {
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
    let Some(report) = books_of("revoke-in-gather") else {
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
    let Some(report) = books_of("rescored") else {
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
    let Some(report) = books_of("skipped") else {
        return;
    };
    assert_eq!(report.findings, ["event_in_gap"]);
    assert_eq!(report.whole["findings"]["event_in_gap"]["count"], 25);
}

#[test]
fn scores_without_evidence_are_found() {
    let Some(report) = books_of("score-first") else {
        return;
    };
    let found = &report.findings;
    for name in [
        "missing",
        "score_without_evidence",
        "dead_letter_without_evidence",
    ] {
        assert!(
            found.iter().any(|f| f == name),
            "{name} is not in {found:?}"
        );
    }
}

//! What `/metrics` says is what the books say.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::kit::http::{Admin, sum};
use crate::kit::{self, Message, Signal, pipeline::Pipeline};

const STEPS: [&str; 8] = [
    "gather", "decode", "features", "infer", "decide", "evidence", "publish", "commit",
];

#[test]
fn counters_equal_the_books_and_the_backlog_is_told() {
    let Some(kafka) = kit::kafka() else { return };
    let pipeline = Pipeline::create(kafka, "metrics", "");
    pipeline.produce_payments(1, 3_000);
    let bad = ["{", "no json", "{\"transaction_id\": 5}"];
    kafka.produce("metrics", &bad.map(|text| Message::new(0, text)));
    // Small rounds, so that there is a backlog for some seconds.
    let mut process = pipeline.run("a", &["--set", "batch.max_rows=8"], &[]);
    let admin = Admin::of(&process);
    let behind = |metrics: &str| sum(metrics, "probity_behind_rows", "");
    let rows = |metrics: &str| sum(metrics, "probity_rows_total", "");
    let (while_behind, _) = admin.wait_for("/metrics", |metrics| behind(metrics) > 0.0);
    assert!(rows(&while_behind) < 3_003.0);
    admin.wait_for("/metrics", |metrics| {
        sum(metrics, "probity_archive_behind_seconds", "") > 0.0
    });
    // The first metrics after the last row may be older than what they say of the backlog.
    let is_done = |metrics: &str| rows(metrics) == 3_003.0 && behind(metrics) == 0.0;
    let (metrics, _) = admin.wait_for("/metrics", is_done);
    assert_eq!(sum(&metrics, "probity_behind_seconds", ""), 0.0);
    for partition in 0..kit::pipeline::PARTITIONS {
        let series = format!("probity_behind_rows{{partition=\"{partition}\"}} 0");
        assert!(metrics.lines().any(|line| line == series), "{series}");
    }

    let (agree, report) = pipeline.books(true);
    assert!(agree, "{report}");
    let report: Value = serde_json::from_str(&report).unwrap();
    for outcome in ["scored", "rejected", "gap"] {
        let counted = sum(&metrics, "probity_rows_total", outcome);
        let booked = report["counts"]["evidence_rows"][outcome].as_f64();
        assert_eq!(Some(counted), booked, "{outcome}");
    }
    let mut reasons: BTreeMap<String, f64> = BTreeMap::new();
    for letter in pipeline.dead_letters() {
        *reasons.entry(letter.reason).or_default() += 1.0;
    }
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    for (reason, letters) in &reasons {
        let counted = sum(&metrics, "probity_rejected_total", &format!("\"{reason}\""));
        assert_eq!(counted, *letters, "{reason}");
    }
    assert_eq!(sum(&metrics, "probity_rejected_total", ""), 3.0);
    let rounds = sum(&metrics, "probity_rounds_total", "");
    assert!(rounds > 3_000.0 / 8.0);
    for step in STEPS {
        let timed = sum(
            &metrics,
            "probity_stage_seconds_count",
            &format!("\"{step}\""),
        );
        assert_eq!(timed, rounds, "{step}");
    }
    // The books waited for the archive.
    let (_, metrics) = admin.get("/metrics");
    assert_eq!(sum(&metrics, "probity_archive_rows_total", ""), 3_003.0);
    let segments = sum(&metrics, "probity_archive_segments_total", "");
    let entries = |kind: &str| sum(&metrics, "probity_archive_entries_total", kind);
    assert_eq!((entries("segment"), entries("reseal")), (segments, 0.0));
    // Entry and file of each, and more.
    let created = sum(&metrics, "probity_archive_puts_total", "created");
    assert!(created > 2.0 * segments, "{metrics}");
    admin.wait_for("/metrics", |metrics| {
        sum(metrics, "probity_archive_behind_seconds", "") == 0.0
    });
    process.signal(Signal::Terminate);
    assert_eq!(process.wait(), 0, "{}", process.lines().join("\n"));
}

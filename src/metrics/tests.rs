//! The table against its conventions, and the handles against what is rendered.

use super::*;
use crate::drift::Measure;
use std::collections::BTreeSet;

/// Runs `record` with a recorder of its own and renders what it recorded.
fn rendered(record: impl FnOnce()) -> String {
    let (recorder, handle) = recorder().unwrap();
    metrics::with_local_recorder(&recorder, record);
    handle.render()
}

fn everything() {
    build_is("0.1.0");
    out_of_memory(0);
    config_is(Digest::ZERO);
    model("card-risk", "3", Digest::ZERO, "cpu", true);
    shadow(1, Decision::Approve, None, 1);
    let (mut lane, _partition) = (LaneMetrics::new(0), PartitionMetrics::new(0));
    lane.ruled("large", 0);
    let (_archive, _models) = (ArchiveMetrics::new(), ModelMetrics::new());
    let _drift = DriftMetrics::of(&measure(0.5));
}

/// Of a feature with a range and categories.
fn measure(psi: f64) -> Measure {
    Measure {
        of: "amount".to_owned(),
        psi,
        missing: 0.25,
        out_of_range: Some(0.125),
        unknown_category: Some(0.0),
    }
}

#[test]
fn drift_is_that_of_the_last_window_until_another_model_comes() {
    let last = rendered(|| {
        let first = DriftMetrics::of(&measure(0.5));
        first.show(&measure(0.75));
        std::mem::forget(first);
    });
    for line in [
        "probity_drift_psi{of=\"amount\"} 0.75",
        "probity_drift_missing_ratio{of=\"amount\"} 0.25",
        "probity_drift_out_of_range_ratio{of=\"amount\"} 0.125",
        "probity_drift_unknown_category_ratio{of=\"amount\"} 0",
    ] {
        assert!(last.contains(&format!("{line}\n")), "{line}\n{last}");
    }
    let none = rendered(|| drop(DriftMetrics::of(&measure(0.5))));
    let numbers = none.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(numbers.clone().count(), 4, "{none}");
    assert!(numbers.clone().all(|line| line.ends_with(" NaN")), "{none}");
}

#[test]
fn the_table_is_documented_and_follows_the_conventions() {
    let names: BTreeSet<_> = ALL.iter().map(|metric| metric.name).collect();
    assert_eq!(names.len(), ALL.len());
    for Metric {
        name,
        kind,
        unit,
        labels,
        help,
    } in ALL
    {
        assert!(name.starts_with("probity_"), "{name}");
        assert!(
            name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
            "{name}"
        );
        assert_eq!(
            name.ends_with("_total"),
            matches!(kind, Kind::Counter),
            "{name}"
        );
        assert!(help.ends_with('.') && help.len() > 15, "{name}");
        assert!(!unit.is_empty() && unit.ends_with('s'), "{name}");
        let has_base_unit = ["seconds", "bytes"].contains(unit);
        assert_eq!(
            name.ends_with(&format!("_{unit}")),
            has_base_unit || *unit == "rows" && !name.ends_with("_total"),
            "{name}"
        );
        let is_info = matches!(labels, ["version"] | ["sha256"] | ["name", ..]);
        assert_eq!(name.ends_with("_info"), is_info, "{name}");
        if let Kind::Histogram(buckets) = kind {
            assert!(buckets.is_sorted() && buckets.len() > 5, "{name}");
        }
    }
}

#[test]
fn every_metric_of_the_table_has_a_handle_and_is_rendered() {
    let text = rendered(everything);
    for Metric {
        name, kind, help, ..
    } in ALL
    {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        assert!(
            text.contains(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n")),
            "{name}"
        );
    }
    assert!(text.contains("probity_build_info{version=\"0.1.0\"} 1\n"));
    assert!(text.contains("probity_rejected_total{reason=\"malformed\"} 0\n"));
}

#[test]
fn a_round_is_counted_where_it_belongs() {
    let text = rendered(|| {
        let mut lane = LaneMetrics::new(3);
        lane.gathered(9);
        lane.steps(&Laps::of(Step::Infer, Duration::from_micros(20)));
        lane.committed(&Committed {
            scored: 6,
            rejected: 3,
            gaps: 1,
            event_to_commit: Some(Duration::from_millis(30)),
            poll_to_commit: Duration::from_millis(4),
        });
        lane.rejected(Reason::Malformed, 2);
        lane.rejected(Reason::RefusedByBroker, 1);
        lane.ruled("large", 2);
        lane.ruled("abroad", 1);
        lane.ruled("large", 3);
        lane.rebalanced(Rebalance::Lost);
        lane.holds(4, 1);
        lane.aborted();
    });
    for line in [
        "probity_rows_total{outcome=\"scored\"} 6",
        "probity_rows_total{outcome=\"rejected\"} 3",
        "probity_rows_total{outcome=\"gap\"} 1",
        "probity_rejected_total{reason=\"malformed\"} 2",
        "probity_rejected_total{reason=\"refused_by_broker\"} 1",
        "probity_rule_decisions_total{rule=\"abroad\"} 1",
        "probity_rule_decisions_total{rule=\"large\"} 5",
        "probity_rounds_total{outcome=\"committed\"} 1",
        "probity_rounds_total{outcome=\"aborted\"} 1",
        "probity_rounds_total{outcome=\"unknown\"} 0",
        "probity_batch_rows_bucket{le=\"8\"} 0",
        "probity_batch_rows_bucket{le=\"16\"} 1",
        "probity_event_to_commit_seconds_sum 0.03",
        "probity_poll_to_commit_seconds_bucket{le=\"0.005\"} 1",
        "probity_stage_seconds_bucket{stage=\"infer\",le=\"0.000025\"} 1",
        "probity_stage_seconds_sum{stage=\"decode\"} 0",
        "probity_rebalances_total{kind=\"lost\"} 1",
        "probity_partitions_assigned{lane=\"3\"} 4",
        "probity_partitions_refused{lane=\"3\"} 1",
    ] {
        assert!(text.contains(&format!("{line}\n")), "{line}\n{text}");
    }
}

#[test]
fn a_partition_that_is_given_up_is_not_behind() {
    let mut held = String::new();
    let text = rendered(|| {
        let (recorder, handle) = recorder().unwrap();
        metrics::with_local_recorder(&recorder, || {
            let partition = PartitionMetrics::new(7);
            partition.behind(12, Duration::from_millis(1_500));
            held = handle.render();
        });
        let partition = PartitionMetrics::new(7);
        partition.behind(12, Duration::from_secs(1));
        drop(partition);
    });
    assert!(held.contains("probity_behind_rows{partition=\"7\"} 12\n"));
    assert!(held.contains("probity_behind_seconds{partition=\"7\"} 1.5\n"));
    assert!(text.contains("probity_behind_rows{partition=\"7\"} 0\n"));
    assert!(text.contains("probity_behind_seconds{partition=\"7\"} 0\n"));
}

#[test]
fn the_archiver_counts_what_it_did() {
    let text = rendered(|| {
        let archive = ArchiveMetrics::new();
        archive.taken(2, 300);
        archive.sealed(70_000);
        archive.open(5);
        archive.entry(EntryKind::Reseal);
        archive.put(Put::Exists);
        archive.behind(Duration::from_secs(9));
    });
    for line in [
        "probity_archive_messages_total 2",
        "probity_archive_rows_total 300",
        "probity_archive_segments_total 1",
        "probity_archive_segment_bytes_bucket{le=\"65536\"} 0",
        "probity_archive_segment_bytes_bucket{le=\"262144\"} 1",
        "probity_archive_open_bytes 5",
        "probity_archive_entries_total{kind=\"reseal\"} 1",
        "probity_archive_puts_total{outcome=\"exists\"} 1",
        "probity_archive_behind_seconds 9",
    ] {
        assert!(text.contains(&format!("{line}\n")), "{line}\n{text}");
    }
}

#[test]
fn indices_follow_the_lists() {
    assert!(
        Step::ALL
            .iter()
            .enumerate()
            .all(|(index, step)| *step as usize == index)
    );
    assert!(
        Reason::ALL
            .iter()
            .enumerate()
            .all(|(index, reason)| *reason as usize == index)
    );
}

/// The code that runs: every file of `src` but this module's, up to its tests.
fn program() -> String {
    let mut folders = vec![concat!(env!("CARGO_MANIFEST_DIR"), "/src").into()];
    let mut program = String::new();
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir::<std::path::PathBuf>(folder).unwrap();
        for path in entries.map(|entry| entry.unwrap().path()) {
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && !["tests", "metrics"].contains(&name) {
                folders.push(path);
            } else if name.ends_with(".rs") && name != "tests.rs" {
                let text = std::fs::read_to_string(&path).unwrap();
                program += text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
            }
        }
    }
    program
}

#[test]
fn every_metric_and_every_value_of_its_labels_is_written_by_the_program() {
    let program = program();
    let (module, _) = include_str!("mod.rs").split_once("#[cfg(test)]").unwrap();
    let functions = module.lines().filter_map(|line| {
        let name = line.trim_start().strip_prefix("pub fn ")?;
        name.split(['(', '<']).next()
    });
    // These make or render something, and record nothing.
    let others = ["new", "as_str", "install", "render"];
    let recording: Vec<&str> = functions.filter(|name| !others.contains(name)).collect();
    assert!(recording.len() > 20, "{recording:?}");
    for name in recording {
        let owners = ["metrics.", "metrics::", "meters."];
        let is_called = |owner: &&str| program.contains(&format!("{owner}{name}("));
        assert!(
            owners.iter().any(is_called),
            "{name} is called in no code that runs"
        );
    }
    let values = Rebalance::ALL.iter().map(|it| format!("Rebalance::{it:?}"));
    let values = values.chain(EntryKind::ALL.iter().map(|it| format!("EntryKind::{it:?}")));
    for value in values.chain(Put::ALL.iter().map(|it| format!("Put::{it:?}"))) {
        assert!(program.contains(&value), "{value} is told by nobody");
    }
}

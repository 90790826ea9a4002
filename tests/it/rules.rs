//! Rules of a policy: what they decide is the same in every output, for every auditor, and for DuckDB.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::kit::auditor::{Ended, audit};
use crate::kit::http::{Admin, sum};
use crate::kit::pipeline::{Pipeline, payments, root};
use crate::kit::{self, Signal};

const PAYMENTS: usize = 3_000;

/// The first two ask for the same and overlap, the third is stricter; all meet values that are missing.
const RULES: &str = r#"
[[policy.rule]]
name = "large-abroad"
when = """
amount_minor > 5000
  AND issuer_country <> acquirer_country"""
decision = "review"
description = "Larger amounts from abroad are looked at"

[[policy.rule]]
name = "busy-night"
when = "EXTRACT(HOUR FROM event_time) < 6 AND card_count_24h >= 2"
decision = "review"

[[policy.rule]]
name = "prepaid-online"
when = "channel = 'ecommerce' AND card_product = 'prepaid'"
decision = "decline"
"#;

/// The reference package with these rules.
fn package(pipeline: &Pipeline<'_>) -> PathBuf {
    let folder = pipeline.folder.join("package");
    fs::create_dir(&folder).unwrap();
    for entry in fs::read_dir(root().join("config/models/card-risk")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
    }
    let manifest = folder.join("model.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    let (before, after) = text.split_once("\n[reasons]\n").unwrap();
    fs::write(manifest, format!("{before}{RULES}\n[reasons]\n{after}")).unwrap();
    folder
}

/// How many events each rule decided.
fn by_rule(records: &[Value]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for rule in records.iter().filter_map(|record| record["rule"].as_str()) {
        *counts.entry(rule.to_owned()).or_default() += 1;
    }
    counts
}

/// Runs a command on an archive, with the trust of its operator.
fn auditor(archive: &Path, pipeline: &Pipeline<'_>, arguments: &[&str]) -> Ended {
    let trust = pipeline.trust();
    let [command, rest @ ..] = arguments else {
        panic!("which command?")
    };
    let all = [&[*command, ".", "--trust", trust.to_str().unwrap()], rest].concat();
    audit(archive, all)
}

/// Runs a script in Python, and returns what it printed.
fn script(python: &Path, arguments: &[&str]) -> String {
    let output = Command::new(python)
        .arg("-B")
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

/// A copy of an archive in which the first row that `rule` decided names `other`.
fn renamed(python: &Path, archive: &Path, name: &str, rule: &str, other: &str) -> PathBuf {
    let folder = kit::folder(name).join("archive");
    let [from, to] = [archive, &folder].map(|path| path.to_str().unwrap());
    script(
        python,
        &["tests/python/rename_rule.py", from, to, rule, other],
    );
    folder
}

fn findings(report: &Value) -> Vec<&str> {
    let found = report["findings"].as_array().unwrap().iter();
    found.map(|each| each["name"].as_str().unwrap()).collect()
}

/// What `probity score` says of the same payments, by event.
fn offline(pipeline: &Pipeline<'_>, package: &str) -> BTreeMap<String, Value> {
    let input = pipeline.folder.join("payments.ndjson");
    let values = payments(1, PAYMENTS)
        .into_iter()
        .map(|payment| payment.value.unwrap());
    fs::write(&input, values.collect::<Vec<_>>().join(&b'\n')).unwrap();
    let out = pipeline.folder.join("scored.ndjson");
    let [input, out] = [&input, &out].map(|path| path.to_str().unwrap());
    let arguments = ["score", input, "--set", package, "--out", out];
    let (code, said) = pipeline.command(&arguments);
    assert_eq!(code, 0, "{said}");
    let lines = fs::read_to_string(out).unwrap();
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        (line["event_id"].as_str().unwrap().to_owned(), line)
    };
    lines.lines().map(line).collect()
}

#[test]
fn a_rule_decides_alike_in_every_output_and_for_every_auditor() {
    let (Some(kafka), Some(python)) = (kit::kafka(), kit::python()) else {
        return;
    };
    let pipeline = Pipeline::create(kafka, "rules", "");
    let package = format!("model.package={}", package(&pipeline).display());
    pipeline.produce_payments(1, PAYMENTS);
    let mut process = pipeline.run("a", &["--set", &package], &[]);
    let admin = Admin::of(&process);
    pipeline.assert_books_agree(true);

    // Records and metrics.
    let scores = pipeline.scores();
    assert_eq!(scores.len(), PAYMENTS);
    let rules = by_rule(&scores);
    let names = ["busy-night", "large-abroad", "prepaid-online"];
    assert!(rules.keys().eq(names), "{rules:?}");
    assert!(rules.values().all(|count| *count >= 10), "{rules:?}");
    let is_done = |metrics: &str| sum(metrics, "probity_rows_total", "scored") == PAYMENTS as f64;
    let (metrics, _) = admin.wait_for("/metrics", is_done);
    for (rule, count) in &rules {
        let label = format!("rule=\"{rule}\"");
        let counted = sum(&metrics, "probity_rule_decisions_total", &label);
        assert_eq!(counted, *count as f64, "{rule}");
    }
    process.signal(Signal::Terminate);
    assert_eq!(process.wait(), 0, "{}", process.lines().join("\n"));

    // Evidence and archive: DuckDB asks the same conditions of the archived events.
    pipeline.assert_contracts_hold();
    let archive = pipeline.archive();
    let [folder, trust] =
        [archive.clone(), pipeline.trust()].map(|path| path.display().to_string());
    let verifier = "deploy/verify/verify.py";
    let said = script(&python, &[verifier, &folder, "--trust", &trust]);
    assert!(said.ends_with("verified\n"), "{said}");
    let report = auditor(&archive, &pipeline, &["replay", "--output", "json"]).json();
    for same in ["policy_same", "bits_same"] {
        assert_eq!(report[same], PAYMENTS, "{report}");
    }

    // One decision by a rule, for people.
    let declined = scores.iter().find(|it| it["rule"] == "prepaid-online");
    let id = declined.unwrap()["event_id"].as_str().unwrap();
    let page = auditor(&archive, &pipeline, &["show", id]);
    let line = "decision     decline, by rule prepaid-online\n";
    assert!(page.stdout.contains(line), "{page}");
    let told = auditor(&archive, &pipeline, &["explain", id, "--output", "json"]);
    let decision = &told.json()["occurrences"][0]["decision"];
    assert_eq!(decision["rule"]["name"], "prepaid-online", "{told}");
    let when = "channel = 'ecommerce' AND card_product = 'prepaid'";
    assert_eq!(decision["rule"]["when"], when);
    assert_eq!(decision["threshold"], Value::Null);

    // Offline.
    let lines = offline(&pipeline, &package);
    for score in &scores {
        let line = &lines[score["event_id"].as_str().unwrap()];
        for key in ["score", "decision", "rule", "policy_version"] {
            assert_eq!(line[key], score[key], "{score}");
        }
    }

    // A rule that nobody asked for, and one that asks for the same decision: only who asks again sees that.
    let made_up = renamed(&python, &archive, "rules-made-up", "large-abroad", "nobody");
    let report = auditor(&made_up, &pipeline, &["verify", "--output", "json"]);
    assert_eq!(report.code, 4, "{report}");
    let report = report.json();
    assert!(findings(&report).contains(&"policy"), "{report}");
    let other = renamed(
        &python,
        &archive,
        "rules-other",
        "large-abroad",
        "busy-night",
    );
    let report = auditor(&other, &pipeline, &["verify", "--output", "json"]).json();
    assert_eq!(findings(&report), ["file-rows"], "{report}");
    let replayed = auditor(&other, &pipeline, &["replay", "--output", "json"]);
    assert_eq!(replayed.code, 4, "{replayed}");
    let report = replayed.json();
    assert_eq!(report["policy_same"], PAYMENTS - 1, "{report}");
    let mismatch = report["mismatches"][0].as_str().unwrap();
    assert!(
        mismatch.ends_with("and not by the rule that is recorded"),
        "{mismatch}"
    );
}

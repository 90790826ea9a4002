//! Drift is told as it is, and Python finds the same numbers in the archive.

use std::fs;
use std::process::Command;

use probity::generate::{Generator, Profile, Settings};
use serde_json::Value;

use crate::kit::http::{Admin, sum};
use crate::kit::pipeline::{PARTITIONS, Pipeline, root};
use crate::kit::{self, Message, Signal};

/// Payments of 32 days, like those that the reference package was fitted on, one in so many: features look back for
/// 30 days, and the first day of a stream has nothing to look back on.
const ONE_IN: usize = 16;
const COUNT: usize = 2_000;

fn payments(profile: Profile, change: impl Fn(&mut Value)) -> Vec<Message> {
    let settings = Settings {
        profile,
        ..Settings::for_cards(500)
    };
    let taken = Generator::new(settings).step_by(ONE_IN).take(COUNT);
    taken
        .enumerate()
        .map(|(number, payment)| {
            let mut text = Vec::new();
            payment.write_json(&mut text);
            let mut event: Value = serde_json::from_slice(&text).unwrap();
            change(&mut event);
            let partition = i32::try_from(number).unwrap() % PARTITIONS;
            Message::new(partition, event.to_string())
        })
        .collect()
}

/// The facts of the ledger's entries, which Python computed again.
fn told(pipeline: &Pipeline<'_>) -> Vec<Value> {
    let output = Command::new(kit::python().unwrap())
        .arg(root().join("tests/python/drift.py"))
        .arg("--archive")
        .arg(pipeline.archive())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn number(facts: &Value, name: &str) -> f64 {
    let text = facts[name]
        .as_str()
        .unwrap_or_else(|| panic!("{name} of {facts}"));
    text.parse().unwrap()
}

/// The stability indices of an entry.
fn indices(facts: &Value) -> Vec<f64> {
    let facts = facts.as_object().unwrap();
    let names = facts.keys().filter(|name| name.starts_with("psi."));
    names
        .map(|name| number(&facts.clone().into(), name))
        .collect()
}

#[test]
fn what_looks_like_the_reference_has_no_drift_and_what_does_not_is_told() {
    let Some(kafka) = kit::kafka() else { return };
    let pipeline = Pipeline::create(
        kafka,
        "drift",
        "[drift]\nwindow = \"1s\"\nrows_min = 2000\n",
    );
    let mut process = pipeline.run("a", &["--set", "pipeline.lanes=2"], &[]);
    let admin = Admin::of(&process);
    let psi = |metrics: &str, of: &str| sum(metrics, "probity_drift_psi", &format!("\"{of}\""));
    let is_told = |metrics: &str| metrics.contains("probity_drift_psi{");

    kafka.produce("drift", &payments(Profile::Full, |_| {}));
    let (metrics, _) = admin.wait_for("/metrics", is_told);
    for of in ["score", "amount_log", "same_device", "hour"] {
        assert!(psi(&metrics, of) < 0.1, "{of}:\n{metrics}");
    }
    process.wait_for("no drift");

    // Many fields are not filled any more, and somebody takes cents for euros.
    let changed = payments(Profile::Compact, |event| {
        let cents = event["amount_minor"].as_i64().unwrap();
        event["amount_minor"] = (cents * 100).into();
    });
    kafka.produce("drift", &changed);
    let is_far = |metrics: &str| psi(metrics, "amount_log") > 0.25;
    let (metrics, _) = admin.wait_for("/metrics", is_far);
    let missing = sum(&metrics, "probity_drift_missing_ratio", "\"same_merchant\"");
    assert_eq!(missing, 1.0);
    assert_eq!(
        sum(&metrics, "probity_drift_missing_ratio", "\"hour\""),
        0.0
    );
    assert!(
        sum(
            &metrics,
            "probity_drift_out_of_range_ratio",
            "\"amount_log\""
        ) > 0.01
    );
    let line = process.wait_for("far=");
    assert!(
        line.contains("WARN") && line.contains("same_merchant"),
        "{line}"
    );
    pipeline.await_processed();

    process.signal(Signal::Terminate);
    assert_eq!(process.wait(), 0, "{}", process.lines().join("\n"));
    let mut archiver = pipeline.run("b", &["--roles", "archive", "--seal-on-stop"], &[]);
    pipeline.assert_books_agree(true);
    archiver.signal(Signal::Terminate);
    assert_eq!(archiver.wait(), 0);

    let [usual, other] = &told(&pipeline)[..] else {
        panic!("{:?}", told(&pipeline))
    };
    for facts in [usual, other] {
        assert_eq!(number(facts, "rows"), COUNT as f64);
        assert_eq!(facts["model"], "card-risk 1.0.0");
        assert_eq!(indices(facts).len(), 11);
    }
    assert!(indices(usual).iter().all(|index| *index < 0.1), "{usual}");
    assert_eq!(usual["ended"], other["begun"]);
    assert_eq!(number(usual, "out_of_range.amount_log"), 0.0);
    assert_eq!(number(other, "missing.same_merchant"), 1.0);
    assert_eq!(number(other, "psi.amount_log"), psi(&metrics, "amount_log"));
    assert!(number(other, "psi.score") > 0.25, "{other}");
}

#[test]
fn another_model_and_a_stop_end_the_window() {
    let Some(kafka) = kit::kafka() else { return };
    let pipeline = Pipeline::create(kafka, "drift-change", "[drift]\nrows_min = 500\n");
    let package = pipeline.folder.join("package");
    fs::create_dir(&package).unwrap();
    for entry in fs::read_dir(root().join("config/models/card-risk")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), package.join(entry.file_name())).unwrap();
    }
    let set = format!("model.package={}", package.display());
    let arguments = [
        "--set",
        &set,
        "--set",
        "model.watch_interval=50ms",
        "--seal-on-stop",
    ];
    let mut process = pipeline.run("a", &arguments, &[]);
    let admin = Admin::of(&process);
    pipeline.produce_payments(1, 600);
    pipeline.await_processed();

    let text = fs::read_to_string(package.join("model.toml")).unwrap();
    let next = text.replacen("version = \"1.0.0\"", "version = \"1.0.1\"", 1);
    fs::write(package.join("model.toml"), next).unwrap();
    let changed =
        |metrics: &str| sum(metrics, "probity_model_packages_total", "\"changed\"") == 1.0;
    let (metrics, _) = admin.wait_for("/metrics", changed);
    // What is known of the old one says nothing of the new one.
    assert!(
        metrics.contains("probity_drift_psi{of=\"score\"} NaN"),
        "{metrics}"
    );
    pipeline.produce_payments(2, 700);
    pipeline.await_processed();
    process.signal(Signal::Terminate);
    assert_eq!(process.wait(), 0, "{}", process.lines().join("\n"));

    let found = told(&pipeline);
    let ends: Vec<_> = found
        .iter()
        .map(|facts| (facts["model"].as_str().unwrap(), number(facts, "rows")))
        .collect();
    assert_eq!(
        ends,
        [("card-risk 1.0.0", 600.0), ("card-risk 1.0.1", 700.0)]
    );
    assert_ne!(found[0]["package_sha256"], found[1]["package_sha256"]);
}

//! Model packages on the command line, as who makes and who checks them uses it. Without Kafka.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::kit::auditor::{Ended, audit};
use crate::kit::{self, pipeline::root};

mod bad;
mod onnx;

/// What a comparison ends with that finds a difference.
const DIFFERENT: i32 = 1;
const USAGE: i32 = 2;

fn fixture(name: &str) -> PathBuf {
    root().join("tests/models").join(name)
}

fn set(key: &str, value: impl Display) -> String {
    format!("{key}={value}")
}

/// The schema from which the fixtures take their features.
fn events() -> String {
    set("input.schema", fixture("event.avsc").display())
}

pub fn copied(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copied(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// Replaces `from`, which must be there, in a file.
fn edited(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from} is not in {}", path.display());
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

/// Runs probity in `folder`; the fixtures' schema is set.
fn probity(folder: &Path, arguments: &[&str]) -> Ended {
    let schema = events();
    audit(folder, [arguments, &["--set", &schema]].concat())
}

fn check(package: &Path, sets: &[String]) -> Ended {
    let mut arguments = vec![
        "model".to_owned(),
        "check".to_owned(),
        package.display().to_string(),
    ];
    for set in sets {
        arguments.extend(["--set".to_owned(), set.clone()]);
    }
    audit(package.parent().unwrap(), arguments)
}

/// Payments for the fixtures, some of which lack what a model may lack.
fn payments(path: &Path, count: u32) {
    let mut random = ChaCha8Rng::seed_from_u64(11);
    let mut text = String::new();
    for number in 0..count {
        let mut below = |limit: u32| random.next_u32() % limit;
        let channel = ["chip", "online"][below(2) as usize];
        let mut event = json!({
            "transaction_id": format!("tx-{number}"),
            "event_time": 1_769_860_800_000_000_i64 + i64::from(below(86_400)) * 1_000_000,
            "amount_minor": below(100_000),
            "card_count_1h": below(6),
            "card_amount_avg_30d": f64::from(below(1_000_000)) / 97.0 + 1.0,
            "terminal_risk": f64::from(below(1_000)) / 3_000.0,
            "distance_km": f64::from(below(100_000)) / 333.0,
            "card_age_days": below(4_000),
            "channel": channel,
        });
        if number % 20 == 3 {
            event["terminal_risk"] = Value::Null;
        }
        text += &format!("{event}\n");
    }
    fs::write(path, text).unwrap();
}

/// The lines of a file of JSON.
fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn what_is_in_a_package_is_told_without_onnx_runtime() {
    let folder = kit::folder("packages-inspect");
    let package = fixture("reasons-lightgbm");
    let mut inspect = std::process::Command::new(env!("CARGO_BIN_EXE_probity"));
    inspect.current_dir(&folder).env_remove("ORT_DYLIB_PATH");
    inspect.args(["model", "inspect"]).arg(&package);
    let told = String::from_utf8(inspect.output().unwrap().stdout).unwrap();
    for words in [
        "fixture-reasons-lightgbm 1.0.0",
        "none: there is no model.sig",
        "input float32[N, 8]",
        "ai.onnx.ml.TreeEnsembleRegressor",
        "review 0.5",
        "extract(hour from event_time)",
        "exact, ",
        "KiB predicted",
        "{card_count_1h} Zahlungen mit dieser Karte",
    ] {
        assert!(told.contains(words), "{words} is not in {told}");
    }
    let signed = root().join("tests/data/model-signing");
    let key = set("model.trust_key", signed.join("key.pub.pem").display());
    let path = signed.join("package").display().to_string();
    let arguments = ["model", "inspect", &path, "--output", "json"];
    let unverified = probity(&folder, &arguments).json();
    let says = unverified["signature"].as_str().unwrap();
    assert!(says.contains("nobody verified"), "{says}");
    let verified = probity(&folder, &[&arguments[..], &["--set", &key]].concat()).json();
    let says = verified["signature"].as_str().unwrap();
    assert!(says.contains("key.pub.pem"), "{says}");
    assert_eq!(verified["features"].as_array().unwrap().len(), 5);
    assert_eq!(verified["onnx"]["inputs"].as_array().unwrap().len(), 5);
    let unsigned = package.display().to_string();
    let refused = probity(&folder, &["model", "inspect", &unsigned, "--set", &key]);
    assert_eq!(refused.code, 4, "{refused}");
}

#[test]
fn without_onnx_runtime_a_check_says_what_to_set() {
    let folder = kit::folder("packages-no-runtime");
    let mut check = std::process::Command::new(env!("CARGO_BIN_EXE_probity"));
    check.current_dir(&folder).env_remove("ORT_DYLIB_PATH");
    check
        .args(["model", "check"])
        .arg(fixture("mlp"))
        .args(["--set", &events()]);
    let ended = check.output().unwrap();
    let told = String::from_utf8(ended.stdout).unwrap();
    assert_eq!(ended.status.code(), Some(3), "{told}");
    assert!(
        told.contains("✘ no ONNX Runtime library is named: set ORT_DYLIB_PATH"),
        "{told}"
    );
}

#[test]
fn without_onnx_runtime_packages_are_compared_but_for_their_scores() {
    let folder = kit::folder("packages-diff-no-runtime");
    let mut diff = std::process::Command::new(env!("CARGO_BIN_EXE_probity"));
    diff.current_dir(&folder).env_remove("ORT_DYLIB_PATH");
    diff.args(["model", "diff"])
        .args([fixture("lightgbm"), fixture("xgboost")]);
    let ended = diff.output().unwrap();
    let told = String::from_utf8(ended.stdout).unwrap();
    assert_eq!(ended.status.code(), Some(3), "{told}");
    assert!(told.contains("new  fixture-xgboost"), "{told}");
    let says = "golden rows of the old package are not compared: no ONNX Runtime library is named";
    assert!(told.contains(says), "{told}");
}

/// A fixture with reasons, without its golden and background rows.
fn incomplete(folder: &Path) -> PathBuf {
    let package = folder.join("incomplete");
    copied(&fixture("reasons-lightgbm"), &package);
    for file in ["golden.json", "background.json"] {
        fs::remove_file(package.join(file)).unwrap();
    }
    let golden = "golden = \"golden.json\"\n";
    let both = format!("{golden}reference = \"reference.json\"\n");
    edited(&package.join("model.toml"), golden, &both);
    fs::write(package.join("MODEL_CARD.md"), "# A model\n").unwrap();
    fs::write(package.join("model.sig"), "of other files").unwrap();
    package
}

#[test]
fn a_package_is_completed_from_a_sample_of_nobodys_rows() {
    let Some(()) = kit::runtime() else { return };
    let folder = kit::folder("packages-pack");
    let package = incomplete(&folder).display().to_string();
    payments(&folder.join("payments.ndjson"), 400);
    let features = [
        "score",
        "payments.ndjson",
        "--package",
        &package,
        "--features",
        "rows.parquet",
    ];
    let matrix = probity(&folder, &features);
    assert_eq!(matrix.code, 0, "{matrix}");

    let pack = |out: &str, more: &[&str]| {
        let arguments = [
            "model",
            "pack",
            &package,
            "--rows",
            "rows.parquet",
            "--out",
            out,
        ];
        probity(&folder, &[&arguments[..], more].concat())
    };
    let packed = pack("packed", &[]);
    assert_eq!(packed.code, 0, "{packed}");
    for words in [
        "background.json is made: 50 rows, made up from 400; 0 have the values",
        "golden.json is made: 66 rows, made up from 400; 0 have the values",
        "with their contributions",
        "reference.json is made: the score and 8 features in 400 rows",
        "66 golden rows have their known answers",
        "✔ tree-interventional",
        "µs a row",
        "stays what it was, not that it is what its trainer meant",
        "model_signing sign key packed --private_key KEY.pem --signature packed/model.sig",
    ] {
        assert!(packed.stdout.contains(words), "{words}: {packed}");
    }
    assert!(folder.join("packed/MODEL_CARD.md").exists());
    assert!(
        !folder.join("packed/model.sig").exists(),
        "it is of other files"
    );
    assert_eq!(check(&folder.join("packed"), &[events()]).code, 0);

    // What was there before is nothing that was made here.
    let kept = ["model", "pack", "packed", "--rows", "rows.parquet"];
    let kept = probity(&folder, &[&kept[..], &["--out", "kept"]].concat());
    assert_eq!(kept.code, 0, "{kept}");
    assert!(kept.stdout.contains("golden.json is kept"), "{kept}");
    assert!(!kept.stdout.contains("stays what it was"), "{kept}");

    let again = pack("packed", &[]);
    assert_eq!(again.code, USAGE, "{again}");
    assert!(again.stderr.contains("packed is there already"), "{again}");
    // The same seed makes the same files, another one others.
    assert_eq!(pack("same", &[]).code, 0);
    assert_eq!(pack("other", &["--seed", "2"]).code, 0);
    let golden = |name: &str| fs::read(folder.join(name).join("golden.json")).unwrap();
    assert_eq!(golden("packed"), golden("same"));
    assert_ne!(golden("packed"), golden("other"));
}

#[test]
fn a_package_that_would_be_refused_is_not_written() {
    let Some(()) = kit::runtime() else { return };
    let folder = kit::folder("packages-unfit");
    let package = incomplete(&folder);
    payments(&folder.join("payments.ndjson"), 100);
    let path = package.display().to_string();
    let features = [
        "score",
        "payments.ndjson",
        "--package",
        &path,
        "--features",
        "rows.parquet",
    ];
    assert_eq!(probity(&folder, &features).code, 0);
    edited(
        &package.join("model.toml"),
        "method = \"tree\"",
        "method = \"linear\"",
    );
    let arguments = [
        "model",
        "pack",
        &path,
        "--rows",
        "rows.parquet",
        "--out",
        "packed",
    ];
    let refused = probity(&folder, &arguments);
    assert_eq!(refused.code, USAGE, "{refused}");
    // The reader knows the folder that was given, not the one that was staged.
    let says = format!("{path}/model.toml: [reasons]");
    assert!(refused.stderr.contains(&says), "{refused}");
    let left = || {
        let entries = fs::read_dir(&folder).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect::<BTreeSet<String>>()
    };
    let before =
        BTreeSet::from(["incomplete", "payments.ndjson", "rows.parquet"].map(str::to_owned));
    assert_eq!(left(), before);

    // What only a start looks at.
    let manifest = package.join("model.toml");
    edited(&manifest, "method = \"linear\"", "method = \"tree\"");
    edited(
        &manifest,
        "sql = \"card_age_days\"",
        "sql = \"card_age_weeks\"",
    );
    let refused = probity(&folder, &arguments);
    assert_eq!(refused.code, USAGE, "{refused}");
    let says = format!("✘ {path}/model.toml: feature `age_days`");
    assert!(refused.stdout.contains(&says), "{refused}");
    assert!(
        refused.stderr.contains("packed is not written"),
        "{refused}"
    );
    assert_eq!(left(), before);

    edited(
        &package.join("model.toml"),
        "name = \"age_days\"",
        "name = \"age_weeks\"",
    );
    edited(
        &package.join("model.toml"),
        "[\"age_days\"]",
        "[\"age_weeks\"]",
    );
    let refused = probity(&folder, &arguments);
    assert!(
        refused.stderr.contains("has no column `age_weeks`"),
        "{refused}"
    );
}

#[test]
fn two_packages_are_compared_value_by_value() {
    let Some(()) = kit::runtime() else { return };
    let folder = kit::folder("packages-diff");
    let old = fixture("lightgbm");
    copied(&old, &folder.join("new"));
    let manifest = folder.join("new/model.toml");
    let diff = |more: &[&str]| {
        let old = old.display().to_string();
        probity(&folder, &[&["model", "diff", &old, "new"], more].concat())
    };
    let same = diff(&[]);
    assert_eq!(same.code, 0, "{same}");
    assert!(same.stdout.contains("nothing differs"), "{same}");
    edited(&manifest, "version = \"1.0.0\"", "version = \"1.1.0\"");
    edited(&manifest, "review = 0.5", "review = 0.25");
    let changed = diff(&[]);
    assert_eq!(changed.code, DIFFERENT, "{changed}");
    for words in [
        "~ version\n    old  1.0.0\n    new  1.1.0",
        "- policy.text: review 0.5",
        "+ policy.text: review 0.25",
        "203 golden rows of the old package, by the new model: 203 with the same bits",
    ] {
        assert!(changed.stdout.contains(words), "{words}: {changed}");
    }
    assert!(!changed.stdout.contains("features."), "{changed}");
    let report = diff(&["--output", "json"]).json();
    let compared = &report["golden"]["compared"];
    assert_eq!(compared["largest_difference"], 0.0);
    assert!(
        compared["decided_differently"].as_u64().unwrap() > 0,
        "{report}"
    );
    edited(
        &manifest,
        "sql = \"terminal_risk\"",
        "sql = \"terminal_risk / 2\"",
    );
    let report = diff(&["--output", "json"]).json();
    let differences = report["differences"].as_array().unwrap();
    let sql = differences
        .iter()
        .find(|it| it["what"] == "features.terminal_risk.sql")
        .unwrap();
    assert_eq!(
        (&sql["old"], &sql["new"]),
        (&json!("terminal_risk"), &json!("terminal_risk / 2"))
    );
    assert_eq!(
        report["golden"]["not_compared"],
        "the features are not the same"
    );
}

#[test]
fn who_would_be_decided_differently_is_what_two_runs_say() {
    let Some(()) = kit::runtime() else { return };
    let folder = kit::folder("packages-compare");
    let old = fixture("lightgbm").display().to_string();
    copied(&fixture("xgboost"), &folder.join("new"));
    edited(
        &folder.join("new/model.toml"),
        "review = 0.5",
        "review = 0.3",
    );
    payments(&folder.join("payments.ndjson"), 400);
    let text = fs::read_to_string(folder.join("payments.ndjson")).unwrap();
    fs::write(folder.join("payments.ndjson"), format!("no json\n{text}")).unwrap();
    let score = |package: &str, out: &str| {
        let arguments = [
            "score",
            "payments.ndjson",
            "--package",
            package,
            "--out",
            out,
        ];
        assert_eq!(probity(&folder, &arguments).code, 0);
        lines(&folder.join(out))
    };
    let (by_old, by_new) = (score(&old, "old.ndjson"), score("new", "new.ndjson"));
    let both = by_old.iter().zip(&by_new);
    let wanted: Vec<Value> = both
        .filter(|(old, new)| old["decision"] != new["decision"])
        .map(|(old, new)| {
            let told = |it: &Value| {
                let (name, version) = (&it["model"]["name"], &it["model"]["version"]);
                json!({"model": name, "version": version, "policy_version": it["policy_version"],
                       "score": it["score"], "decision": it["decision"]})
            };
            json!({"line": old["line"], "event_id": old["event_id"], "old": told(old), "new": told(new)})
        })
        .collect();
    assert!(wanted.len() > 10 && wanted.len() < 390, "{}", wanted.len());

    let arguments = ["score", "--compare", &old, "new", "payments.ndjson"];
    let compared = probity(
        &folder,
        &[&arguments[..], &["--out", "both.ndjson"]].concat(),
    );
    assert_eq!(compared.code, 0, "{compared}");
    assert_eq!(lines(&folder.join("both.ndjson")), wanted);
    let said = format!(
        "401 events, {} decided differently, 1 rejected by both",
        wanted.len()
    );
    assert!(compared.stderr.contains(&said), "{compared}");
    let rows = compared
        .stderr
        .lines()
        .skip_while(|line| !line.starts_with("old"))
        .skip(1);
    let numbers = rows.flat_map(|row| {
        row.split_whitespace()
            .filter_map(|it| it.parse::<u64>().ok())
    });
    assert_eq!(numbers.sum::<u64>(), 401);
    // Without a file, the lines go where they are read.
    let printed = probity(&folder, &arguments);
    assert_eq!(
        printed.stdout,
        fs::read_to_string(folder.join("both.ndjson")).unwrap()
    );
}

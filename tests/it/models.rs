//! Models change while payments flow, and what is not right in every way changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::Float32Type;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use crate::kit::http::{Admin, sum};
use crate::kit::pipeline::{Pipeline, root};
use crate::kit::{self, Guarded, Signal};

mod roll_out;

/// So many changes must leave the process as large as the first ones did.
const CHANGES: u64 = 100;

/// Packages beside each other, and a link to the one that decides.
struct Packages {
    folder: PathBuf,
}

impl Packages {
    fn new(pipeline: &Pipeline<'_>) -> Packages {
        let folder = pipeline.folder.join("models");
        fs::create_dir(&folder).unwrap();
        Packages { folder }
    }

    fn link(&self) -> PathBuf {
        self.folder.join("current")
    }

    /// A copy of the fixture under another version, with more changes of `model.toml`.
    fn add(&self, name: &str, version: &str, changes: &[(&str, &str)]) -> PathBuf {
        let folder = self.folder.join(name);
        fs::create_dir(&folder).unwrap();
        let source = root().join("config/models/card-risk");
        for entry in fs::read_dir(source).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
        }
        let manifest = folder.join("model.toml");
        let mut text = fs::read_to_string(&manifest).unwrap();
        let version = format!("version = \"{version}\"");
        for (from, to) in [("version = \"1.0.0\"", &*version)].iter().chain(changes) {
            assert!(text.contains(from), "{from}");
            text = text.replacen(from, to, 1);
        }
        fs::write(manifest, text).unwrap();
        folder
    }

    /// Lets this package decide, in one step.
    fn choose(&self, name: &str) {
        self.exchange(&self.link(), name);
    }

    /// Lets the link name another package, in one step.
    fn exchange(&self, link: &Path, name: &str) {
        let next = self.folder.join("next");
        std::os::unix::fs::symlink(self.folder.join(name), &next).unwrap();
        #[allow(
            clippy::disallowed_methods,
            reason = "a link is exchanged, and nothing of an archive"
        )]
        fs::rename(next, link).unwrap();
    }

    fn start(&self, pipeline: &Pipeline<'_>, instance: &str, more: &[&str]) -> Guarded {
        let package = format!("model.package={}", self.link().display());
        let arguments = [
            "--set",
            &package,
            "--set",
            "model.watch_interval=50ms",
            "--set",
            "pipeline.lanes=2",
        ];
        pipeline.run(instance, &[&arguments, more].concat(), &[])
    }
}

/// How many packages were taken over, and how many refused.
fn counts(metrics: &str) -> (u64, u64) {
    let count = |outcome: &str| {
        let label = format!("outcome=\"{outcome}\"");
        sum(metrics, "probity_model_packages_total", &label) as u64
    };
    (count("changed"), count("refused"))
}

/// How many scores each version of the model gave.
fn by_version(scores: &[Value]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for score in scores {
        let version = score["model"]["version"].as_str().unwrap();
        let policy = score["policy_version"].as_str().unwrap();
        *counts.entry(format!("{version}/{policy}")).or_default() += 1;
    }
    counts
}

fn resident_kib(process: &Guarded) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// What the ledger says happened, by kind.
fn events(archive: &Path) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for entry in fs::read_dir(archive.join("ledger/entry")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        for kind in ["model changed", "model refused"] {
            if text.contains(&format!("\"{kind}\"")) {
                *kinds.entry(kind.to_owned()).or_default() += 1;
            }
        }
    }
    kinds
}

#[test]
fn a_model_changes_while_payments_flow_and_a_bad_one_changes_nothing() {
    let Some(kafka) = kit::kafka() else {
        return;
    };
    let pipeline = Pipeline::create(kafka, "models-change", "");
    let packages = Packages::new(&pipeline);
    packages.add("first", "1.0.0", &[]);
    packages.add("second", "1.1.0", &[]);
    packages.add(
        "policy",
        "1.1.0",
        &[
            ("version = \"1\"", "version = \"2\""),
            ("review = 0.087", "review = 0.2"),
        ],
    );
    packages.choose("first");
    let mut process = packages.start(&pipeline, "a", &[]);
    let admin = Admin::of(&process);
    let mut seed = 0;
    let mut more = || {
        seed += 1;
        pipeline.produce_payments(seed, 600);
        pipeline.await_processed();
    };
    more();

    // The next ones come while payments flow.
    for (taken, name) in [(1, "second"), (2, "policy")] {
        packages.choose(name);
        pipeline.produce_payments(1000 + taken, 600);
        admin.wait_for("/metrics", |metrics| counts(metrics) == (taken, 0));
        more();
    }

    // What must not decide.
    let cut = packages.add("cut", "2.0.0", &[]);
    let model = fs::read(cut.join("model.onnx")).unwrap();
    fs::write(cut.join("model.onnx"), &model[..model.len() / 2]).unwrap();
    let golden = packages.add("golden", "2.0.0", &[]);
    let text = fs::read_to_string(golden.join("golden.json")).unwrap();
    let at = text.find("\"score\"").unwrap() + 26;
    let other = if &text[at..=at] == "0" { "3" } else { "0" };
    fs::write(
        golden.join("golden.json"),
        format!("{}{other}{}", &text[..at], &text[at + 1..]),
    )
    .unwrap();
    packages.add(
        "typo",
        "2.0.0",
        &[("sql = \"card_count_1h\"", "sql = \"card_count_1hour\"")],
    );
    packages.add(
        "same",
        "1.1.0",
        &[
            ("version = \"1\"", "version = \"2\""),
            ("review = 0.087", "review = 0.3"),
        ],
    );
    for (refused, (name, says)) in [
        ("cut", "model.onnx"),
        ("golden", "golden"),
        ("typo", "card_count_1hour"),
        ("same", "has other files than the package of this version"),
        (
            "first",
            "is older than card-risk 1.1.0 with policy 2, which decided last; to go back on purpose",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        packages.choose(name);
        admin.wait_for("/metrics", |metrics| {
            counts(metrics) == (2, refused as u64 + 1)
        });
        let line = process.wait_for(says);
        assert!(
            line.contains("a model package is refused"),
            "{name}: {line}"
        );
    }
    more();

    // Back, on purpose.
    fs::write(packages.folder.join("current.rollback"), "1.0.0\n").unwrap();
    admin.wait_for("/metrics", |metrics| counts(metrics).0 == 3);
    more();

    process.signal(Signal::Terminate);
    assert_eq!(process.wait(), 0);
    let scores = pipeline.scores();
    let versions = by_version(&scores);
    let named: BTreeSet<&str> = versions.keys().map(String::as_str).collect();
    assert_eq!(named, BTreeSet::from(["1.0.0/1", "1.1.0/1", "1.1.0/2"]));
    // Both after the second change and after all the refusals, the same one decided.
    assert!(versions["1.1.0/2"] >= 1200, "{versions:?}");
    assert!(versions["1.0.0/1"] >= 1200, "{versions:?}");
    let mut archiver = pipeline.run("b", &["--seal-on-stop"], &[]);
    archiver.wait_for("archiving");
    pipeline.assert_books_agree(true);
    archiver.signal(Signal::Terminate);
    assert_eq!(archiver.wait(), 0);
    let events = events(&pipeline.archive());
    assert_eq!(events["model changed"], 3, "{events:?}");
    assert_eq!(events["model refused"], 5, "{events:?}");
    let trust = pipeline.trust();
    let arguments = ["--trust", trust.to_str().unwrap(), "--output", "json"];
    let replayed = kit::auditor::audit(
        &pipeline.archive(),
        [&["replay", "."][..], &arguments].concat(),
    );
    let report = replayed.json();
    assert_eq!(report["policy_same"], report["scored"], "{report}");
    assert_eq!(report["bits_same"], report["scored"], "{report}");
}

#[test]
fn a_hundred_changes_leave_the_process_as_large_as_the_first_ones() {
    let Some(kafka) = kit::kafka() else {
        return;
    };
    let pipeline = Pipeline::create(kafka, "models-memory", "");
    let packages = Packages::new(&pipeline);
    for version in 0..=CHANGES {
        packages.add(&version.to_string(), &format!("1.0.{version}"), &[]);
    }
    packages.choose("0");
    let mut process = packages.start(&pipeline, "a", &[]);
    let admin = Admin::of(&process);
    let mut early = 0;
    for version in 1..=CHANGES {
        packages.choose(&version.to_string());
        pipeline.produce_payments(version, 100);
        admin.wait_for("/metrics", |metrics| counts(metrics) == (version, 0));
        if version == CHANGES / 10 {
            early = resident_kib(&process);
        }
    }
    let late = resident_kib(&process);
    // Ninety models of 40 MiB would be 3.5 GiB.
    assert!(
        late < early + (100 << 10),
        "{early} KiB after ten changes, {late} KiB after all"
    );
    pipeline.await_processed();
    process.signal(Signal::Terminate);
    assert_eq!(process.wait(), 0);
    pipeline.assert_books_agree(false);
}

#[test]
fn an_older_package_does_not_come_back_with_a_restart() {
    let Some(kafka) = kit::kafka() else {
        return;
    };
    let pipeline = Pipeline::create(kafka, "models-restart", "");
    let packages = Packages::new(&pipeline);
    packages.add("old", "1.0.0", &[]);
    packages.add("new", "1.1.0", &[]);
    packages.choose("new");
    let mut process = packages.start(&pipeline, "a", &[]);
    pipeline.produce_payments(1, 200);
    pipeline.await_processed();
    process.signal(Signal::Terminate);
    assert_eq!(process.wait(), 0);

    packages.choose("old");
    let package = format!("model.package={}", packages.link().display());
    let (code, said) = pipeline.command(&["check", "--set", &package]);
    assert_eq!(code, 1, "{said}");
    let why = "card-risk 1.0.0 with policy 1 is older than card-risk 1.1.0 with policy 1, which decided last";
    assert!(said.contains(why), "{said}");
    let mut refused = packages.start(&pipeline, "a", &[]);
    assert_eq!(refused.wait(), 2);
    assert!(refused.lines().join("\n").contains(why));

    fs::write(packages.folder.join("current.rollback"), "1.0.0").unwrap();
    let mut process = packages.start(&pipeline, "a", &[]);
    pipeline.produce_payments(2, 200);
    pipeline.await_processed();
    process.signal(Signal::Terminate);
    assert_eq!(process.wait(), 0);
    let versions = by_version(&pipeline.scores());
    let wanted = [("1.0.0/1".to_owned(), 200), ("1.1.0/1".to_owned(), 200)];
    assert_eq!(versions, BTreeMap::from(wanted));
    pipeline.assert_books_agree(false);
}

/// The scored rows of the archive.
fn archived(archive: &Path) -> Vec<RecordBatch> {
    let mut batches = Vec::new();
    for day in fs::read_dir(archive.join("segments")).unwrap() {
        for file in fs::read_dir(day.unwrap().path()).unwrap() {
            let file = fs::File::open(file.unwrap().path()).unwrap();
            let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
            batches.extend(reader.build().unwrap().map(Result::unwrap));
        }
    }
    batches
}

#[test]
fn a_shadow_scores_and_decides_nothing_and_the_archive_says_what_it_said() {
    let Some(kafka) = kit::kafka() else {
        return;
    };
    let pipeline = Pipeline::create(kafka, "models-shadow", "");
    let packages = Packages::new(&pipeline);
    packages.add("first", "1.0.0", &[]);
    // The same model, and thresholds at which it would review nearly everything and decline nothing.
    let mild = [
        ("review = 0.087", "review = 0.0001"),
        ("decline = 0.422", "decline = 1.0"),
    ];
    packages.add("mild", "1.1.0", &mild);
    packages.add("milder", "1.2.0", &mild);
    packages.choose("first");
    let shadow = packages.folder.join("shadow");
    packages.exchange(&shadow, "mild");
    let shadows = format!("model.shadows={}", shadow.display());
    let mut process = packages.start(&pipeline, "a", &["--set", &shadows, "--seal-on-stop"]);
    let admin = Admin::of(&process);
    pipeline.produce_payments(1, 500);
    pipeline.await_processed();
    let metric = "probity_shadow_decisions_total";
    admin.wait_for("/metrics", |metrics| {
        sum(metrics, metric, "shadow=\"1\"") == 500.0
    });
    // A shadow changes as the other one does.
    packages.exchange(&shadow, "milder");
    admin.wait_for("/metrics", |metrics| counts(metrics) == (1, 0));
    pipeline.produce_payments(2, 500);
    pipeline.await_processed();
    process.signal(Signal::Terminate);
    assert_eq!(process.wait(), 0);

    let scores = pipeline.scores();
    assert_eq!(
        by_version(&scores),
        BTreeMap::from([("1.0.0/1".to_owned(), 1000)])
    );
    pipeline.assert_books_agree(true);
    let mut models = BTreeMap::new();
    for rows in archived(&pipeline.archive()) {
        let text = |name: &str| {
            let column = rows.column_by_name(name).expect(name).clone();
            arrow::compute::cast(&column, &arrow::datatypes::DataType::Utf8).unwrap()
        };
        let [kinds, decisions, said, model] =
            ["kind", "decision", "shadow_1_decision", "shadow_1_model"].map(text);
        let [kinds, decisions, said, model] =
            [&kinds, &decisions, &said, &model].map(|column| column.as_string::<i32>());
        let [score, shadow_score] = ["score", "shadow_1_score"].map(|name| {
            rows.column_by_name(name)
                .unwrap()
                .as_primitive::<Float32Type>()
        });
        for row in 0..rows.num_rows() {
            if kinds.value(row) != "scored" {
                assert!(said.is_null(row) && shadow_score.is_null(row));
                continue;
            }
            let score = score.value(row);
            assert_eq!(score.to_bits(), shadow_score.value(row).to_bits());
            let would = if f64::from(score) >= 0.0001 {
                "review"
            } else {
                "approve"
            };
            assert_eq!(said.value(row), would);
            let decided = if f64::from(score) < 0.087 {
                "approve"
            } else {
                "other"
            };
            assert!(decided == "other" || decisions.value(row) == decided);
            *models.entry(model.value(row).to_owned()).or_default() += 1;
        }
    }
    let wanted = [
        ("card-risk 1.1.0".to_owned(), 500),
        ("card-risk 1.2.0".to_owned(), 500),
    ];
    assert_eq!(models, BTreeMap::from(wanted));
}

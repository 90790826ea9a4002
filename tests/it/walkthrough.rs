//! README's walk-through of a new model, run as it is printed: train, pack, check, compare, shadow, promote, explain.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::kit::http::{Admin, sum};
use crate::kit::pipeline::{Pipeline, root};
use crate::kit::{self, Signal};

/// The fenced blocks of README's section with this heading, with their languages.
fn blocks(heading: &str) -> Vec<(String, String)> {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let (_, section) = readme.split_once(&format!("\n### {heading}\n")).unwrap();
    let section = section.split("\n##").next().unwrap();
    let mut blocks = Vec::new();
    for block in section.split("\n```").skip(1).step_by(2) {
        let (language, text) = block.split_once('\n').unwrap();
        blocks.push((language.to_owned(), text.to_owned()));
    }
    blocks
}

/// A clone, as far as the walk-through sees one.
struct Clone {
    folder: PathBuf,
    config: PathBuf,
}

impl Clone {
    fn new(pipeline: &Pipeline<'_>) -> Clone {
        let folder = pipeline.folder.join("clone");
        let models = folder.join("config/models");
        fs::create_dir_all(models.join("card-risk")).unwrap();
        for entry in fs::read_dir(root().join("config/models/card-risk")).unwrap() {
            let entry = entry.unwrap();
            fs::copy(
                entry.path(),
                models.join("card-risk").join(entry.file_name()),
            )
            .unwrap();
        }
        for name in ["deploy", "schemas", "tests"] {
            std::os::unix::fs::symlink(root().join(name), folder.join(name)).unwrap();
        }
        // Packages are named as the file with the configuration sees them.
        std::os::unix::fs::symlink(&models, pipeline.folder.join("models")).unwrap();
        Clone {
            folder,
            config: pipeline.folder.join("probity.toml"),
        }
    }

    /// Writes a section `[model]` of README's into the configuration, in the place of the one that is there.
    fn configure(&self, section: &str) {
        let text = fs::read_to_string(&self.config).unwrap();
        let (before, rest) = text.split_once("[model]\n").unwrap();
        let (_, after) = rest.split_once("\n[").unwrap();
        let text = format!("{before}{section}\nwatch_interval = \"50ms\"\n[{after}");
        fs::write(&self.config, text).unwrap();
    }

    fn package(&self, name: &str) -> PathBuf {
        self.folder.join("config/models").join(name)
    }

    /// Runs what README prints, line by line as a shell does. What it said.
    fn run(&self, script: &str, variables: &[(&str, &str)]) -> String {
        let alias = format!(
            "probity() {{ {} \"$@\"; }}\n",
            env!("CARGO_BIN_EXE_probity")
        );
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &(alias + script)])
            .env("PROBITY_CONFIG", &self.config)
            .current_dir(&self.folder)
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}\n{said}");
        said
    }
}

/// How many rows have known answers.
fn golden_rows(package: &Path) -> usize {
    let golden = fs::read(package.join("golden.json")).unwrap();
    let golden: serde_json::Value = serde_json::from_slice(&golden).unwrap();
    // Eight hexadecimal digits for each row.
    golden["score"]["float32"].as_str().unwrap().len() / 8
}

/// What a query of README gives in DuckDB, a line for each row.
fn query(archive: &Path, sql: &str) -> String {
    let script = "import duckdb, sys\nfor row in duckdb.sql(sys.argv[1]).fetchall(): print(*row)";
    let python = kit::python().expect("`make test` sets PROBITY_PYTHON");
    let output = Command::new(python)
        .args(["-c", script, sql])
        .current_dir(archive)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_walk_through_of_a_new_model_works_as_it_is_printed() {
    let Some(kafka) = kit::kafka() else {
        return;
    };
    let pipeline = Pipeline::create(kafka, "walkthrough", "");
    let clone = Clone::new(&pipeline);
    let blocks = blocks("A new model, step by step");
    let languages: Vec<&str> = blocks.iter().map(|(language, _)| &**language).collect();
    let wanted = ["sh", "toml", "sh", "toml", "sql", "sh", "sh", "sh"];
    assert_eq!(languages, wanted);
    let [link, named, train, shadowed, shadow, promote, back, explain] =
        [0, 1, 2, 3, 4, 5, 6, 7].map(|block| &*blocks[block].1);

    clone.run(link, &[]);
    clone.configure(named);

    let said = clone.run(train, &[]);
    assert!(said.contains("average precision on the rest"), "{said}");
    assert!(
        golden_rows(&clone.package("card-risk-1.1.0")) >= 64,
        "{said}"
    );
    let differ = fs::read_to_string(clone.folder.join("differ.ndjson")).unwrap();
    assert!(differ.lines().count() > 0, "{said}");

    clone.configure(shadowed);
    let mut process = pipeline.run("a", &["--seal-on-stop"], &[]);
    let admin = Admin::of(&process);
    pipeline.produce_payments(1, 1000);
    pipeline.await_processed();
    let metric = "probity_shadow_decisions_total";
    admin.wait_for("/metrics", |metrics| {
        sum(metrics, metric, "shadow=\"1\"") == 1000.0
    });

    clone.run(promote, &[]);
    let metric = "probity_model_packages_total";
    admin.wait_for("/metrics", |metrics| {
        sum(metrics, metric, "outcome=\"changed\"") == 1.0
    });
    pipeline.produce_payments(2, 3000);
    pipeline.await_processed();
    clone.run(back, &[]);
    admin.wait_for("/metrics", |metrics| {
        sum(metrics, metric, "outcome=\"changed\"") == 2.0
    });
    pipeline.produce_payments(3, 500);
    pipeline.await_processed();
    process.signal(Signal::Terminate);
    assert_eq!(process.wait(), 0);
    pipeline.assert_books_agree(true);

    let rows = query(&pipeline.archive(), shadow);
    let counts = rows
        .lines()
        .map(|row| row.rsplit(' ').next().unwrap().parse::<u64>().unwrap());
    assert_eq!(counts.sum::<u64>(), 4500, "{rows}");

    let scores = pipeline.scores();
    let by_new = |score: &&serde_json::Value| score["model"]["version"] == "1.1.0";
    assert_eq!(scores.iter().filter(by_new).count(), 3000);
    let declined = scores
        .iter()
        .filter(by_new)
        .find(|score| score["decision"] == "decline");
    let declined = declined.expect("one of 3,000 generated payments is declined");
    let event = declined["event_id"].as_str().unwrap();
    let archive = pipeline.archive();
    let trust = probity::keys::Trust::load(&pipeline.trust()).unwrap();
    let variables = [
        ("ARCHIVE", archive.to_str().unwrap()),
        ("EVENT", event),
        ("KEY", &trust.log[0].to_string()),
    ];
    let said = clone.run(explain, &variables);
    let page = fs::read_to_string(clone.folder.join("why.html")).unwrap();
    let reasons = declined["explanation"]["reasons"].as_array().unwrap();
    for reason in reasons {
        let text = reason["text"].as_str().unwrap();
        assert!(said.contains(text), "{text:?} is not in\n{said}");
        assert!(page.contains(text), "{text:?} is not on the page");
    }
}

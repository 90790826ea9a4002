//! Runs the accounting tool, which is written in another language on purpose, on what a pipeline left.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::{Cluster, skip};

/// Where a pipeline reads and writes.
#[derive(Clone, Copy)]
pub struct Pipeline<'a> {
    pub group: &'a str,
    pub input: &'a str,
    pub scored: &'a str,
    pub evidence: &'a str,
    pub dead_letters: &'a str,
    pub archive: Option<&'a Path>,
}

/// What the accounting tool says.
#[derive(Debug)]
pub struct Report {
    /// The names of what does not agree, sorted; none where the books agree.
    pub findings: Vec<String>,
    /// The whole report: `counts` and, by name, up to ten examples of each finding.
    pub whole: Value,
}

/// The interpreter of the tests' Python environment; `None`, and the test is skipped, where absent.
pub fn python() -> Option<PathBuf> {
    match std::env::var_os("PROBITY_PYTHON") {
        Some(interpreter) => Some(interpreter.into()),
        None => skip("Python is absent (PROBITY_PYTHON is not set: use `make test`)"),
    }
}

/// A program of `tests/python`.
pub fn python_program(interpreter: &Path, name: &str) -> Command {
    let mut command = Command::new(interpreter);
    command.arg(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/python")
            .join(name),
    );
    command
}

impl Cluster {
    /// The books of `pipeline`, taken when all is processed and archived, or `wait` is over.
    pub fn accounts(&self, python: &Path, pipeline: &Pipeline<'_>, wait: Duration) -> Report {
        let mut command = python_program(python, "accounting.py");
        command
            .args(["--bootstrap", self.bootstrap()])
            .args(["--group", pipeline.group])
            .args(["--input", pipeline.input])
            .args(["--scored", pipeline.scored])
            .args(["--evidence", pipeline.evidence])
            .args(["--dlq", pipeline.dead_letters])
            .args(["--wait", &wait.as_secs().to_string()]);
        if let Some(archive) = pipeline.archive {
            command.arg("--archive").arg(archive);
        }
        let done = command.stderr(Stdio::inherit()).output().unwrap();
        let whole: Value = serde_json::from_slice(&done.stdout).unwrap();
        let findings = whole["findings"]
            .as_object()
            .unwrap_or_else(|| panic!("{whole:#}"));
        Report {
            findings: findings.keys().cloned().collect(),
            whole,
        }
    }
}

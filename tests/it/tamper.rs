//! Altered archives, each refused by two verifiers that share no code, by the same names.
//!
//! `tests/python/mutants` alters the golden archive in every way that somebody might, and says which
//! findings each alteration must have. What must not alarm is there as well.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::kit::{self, pipeline::root};

#[derive(Deserialize)]
struct Expected {
    name: String,
    path: PathBuf,
    trust: PathBuf,
    kept_checkpoint: Option<PathBuf>,
    findings: BTreeSet<String>,
    verified: bool,
}

#[derive(Deserialize)]
struct Report {
    findings: Vec<Named>,
    #[serde(default)]
    told: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

/// Writes all altered archives.
fn write(python: &Path, folder: &Path) -> Vec<Expected> {
    let written = Command::new(python)
        .args(["-B", "-m", "mutants"])
        .arg(folder)
        .current_dir(root().join("tests/python"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&written.stderr);
    assert!(written.status.success(), "{said}");
    let expected = std::fs::read(folder.join("expected.json")).unwrap();
    serde_json::from_slice(&expected).unwrap()
}

/// What a verifier says of one of them, where it is not what is expected.
fn judge(verifier: &[&str], folder: &Path, expected: &Expected) -> Option<String> {
    let mut command = Command::new(verifier[0]);
    command
        .args(&verifier[1..])
        .arg(folder.join(&expected.path))
        .arg("--trust")
        .arg(folder.join(&expected.trust))
        .args(["--output", "json"]);
    if let Some(kept) = &expected.kept_checkpoint {
        command.arg("--checkpoint").arg(folder.join(kept));
    }
    let output = command.output().unwrap();
    let name = &expected.name;
    let Ok(report) = serde_json::from_slice::<Report>(&output.stdout) else {
        let said = String::from_utf8_lossy(&output.stderr);
        return Some(format!("{name}: no report: {said}"));
    };
    let all = report.findings.iter().chain(&report.told);
    let named: BTreeSet<String> = all.map(|finding| finding.name.clone()).collect();
    let wanted = &expected.findings;
    let code = if expected.verified { 0 } else { 4 };
    let is_right = match expected.verified {
        true => named == *wanted,
        false => named.is_superset(wanted),
    };
    let ended = output.status.code();
    (!is_right || ended != Some(code))
        .then(|| format!("{name}: {named:?} and {ended:?}, not {wanted:?} and {code}"))
}

fn judge_all(verifier: &[&str], folder: &Path, expected: &[Expected], passed_over: &[&str]) {
    let judged = expected
        .iter()
        .filter(|expected| !passed_over.contains(&expected.name.as_str()));
    let wrong: Vec<String> = judged
        .filter_map(|expected| judge(verifier, folder, expected))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_way_to_alter_an_archive_has_its_finding_in_two_verifiers() {
    let Some(python) = kit::python() else { return };
    let folder = kit::folder("mutants");
    let expected = write(&python, &folder);
    assert!(expected.len() > 100, "{}", expected.len());
    let probity = env!("CARGO_BIN_EXE_probity");
    judge_all(&[probity, "verify"], &folder, &expected, &[]);
    let python = python.to_str().unwrap();
    let verifier = root().join("deploy/verify/verify.py");
    // A verifier need not fold into the same bytes; this one does not.
    let passed_over = ["fold-of-another-history"];
    let verifier = [python, "-B", verifier.to_str().unwrap()];
    judge_all(&verifier, &folder, &expected, &passed_over);
}

#[test]
fn a_file_that_is_no_checkpoint_is_wrong_usage_of_both() {
    let Some(python) = kit::python() else { return };
    let kept = kit::folder("kept-file").join("notes.txt");
    std::fs::write(&kept, "buy milk\n").unwrap();
    let data = root().join("tests/data");
    let verifier = root().join("deploy/verify/verify.py");
    let verifiers: [&[&Path]; 2] = [
        &[
            Path::new(env!("CARGO_BIN_EXE_probity")),
            Path::new("verify"),
        ],
        &[&python, Path::new("-B"), &verifier],
    ];
    for verifier in verifiers {
        let ended = Command::new(verifier[0])
            .args(&verifier[1..])
            .arg(data.join("golden"))
            .arg("--trust")
            .arg(data.join("golden.trust.toml"))
            .arg("--checkpoint")
            .arg(&kept)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(2), "{verifier:?}: {said}");
    }
}

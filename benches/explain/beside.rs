//! probity beside other libraries: the same model, the same rows, the same background, one thread each, one run.
//!
//! `others.py` trains the model from generated payments, packs it with `deploy/pack_model`, and times LightGBM and
//! shap; the crate `treeshap` reads LightGBM's own file here. Where two calculate the same game they must agree.

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use arrow::array::{Array as _, ArrayRef, AsArray as _};
use arrow::datatypes::Float32Type;
use serde_json::Value;
use treeshap::{TreeExplainer, TreeModel};

use super::payments::{Payments, TO_EXPLAIN};
use super::{BATCHES, Subject, cpu};

/// The slow ones explain the first so many rows.
const ROWS: usize = 128;
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_millis(500);
/// For each unit of the margin and at least for one: ONNX has leaves of 32 bits, the others of 64.
const TOLERANCE: f64 = 1e-6;

pub fn table(payments: &Payments) {
    let Some(python) = std::env::var_os("PROBITY_ORACLES").filter(|path| !path.is_empty()) else {
        println!(
            "beside other libraries: left out, because PROBITY_ORACLES names no Python; \
             deploy/setup/python.sh tests/python/oracles.lock makes it"
        );
        return;
    };
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    let folder = folder.path();
    let write = |name: &str, bytes: &[u8]| {
        fs::write(folder.join(name), bytes).expect("the folder takes it");
    };
    write("matrix.f32", &payments.matrix());
    let fraud: Vec<u8> = payments
        .fraud
        .iter()
        .map(|fraud| u8::from(*fraud))
        .collect();
    write("fraud.u8", &fraud);
    write("names.txt", payments.names.join("\n").as_bytes());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/explain/others.py");
    let mut command = Command::new(python);
    command.arg("-B").arg(script).arg(folder);
    command.args([TO_EXPLAIN, ROWS].map(|number| number.to_string()));
    let status = command.status().expect("PROBITY_ORACLES names a program");
    assert!(status.success(), "others.py ended with {status}");

    let others: Value = serde_json::from_str(&text(folder, "others.json")).expect("it is JSON");
    println!(
        "beside other libraries: {}",
        others["model"].as_str().expect("a text")
    );
    println!("interventional Shapley values, µs of CPU per row:");
    let mut subject = Subject::open(&folder.join("package"));
    let rows = payments.to_explain();
    for batch in BATCHES {
        let [_, explained] = subject.costs(&rows, batch);
        line(&format!("probity, batches of {batch}"), explained);
    }
    let ours = subject.explain(&first(&rows));
    let ours: Vec<f64> = (0..ROWS).flat_map(|row| ours.of(row)).collect();
    let shap = numbers(folder, "interventional.f64");
    line(&said(&others, "shap"), cost(&others, "shap"));
    agree("shap", &ours, &shap);

    let model = TreeModel::from_lightgbm_text(&text(folder, "model.txt"));
    let model = model.expect("LightGBM wrote it");
    let background = numbers(folder, "background.f64");
    let games = [
        (
            "treeshap 0.1.0",
            TreeExplainer::interventional(&model, &background),
        ),
        (
            "treeshap 0.1.0, linear",
            TreeExplainer::linear_interventional(&model, &background),
        ),
    ];
    for (name, explainer) in games {
        let found = explained(name, &explainer.expect("the model has trees"), &rows);
        agree(name, &ours, &found);
    }

    println!("path-dependent values, another game, which needs to know how training rows went:");
    let theirs = numbers(folder, "path_dependent.f64");
    line(&said(&others, "lightgbm"), cost(&others, "lightgbm"));
    for (name, explainer) in [
        ("treeshap 0.1.0", TreeExplainer::path_dependent(&model)),
        ("treeshap 0.1.0, linear", TreeExplainer::linear(&model)),
    ] {
        let found = explained(name, &explainer.expect("the model has trees"), &rows);
        agree(name, &theirs, &found);
    }
}

fn line(name: &str, cost: f64) {
    println!("{name:>42}{cost:>12.2}");
}

/// Times the crate, row after row, and says what it finds.
fn explained(name: &str, explainer: &TreeExplainer<'_>, rows: &[ArrayRef]) -> Vec<f64> {
    let rows = row_major(&first(rows));
    let mut found = vec![0.0; rows.len()];
    let cost = cpu::best(ROUNDS, ROUND, ROWS, || {
        let done = explainer.shap_values_batch_into(black_box(&rows), 0, &mut found);
        done.expect("the numbers are as many as they must be");
    });
    line(name, cost);
    found
}

fn agree(name: &str, ours: &[f64], theirs: &[f64]) {
    assert_eq!(ours.len(), theirs.len(), "{name}");
    let unit = ours
        .iter()
        .fold(1.0_f64, |most, value| most.max(value.abs()));
    let apart = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs());
    let apart = apart.fold(0.0, f64::max);
    println!("{:>42}{apart:>12.1e}", "the largest difference");
    assert!(apart <= TOLERANCE * unit, "{name} finds something else");
}

fn first(columns: &[ArrayRef]) -> Vec<ArrayRef> {
    columns.iter().map(|column| column.slice(0, ROWS)).collect()
}

fn row_major(columns: &[ArrayRef]) -> Vec<f64> {
    let columns: Vec<_> = columns
        .iter()
        .map(|c| c.as_primitive::<Float32Type>())
        .collect();
    let value = |row: usize, column: usize| {
        let column = columns[column];
        if column.is_null(row) {
            f64::NAN
        } else {
            column.value(row).into()
        }
    };
    (0..columns[0].len())
        .flat_map(|row| (0..columns.len()).map(move |column| (row, column)))
        .map(|(row, column)| value(row, column))
        .collect()
}

fn text(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Little-endian floats of 64 bits.
fn numbers(folder: &Path, name: &str) -> Vec<f64> {
    let bytes = fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let (numbers, rest) = bytes.as_chunks::<8>();
    assert!(rest.is_empty(), "{name} is cut off");
    numbers
        .iter()
        .map(|bytes| f64::from_le_bytes(*bytes))
        .collect()
}

fn said(others: &Value, name: &str) -> String {
    others[name]["name"].as_str().expect("a text").to_owned()
}

fn cost(others: &Value, name: &str) -> f64 {
    others[name]["cost"].as_f64().expect("a number")
}

//! A model on a GPU: which nodes run there, and what happens where the device is not there, too small, or lost.
//!
//! On ONNX Runtime's real CUDA provider, and a stand-in for the device (`tests/cuda`). So this shows what probity does
//! around the provider. It shows nothing of speed, and nothing of how a GPU rounds: that is for `make gpu`.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::kit::auditor::{Ended, audit, audit_with};
use crate::kit::cuda::{self, StandIn};
use crate::kit::http::{Admin, sum};
use crate::kit::pipeline::{Pipeline, root};
use crate::kit::{self, Signal};

const NETWORK: &str = "card-risk-mlp";
const TREES: &str = "card-risk";
const USAGE: i32 = 2;
const UNREACHABLE: i32 = 3;

/// Memory that holds chunks of 64 rows of the network, and none of 256.
const SMALL: &str = "600000";
/// Memory that does not hold the network's weights.
const TINY: &str = "150000";

fn package(name: &str) -> String {
    let path = root().join("config/models").join(name);
    path.to_str().unwrap().to_owned()
}

/// `probity model check` of a package with these providers, on a device with these settings.
fn check(device: &StandIn, name: &str, providers: &str, settings: &[(&str, &str)]) -> Ended {
    let (package, providers) = (package(name), format!("model.providers={providers}"));
    let schema = format!("input.schema={}/schemas/payment.avsc", root().display());
    let arguments = [
        "model", "check", &package, "--set", &providers, "--set", &schema,
    ];
    audit_with(Path::new("/"), arguments, &device.variables(settings))
}

fn assert_says(ended: &Ended, code: i32, texts: &[&str]) {
    assert_eq!(ended.code, code, "{ended}");
    let said = ended.to_string();
    for text in texts {
        assert!(said.contains(text), "{text} is not in: {said}");
    }
}

/// Scores some payments with the network. The environment says where.
fn scored(folder: &Path, providers: &str, variables: &[(&str, &str)]) -> (Vec<Value>, String) {
    let payments = folder.join("payments.ndjson");
    let payments = payments.to_str().unwrap();
    if !Path::new(payments).exists() {
        let made = audit(folder, ["generate", "--events", "1000", "--out", payments]);
        assert_eq!(made.code, 0, "{made}");
    }
    let (package, providers) = (package(NETWORK), format!("model.providers={providers}"));
    let schema = format!("input.schema={}/schemas/payment.avsc", root().display());
    let arguments = [
        "score",
        payments,
        "--package",
        &package,
        "--set",
        &providers,
        "--set",
        &schema,
    ];
    let ended = audit_with(folder, arguments, variables);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let lines = ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    (lines.collect(), ended.stderr)
}

fn numbers(scored: &[Value], key: &str) -> Vec<f64> {
    scored
        .iter()
        .map(|score| score[key].as_f64().unwrap())
        .collect()
}

#[test]
fn every_node_of_a_network_runs_on_the_device_and_gives_what_the_cpu_gives() {
    let (Some(device), Some(())) = (cuda::stand_in(), kit::runtime()) else {
        return;
    };
    let nodes = "on cuda (11 nodes on cuda); 256 golden rows have their known answers";
    for providers in ["cuda", "cuda,cpu"] {
        assert_says(&check(device, NETWORK, providers, &[]), 0, &[nodes]);
    }
    let folder = kit::folder("gpu-parity");
    let log = folder.join("log");
    let settings = [("STANDIN_LOG", log.to_str().unwrap())];
    let (on_device, _) = scored(&folder, "cuda", &device.variables(&settings));
    let (on_cpu, _) = scored(&folder, "cpu", &[]);
    assert_eq!(on_device.len(), 1000);
    let pairs = numbers(&on_device, "score")
        .into_iter()
        .zip(numbers(&on_cpu, "score"));
    let distance = pairs
        .map(|(device, cpu)| (device - cpu).abs())
        .fold(0.0, f64::max);
    assert!(distance <= 1e-6, "{distance}");
    // It was the device: it multiplied, row by row and layer by layer.
    let log = fs::read_to_string(log).unwrap();
    assert!(
        log.contains("launch") && log.contains("OP_Sigmoid"),
        "{log}"
    );
}

#[test]
fn trees_are_left_to_the_cpu_only_with_its_consent_and_not_in_silence() {
    let Some(device) = cuda::stand_in() else {
        return;
    };
    let refused = check(device, TREES, "cuda", &[]);
    assert_says(
        &refused,
        USAGE,
        &["write \"cpu\" last in `model.providers`"],
    );
    let warned = check(device, TREES, "cuda,cpu", &[]);
    let nodes = "on cuda+cpu (2 nodes on cuda, 1 on cpu: TreeEnsembleRegressor)";
    let warning = "the CPU runs TreeEnsembleRegressor, though a GPU is asked for";
    assert_says(&warned, 0, &[nodes, warning]);
}

#[test]
fn a_device_that_is_not_there_stops_the_start_also_where_the_cpu_may_help() {
    let Some(device) = cuda::stand_in() else {
        return;
    };
    for providers in ["cuda", "cuda,cpu"] {
        let ended = check(device, NETWORK, providers, &[("STANDIN_DEVICES", "0")]);
        let texts = ["cuda is asked for", "CUDA failure 100"];
        assert_says(&ended, UNREACHABLE, &texts);
        assert!(
            !ended
                .stdout
                .contains("/onnxruntime_src/onnxruntime/core/session"),
            "{ended}"
        );
    }
}

#[test]
fn chunks_become_as_small_as_the_device_s_memory_and_scores_stay_the_same_to_the_bit() {
    let Some(device) = cuda::stand_in() else {
        return;
    };
    let folder = kit::folder("gpu-memory");
    let (ample, said) = scored(&folder, "cuda", &device.variables(&[]));
    assert!(!said.contains("memory"), "{said}");
    let settings = device.variables(&[("STANDIN_MEMORY", SMALL)]);
    let (small, said) = scored(&folder, "cuda", &settings);
    let warning = "the device's memory does not hold a chunk of so many rows";
    assert!(
        said.contains(warning) && said.contains("rows_from_now_on=64"),
        "{said}"
    );
    for key in ["score", "margin", "decision", "explanation"] {
        let of = |scores: &[Value]| -> Vec<String> {
            scores.iter().map(|score| score[key].to_string()).collect()
        };
        assert_eq!(of(&ample), of(&small), "{key}");
    }
    let ended = check(device, NETWORK, "cuda", &[("STANDIN_MEMORY", TINY)]);
    let texts = [
        "does not hold the weights of the model",
        "`model.gpu.memory`",
    ];
    assert_says(&ended, UNREACHABLE, &texts);
}

#[test]
fn a_device_that_is_lost_ends_the_process_and_no_event_is_missing_twice_or_decided_elsewhere() {
    let (Some(kafka), Some(device)) = (kit::kafka(), cuda::stand_in()) else {
        return;
    };
    let pipeline = Pipeline::create(kafka, "gpu-lost", "");
    let package = format!("model.package={}", package(NETWORK));
    let arguments = ["--set", &package, "--set", "model.providers=cuda"];
    let lost = pipeline.folder.join("lost");
    let settings = [("STANDIN_LOST", lost.to_str().unwrap())];
    let variables = device.variables(&settings);

    let mut process = pipeline.run("a", &arguments, &variables);
    let admin = Admin::of(&process);
    pipeline.produce_payments(1, 1500);
    pipeline.await_processed();
    let (metrics, _) = admin.wait_for("/metrics", |_| true);
    assert_eq!(sum(&metrics, "probity_out_of_memory_total", ""), 0.0);
    fs::write(&lost, "").unwrap();
    pipeline.produce_payments(2, 1500);
    assert_eq!(
        process.wait(),
        UNREACHABLE,
        "{}",
        process.lines().join("\n")
    );
    let last = process.lines().join("\n");
    assert!(
        last.contains("no longer runs on cuda: CUDA failure 719"),
        "{last}"
    );
    assert_eq!(pipeline.scores().len(), 1500);

    fs::remove_file(&lost).unwrap();
    let mut process = pipeline.run(
        "a",
        &[&arguments[..], &["--seal-on-stop"]].concat(),
        &variables,
    );
    pipeline.await_processed();
    pipeline.assert_books_agree(true);
    process.signal(Signal::Terminate);
    assert_eq!(process.wait(), 0, "{}", process.lines().join("\n"));
    assert_eq!(pipeline.scores().len(), 3000);
    // Whoever decides it again knows where it was decided.
    for runtime in fs::read_dir(pipeline.archive().join("runtimes")).unwrap() {
        let text = fs::read_to_string(runtime.unwrap().path()).unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document["provider"], "cuda", "{text}");
        assert_eq!(document["nodes"]["cuda"]["Gemm"], 3, "{text}");
    }
}

//! The bits of a score: what was published is what Python's ONNX Runtime makes of what was archived.

use std::process::Command;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::kit::{self, Message, Signal, pipeline::Pipeline};

/// What the scikit-learn pipeline was trained on.
const CHANNELS: [&str; 3] = ["chip", "online", "swipe"];
/// The last one it does not know, and takes.
const COUNTRIES: [&str; 6] = ["DE", "FR", "NL", "PL", "US", "AQ"];

/// Rows of the evidence by how they were scored, or why not.
type Counts = serde_json::Map<String, Value>;

/// Events of `tests/models/event.avsc`. Some lack what a model may need, and some have a channel that the
/// scikit-learn pipeline refuses.
fn events(count: usize) -> Vec<Message> {
    let mut random = ChaCha8Rng::seed_from_u64(6);
    (0..count)
        .map(|n| {
            let mut below = |limit: u32| random.next_u32() % limit;
            let mut event = json!({
                "transaction_id": n.to_string(),
                "event_time": 1_769_860_800_000_000 + i64::from(below(86_400)) * 1_000_000,
                "amount_minor": below(100_000),
                "balance_minor": i64::from(below(200_000)) - 50_000,
                "card_count_1h": below(6),
                "card_amount_avg_30d": f64::from(below(1_000_000)) / 97.0 + 1.0,
                "terminal_risk": f64::from(below(1_000)) / 3_000.0,
                "distance_km": f64::from(below(100_000)) / 333.0,
                "card_age_days": below(4_000),
                "channel": CHANNELS[below(3) as usize],
                "merchant_country": COUNTRIES[below(6) as usize],
            });
            if n % 50 == 7 {
                event["terminal_risk"] = Value::Null;
            }
            if n % 50 == 9 {
                event["channel"] = "telepathy".into();
            }
            Message::new(i32::try_from(n % 4).unwrap(), event.to_string())
        })
        .collect()
}

/// Scores 300 events with a package of `tests/models`, and lets Python do it again.
fn scored_and_compared(model: &str) -> Option<Counts> {
    let (kafka, python) = (kit::kafka()?, kit::python()?);
    let name = format!("reference-{model}");
    let models = kit::pipeline::root().join("tests/models");
    let pipeline = Pipeline::create(kafka, &name, "");
    kafka.produce(&name, &events(300));
    let schema = format!("input.schema={}", models.join("event.avsc").display());
    let package = format!("model.package={}", models.join(model).display());
    let mut process = pipeline.run("a", &["--set", &schema, "--set", &package], &[]);
    pipeline.assert_books_agree(true);
    process.signal(Signal::Terminate);
    assert_eq!(process.wait(), 0, "{}", process.lines().join("\n"));
    let output = Command::new(python)
        .arg(kit::pipeline::root().join("tests/python/reference.py"))
        .args(["--bootstrap", kafka.bootstrap(), "--prefix", &name])
        .arg("--archive")
        .arg(pipeline.archive())
        .arg("--package")
        .arg(models.join(model))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let counts: Counts = serde_json::from_slice(&output.stdout).unwrap();
    let all: u64 = counts.values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(all, 300, "{counts:?}");
    Some(counts)
}

#[test]
fn lightgbm_is_repeated_to_the_bit() {
    let Some(counts) = scored_and_compared("lightgbm") else {
        return;
    };
    // It takes what is missing; and chunks of several sizes were in use.
    assert!(counts.len() > 1, "{counts:?}");
    assert!(counts.keys().all(|key| key.starts_with("chunks of ")));
}

#[test]
fn xgboost_is_repeated_to_the_bit() {
    let Some(counts) = scored_and_compared("xgboost") else {
        return;
    };
    assert!(counts.keys().all(|key| key.starts_with("chunks of ")));
}

#[test]
fn a_neural_network_is_repeated_to_the_bit_and_has_no_score_for_what_is_missing() {
    let Some(counts) = scored_and_compared("mlp") else {
        return;
    };
    assert_eq!(counts["score_not_finite"], 6, "{counts:?}");
}

#[test]
fn a_pipeline_with_texts_is_repeated_to_the_bit_and_fails_on_some_rows_alone() {
    let Some(counts) = scored_and_compared("pipeline") else {
        return;
    };
    assert_eq!(counts["inference_failed"], 6, "{counts:?}");
    assert_eq!(counts["chunks of 64"], 294, "{counts:?}");
}

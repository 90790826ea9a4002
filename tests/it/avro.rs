//! Avro as another program writes it: the same scores as of JSON, and a reason for what is unsound.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::kit::{self, Message, Signal, pipeline::Pipeline};

/// Lets fastavro write the events and produces them, as `tests/python/produce_avro.py` describes.
pub fn produce_as_avro(pipeline: &Pipeline<'_>, schema: &Path, events: &[Value], more: &[&str]) {
    let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
    let file = pipeline.folder.join("events.jsonl");
    std::fs::write(&file, lines).unwrap();
    let done = Command::new(kit::python().unwrap())
        .arg(kit::pipeline::root().join("tests/python/produce_avro.py"))
        .args(["--bootstrap", pipeline.kafka.bootstrap()])
        .args(["--topic", &pipeline.name])
        .arg("--schema")
        .arg(schema)
        .arg("--events")
        .arg(file)
        .args(more)
        .status()
        .unwrap();
    assert!(done.success());
}

/// Payments that both of the writer's schemas can hold: every second one lacks a field.
fn payments(count: usize) -> Vec<Value> {
    let payments = kit::pipeline::payments(21, count).into_iter();
    let parse = |payment: Message| serde_json::from_slice::<Value>(&payment.value.unwrap());
    let mut payments: Vec<Value> = payments.map(|payment| parse(payment).unwrap()).collect();
    for payment in payments.iter_mut().skip(1).step_by(2) {
        payment.as_object_mut().unwrap().remove("merchant_count_1h");
    }
    payments
}

/// What was decided of each event.
fn decisions(pipeline: &Pipeline<'_>) -> BTreeMap<String, (Value, Value, Value)> {
    let id = |score: &Value| score["event_id"].as_str().unwrap().to_owned();
    let what = |score: &Value| {
        let part = |name: &str| score[name].clone();
        (part("score"), part("margin"), part("decision"))
    };
    pipeline.scores().iter().map(|s| (id(s), what(s))).collect()
}

#[test]
fn events_in_avro_get_the_scores_that_they_get_in_json() {
    let Some(kafka) = kit::kafka() else { return };
    let payments = payments(200);
    let as_json = Pipeline::prepare(kafka, "avro-as-json", "");
    as_json.create_topics_with("earliest", 1);
    let messages = payments.iter().map(|p| Message::new(0, p.to_string()));
    kafka.produce("avro-as-json", &messages.collect::<Vec<_>>());

    let as_avro = Pipeline::prepare(kafka, "avro", "");
    as_avro.create_topics_with("earliest", 1);
    let schema = kit::pipeline::root().join("schemas/payment.avsc");
    let older = as_avro.folder.join("older.avsc");
    let more = ["--registry", "--older", older.to_str().unwrap()];
    produce_as_avro(&as_avro, &schema, &payments, &more);
    as_avro.configure_input(&format!(
        "format = \"avro-registry\"\nschemas = {{ 7 = {schema:?}, 70000 = {older:?} }}"
    ));

    let mut processes = [&as_json, &as_avro].map(|pipeline| pipeline.run("a", &[], &[]));
    as_json.assert_books_agree(true);
    as_avro.assert_books_agree(true);
    for process in &mut processes {
        process.signal(Signal::Terminate);
        assert_eq!(process.wait(), 0, "{}", process.lines().join("\n"));
    }
    assert_eq!(as_avro.scores().len(), 200);
    let decisions = decisions(&as_avro);
    assert_eq!(decisions.len(), 200);
    assert_eq!(decisions, self::decisions(&as_json));
    assert_unsound_were_refused(&as_avro);
}

/// The key of each unsound record is the reason for which it must be refused.
fn assert_unsound_were_refused(pipeline: &Pipeline<'_>) {
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for letter in pipeline.dead_letters() {
        let wanted = String::from_utf8(letter.key.unwrap()).unwrap();
        assert_eq!(letter.reason, wanted, "offset {}", letter.offset);
        assert_eq!(letter.stage, "decode");
        *reasons.entry(wanted).or_default() += 1;
    }
    let few = |reason: &str| reasons.get(reason).copied().unwrap_or_default();
    assert_eq!((few("out_of_range"), few("unknown_schema")), (3, 2));
    assert_eq!((few("not_utf8"), few("unknown_symbol")), (1, 1));
    assert_eq!(few("empty_value"), 2);
    // One record was cut off after each of its bytes.
    assert!(few("malformed") > 100, "{reasons:?}");
}

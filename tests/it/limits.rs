//! Sizes: at a limit, under it and over it, for what comes in and for what goes out.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::avro::produce_as_avro;
use crate::kit::{self, Guarded, Message, Signal, pipeline::Pipeline};

const MIB: usize = 1 << 20;
/// What a record may hold by default: `output.message_bytes_max` without room for headers.
const VALUE_BYTES_MAX: usize = 2 * MIB - (4 << 10) - (8 << 10);

fn end(mut process: Guarded) {
    process.signal(Signal::Terminate);
    assert_eq!(process.wait(), 0, "{}", process.lines().join("\n"));
}

/// A payment, and what is to be different in it.
fn payment(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let text = kit::pipeline::payments(9, 1).remove(0).value.unwrap();
    let mut payment: Value = serde_json::from_slice(&text).unwrap();
    change(&mut payment);
    serde_json::to_vec(&payment).unwrap()
}

/// A payment of exactly so many bytes, padded in a field that the schema does not know.
fn of_size(bytes: usize) -> Vec<u8> {
    let empty = payment(|payment| payment["padding"] = "".into()).len();
    payment(|payment| payment["padding"] = "x".repeat(bytes - empty).into())
}

/// A payment with a field that the schema does not know, in which so many lists lie in each other.
fn nested(depth: usize) -> Vec<u8> {
    let lists = "[".repeat(depth) + &"]".repeat(depth);
    let text = String::from_utf8(payment(|payment| payment["padding"] = "here".into())).unwrap();
    text.replace("\"here\"", &lists).into_bytes()
}

/// A record, and why it must be refused; scored where nothing is said.
type Case = (Option<&'static str>, Message);

fn cases() -> Vec<Case> {
    let scored = |value: Vec<u8>| (None, Message::new(0, value));
    let refused = |reason, value: Vec<u8>| (Some(reason), Message::new(0, value));
    let terminal = |id: Value| payment(|payment| payment["terminal_id"] = id);
    let of_key = |key: &str, message: Message| Message {
        key: Some(key.into()),
        ..message
    };
    let text = String::from_utf8(terminal("HERE".into())).unwrap();
    let (before, after) = text.split_once("HERE").unwrap();
    let not_utf8 = [before.as_bytes(), b"\xf0\x28\x8c\x28", after.as_bytes()].concat();
    let tombstone = Message {
        key: Some("tombstone".into()),
        ..Message::default()
    };
    let too_large = |value| Message::new(0, value);
    vec![
        scored(of_size(MIB - 1)),
        scored(of_size(MIB)),
        refused("value_too_large", of_size(MIB + 1)),
        refused("value_too_large", of_size(5 * MIB)),
        refused("value_too_large", of_size(VALUE_BYTES_MAX)),
        refused("value_too_large", of_size(VALUE_BYTES_MAX + 1)),
        // The key takes part of the room.
        (
            Some("value_too_large"),
            of_key("0123", too_large(of_size(VALUE_BYTES_MAX - 4))),
        ),
        (
            Some("value_too_large"),
            of_key("0123", too_large(of_size(VALUE_BYTES_MAX - 3))),
        ),
        refused("too_deep", nested(10_000)),
        refused("too_deep", "[".repeat(10_000).into_bytes()),
        refused("not_utf8", not_utf8),
        (Some("empty_value"), tombstone),
        refused(
            "missing_field",
            payment(|payment| drop(payment.as_object_mut().unwrap().remove("transaction_id"))),
        ),
        // The event's id is a field that may be null here.
        scored(terminal(Value::Null)),
        scored(terminal("seen twice".into())),
        scored(terminal("seen twice".into())),
    ]
}

#[test]
fn what_is_too_large_or_has_no_id_is_accounted_for() {
    let Some(kafka) = kit::kafka() else { return };
    let pipeline = Pipeline::prepare(kafka, "limits-in", "");
    pipeline.configure_input("event_id = \"terminal_id\"");
    let six_mib = (6 * MIB).to_string();
    kafka.create_topic("limits-in", 1, &[("max.message.bytes", &six_mib)]);
    pipeline.create_topics_with("earliest", 1);
    let cases = cases();
    let messages: Vec<Message> = cases.iter().map(|(_, message)| message.clone()).collect();
    kafka.produce("limits-in", &messages);
    // Without compression a limit is a limit.
    let arguments = ["--set", "kafka.producer.compression.type=none"];
    let process = pipeline.run("a", &arguments, &[]);
    pipeline.assert_books_agree(true);
    end(process);

    let offset_of = |n: usize| i64::try_from(n).unwrap();
    let numbered = || {
        cases
            .iter()
            .enumerate()
            .map(|(n, case)| (offset_of(n), case))
    };
    let scored = numbered().filter(|(_, (reason, _))| reason.is_none());
    let scored: Vec<i64> = scored.map(|(offset, _)| offset).collect();
    assert_eq!(pipeline.scored_offsets(), scored);
    let refused = numbered().filter_map(|(n, (reason, _))| Some((n, (*reason)?.to_owned())));
    assert_eq!(pipeline.refused(), refused.collect::<Vec<_>>());
    for letter in pipeline.dead_letters() {
        let (_, sent) = &cases[usize::try_from(letter.offset).unwrap()];
        let bytes = |part: &Option<Vec<u8>>| part.as_ref().map_or(0, Vec::len);
        let whole = bytes(&sent.key) + bytes(&sent.value);
        if whole > VALUE_BYTES_MAX {
            assert_eq!(letter.left_out, Some(bytes(&sent.value)));
            assert_eq!((&letter.key, &letter.value), (&None, &None));
        } else {
            assert_eq!(letter.left_out, None);
            assert!(
                letter.key == sent.key && letter.value == sent.value,
                "{whole}"
            );
        }
    }
    let ids = pipeline.scores();
    let ids: Vec<(&Value, &Value)> = ids
        .iter()
        .map(|s| (&s["event_id"], &s["score_id"]))
        .collect();
    let [.., (nobody, _), (first, one), (second, other)] = ids[..] else {
        panic!("{ids:?}");
    };
    assert_eq!(
        (nobody, first, second),
        (&Value::Null, &json!("seen twice"), first)
    );
    assert_ne!(one, other);
}

/// What a record may hold with the smallest limits that there are.
const SMALL_MAX: usize = (128 - 8) << 10;
const SMALL: [&str; 8] = [
    "--set",
    "input.max_bytes=64KiB",
    "--set",
    "output.message_bytes_max=128KiB",
    "--set",
    "output.header_bytes_max=0B",
    "--set",
    "batch.max_rows=1",
];

/// An event of `tests/models/event.avsc`. The model's features hold the country once more.
fn event(id: &str, country: &str, remark: &str) -> Value {
    json!({
        "transaction_id": id, "event_time": 1_769_860_800_000_000_i64, "amount_minor": 4250,
        "balance_minor": 1000, "card_count_1h": 1, "channel": "chip",
        "merchant_country": country, "remark": remark,
    })
}

/// A text that becomes `bytes` bytes of JSON: six each for control characters, which Avro takes as they are.
fn control_characters(bytes: usize) -> String {
    "\u{1}".repeat(bytes / 6) + &"x".repeat(bytes % 6)
}

/// Sizes of the values of a topic's records.
fn sizes(pipeline: &Pipeline<'_>, topic: &str) -> Vec<usize> {
    let records = pipeline
        .kafka
        .read_committed(&format!("{}.{topic}", pipeline.name));
    records
        .into_iter()
        .map(|r| r.value.unwrap().len())
        .collect()
}

#[test]
fn a_score_or_a_row_of_evidence_that_fits_no_message_is_refused() {
    let Some(kafka) = kit::kafka() else { return };
    let root = kit::pipeline::root();
    let schema: PathBuf = root.join("tests/models/event.avsc");
    let pipeline = Pipeline::prepare(kafka, "limits-out", "");
    pipeline.create_topics_with("earliest", 1);
    pipeline.configure_input("format = \"avro\"");
    let schema_is = format!("input.schema={}", schema.display());
    let package_is = format!(
        "model.package={}",
        root.join("tests/models/pipeline").display()
    );
    let arguments = [&SMALL[..], &["--set", &schema_is, "--set", &package_is]].concat();
    let process = pipeline.run("a", &arguments, &[]);

    // The second of them brings no context: all others are as large, but for their texts.
    let probe = event("", "DE", "x");
    produce_as_avro(&pipeline, &schema, &[probe.clone(), probe], &[]);
    pipeline.await_processed();
    let id_room = SMALL_MAX - sizes(&pipeline, "scored")[1];
    // Each text is padded to 8 bytes, and the country stands there twice.
    let evidence_room = SMALL_MAX - sizes(&pipeline, "evidence")[1];
    let (country, remark) = (8 + evidence_room / 16 * 8, 8 + evidence_room % 16);
    let of_id = |bytes: usize| event(&control_characters(bytes), "DE", "x");
    let of_country = |more: usize| event("", &"A".repeat(country), &"x".repeat(remark + more));
    let events = [
        of_id(id_room - 1),
        of_id(id_room),
        of_id(id_room + 1),
        of_country(0),
        of_country(1),
        event("", &"A".repeat(country - 8), "x"),
        event("", "DE", "x"),
    ];
    produce_as_avro(&pipeline, &schema, &events, &[]);
    pipeline.assert_books_agree(true);
    end(process);

    assert_eq!(pipeline.scored_offsets(), [0, 1, 2, 3, 5, 7, 8]);
    let refused = [(4, "scored_too_large"), (6, "evidence_too_large")];
    assert_eq!(
        pipeline.refused(),
        refused.map(|(n, why)| (n, why.to_owned()))
    );
    assert!(pipeline.dead_letters().iter().all(|l| l.stage == "publish"));
    let scored = sizes(&pipeline, "scored");
    assert_eq!(scored[2..4], [SMALL_MAX - 1, SMALL_MAX]);
    assert_eq!(sizes(&pipeline, "evidence")[5], SMALL_MAX);
}

//! Bad input and bad weather: a clear outcome, and nothing else is lost.

use serde_json::Value;

use crate::kit::{self, Message, Signal, pipeline::Pipeline};

fn payment() -> Value {
    let text = kit::pipeline::payments(9, 1).remove(0).value.unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// The payment with one field changed, or removed by null.
fn with(field: &str, value: Value) -> Vec<u8> {
    let mut payment = payment();
    match value {
        Value::Null => payment.as_object_mut().unwrap().remove(field),
        value => payment
            .as_object_mut()
            .unwrap()
            .insert(field.to_owned(), value),
    };
    serde_json::to_vec(&payment).unwrap()
}

/// A value of exactly so many bytes, padded in a field that the schema does not know.
fn of_size(bytes: usize) -> Vec<u8> {
    let empty = with("padding", "".into()).len();
    with("padding", "x".repeat(bytes - empty).into())
}

#[test]
fn bad_records_become_dead_letters_with_reasons_and_cost_nothing_else() {
    let Some(kafka) = kit::kafka() else { return };
    let pipeline = Pipeline::prepare(kafka, "bad-input", "");
    pipeline.configure_input("max_bytes = \"4KiB\"");
    pipeline.create_topics("earliest");
    let good = with("amount_minor", 1250.into());
    let deep = format!("{{\"unknown\": {}", "[".repeat(3_000));
    let bad: Vec<(&str, Option<Vec<u8>>)> = vec![
        ("empty_value", None),
        ("empty_value", Some(Vec::new())),
        ("malformed", Some(b"{not json".to_vec())),
        ("malformed", Some(good[..good.len() / 2].to_vec())),
        ("malformed", Some([&good[..], b" {}"].concat())),
        ("not_utf8", Some([&good[..], b"\xff\xfe"].concat())),
        ("too_deep", Some(deep.into_bytes())),
        ("missing_field", Some(with("currency", Value::Null))),
        ("wrong_type", Some(with("amount_minor", "12.50".into()))),
        ("wrong_type", Some(with("amount_minor", 12.5.into()))),
        ("unknown_symbol", Some(with("channel", "telepathy".into()))),
        ("malformed", Some(b"{\"amount_minor\": NaN}".to_vec())),
        ("malformed", Some(b"{\"amount_minor\": Infinity}".to_vec())),
        ("value_too_large", Some(of_size(4 * 1024 + 1))),
    ];
    let mut messages = Vec::new();
    for (_, value) in &bad {
        messages.push(Message {
            value: value.clone(),
            ..Message::default()
        });
        messages.push(Message::new(0, good.clone()));
    }
    // At the limit and under it, and one id twice: all are scored.
    messages.extend([of_size(4 * 1024), of_size(4 * 1024 - 1)].map(|v| Message::new(1, v)));
    let scored = bad.len() + 2;
    kafka.produce("bad-input", &messages);
    let mut process = pipeline.run("a", &[], &[]);
    pipeline.assert_books_agree(true);
    process.signal(Signal::Terminate);
    assert_eq!(process.wait(), 0, "{}", process.lines().join("\n"));

    assert_eq!(kafka.read_committed("bad-input.scored").len(), scored);
    let letters = kafka.read_committed("bad-input.dlq");
    let mut seen: Vec<(i64, String, Option<Vec<u8>>)> = letters
        .into_iter()
        .map(|letter| {
            let header = |name: &str| {
                let found = letter.headers.iter().find(|(key, _)| key == name).unwrap();
                String::from_utf8(found.1.clone().unwrap()).unwrap()
            };
            let offset = header("__connect.errors.offset").parse().unwrap();
            (offset, header("probity.reason"), letter.value)
        })
        .collect();
    seen.sort();
    let expected: Vec<_> = bad
        .iter()
        .enumerate()
        .map(|(n, (reason, value))| (2 * n as i64, (*reason).to_owned(), value.clone()))
        .collect();
    let short = |all: &[(i64, String, Option<Vec<u8>>)]| {
        all.iter()
            .map(|(n, reason, _)| format!("{n} {reason}"))
            .collect::<Vec<_>>()
    };
    assert_eq!(short(&seen), short(&expected));
    assert!(seen == expected, "a dead letter's bytes were touched");
}

#[test]
fn a_broker_that_restarts_in_mid_run_is_survived() {
    let Some(kafka) = kit::own_kafka("weather", 1) else {
        return;
    };
    let pipeline = Pipeline::create(&kafka, "weather", "");
    pipeline.produce_payments(1, 500);
    let mut process = pipeline.run("a", &[], &[]);
    pipeline.assert_books_agree(true);
    kafka.kill(0);
    kafka.start_again(0);
    pipeline.produce_payments(2, 500);
    pipeline.assert_books_agree(true);
    process.signal(Signal::Terminate);
    assert_eq!(process.wait(), 0, "{}", process.lines().join("\n"));
    assert_eq!(kafka.read_committed("weather.scored").len(), 1_000);
}

#[test]
fn an_input_topic_that_was_created_again_is_refused_until_an_operator_says_where_to_begin() {
    let Some(kafka) = kit::kafka() else { return };
    let pipeline = Pipeline::create(kafka, "recreated", "");
    pipeline.produce_payments(1, 200);
    let mut process = pipeline.run("a", &["--seal-on-stop"], &[]);
    pipeline.assert_books_agree(true);
    process.signal(Signal::Terminate);
    assert_eq!(process.wait(), 0, "{}", process.lines().join("\n"));

    kafka.delete_topic("recreated");
    kafka.create_topic("recreated", kit::pipeline::PARTITIONS, &[]);
    pipeline.produce_payments(2, 1_000);
    let (code, said) = pipeline.command(&["run"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("deleted and created again"), "{said}");
    assert!(said.contains("`probity topics accept`"), "{said}");

    let accept = ["topics", "accept", "--from", "earliest"];
    let partitions = [
        "--partition",
        "0",
        "--partition",
        "1",
        "--partition",
        "2",
        "--partition",
        "3",
    ];
    let (code, said) = pipeline.command(&[&accept[..], &partitions[..]].concat());
    assert_eq!(code, 0, "{said}");
    let mut process = pipeline.run("a", &["--seal-on-stop"], &[]);
    pipeline.await_processed();
    process.signal(Signal::Terminate);
    assert_eq!(process.wait(), 0, "{}", process.lines().join("\n"));
    assert_eq!(kafka.read_committed("recreated.scored").len(), 1_200);
}

#[test]
fn what_is_not_fit_is_refused_at_start_with_the_fix() {
    let Some(kafka) = kit::kafka() else { return };
    let pipeline = Pipeline::create(kafka, "unfit", "");
    #[track_caller]
    fn refused(pipeline: &Pipeline<'_>, set: &str, code: i32, words: &str) {
        let (is, said) = pipeline.command(&["--set", set, "run"]);
        assert_eq!(is, code, "{said}");
        assert!(said.contains(words), "{said}");
    }
    kafka.create_topic("unfit.two", 2, &[("max.message.bytes", "4194304")]);
    refused(
        &pipeline,
        "output.scored=unfit.two",
        2,
        "add partitions to `unfit.two`",
    );
    let expiring = [("max.message.bytes", "4194304"), ("retention.ms", "1000")];
    kafka.create_topic("unfit.expiring", 4, &expiring);
    refused(
        &pipeline,
        "output.evidence=unfit.expiring",
        2,
        "set retention.ms=-1",
    );
    refused(
        &pipeline,
        "output.dead_letter=unfit.none",
        2,
        "probity topics create",
    );
    refused(
        &pipeline,
        "output.allow_single_replica=false",
        2,
        "allow_single_replica",
    );
    refused(&pipeline, "model.package=/nowhere", 2, "model.package");
    refused(&pipeline, "input.event_id=nobody", 2, "input.event_id");
    refused(&pipeline, "model.providers=cuda", 3, "cuda");
    refused(
        &pipeline,
        "kafka.bootstrap.servers=127.0.0.1:1",
        3,
        "kafka.bootstrap.servers",
    );
    refused(
        &pipeline,
        "kafka.consumer.isolation.level=read_uncommitted",
        2,
        "isolation.level",
    );
    let (code, said) = pipeline.command(&["check"]);
    assert_eq!(code, 0, "{said}");
    let (code, said) = pipeline.command(&["--set", "output.scored=unfit.two", "check"]);
    assert_eq!(code, 1, "{said}");
}

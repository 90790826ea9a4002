//! The bytes of what is published: scored records, and dead letters with their headers. Pure.
//!
//! `schemas/scored.avsc` and `schemas/dead-letter.md` are the contracts.

use std::io::Write as _;

use rdkafka::message::{Header, Headers, OwnedHeaders};

use crate::record::{Decision, Offset, Rejection};

/// What a scored record says of the model, the same for every row of a lane.
#[derive(Clone, Debug)]
pub struct Stamp {
    input_topic: String,
    topic_id: String,
    /// `"model":{…},"policy_version":…`, written once.
    model: Vec<u8>,
    model_sha256: String,
}

impl Stamp {
    #[must_use]
    pub fn new(
        input_topic: &str,
        topic_id: &str,
        (name, version, sha256): (&str, &str, &str),
        policy_version: &str,
    ) -> Stamp {
        let mut model = Vec::new();
        model.extend_from_slice(b",\"model\":{\"name\":");
        string(&mut model, name);
        model.extend_from_slice(b",\"version\":");
        string(&mut model, version);
        model.extend_from_slice(b",\"sha256\":");
        string(&mut model, sha256);
        model.extend_from_slice(b"},\"policy_version\":");
        string(&mut model, policy_version);
        Stamp {
            input_topic: input_topic.to_owned(),
            topic_id: topic_id.to_owned(),
            model,
            model_sha256: sha256.to_owned(),
        }
    }

    /// Names one score for ever: the record that was scored and the model that did it. A reader that
    /// sees it twice has read an aborted transaction, or a copy.
    fn score_id(&self, out: &mut Vec<u8>, partition: i32, offset: Offset) {
        let model = &self.model_sha256[..16];
        put(
            out,
            format_args!("\"{}:{partition}:{offset}:{model}\"", self.topic_id),
        );
    }
}

/// One scored event.
#[derive(Clone, Copy, Debug)]
pub struct Scored<'a> {
    pub partition: i32,
    pub offset: Offset,
    pub event_id: Option<&'a str>,
    /// µs since the epoch, UTC.
    pub event_time: Option<i64>,
    pub score_time: i64,
    pub score: f32,
    pub margin: Option<f32>,
    pub decision: Decision,
    /// The rule of the policy that decided, if one did.
    pub rule: Option<&'a str>,
}

/// Appends a scored record as JSON. Floats are the shortest decimals that read back to the same bits.
/// `write_reasons` appends why the decision was made, as JSON, and says whether it did.
pub fn write_scored(
    out: &mut Vec<u8>,
    stamp: &Stamp,
    scored: &Scored<'_>,
    write_reasons: impl FnOnce(&mut Vec<u8>) -> bool,
) {
    out.extend_from_slice(b"{\"event_id\":");
    optional(out, scored.event_id);
    out.extend_from_slice(b",\"score_id\":");
    stamp.score_id(out, scored.partition, scored.offset);
    out.extend_from_slice(b",\"input\":{\"topic\":");
    string(out, &stamp.input_topic);
    let (partition, offset) = (scored.partition, scored.offset);
    put(
        out,
        format_args!(",\"partition\":{partition},\"offset\":{offset}}},\"score\":"),
    );
    float(out, Some(scored.score));
    out.extend_from_slice(b",\"margin\":");
    float(out, scored.margin);
    let decision = scored.decision.as_str();
    put(out, format_args!(",\"decision\":\"{decision}\",\"rule\":"));
    optional(out, scored.rule);
    out.extend_from_slice(b",\"explanation\":");
    if !write_reasons(out) {
        out.extend_from_slice(b"null");
    }
    out.extend_from_slice(&stamp.model);
    out.extend_from_slice(b",\"event_time\":");
    match scored.event_time {
        Some(time) => put(out, format_args!("{time}")),
        None => out.extend_from_slice(b"null"),
    }
    put(out, format_args!(",\"score_time\":{}}}", scored.score_time));
}

fn put(out: &mut Vec<u8>, arguments: std::fmt::Arguments<'_>) {
    out.write_fmt(arguments).expect("memory takes every byte");
}

fn string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("memory takes every byte");
}

fn optional(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => string(out, text),
        None => out.extend_from_slice(b"null"),
    }
}

fn float(out: &mut Vec<u8>, value: Option<f32>) {
    serde_json::to_writer(out, &value).expect("memory takes every byte");
}

/// The input's headers that go on to the scored record: those that are listed, while they fit.
#[must_use]
pub fn passed_on<H: Headers>(
    headers: Option<&H>,
    allowed: &[String],
    bytes_max: usize,
) -> Option<OwnedHeaders> {
    let mut passed: Option<OwnedHeaders> = None;
    let mut bytes = 0;
    for header in headers?.iter() {
        let len = header.key.len() + header.value.map_or(0, <[u8]>::len);
        if !allowed.iter().any(|name| name == header.key) || bytes + len > bytes_max {
            continue;
        }
        bytes += len;
        passed = Some(passed.unwrap_or_default().insert(header));
    }
    passed
}

/// Where a dead letter came from and why, as Kafka Connect writes it, and our own reason.
#[must_use]
pub fn dead_letter_headers(
    input_topic: &str,
    group: &str,
    partition: i32,
    offset: Offset,
    rejection: Rejection,
    left_out: Option<usize>,
) -> OwnedHeaders {
    let partition = partition.to_string();
    let offset = offset.to_string();
    let size = left_out.map(|size| size.to_string());
    let mut texts = vec![
        ("__connect.errors.topic", input_topic),
        ("__connect.errors.partition", &partition),
        ("__connect.errors.offset", &offset),
        ("__connect.errors.connector.name", group),
        ("__connect.errors.stage", rejection.stage.as_str()),
        ("__connect.errors.exception.class.name", "probity.Rejected"),
        (
            "__connect.errors.exception.message",
            rejection.reason.explanation(),
        ),
        ("probity.reason", rejection.reason.as_str()),
        ("probity.stage", rejection.stage.as_str()),
    ];
    // The value did not fit: only its size is told.
    texts.extend(
        size.as_ref()
            .map(|size| ("probity.value.bytes", size.as_str())),
    );
    texts.into_iter().fold(
        OwnedHeaders::new_with_capacity(10),
        |headers, (key, text)| {
            headers.insert(Header {
                key,
                value: Some(text),
            })
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Digest, Reason, Stage};
    use proptest::prelude::*;

    fn stamp() -> Stamp {
        let sha256 = Digest::of(b"model").to_string();
        Stamp::new("payments", "AbC", ("card \"risk\"", "1.0", &sha256), "7")
    }

    fn scored(score: f32, id: Option<&str>) -> Scored<'_> {
        Scored {
            partition: 3,
            offset: Offset(99),
            event_id: id,
            event_time: Some(1),
            score_time: 2,
            score,
            margin: None,
            decision: Decision::Review,
            rule: None,
        }
    }

    #[test]
    fn a_scored_record_is_json_with_the_contracts_fields() {
        let mut out = Vec::new();
        write_scored(
            &mut out,
            &stamp(),
            &scored(0.25, Some("tx-\"1\"\n")),
            |_| false,
        );
        let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let expected = serde_json::json!({
            "event_id": "tx-\"1\"\n",
            "score_id": format!("AbC:3:99:{}", &Digest::of(b"model").to_string()[..16]),
            "input": {"topic": "payments", "partition": 3, "offset": 99},
            "score": 0.25,
            "margin": null,
            "decision": "review",
            "rule": null,
            "explanation": null,
            "model": {
                "name": "card \"risk\"",
                "version": "1.0",
                "sha256": Digest::of(b"model").to_string(),
            },
            "policy_version": "7",
            "event_time": 1,
            "score_time": 2,
        });
        assert_eq!(read, expected);
    }

    #[test]
    fn a_scored_record_names_the_rule_that_decided() {
        let mut out = Vec::new();
        let scored = Scored {
            rule: Some("large-abroad"),
            ..scored(0.25, None)
        };
        write_scored(&mut out, &stamp(), &scored, |_| false);
        let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(read["rule"], "large-abroad");
    }

    proptest! {
        #[test]
        fn scores_read_back_to_the_bit(score in 0f32..=1f32) {
            let mut out = Vec::new();
            write_scored(&mut out, &stamp(), &scored(score, None), |_| false);
            let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
            let text = read["score"].to_string();
            prop_assert_eq!(text.parse::<f32>().unwrap().to_bits(), score.to_bits());
        }
    }

    #[test]
    fn only_listed_headers_pass_while_they_fit() {
        let headers = [
            ("traceparent", "00-1"),
            ("secret", "x"),
            ("tracestate", "too long"),
        ]
        .into_iter()
        .fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header {
                key,
                value: Some(value),
            })
        });
        let allowed = ["traceparent".to_owned(), "tracestate".to_owned()];
        let passed = passed_on(Some(&headers), &allowed, 17).unwrap();
        assert_eq!(passed.count(), 1);
        assert_eq!(passed.get(0).key, "traceparent");
        assert!(passed_on(Some(&headers), &[], 100).is_none());
    }

    #[test]
    fn a_stub_says_how_much_was_left_out_and_nothing_of_it() {
        let rejection = Rejection::new(Stage::Decode, Reason::ValueTooLarge);
        let headers = dead_letter_headers("in", "g", 1, Offset(2), rejection, Some(5_000_000));
        let named = |name: &str| {
            let header = headers.iter().find(|header| header.key == name)?;
            Some(String::from_utf8(header.value?.to_vec()).unwrap())
        };
        assert_eq!(named("__connect.errors.offset").unwrap(), "2");
        assert_eq!(named("probity.reason").unwrap(), "value_too_large");
        assert_eq!(named("probity.value.bytes").unwrap(), "5000000");
    }
}

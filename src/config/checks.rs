//! What one setting must look like, and how the settings must agree.
//!
//! The rules for one value return the rest of a sentence that begins with its key. The relations
//! are checked last, when every value is within its own limits, and say why they are needed:
//! an operator who must change one side should know what the other is for.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::reader::Reader;
use super::units::{show_duration, show_size};
use super::{Config, DEAD_LETTER_ROOM_BYTES, Format, Provider, Store};

/// Kafka's limit for names of topics, which we keep for groups and instances as well.
const NAME_LENGTH_MAX: usize = 249;

pub(super) fn topic(text: &str) -> Result<(), String> {
    kafka_name(text, "\"payments\"")
}

/// Of a pipeline or an instance: part of group names, client ids and metric labels.
pub(super) fn name(text: &str) -> Result<(), String> {
    kafka_name(text, "\"payments-a\"")
}

fn kafka_name(text: &str, example: &str) -> Result<(), String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if text.is_empty() {
        return Err(format!("is empty; write a name like {example}"));
    }
    if text.len() > NAME_LENGTH_MAX {
        return Err(format!(
            "has {} letters; write at most {NAME_LENGTH_MAX}",
            text.len()
        ));
    }
    if !text.bytes().all(allowed) || text == "." || text == ".." {
        return Err(format!(
            "is {text:?}; use letters, digits, '.', '_' and '-' only"
        ));
    }
    Ok(())
}

/// Of a field of the input's schema.
pub(super) fn field(text: &str) -> Result<(), String> {
    let starts_well = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if starts_well && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Ok(());
    }
    Err(format!(
        "is {text:?}; write the name of a field of the schema"
    ))
}

/// As packages name languages: `en`, `de-AT`; or empty.
pub(super) fn language(text: &str) -> Result<(), String> {
    let is_tag = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if text.len() <= 35 && text.chars().all(is_tag) {
        Ok(())
    } else {
        Err(format!(
            "is {text:?}; write a language as the package names it, such as en or de-AT, or nothing"
        ))
    }
}

/// The place of the archive, from its URL.
pub(super) fn store(text: &str) -> Result<Store, String> {
    let wrong =
        || format!("is {text:?}; write \"file:///absolute/folder\" or \"s3://bucket/prefix\"");
    if let Some(folder) = text.strip_prefix("file://") {
        let folder = PathBuf::from(folder);
        return if folder.is_absolute() {
            Ok(Store::File { folder })
        } else {
            Err(wrong())
        };
    }
    let rest = text.strip_prefix("s3://").ok_or_else(wrong)?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-".contains(&b);
    if bucket.is_empty() || !bucket.bytes().all(allowed) {
        return Err(wrong());
    }
    Ok(Store::S3 {
        bucket: bucket.to_owned(),
        prefix: prefix.trim_matches('/').to_owned(),
    })
}

/// Of an S3 server. A user name or a password in it would be shown and logged.
pub(super) fn endpoint(text: &str) -> Result<(), String> {
    let has_scheme = text.starts_with("http://") || text.starts_with("https://");
    if text.contains('@') {
        return Err("holds credentials; give them as AWS_ACCESS_KEY_ID and \
             AWS_SECRET_ACCESS_KEY in the environment"
            .to_owned());
    }
    if has_scheme || text.is_empty() {
        return Ok(());
    }
    Err(format!(
        "is {text:?}; write a URL like \"https://s3.example.com\""
    ))
}

/// Everything that two or more settings must agree on.
pub(super) fn relations(config: &Config, reader: &mut Reader) {
    durations(config, reader);
    sizes(config, reader);
    topics(config, reader);
    input(config, reader);
    model(config, reader);
    headers(config, reader);
    archive(config, reader);
}

fn durations(config: &Config, reader: &mut Reader) {
    let limits = &config.limits;
    let poll_interval_max = ("limits.poll_interval_max", limits.poll_interval_max);
    let session_timeout = ("limits.session_timeout", limits.session_timeout);
    let transaction_timeout = ("limits.transaction_timeout", limits.transaction_timeout);
    let commit_timeout = ("limits.commit_timeout", limits.commit_timeout);
    let rules = [
        (
            commit_timeout,
            transaction_timeout,
            "the outcome of a commit is asked for while the broker still knows the transaction",
        ),
        (
            transaction_timeout,
            session_timeout,
            "who takes over a partition must not wait for the transaction of the one before",
        ),
        (
            session_timeout,
            poll_interval_max,
            "librdkafka heartbeats for a lane that is busy, and must give up after it is silent",
        ),
        (
            ("limits.request_timeout", limits.request_timeout),
            transaction_timeout,
            "a transaction must outlive one lost request",
        ),
        (
            commit_timeout,
            ("limits.drain_timeout", limits.drain_timeout),
            "a drain finishes the commit in flight",
        ),
        (
            ("limits.drain_timeout", limits.drain_timeout),
            poll_interval_max,
            "a lane that drains does not poll, and must still own its partitions",
        ),
        (
            ("limits.retry_timeout", limits.retry_timeout),
            poll_interval_max,
            "a lane that retries does not poll, and must still own its partitions",
        ),
        (
            transaction_timeout,
            ("limits.stuck_after", limits.stuck_after),
            "a lane may rest in one call for that long and is not stuck",
        ),
        (
            ("batch.linger", config.batch.linger),
            session_timeout,
            "waiting for rows must not look like silence",
        ),
        (
            ("batch.linger", config.batch.linger),
            ("limits.stuck_after", limits.stuck_after),
            "waiting for rows is not being stuck",
        ),
        (
            ("batch.linger", config.batch.linger),
            ("limits.drain_timeout", limits.drain_timeout),
            "who is asked to stop ends the batch first",
        ),
    ];
    for (shorter, longer, why) in rules {
        must_be_shorter(reader, shorter, longer, why);
    }
    if limits.retry_backoff_min > limits.retry_backoff_max {
        let what = format!(
            "is {} and must not be longer than limits.retry_backoff_max, {}; lower it",
            show_duration(limits.retry_backoff_min),
            show_duration(limits.retry_backoff_max),
        );
        reader.problem("limits.retry_backoff_min", &what);
    }
}

fn must_be_shorter(
    reader: &mut Reader,
    (short_key, short): (&str, Duration),
    (long_key, long): (&str, Duration),
    why: &str,
) {
    if short >= long {
        let words = ["shorter than", "longer than"];
        let (short, long) = (show_duration(short), show_duration(long));
        disagree(reader, [short_key, long_key], [&short, &long], words, why);
    }
}

/// The complaint goes to the side that somebody has set.
fn disagree(
    reader: &mut Reader,
    [low_key, high_key]: [&str; 2],
    [low, high]: [&str; 2],
    [below, above]: [&str; 2],
    why: &str,
) {
    if reader.is_set(low_key) {
        let what = format!(
            "is {low} and must be {below} {high_key}, {high}: {why}; lower it or raise {high_key}"
        );
        reader.problem(low_key, &what);
    } else {
        let what = format!(
            "is {high} and must be {above} {low_key}, {low}: {why}; raise it or lower {low_key}"
        );
        reader.problem(high_key, &what);
    }
}

fn sizes(config: &Config, reader: &mut Reader) {
    let input = config.input.max_bytes;
    let (batch, message) = (config.batch.max_bytes, config.output.message_bytes_max);
    let segment = config.archive.segment_bytes_max;
    let buffer = config.archive.buffer_bytes;
    let words = ["at most", "at least"];
    if input > batch {
        let keys = ["input.max_bytes", "batch.max_bytes"];
        let why = "a batch holds its largest event";
        disagree(
            reader,
            keys,
            [&show_size(input), &show_size(batch)],
            words,
            why,
        );
    }
    if input + DEAD_LETTER_ROOM_BYTES > message {
        let keys = ["input.max_bytes", "output.message_bytes_max"];
        let room = show_size(DEAD_LETTER_ROOM_BYTES);
        let words = [
            &*format!("at least {room} less than"),
            &format!("at least {room} more than"),
        ];
        let why = "a dead letter carries the whole event and its error headers";
        disagree(
            reader,
            keys,
            [&show_size(input), &show_size(message)],
            words,
            why,
        );
    }
    if segment > buffer {
        let keys = ["archive.segment_bytes_max", "archive.buffer_bytes"];
        let why = "a segment is filled in memory";
        disagree(
            reader,
            keys,
            [&show_size(segment), &show_size(buffer)],
            words,
            why,
        );
    }
    if message > buffer {
        let keys = ["output.message_bytes_max", "archive.buffer_bytes"];
        let why = "the archiver takes whole messages";
        disagree(
            reader,
            keys,
            [&show_size(message), &show_size(buffer)],
            words,
            why,
        );
    }
    queued_messages(config, reader);
}

/// Of one row come a scored record or a dead letter, and at worst a message of evidence.
fn queued_messages(config: &Config, reader: &mut Reader) {
    let name = "queue.buffering.max.messages";
    let queued = config
        .kafka
        .producer
        .get(name)
        .and_then(|text| text.parse::<usize>().ok());
    let needed = 2 * config.batch.max_rows;
    // Zero is librdkafka's word for no limit.
    if let Some(queued @ 1..) = queued
        && queued < needed
    {
        let what = format!(
            "is {queued} and must be at least 2 × batch.max_rows, {needed}: all messages of a \
             round are queued before its commit; raise it"
        );
        reader.problem(&format!("kafka.producer.{name}"), &what);
    }
}

fn topics(config: &Config, reader: &mut Reader) {
    let topics = [
        ("input.topic", &config.input.topic),
        ("output.scored", &config.output.scored),
        ("output.evidence", &config.output.evidence),
        ("output.dead_letter", &config.output.dead_letter),
        ("output.checkpoints", &config.output.checkpoints),
    ];
    let mut seen = BTreeMap::new();
    for (key, topic) in topics {
        if let Some(other) = seen.insert(topic, key) {
            reader.problem(
                key,
                &format!("is {topic:?}, the same topic as {other}; name another"),
            );
        }
    }
}

fn input(config: &Config, reader: &mut Reader) {
    let framed = config.input.format == Format::AvroRegistry;
    if framed && config.input.schemas.is_empty() {
        let what = "is \"avro-registry\" without a schema; \
             name the writer's file of each id in [input.schemas], like 42 = \"payment-v1.avsc\"";
        reader.problem("input.format", what);
    }
    if !framed && let Some(key) = reader.below("input.schemas").first() {
        let what = "would never be read; \
             set input.format = \"avro-registry\" or remove [input.schemas]";
        reader.problem(key, what);
    }
}

fn model(config: &Config, reader: &mut Reader) {
    let providers = &config.model.providers;
    if providers.is_empty() {
        reader.problem("model.providers", "is empty; write [\"cpu\"]");
    }
    let position = providers
        .iter()
        .position(|provider| *provider == Provider::Cpu);
    if position.is_some_and(|position| position + 1 < providers.len()) {
        let what = "has a provider after \"cpu\", which takes everything; move \"cpu\" to the end";
        reader.problem("model.providers", what);
    }
    let twice = |(index, provider)| providers[..index].contains(provider);
    if providers.iter().enumerate().any(twice) {
        reader.problem("model.providers", "lists a provider twice; remove one");
    }
}

fn headers(config: &Config, reader: &mut Reader) {
    let headers = &config.output.headers;
    let twice = |(index, name)| headers[..index].contains(name);
    if headers.iter().any(String::is_empty) || headers.iter().enumerate().any(twice) {
        reader.problem(
            "output.headers",
            "has a name that is empty or listed twice; remove it",
        );
    }
}

fn archive(config: &Config, reader: &mut Reader) {
    let is_http = config
        .archive
        .s3
        .endpoint
        .as_deref()
        .is_some_and(|url| url.starts_with("http://"));
    if is_http && !config.archive.s3.allow_http {
        let what = "is not encrypted; write https:// or set archive.s3.allow_http = true";
        reader.problem("archive.s3.endpoint", what);
    }
}

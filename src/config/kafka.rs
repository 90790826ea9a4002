//! librdkafka's properties: verbatim where the operator decides, locked where the promise hangs on
//! them, redacted wherever they are secrets.
//!
//! `[kafka]` holds for every client, `[kafka.consumer]` and `[kafka.producer]` for theirs. The
//! judge of a name and of a value is librdkafka itself; the list of names beside this file serves
//! suggestions and says to which kind of client a property belongs.

use std::collections::BTreeMap;
use std::fmt;

use rdkafka::ClientConfig;

use super::reader::{REDACTED, Reader, nearest};

/// Every property that can be set from text, each after `*`, `C` (consumer) or `P` (producer).
const NAMES: &str = include_str!("librdkafka.txt");

/// Properties by name. `Debug` and `Display` leave secrets out.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties(BTreeMap<String, String>);

/// Properties of every client, of consumers and of producers, each with the ones for all clients.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct Kafka {
    pub client: Properties,
    pub consumer: Properties,
    pub producer: Properties,
}

/// A default of ours that differs from librdkafka's, or that must not drift with it.
/// The reasons stand in `config/probity.toml`, which lists each of them.
type Preset = (&'static str, &'static str);

const CLIENT_DEFAULTS: [Preset; 5] = [
    ("bootstrap.servers", "127.0.0.1:9092"),
    ("socket.keepalive.enable", "true"),
    ("reconnect.backoff.max.ms", "1000"),
    ("log.connection.close", "false"),
    ("statistics.interval.ms", "0"),
];

const CONSUMER_DEFAULTS: [Preset; 7] = [
    ("queued.max.messages.kbytes", "16384"),
    ("fetch.max.bytes", "16777216"),
    ("fetch.wait.max.ms", "10"),
    ("fetch.min.bytes", "65536"),
    ("fetch.queue.backoff.ms", "10"),
    ("fetch.error.backoff.ms", "50"),
    ("check.crcs", "true"),
];

const PRODUCER_DEFAULTS: [Preset; 4] = [
    ("linger.ms", "1"),
    ("compression.type", "lz4"),
    ("queue.buffering.max.messages", "200000"),
    ("queue.buffering.max.kbytes", "262144"),
];

/// A property whose value the promise depends on: its value, and why.
struct Locked {
    name: &'static str,
    value: &'static str,
    why: &'static str,
}

const fn locked(name: &'static str, value: &'static str, why: &'static str) -> Locked {
    Locked { name, value, why }
}

const CLIENT_LOCKED: [Locked; 1] = [locked(
    "allow.auto.create.topics",
    "false",
    "a topic made by accident has the wrong partitions and the wrong retention",
)];

const CONSUMER_LOCKED: [Locked; 7] = [
    locked(
        "enable.auto.commit",
        "false",
        "offsets are committed in the transaction of their scores",
    ),
    locked(
        "enable.auto.offset.store",
        "false",
        "offsets are committed in the transaction of their scores",
    ),
    locked(
        "isolation.level",
        "read_committed",
        "what was aborted must never be scored",
    ),
    locked(
        "auto.offset.reset",
        "error",
        "the first offset and a lost one are an operator's decision",
    ),
    locked(
        "group.protocol",
        "classic",
        "the newer protocol stalls in this librdkafka",
    ),
    locked(
        "partition.assignment.strategy",
        "cooperative-sticky",
        "all members of a group must share it",
    ),
    locked(
        "enable.partition.eof",
        "false",
        "the end of a partition is read from its last stable offset",
    ),
];

const PRODUCER_LOCKED: [Locked; 4] = [
    locked(
        "enable.idempotence",
        "true",
        "a retry must never publish a score twice",
    ),
    locked("acks", "all", "what is committed must be replicated"),
    locked(
        "max.in.flight.requests.per.connection",
        "5",
        "more would lose the order of a partition",
    ),
    locked(
        "delivery.report.only.error",
        "false",
        "every message of a transaction is accounted for",
    ),
];

/// Properties that follow from a setting of ours, and which.
const MANAGED: [(&str, &str); 12] = [
    ("group.id", "pipeline.name"),
    ("group.instance.id", "pipeline.instance"),
    ("transactional.id", "pipeline.name and pipeline.instance"),
    ("transaction.timeout.ms", "limits.transaction_timeout"),
    ("message.timeout.ms", "limits.transaction_timeout"),
    ("delivery.timeout.ms", "limits.transaction_timeout"),
    ("socket.timeout.ms", "limits.request_timeout"),
    ("max.poll.interval.ms", "limits.poll_interval_max"),
    ("session.timeout.ms", "limits.session_timeout"),
    ("message.max.bytes", "output.message_bytes_max"),
    ("max.poll.records", "batch.max_rows"),
    ("max.request.size", "output.message_bytes_max"),
];

/// Names of the Java client, and second names in librdkafka, by the one name used here.
const RENAMED: [(&str, &str); 21] = [
    ("auto.commit.enable", "enable.auto.commit"),
    ("bootstrap.server", "bootstrap.servers"),
    ("brokers", "bootstrap.servers"),
    ("buffer.memory", "queue.buffering.max.kbytes"),
    ("compression.codec", "compression.type"),
    ("fetch.max.wait.ms", "fetch.wait.max.ms"),
    ("max.in.flight", "max.in.flight.requests.per.connection"),
    ("metadata.broker.list", "bootstrap.servers"),
    ("queue.buffering.max.ms", "linger.ms"),
    ("receive.buffer.bytes", "socket.receive.buffer.bytes"),
    ("request.required.acks", "acks"),
    ("sasl.jaas.config", "sasl.username and sasl.password"),
    (
        "sasl.login.callback.handler.class",
        "sasl.oauthbearer.method",
    ),
    ("send.buffer.bytes", "socket.send.buffer.bytes"),
    ("ssl.keystore.certificate.chain", "ssl.certificate.pem"),
    ("ssl.keystore.key", "ssl.key.pem"),
    (
        "ssl.keystore.type",
        "ssl.keystore.location, which takes PKCS#12",
    ),
    ("ssl.truststore.certificates", "ssl.ca.pem"),
    (
        "ssl.truststore.location",
        "ssl.ca.location, which takes PEM",
    ),
    (
        "ssl.truststore.password",
        "ssl.ca.location, which takes PEM and no password",
    ),
    ("ssl.truststore.type", "ssl.ca.location, which takes PEM"),
];

/// Whether the value of this property must never be shown.
#[must_use]
pub fn is_secret(name: &str) -> bool {
    let marks = [
        "password",
        "secret",
        "passphrase",
        "jaas",
        "private.key.pem",
        "ssl.key.pem",
    ];
    marks.iter().any(|mark| name.contains(mark)) || name == "sasl.oauthbearer.config"
}

impl Properties {
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A client's configuration with these properties.
    #[must_use]
    pub fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (name, value) in &self.0 {
            config.set(name, value);
        }
        config
    }

    fn shown(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), redacted(name, value)))
    }

    fn joined(&self, other: Properties) -> Properties {
        let mut joined = self.clone();
        joined.0.extend(other.0);
        joined
    }
}

fn redacted<'a>(name: &str, value: &'a str) -> &'a str {
    if is_secret(name) { REDACTED } else { value }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.shown()).finish()
    }
}

impl fmt::Display for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shown()
            .try_for_each(|(name, value)| writeln!(f, "{name}={value}"))
    }
}

impl Kafka {
    pub fn read(reader: &mut Reader) -> Kafka {
        let client = read_section(reader, "kafka", '*', &CLIENT_DEFAULTS, &CLIENT_LOCKED);
        let consumer = read_section(
            reader,
            "kafka.consumer",
            'C',
            &CONSUMER_DEFAULTS,
            &CONSUMER_LOCKED,
        );
        let producer = read_section(
            reader,
            "kafka.producer",
            'P',
            &PRODUCER_DEFAULTS,
            &PRODUCER_LOCKED,
        );
        Kafka {
            consumer: client.joined(consumer),
            producer: client.joined(producer),
            client,
        }
    }
}

fn read_section(
    reader: &mut Reader,
    section: &str,
    kind: char,
    defaults: &[Preset],
    locked: &[Locked],
) -> Properties {
    reader.section(section);
    let mut properties = Properties::default();
    for (name, value) in defaults {
        properties.0.insert((*name).to_owned(), (*value).to_owned());
    }
    for key in reader.below(section) {
        let name = &key[section.len() + 1..];
        if section == "kafka" && (name.starts_with("consumer.") || name.starts_with("producer.")) {
            continue;
        }
        let Some(value) = reader.property(&key) else {
            continue;
        };
        match check(name, &value, kind) {
            Ok(()) => _ = properties.0.insert(name.to_owned(), value),
            Err(what) => reader.problem(&key, &what),
        }
    }
    for (name, value) in properties.shown() {
        reader.show(section, name, value);
    }
    for Locked { name, value, why } in locked {
        reader.remark(
            section,
            &format!("\"{name}\" = \"{value}\"  (locked: {why})"),
        );
        properties.0.insert((*name).to_owned(), (*value).to_owned());
    }
    properties
}

/// # Errors
/// The rest of a sentence that begins with the key. Never the value of a secret.
fn check(name: &str, value: &str, section: char) -> Result<(), String> {
    let mut all_locked = CLIENT_LOCKED
        .iter()
        .chain(&CONSUMER_LOCKED)
        .chain(&PRODUCER_LOCKED);
    if let Some(Locked { value, why, .. }) = all_locked.find(|locked| locked.name == name) {
        return Err(format!("is locked at {value}, because {why}; remove it"));
    }
    if let Some((_, key)) = MANAGED.iter().find(|(managed, _)| *managed == name) {
        return Err(format!(
            "follows from another setting; remove it and set {key}"
        ));
    }
    if let Some((_, new)) = RENAMED.iter().find(|(old, _)| *old == name) {
        return Err(format!(
            "has another name here; the librdkafka name is {new}"
        ));
    }
    let Some(kind) = kind_of(name) else {
        return Err(format!("is unknown to librdkafka; {}", nearest_name(name)));
    };
    match (kind, section) {
        ('C', '*' | 'P') => return Err("belongs to consumers; move it to [kafka.consumer]".into()),
        ('P', '*' | 'C') => return Err("belongs to producers; move it to [kafka.producer]".into()),
        _ => {}
    }
    if is_secret(name) && value == REDACTED {
        return Err("is a redacted secret; write the secret itself".to_owned());
    }
    accepted(name, value)
}

/// Asks librdkafka, which reads the value without connecting to anything.
fn accepted(name: &str, value: &str) -> Result<(), String> {
    let result = ClientConfig::new().set(name, value).create_native_config();
    result.map(|_| ()).map_err(|_| {
        let value = redacted(name, value);
        format!("is {value:?}, which librdkafka does not accept; see its CONFIGURATION.md")
    })
}

pub(super) fn names() -> impl Iterator<Item = (char, &'static str)> {
    NAMES.lines().filter_map(|line| {
        let (kind, name) = line.split_once(' ')?;
        Some((kind.chars().next()?, name))
    })
}

fn kind_of(name: &str) -> Option<char> {
    names()
        .find(|(_, known)| *known == name)
        .map(|(kind, _)| kind)
}

fn nearest_name(name: &str) -> String {
    let dotted = name.replace(['-', '_'], ".");
    match nearest(&dotted, names().map(|(_, known)| known)) {
        Some(known) => format!("did you mean {known}?"),
        None => "its CONFIGURATION.md lists every property".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn librdkafka_knows_every_name_of_the_list() {
        use rdkafka::error::KafkaError;
        use rdkafka::types::RDKafkaConfRes;
        assert!(names().count() > 150);
        for (kind, name) in names() {
            assert!("*CP".contains(kind), "{name}");
            let result = ClientConfig::new().set(name, "0").create_native_config();
            let unknown = RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN;
            let is_unknown =
                matches!(result, Err(KafkaError::ClientConfig(code, ..)) if code == unknown);
            assert!(!is_unknown, "{name}");
        }
    }

    #[test]
    fn librdkafka_accepts_our_own_values() {
        let locked = CLIENT_LOCKED
            .iter()
            .chain(&CONSUMER_LOCKED)
            .chain(&PRODUCER_LOCKED);
        let defaults = CLIENT_DEFAULTS
            .iter()
            .chain(&CONSUMER_DEFAULTS)
            .chain(&PRODUCER_DEFAULTS);
        for Locked { name, value, .. } in locked {
            assert_eq!(accepted(name, value), Ok(()), "{name}");
        }
        for (name, value) in defaults {
            assert_eq!(accepted(name, value), Ok(()), "{name}");
        }
        for (kind, defaults) in [
            ('*', &CLIENT_DEFAULTS[..]),
            ('C', &CONSUMER_DEFAULTS),
            ('P', &PRODUCER_DEFAULTS),
        ] {
            for (name, value) in defaults {
                assert_eq!(check(name, value, kind), Ok(()), "{name}");
            }
        }
    }

    #[test]
    fn a_second_name_is_never_passed_on_beside_the_first() {
        for (old, new) in RENAMED {
            let first = new.split([' ', ',']).next().unwrap();
            assert!(kind_of(first).is_some(), "{old} -> {new}");
        }
    }

    #[test]
    fn secrets_are_known_by_their_names() {
        for name in [
            "sasl.password",
            "ssl.key.password",
            "ssl.keystore.password",
            "ssl.key.pem",
            "sasl.oauthbearer.config",
            "sasl.oauthbearer.client.secret",
            "sasl.oauthbearer.client.credentials.client.secret",
            "sasl.oauthbearer.assertion.private.key.passphrase",
            "sasl.oauthbearer.assertion.private.key.pem",
            "sasl.jaas.config",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in [
            "sasl.username",
            "ssl.ca.pem",
            "ssl.key.location",
            "group.id",
        ] {
            assert!(!is_secret(name), "{name}");
        }
    }

    #[test]
    fn properties_never_print_a_secret() {
        let map = [("sasl.password", "hunter2"), ("sasl.username", "ann")];
        let map = map.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let properties = Properties(map.into());
        let printed = format!("{properties} {properties:?}");
        assert!(!printed.contains("hunter2"));
        assert!(printed.contains("sasl.username=ann"));
        assert_eq!(
            properties.client_config().get("sasl.password"),
            Some("hunter2")
        );
    }
}

//! The identities of this process in Kafka, and the configuration of each of its clients.
//!
//! The identities are stable across restarts: a restart takes its old place in the group and
//! resolves the transaction that it left behind. Connects to nothing.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;

use super::layers::variable_of;
use super::{Config, LogLevel, Properties};
use crate::error::Fatal;

impl Config {
    /// `<instance>.<lane>`
    #[must_use]
    pub fn member(&self, lane: usize) -> String {
        format!("{}.{lane}", self.pipeline.instance)
    }

    /// `<group>.<instance>.<lane>`, stable across restarts, so that a restart fences and resolves
    /// what it left behind.
    #[must_use]
    pub fn transactional_id(&self, lane: usize) -> String {
        format!("{}.{}", self.pipeline.name, self.member(lane))
    }

    /// Of the scoring role.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.pipeline.name
    }

    /// Of the archiving role.
    #[must_use]
    pub fn archive_group(&self) -> String {
        format!("{}.archive", self.pipeline.name)
    }

    /// The consumer of a lane.
    #[must_use]
    pub fn consumer(&self, lane: usize) -> ClientConfig {
        self.group_consumer(self.group(), &self.member(lane))
    }

    /// The consumer of the archiver: nobody waits for it, so it asks seldom and for much.
    #[must_use]
    pub fn archiver_consumer(&self) -> ClientConfig {
        let member = format!("{}.archive", self.pipeline.instance);
        let mut client = self.group_consumer(&self.archive_group(), &member);
        client
            .set("fetch.wait.max.ms", "250")
            .set("fetch.min.bytes", "1048576");
        client
    }

    fn group_consumer(&self, group: &str, member: &str) -> ClientConfig {
        let mut client = self.base(&self.kafka.consumer, member);
        client
            .set("group.id", group)
            .set("group.instance.id", member)
            .set("session.timeout.ms", millis(self.limits.session_timeout))
            .set(
                "max.poll.interval.ms",
                millis(self.limits.poll_interval_max),
            );
        client
    }

    /// The transactional producer of a lane.
    #[must_use]
    pub fn producer(&self, lane: usize) -> ClientConfig {
        let mut client = self.base(&self.kafka.producer, &self.member(lane));
        client
            .set("transactional.id", self.transactional_id(lane))
            .set(
                "transaction.timeout.ms",
                millis(self.limits.transaction_timeout),
            )
            .set(
                "message.timeout.ms",
                millis(self.limits.transaction_timeout),
            )
            .set(
                "message.max.bytes",
                self.output.message_bytes_max.to_string(),
            );
        client
    }

    /// A client of no role, for topics and clusters.
    #[must_use]
    pub fn client(&self) -> ClientConfig {
        self.base(
            &self.kafka.client,
            &format!("{}.admin", self.pipeline.instance),
        )
    }

    /// Reads and writes the topic of checkpoints.
    #[must_use]
    pub fn board_client(&self) -> ClientConfig {
        let member = format!("{}.checkpoints", self.pipeline.instance);
        self.base(&self.kafka.client, &member)
    }

    fn base(&self, properties: &Properties, member: &str) -> ClientConfig {
        let mut client = properties.client_config();
        client.set_log_level(match self.log.level {
            LogLevel::Error => RDKafkaLogLevel::Error,
            LogLevel::Warn => RDKafkaLogLevel::Warning,
            LogLevel::Info => RDKafkaLogLevel::Info,
            LogLevel::Debug | LogLevel::Trace => RDKafkaLogLevel::Debug,
        });
        client.set("socket.timeout.ms", millis(self.limits.request_timeout));
        if properties.get("client.id").is_none() {
            client.set(
                "client.id",
                format!("probity.{}.{member}", self.pipeline.name),
            );
        }
        client
    }
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

/// Why librdkafka makes no client: it names properties, and not where they are set.
#[must_use]
pub fn refused_client(client: &ClientConfig, error: KafkaError) -> Fatal {
    let text = error.to_string();
    let mut credentials = ["sasl.username", "sasl.password"].into_iter();
    let lacks = |name: &&str| client.get(name).is_none() && text.contains(*name);
    match credentials.find(lacks) {
        Some(name) => Fatal::usage(format!(
            "kafka.{name} is not set, and this sasl.mechanism needs it; set \"{name}\" under [kafka], or {}",
            variable_of(&format!("kafka.{name}"))
        )),
        None => Fatal::usage("the properties under [kafka] make no client").because(error),
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::consumer::BaseConsumer;

    use super::*;

    fn refusal(properties: &[(&str, &str)]) -> String {
        let mut client = ClientConfig::new();
        for (name, value) in properties {
            client.set(*name, *value);
        }
        let made: Result<BaseConsumer, _> = client.create();
        refused_client(&client, made.err().unwrap()).to_string()
    }

    #[test]
    fn credentials_that_are_not_set_are_named_where_they_are_set() {
        let sasl = [
            ("security.protocol", "sasl_plaintext"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.username", "probity"),
        ];
        assert_eq!(
            refusal(&sasl),
            "kafka.sasl.password is not set, and this sasl.mechanism needs it; set \"sasl.password\" under \
             [kafka], or PROBITY__KAFKA__SASL_PASSWORD"
        );
        let user = refusal(&sasl[..2]);
        assert!(user.contains("PROBITY__KAFKA__SASL_USERNAME"), "{user}");
        let other = refusal(&[
            ("ssl.ca.location", "/no/such/file"),
            ("security.protocol", "ssl"),
        ]);
        assert!(
            other.starts_with("the properties under [kafka] make no client: "),
            "{other}"
        );
    }
}

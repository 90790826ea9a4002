//! What tests do on a cluster as clients: create topics, write records, read them back.
//!
//! Independent of the code under test: it shares the client library with it and nothing else.

use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header as KafkaHeader, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;

use super::{Cluster, DEADLINE};

/// A header: a name, and bytes or null.
pub type Header = (String, Option<Vec<u8>>);

/// A record to write.
#[derive(Clone, Default, Debug)]
pub struct Message {
    pub partition: i32,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<Header>,
    /// Milliseconds since 1970; the client's clock where absent.
    pub timestamp: Option<i64>,
}

impl Message {
    pub fn new(partition: i32, value: impl Into<Vec<u8>>) -> Message {
        Message {
            partition,
            value: Some(value.into()),
            ..Message::default()
        }
    }
}

/// A record as read.
#[derive(Clone, PartialEq, Debug)]
pub struct Record {
    pub partition: i32,
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<Header>,
    pub timestamp: Option<i64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Isolation {
    ReadCommitted,
    ReadUncommitted,
}

impl Cluster {
    /// The settings that every client of this cluster starts from.
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.bootstrap());
        config
    }

    /// Creates a topic, replicated as widely as the cluster allows, with `config` on top.
    pub fn create_topic(&self, name: &str, partitions: i32, config: &[(&str, &str)]) {
        let replicas = i32::try_from(self.size().min(3)).unwrap();
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replicas));
        for (key, value) in config {
            topic = topic.set(key, value);
        }
        let done = self.ask(|admin, options| block_on(admin.create_topics([&topic], options)));
        done.unwrap()[0]
            .as_ref()
            .unwrap_or_else(|e| panic!("cannot create {name}: {e:?}"));
    }

    pub fn delete_topic(&self, name: &str) {
        let done = self.ask(|admin, options| block_on(admin.delete_topics(&[name], options)));
        done.unwrap()[0]
            .as_ref()
            .unwrap_or_else(|e| panic!("cannot delete {name}: {e:?}"));
    }

    /// Gives a topic more partitions: `count` together.
    pub fn add_partitions(&self, topic: &str, count: usize) {
        let wanted = NewPartitions::new(topic, count);
        let done = self.ask(|admin, options| block_on(admin.create_partitions([&wanted], options)));
        done.unwrap()[0]
            .as_ref()
            .unwrap_or_else(|e| panic!("cannot add partitions to {topic}: {e:?}"));
    }

    /// Deletes the records of these partitions before the offsets beside them.
    pub fn delete_records(&self, topic: &str, before: &[(i32, i64)]) {
        let mut list = TopicPartitionList::new();
        for &(partition, offset) in before {
            list.add_partition_offset(topic, partition, Offset::Offset(offset))
                .unwrap();
        }
        let done = self.ask(|admin, options| block_on(admin.delete_records(&list, options)));
        for element in done.unwrap().elements() {
            element
                .error()
                .unwrap_or_else(|e| panic!("cannot delete records of {topic}: {e}"));
        }
    }

    /// Sets one setting of a topic; its others become the cluster's defaults.
    pub fn set_of_topic(&self, topic: &str, key: &str, value: &str) {
        let wanted = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(key, value);
        let done = self.ask(|admin, options| block_on(admin.alter_configs([&wanted], options)));
        done.unwrap()[0]
            .as_ref()
            .unwrap_or_else(|e| panic!("cannot set {key} of {topic}: {e:?}"));
    }

    fn ask<T>(
        &self,
        question: impl FnOnce(&AdminClient<DefaultClientContext>, &AdminOptions) -> T,
    ) -> T {
        let admin: AdminClient<_> = self.client().create().unwrap();
        let options = AdminOptions::new()
            .operation_timeout(Some(DEADLINE))
            .request_timeout(Some(DEADLINE));
        question(&admin, &options)
    }

    /// Writes without a transaction, and waits until the cluster has acknowledged everything.
    pub fn produce(&self, topic: &str, messages: &[Message]) {
        let mut config = self.client();
        config
            .set("enable.idempotence", "true")
            // What a topic takes is for the topic to say.
            .set("message.max.bytes", "16777216");
        let producer: BaseProducer = config.create().unwrap();
        messages
            .iter()
            .for_each(|message| send(&producer, topic, message));
        producer.flush(DEADLINE).unwrap();
    }

    /// A writer whose records become visible, or are given up, in transactions.
    pub fn transactional_writer(&self, transactional_id: &str) -> TransactionalWriter {
        let mut config = self.client();
        config.set("transactional.id", transactional_id);
        let producer: BaseProducer = config.create().unwrap();
        producer.init_transactions(DEADLINE).unwrap();
        TransactionalWriter { producer }
    }

    /// The whole topic as a reader of committed records sees it, up to its last stable offset;
    /// sorted by partition and offset.
    pub fn read_committed(&self, topic: &str) -> Vec<Record> {
        self.read(topic, Isolation::ReadCommitted)
    }

    /// The whole topic, as [`Cluster::read_committed`] or with what is open or was aborted.
    pub fn read(&self, topic: &str, isolation: Isolation) -> Vec<Record> {
        let consumer = self.reader(isolation);
        let mut unfinished = assign_from_beginning(&consumer, topic);
        let mut records = Vec::new();
        let deadline = Instant::now() + DEADLINE;
        while unfinished > 0 {
            assert!(
                Instant::now() < deadline,
                "{topic}: the end was not reached"
            );
            match consumer.poll(Duration::from_secs(1)) {
                Some(Ok(message)) => records.push(Record::from(&message)),
                Some(Err(KafkaError::PartitionEOF(_))) => unfinished -= 1,
                Some(Err(error)) if passes(&error) => {}
                Some(Err(error)) => panic!("{topic}: {error}"),
                None => {}
            }
        }
        records.sort_by_key(|record| (record.partition, record.offset));
        records
    }

    fn reader(&self, isolation: Isolation) -> BaseConsumer {
        let isolation = match isolation {
            Isolation::ReadCommitted => "read_committed",
            Isolation::ReadUncommitted => "read_uncommitted",
        };
        let mut config = self.client();
        config
            .set("group.id", "test-kit-reader")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", isolation);
        config.create().unwrap()
    }

    /// The end of each partition of `topic`: the offset after its last record.
    pub fn ends(&self, topic: &str) -> Vec<i64> {
        let consumer = self.reader(Isolation::ReadCommitted);
        let asked = partitions(&consumer, topic, Offset::Invalid);
        let end = |partition| {
            consumer
                .fetch_watermarks(topic, partition, DEADLINE)
                .unwrap()
                .1
        };
        asked
            .elements()
            .iter()
            .map(|element| end(element.partition()))
            .collect()
    }

    /// Waits until the brokers know of no member of `group`: until the session timeout they keep the place
    /// of one that has stopped, and let no one else commit.
    pub fn await_empty(&self, group: &str) {
        let consumer = self.reader(Isolation::ReadCommitted);
        let deadline = Instant::now() + DEADLINE;
        loop {
            let list = consumer.fetch_group_list(Some(group), DEADLINE).unwrap();
            let state = list.groups()[0].state().to_owned();
            if state == "Empty" {
                return;
            }
            assert!(Instant::now() < deadline, "group {group} is {state}");
            // A group empties without notice.
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// The offsets that `group` has committed for the partitions of `topic`; `None` where it has
    /// not committed any.
    pub fn committed(&self, group: &str, topic: &str) -> Vec<Option<i64>> {
        let mut config = self.client();
        config.set("group.id", group);
        let consumer: BaseConsumer = config.create().unwrap();
        let asked = partitions(&consumer, topic, Offset::Invalid);
        let answer = consumer.committed_offsets(asked, DEADLINE).unwrap();
        answer
            .elements()
            .iter()
            .map(|element| element.offset().to_raw().filter(|&o| o >= 0))
            .collect()
    }
}

/// See [`Cluster::transactional_writer`].
pub struct TransactionalWriter {
    producer: BaseProducer,
}

impl TransactionalWriter {
    /// Writes `messages` in one transaction and commits it.
    pub fn commit(&self, topic: &str, messages: &[Message]) {
        self.write(topic, messages);
        self.producer.commit_transaction(DEADLINE).unwrap();
    }

    /// Writes `messages` in one transaction, which reaches the brokers, and aborts it.
    pub fn abort(&self, topic: &str, messages: &[Message]) {
        self.write(topic, messages);
        self.producer.flush(DEADLINE).unwrap();
        self.producer.abort_transaction(DEADLINE).unwrap();
    }

    fn write(&self, topic: &str, messages: &[Message]) {
        self.producer.begin_transaction().unwrap();
        messages
            .iter()
            .for_each(|message| send(&self.producer, topic, message));
    }
}

fn send(producer: &BaseProducer, topic: &str, message: &Message) {
    let mut headers = OwnedHeaders::new();
    for (key, value) in &message.headers {
        headers = headers.insert(KafkaHeader {
            key,
            value: value.as_ref(),
        });
    }
    let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic)
        .partition(message.partition)
        .headers(headers);
    record.key = message.key.as_deref();
    record.payload = message.value.as_deref();
    record.timestamp = message.timestamp;
    producer
        .send(record)
        .unwrap_or_else(|(error, _)| panic!("{topic}: {error}"));
    producer.poll(Duration::ZERO);
}

/// The client library tells of a node that is down, and goes on with another.
fn passes(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::AllBrokersDown)
    )
}

fn assign_from_beginning(consumer: &BaseConsumer, topic: &str) -> usize {
    let assignment = partitions(consumer, topic, Offset::Beginning);
    consumer.assign(&assignment).unwrap();
    assignment.count()
}

fn partitions(consumer: &BaseConsumer, topic: &str, offset: Offset) -> TopicPartitionList {
    let metadata = consumer.fetch_metadata(Some(topic), DEADLINE).unwrap();
    let found = metadata.topics()[0].partitions();
    assert!(!found.is_empty(), "topic {topic} does not exist");
    let mut ids: Vec<i32> = found.iter().map(|partition| partition.id()).collect();
    ids.sort_unstable();
    let mut list = TopicPartitionList::new();
    for id in ids {
        list.add_partition_offset(topic, id, offset).unwrap();
    }
    list
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

impl From<&rdkafka::message::BorrowedMessage<'_>> for Record {
    fn from(message: &rdkafka::message::BorrowedMessage<'_>) -> Record {
        let header = |h: KafkaHeader<'_, &[u8]>| (h.key.to_owned(), h.value.map(<[u8]>::to_vec));
        Record {
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: message
                .headers()
                .into_iter()
                .flat_map(|h| h.iter().map(header))
                .collect(),
            timestamp: message.timestamp().to_millis(),
        }
    }
}

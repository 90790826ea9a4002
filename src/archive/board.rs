//! The topic of checkpoints: signed heads of the ledger, where somebody else can keep them too.
//!
//! One partition. The largest checkpoint counts, whatever the order: a zombie may put up an old one.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use super::keeper::Board;

/// Of the newest records, so many are looked at for the largest checkpoint.
const NEWEST: i64 = 100;

/// How long the brokers may take.
const TIMEOUT: Duration = Duration::from_secs(10);

const PARTITION: i32 = 0;

/// The topic of checkpoints.
pub struct Topic {
    client: ClientConfig,
    topic: String,
    producer: Option<BaseProducer<Delivery>>,
}

impl Topic {
    /// `client` has brokers and security.
    #[must_use]
    pub fn new(client: ClientConfig, topic: String) -> Topic {
        Topic {
            client,
            topic,
            producer: None,
        }
    }

    fn read_newest(&self) -> Result<Vec<Bytes>, KafkaError> {
        let consumer: BaseConsumer = self
            .client
            .clone()
            .set("group.id", "probity-checkpoints")
            .set("enable.auto.commit", "false")
            .set("allow.auto.create.topics", "false")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "earliest")
            .create()?;
        let (low, high) = consumer.fetch_watermarks(&self.topic, PARTITION, TIMEOUT)?;
        let mut checkpoints = Vec::new();
        if high == low {
            return Ok(checkpoints);
        }
        let first = low.max(high - NEWEST);
        let mut place = TopicPartitionList::new();
        place.add_partition_offset(&self.topic, PARTITION, Offset::Offset(first))?;
        consumer.assign(&place)?;
        let deadline = Instant::now() + TIMEOUT;
        while Instant::now() < deadline {
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    let value = message.payload().unwrap_or_default();
                    checkpoints.push(Bytes::copy_from_slice(value));
                    if message.offset() + 1 >= high {
                        return Ok(checkpoints);
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(checkpoints),
                Some(Err(error)) => return Err(error),
                None => {}
            }
        }
        Err(KafkaError::MessageConsumption(
            rdkafka::error::RDKafkaErrorCode::OperationTimedOut,
        ))
    }

    fn send(&mut self, checkpoint: &str) -> Result<(), KafkaError> {
        let producer = match self.producer.take() {
            Some(producer) => producer,
            None => self
                .client
                .clone()
                .set("enable.idempotence", "true")
                .set("message.timeout.ms", TIMEOUT.as_millis().to_string())
                .create_with_context(Delivery::default())?,
        };
        let record: BaseRecord<'_, (), str> = BaseRecord::to(&self.topic)
            .partition(PARTITION)
            .payload(checkpoint);
        producer.send(record).map_err(|(error, _)| error)?;
        let deadline = Instant::now() + 2 * TIMEOUT;
        while Instant::now() < deadline {
            producer.poll(Duration::from_millis(50));
            if let Some(delivered) = producer.context().take() {
                // One that failed may be in a state from which it does not come back.
                delivered?;
                self.producer = Some(producer);
                return Ok(());
            }
        }
        Err(KafkaError::MessageProduction(
            rdkafka::error::RDKafkaErrorCode::OperationTimedOut,
        ))
    }

    fn told(&self, verb: &str, error: &KafkaError) -> String {
        let topic = &self.topic;
        format!("cannot {verb} `{topic}`: {error}; make it with `probity topics create`")
    }
}

impl Board for Topic {
    fn newest(&mut self) -> Result<Vec<Bytes>, String> {
        self.read_newest()
            .map_err(|error| self.told("read", &error))
    }

    fn post(&mut self, checkpoint: &str) -> Result<(), String> {
        self.send(checkpoint)
            .map_err(|error| self.told("write to", &error))
    }
}

/// What became of the one record in flight.
#[derive(Default)]
struct Delivery {
    outcome: Mutex<Option<Result<(), KafkaError>>>,
}

impl Delivery {
    fn take(&self) -> Option<Result<(), KafkaError>> {
        self.outcome
            .lock()
            .expect("a panic ends the process")
            .take()
    }
}

impl ClientContext for Delivery {}

impl ProducerContext for Delivery {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let outcome = match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(error.clone()),
        };
        *self.outcome.lock().expect("a panic ends the process") = Some(outcome);
    }
}

//! The Kafka edge of the archiver: a consumer of the evidence topic, on its own thread, blocking.
//!
//! Reads committed messages only. Where it reads from is the ledger's word, never the group's: each
//! partition is assigned at its tip. The group's committed offsets only tell others how far the archive
//! is. Knows no Parquet and no ledger; what messages mean is [`Archiver`]'s.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rdkafka::config::{ClientConfig, FromClientConfigAndContext as _};
use rdkafka::consumer::{
    BaseConsumer, CommitMode, Consumer as _, ConsumerContext, RebalanceProtocol,
};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use super::Observer;
use super::archiver::{Archiver, Identity, Move};
use super::keeper::Board;
use super::log::Origin;
use super::roll::Settings;
use super::store::{Store, Told};
use super::stream::Record;
use crate::clock::now_micros;
use crate::error::{Fatal, Result};
use crate::evidence::{Header, SIGNATURE};
use crate::keys::Keys;
use crate::record::Position;

/// What the consumer's configuration must not say otherwise.
const LOCKED: [(&str, &str); 7] = [
    ("isolation.level", "read_committed"),
    ("auto.offset.reset", "error"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("enable.partition.eof", "true"),
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("allow.auto.create.topics", "false"),
];

/// How long a poll waits, and so how soon a stop is seen.
const POLL: Duration = Duration::from_millis(100);

/// How often segments are looked at for their age.
const TICK: Duration = Duration::from_secs(1);

/// How long the broker may take to say what a partition holds, or to move to a position.
const BROKER_TIMEOUT: Duration = Duration::from_secs(10);

/// Everything that one archiver needs.
pub struct Args {
    /// Brokers, security, `group.id`, `group.instance.id`. What must hold for the archive is set here.
    pub consumer: ClientConfig,
    /// The evidence topic, with the ids that the broker gave.
    pub origin: Origin,
    pub store: Arc<dyn Store>,
    pub settings: Settings,
    /// The archiver's key, and the log's where this process has it.
    pub keys: Arc<Keys>,
    /// Where checkpoints go besides the archive.
    pub board: Box<dyn Board>,
    pub checkpoint_interval: Duration,
    /// Whether a stop first archives everything that is committed, also what is young and small.
    /// Otherwise it stays in the topic, for the next start.
    pub seal_on_stop: bool,
    /// How long that may take.
    pub drain_timeout: Duration,
    pub observer: Arc<dyn Observer>,
    pub stop: Arc<AtomicBool>,
}

/// How it went, until asked to stop.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Summary {
    /// Partitions that wait for an operator.
    pub stopped_partitions: usize,
    /// Whether `seal_on_stop` was asked for and everything was archived in time.
    pub is_complete: bool,
}

/// Archives until `stop` says otherwise.
///
/// # Errors
/// When Kafka or the store cannot be reached for long, or what is in the archive contradicts itself, the
/// topic or the configuration.
pub fn run(args: Args) -> Result<Summary> {
    let identity = Identity {
        writer: concat!("probity ", env!("CARGO_PKG_VERSION")).to_owned(),
        keys: args.keys,
        clock: now_micros,
    };
    let observer = args.observer.clone();
    let archiver = Archiver::open(
        Arc::new(Told::new(args.store, observer)),
        args.origin.clone(),
        identity,
        args.settings,
        args.observer.clone(),
        Some((args.board, args.checkpoint_interval)),
    )?;
    let mut config = args.consumer;
    for (name, value) in LOCKED {
        config.set(name, value);
    }
    let topic = args.origin.evidence_topic;
    let hooks = Hooks {
        topic: topic.clone(),
        archiver: Mutex::new(archiver),
        failure: Mutex::new(None),
        has_joined: AtomicBool::new(false),
    };
    let refuse = |error: KafkaError| {
        Fatal::usage(format!("cannot make a consumer of `{topic}`")).because(error)
    };
    let consumer = BaseConsumer::from_config_and_context(&config, hooks).map_err(refuse)?;
    consumer.subscribe(&[&topic]).map_err(refuse)?;
    let mut collector = Collector {
        consumer,
        topic,
        observer: args.observer,
        last_tick: Instant::now(),
    };
    while !args.stop.load(Ordering::Relaxed) {
        collector.turn()?;
    }
    let is_complete = args.seal_on_stop && collector.drain(args.drain_timeout)?;
    Ok(Summary {
        stopped_partitions: collector.archiver().stopped(),
        is_complete,
    })
}

struct Collector {
    consumer: BaseConsumer<Hooks>,
    topic: String,
    observer: Arc<dyn Observer>,
    last_tick: Instant,
}

impl Collector {
    fn archiver(&self) -> MutexGuard<'_, Archiver> {
        self.consumer.context().archiver()
    }

    /// At most one message.
    fn turn(&mut self) -> Result<()> {
        match self.consumer.poll(POLL) {
            Some(Ok(message)) => {
                let record = Record {
                    position: Position(message.offset()),
                    header: header(&message, Header::NAME),
                    signature: header(&message, SIGNATURE),
                    value: message.payload().unwrap_or_default(),
                };
                self.archiver().message(message.partition(), record)?;
            }
            Some(Err(error)) => self.poll_failed(error)?,
            None => {}
        }
        if let Some(failure) = self.consumer.context().take_failure() {
            return Err(failure);
        }
        if self.last_tick.elapsed() >= TICK {
            self.last_tick = Instant::now();
            self.tick()?;
        }
        self.follow_moves()
    }

    fn tick(&self) -> Result<()> {
        let mut archiver = self.archiver();
        let now = now_micros();
        archiver.tick(now)?;
        archiver.keep_head(now)?;
        if self.consumer.context().has_joined.load(Ordering::Relaxed) {
            self.observer.assigned(archiver.partitions().len());
        }
        self.observer.open_bytes(archiver.memory());
        self.observer.behind(archiver.behind(now));
        self.observer.alive();
        Ok(())
    }

    fn poll_failed(&self, error: KafkaError) -> Result<()> {
        match error {
            KafkaError::PartitionEOF(partition) => self.archiver().drained(partition),
            KafkaError::MessageConsumptionFatal(_) => {
                return Err(Fatal::unreachable(format!(
                    "the consumer of `{}` cannot go on; if another archiver has the same \
                     group.instance.id, give each its own",
                    self.topic
                ))
                .because(error));
            }
            KafkaError::MessageConsumption(
                RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange,
            ) => self.check_bounds(),
            error => tracing::warn!(topic = self.topic, %error, "the evidence consumer reports"),
        }
        Ok(())
    }

    /// A position is not in the topic. The error does not say of which partition.
    fn check_bounds(&self) {
        let partitions = self.archiver().partitions();
        for partition in partitions {
            self.observer.alive();
            check_bounds(&self.consumer, &self.topic, partition, &mut self.archiver());
        }
    }

    fn follow_moves(&self) -> Result<()> {
        let moves = self.archiver().take_moves();
        let mut committed = BTreeMap::new();
        for each in moves {
            match each {
                Move::Seek(partition, next) => self.seek(partition, next.0)?,
                Move::Stop(partition) => {
                    let paused = self
                        .consumer
                        .pause(&self.list([(partition, Offset::Invalid)]));
                    if let Err(error) = paused {
                        tracing::warn!(partition, %error, "cannot pause a partition");
                    }
                }
                Move::Committed(partition, next) => {
                    committed.insert(partition, Offset::Offset(next.0));
                }
            }
        }
        if !committed.is_empty() {
            // A hint for those who watch the lag. Nothing rests on it.
            let hint = self
                .consumer
                .commit(&self.list(committed), CommitMode::Async);
            if let Err(error) = hint {
                tracing::debug!(%error, "offsets for display not committed");
            }
        }
        Ok(())
    }

    fn list(&self, offsets: impl IntoIterator<Item = (i32, Offset)>) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in offsets {
            list.add_partition_offset(&self.topic, partition, offset)
                .expect("tips are offsets that a topic can have");
        }
        list
    }

    fn seek(&self, partition: i32, position: i64) -> Result<()> {
        let to = Offset::Offset(position);
        let deadline = Instant::now() + BROKER_TIMEOUT;
        loop {
            self.observer.alive();
            let sought = self
                .consumer
                .seek(&self.topic, partition, to, BROKER_TIMEOUT);
            let Err(error) = sought else { return Ok(()) };
            if Instant::now() > deadline {
                let topic = &self.topic;
                return Err(Fatal::unreachable(format!(
                    "cannot go to {position} in partition {partition} of `{topic}`"
                ))
                .because(error));
            }
            // Refused while the client still prepares to fetch, of which it does not tell the end.
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Archives everything that is committed now. Says whether it was done in time.
    fn drain(&mut self, timeout: Duration) -> Result<bool> {
        let deadline = Instant::now() + timeout;
        while !self.consumer.context().has_joined.load(Ordering::Relaxed) {
            if Instant::now() >= deadline {
                return Ok(false);
            }
            self.turn()?;
        }
        // What was the end a moment ago need not be it now: read it once more.
        let places = self.archiver().doubt_drained();
        for (partition, next) in places {
            self.seek(partition, next.0)?;
        }
        while !self.archiver().is_drained() && Instant::now() < deadline {
            self.turn()?;
        }
        let is_drained = self.archiver().is_drained();
        // An archiver that lost a race reads again; what it then holds is sealed by who won it.
        self.archiver().seal_all()?;
        self.archiver().sign_head()?;
        self.follow_moves()?;
        Ok(is_drained && self.archiver().stopped() == 0)
    }
}

/// The value of a Kafka header, if the message has it.
pub(super) fn header<'a>(message: &'a BorrowedMessage<'_>, name: &str) -> Option<&'a [u8]> {
    let headers = message.headers()?;
    (0..headers.count())
        .map(|index| headers.get(index))
        .find(|header| header.key == name)
        .and_then(|header| header.value)
}

/// Says to the archiver what the topic still holds of a partition. Where the broker does not answer, an
/// error of the next read asks again.
fn check_bounds(
    consumer: &BaseConsumer<Hooks>,
    topic: &str,
    partition: i32,
    archiver: &mut Archiver,
) {
    match consumer.fetch_watermarks(topic, partition, BROKER_TIMEOUT) {
        Ok((low, high)) => archiver.has_bounds(partition, low, high),
        Err(error) => tracing::warn!(topic, partition, %error, "cannot learn what the topic holds"),
    }
}

/// What Kafka calls while it is polled: on this thread, and never while a message is handled.
struct Hooks {
    topic: String,
    archiver: Mutex<Archiver>,
    /// What went wrong in a callback, for the loop to return.
    failure: Mutex<Option<Fatal>>,
    /// Whether the group has said, at least once, which partitions are ours.
    has_joined: AtomicBool,
}

impl Hooks {
    fn archiver(&self) -> MutexGuard<'_, Archiver> {
        self.archiver.lock().expect("a panic ends the process")
    }

    fn take_failure(&self) -> Option<Fatal> {
        self.failure
            .lock()
            .expect("a panic ends the process")
            .take()
    }

    fn fail(&self, failure: Fatal) {
        let mut first = self.failure.lock().expect("a panic ends the process");
        first.get_or_insert(failure);
    }

    /// Sets each partition to its tip.
    fn place(&self, consumer: &BaseConsumer<Hooks>, list: &mut TopicPartitionList) -> Result<()> {
        let mut archiver = self.archiver();
        for partition in partitions(list) {
            let next = archiver.assign(partition)?;
            check_bounds(consumer, &self.topic, partition, &mut archiver);
            list.set_partition_offset(&self.topic, partition, Offset::Offset(next.0))
                .map_err(|error| self.cannot("place", error))?;
            tracing::info!(
                topic = self.topic,
                partition,
                position = next.0,
                "archiving"
            );
        }
        Ok(())
    }

    fn cannot(&self, verb: &str, error: KafkaError) -> Fatal {
        let topic = &self.topic;
        Fatal::unreachable(format!("cannot {verb} partitions of `{topic}`")).because(error)
    }

    fn revoke(&self, list: &TopicPartitionList) {
        let mut archiver = self.archiver();
        for partition in partitions(list) {
            archiver.revoke(partition);
            tracing::info!(topic = self.topic, partition, "archiving no more");
        }
    }
}

fn partitions(list: &TopicPartitionList) -> Vec<i32> {
    list.elements()
        .iter()
        .map(|each| each.partition())
        .collect()
}

impl ClientContext for Hooks {}

impl ConsumerContext for Hooks {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        event: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let is_cooperative = matches!(
            consumer.rebalance_protocol(),
            RebalanceProtocol::Cooperative
        );
        let done: KafkaResult<()> = if event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS
        {
            // Also after a failure: the client waits for an answer, or cannot be closed.
            if let Err(failure) = self.place(consumer, list) {
                self.fail(failure);
            }
            self.has_joined.store(true, Ordering::Relaxed);
            match is_cooperative {
                true => consumer.incremental_assign(list),
                false => consumer.assign(list),
            }
        } else {
            self.revoke(list);
            match is_cooperative {
                true => consumer.incremental_unassign(list),
                false => consumer.unassign(),
            }
        };
        if let Err(error) = done {
            self.fail(self.cannot("assign", error));
        }
    }
}

#[cfg(test)]
mod tests;

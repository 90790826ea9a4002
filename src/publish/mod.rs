//! The transaction: scores, evidence, dead letters and consumed offsets become visible together, or
//! not at all.
//!
//! Until `commit` is called a failure is an abort; once it
//! was called, anything but success in time is *unknown*, and only a new producer with the same
//! `transactional.id` and the committed offsets tell what became of it. The same holds after any
//! transport error since the transaction began, because librdkafka repeats the last request inside
//! and a delayed one could end the next transaction.

pub mod records;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use tracing::{info, warn};

use crate::crash;
use crate::error::{Fatal, Result};
use crate::laps::{Laps, Step};
use crate::patience::{Patience, Tries};
use crate::source::log_client;

/// How long what belongs to one transaction may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// All of it; the broker aborts what is open for longer.
    pub transaction: Duration,
    /// The commit alone. After it the outcome is unknown.
    pub commit: Duration,
}

/// What became of a transaction.
#[derive(Debug)]
pub enum Outcome {
    Committed,
    /// Nothing became visible. Once more, from the committed offsets on.
    Aborted(String),
    /// Nothing became visible, and the brokers will refuse these records again: rows of the batch.
    Refused {
        row: usize,
        code: RDKafkaErrorCode,
    },
    /// Renew the producer, then ask for the committed offsets.
    Unknown(String),
}

/// One record to publish; `row` is the batch's row that it belongs to.
pub struct Outgoing<'a> {
    pub row: usize,
    pub topic: &'a str,
    pub partition: Option<i32>,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: Option<OwnedHeaders>,
}

/// Delivery reports, counted where they arrive.
#[derive(Default)]
struct Deliveries {
    state: Mutex<State>,
    changed: Condvar,
    transport_error: AtomicBool,
    /// Whether the producer has begun a transaction.
    was_used: AtomicBool,
}

#[derive(Default)]
struct State {
    in_flight: usize,
    failed: Option<(usize, RDKafkaErrorCode)>,
}

impl Deliveries {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self) {
        *self.lock() = State::default();
    }

    /// Whether a connection failed since this producer's first transaction began. The report of one may come late, so
    /// it is never forgotten: the producer is renewed instead.
    fn is_disturbed(&self) -> bool {
        self.transport_error.load(Ordering::Relaxed)
    }

    /// Why records were not delivered, if one was not.
    fn trouble(&self) -> Option<Trouble> {
        self.lock().failed.map(|(row, code)| {
            if is_deterministic(code) {
                Trouble::Refused { row, code }
            } else {
                Trouble::Kafka(KafkaError::MessageProduction(code))
            }
        })
    }

    /// Waits until fewer than `limit` records are in flight, or the deadline. Returns whether they are.
    fn wait_below(&self, limit: usize, deadline: Instant) -> bool {
        let wait = deadline.saturating_duration_since(Instant::now());
        let waiting = self
            .changed
            .wait_timeout_while(self.lock(), wait, |s| s.in_flight >= limit);
        waiting.unwrap_or_else(PoisonError::into_inner).0.in_flight < limit
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_client(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.transport_error.store(true, Ordering::Relaxed);
        warn!(target: "kafka", %error, reason, "producer");
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, row: usize) {
        let mut state = self.lock();
        state.in_flight = state.in_flight.saturating_sub(1);
        if let Err((error, _)) = result
            && let Some(code) = error.rdkafka_error_code()
        {
            // What is purged after the cause says nothing, and may be reported before it.
            let is_cause = is_deterministic(code)
                && !state.failed.is_some_and(|(_, code)| is_deterministic(code));
            if state.failed.is_none() || is_cause {
                state.failed = Some((row, code));
            }
        }
        if state.in_flight == 0 || state.failed.is_some() {
            self.changed.notify_all();
        }
    }
}

/// The transactional producer of a lane.
pub struct Publisher {
    config: ClientConfig,
    timeouts: Timeouts,
    patience: Patience,
    /// None only while it is renewed.
    producer: Option<ThreadedProducer<Deliveries>>,
}

impl Publisher {
    /// Connects and fences every earlier producer with the same `transactional.id`; a transaction
    /// that one left open is aborted.
    ///
    /// # Errors
    /// When the cluster does not answer as long as patience lasts, or forbids it.
    pub fn connect(
        config: ClientConfig,
        timeouts: Timeouts,
        patience: Patience,
    ) -> Result<Publisher> {
        let mut tries = patience.start();
        let mut publisher = Publisher {
            config,
            timeouts,
            patience,
            producer: None,
        };
        publisher.renew(&mut tries)?;
        Ok(publisher)
    }

    /// Drops the producer and makes a new one: when this returns, the outcome of every earlier
    /// transaction of this lane is final.
    ///
    /// # Errors
    /// When the cluster does not answer as long as patience lasts.
    pub fn renew(&mut self, tries: &mut Tries) -> Result<()> {
        drop(self.producer.take());
        loop {
            let error = match self.init(tries.call(self.timeouts.transaction)) {
                Ok(producer) => {
                    self.producer = Some(producer);
                    return Ok(());
                }
                Err(error) => error,
            };
            warn!(%error, "starting the transactional producer");
            if !may_pass(&error) || !tries.again() {
                let id = self.config.get("transactional.id").unwrap_or_default();
                let what = format!("starting the transactional producer `{id}`");
                return Err(Fatal::unreachable(what).because(error));
            }
        }
    }

    fn init(&self, timeout: Duration) -> Result<ThreadedProducer<Deliveries>, KafkaError> {
        let producer: ThreadedProducer<Deliveries> =
            self.config.create_with_context(Deliveries::default())?;
        producer.init_transactions(timeout)?;
        info!(
            id = self.config.get("transactional.id"),
            "transactional producer ready"
        );
        Ok(producer)
    }

    fn producer(&self) -> &ThreadedProducer<Deliveries> {
        self.producer.as_ref().expect("renewed before use")
    }

    fn deliveries(&self) -> Arc<Deliveries> {
        self.producer().context().clone()
    }

    /// Publishes records and the offsets that they were made of, in one transaction. `member` is who
    /// the consumer was before the first poll of the round.
    ///
    /// # Errors
    /// When the producer was fenced by another one with the same `transactional.id`, or failed for good.
    pub fn transact<'a>(
        &self,
        records: impl Iterator<Item = Outgoing<'a>>,
        offsets: &TopicPartitionList,
        member: &ConsumerGroupMetadata,
        laps: &mut Laps,
    ) -> Result<Outcome> {
        let deliveries = self.deliveries();
        if deliveries.was_used.swap(true, Ordering::Relaxed) {
            if deliveries.is_disturbed() {
                let what = "a connection failed after the last transaction";
                return Ok(Outcome::Unknown(what.to_owned()));
            }
        } else {
            // What failed before the first transaction cannot reach into it.
            deliveries.transport_error.store(false, Ordering::Relaxed);
        }
        deliveries.begin();
        // Before the broker gives up: it would fence this producer, and nobody has replaced it.
        let deadline = Instant::now() + self.timeouts.transaction * 3 / 4;
        let prepared = self.prepare(&deliveries, records, offsets, member, deadline);
        laps.end(Step::Publish);
        match prepared {
            Ok(()) => self.commit(&deliveries),
            Err(Trouble::Refused { row, code }) => self.abort(Outcome::Refused { row, code }),
            Err(Trouble::Kafka(error)) if is_fatal(&error) => spent(error),
            Err(Trouble::Kafka(error)) => self.abort(Outcome::Aborted(error.to_string())),
            Err(Trouble::TooSlow(what)) => self.abort(Outcome::Aborted(what.to_owned())),
        }
    }

    /// Everything before the commit: begin, produce, drain, offsets.
    fn prepare<'a>(
        &self,
        deliveries: &Deliveries,
        records: impl Iterator<Item = Outgoing<'a>>,
        offsets: &TopicPartitionList,
        member: &ConsumerGroupMetadata,
        deadline: Instant,
    ) -> Result<(), Trouble> {
        let mut tries = self.patience.start().before(deadline);
        persist(&mut tries, || self.producer().begin_transaction())?;
        for record in records {
            self.send(deliveries, record, deadline)?;
        }
        crash::point("lane.after-produce");
        if crash::planted_once("abort") {
            return Err(Trouble::TooSlow("a test asked for an abort"));
        }
        // The wrapper's commit would wait in steps of 100 ms while anything is in flight.
        if !deliveries.wait_below(1, deadline) {
            return Err(Trouble::TooSlow("records were not acknowledged in time"));
        }
        if let Some(trouble) = deliveries.trouble() {
            return Err(trouble);
        }
        while self.producer().in_flight_count() > 0 && Instant::now() < deadline {
            // The last report is counted a moment before its event is gone.
            std::thread::yield_now();
        }
        persist(&mut tries, || {
            let left = deadline.saturating_duration_since(Instant::now());
            self.producer()
                .send_offsets_to_transaction(offsets, member, left)
        })?;
        crash::point("lane.after-send-offsets");
        Ok(())
    }

    fn send(
        &self,
        deliveries: &Deliveries,
        outgoing: Outgoing<'_>,
        deadline: Instant,
    ) -> Result<(), Trouble> {
        let row = outgoing.row;
        let mut record = BaseRecord::<[u8], [u8], usize>::with_opaque_to(outgoing.topic, row);
        record.key = outgoing.key;
        record.payload = outgoing.value;
        record.partition = outgoing.partition;
        record.headers = outgoing.headers;
        loop {
            // Before the call, because the report may arrive before it returns.
            deliveries.lock().in_flight += 1;
            let Err((error, back)) = self.producer().send(record) else {
                return Ok(());
            };
            deliveries.lock().in_flight -= 1;
            record = back;
            match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::QueueFull) if deliveries.wait_below(1, deadline) => {}
                Some(code) if is_deterministic(code) => return Err(Trouble::Refused { row, code }),
                _ => {
                    // The client takes no more because a record failed; the report of that one counts.
                    deliveries.wait_below(1, deadline);
                    return Err(deliveries.trouble().unwrap_or(Trouble::Kafka(error)));
                }
            }
        }
    }

    /// From here on, anything but success in time is unknown.
    fn commit(&self, deliveries: &Deliveries) -> Result<Outcome> {
        crash::point("lane.before-commit");
        self.patience.pulse.beat();
        let committed = crash::during("lane.during-commit", || {
            self.producer().commit_transaction(self.timeouts.commit)
        });
        crash::point("lane.after-commit");
        match committed {
            Err(error) if is_fatal(&error) => spent(error),
            Err(error) => Ok(Outcome::Unknown(error.to_string())),
            Ok(()) if deliveries.transport_error.load(Ordering::Relaxed) => Ok(Outcome::Unknown(
                "a connection failed during the transaction".to_owned(),
            )),
            Ok(()) => Ok(Outcome::Committed),
        }
    }

    /// Gives a transaction up. When even that fails, its outcome is unknown.
    fn abort(&self, outcome: Outcome) -> Result<Outcome> {
        self.patience.pulse.beat();
        match self.producer().abort_transaction(self.timeouts.transaction) {
            Ok(()) => {
                self.patience.pulse.beat();
                // The reports of what was purged must not be counted in the next transaction.
                let deliveries = self.deliveries();
                deliveries.wait_below(1, Instant::now() + self.timeouts.transaction);
                if deliveries.is_disturbed() {
                    let what = "a connection failed during the aborted transaction";
                    return Ok(Outcome::Unknown(what.to_owned()));
                }
                Ok(outcome)
            }
            Err(error) if is_fatal(&error) => spent(error),
            Err(error) => Ok(Outcome::Unknown(error.to_string())),
        }
    }
}

/// Why a transaction is not committed.
enum Trouble {
    Refused { row: usize, code: RDKafkaErrorCode },
    Kafka(KafkaError),
    TooSlow(&'static str),
}

impl From<KafkaError> for Trouble {
    fn from(error: KafkaError) -> Self {
        Trouble::Kafka(error)
    }
}

/// Repeats a call while the client says that it may pass, as long as patience lasts.
fn persist(
    tries: &mut Tries,
    mut call: impl FnMut() -> Result<(), KafkaError>,
) -> Result<(), KafkaError> {
    loop {
        match call() {
            Err(KafkaError::Transaction(error)) if error.is_retriable() && tries.again() => {}
            done => return done,
        }
    }
}

fn is_fatal(error: &KafkaError) -> bool {
    match error {
        KafkaError::Transaction(error) => error.is_fatal(),
        KafkaError::MessageProduction(code) => {
            matches!(code, RDKafkaErrorCode::Fatal | RDKafkaErrorCode::Fenced)
        }
        _ => false,
    }
}

/// Whether another try at starting may do better.
fn may_pass(error: &KafkaError) -> bool {
    match error {
        KafkaError::Transaction(error) => error.is_retriable() && !error.is_fatal(),
        _ => false,
    }
}

/// Whether the brokers would refuse the same record again.
fn is_deterministic(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::InvalidMessageSize
            | RDKafkaErrorCode::InvalidMessage
            | RDKafkaErrorCode::InvalidTimestamp
            | RDKafkaErrorCode::InvalidRecord
            | RDKafkaErrorCode::PolicyViolation
    )
}

/// What a producer that can do no more means. A broker that knows of no such transaction only asks for
/// a new producer: it may say so of an abort that overtook the request to open the transaction.
fn spent(error: KafkaError) -> Result<Outcome> {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::InvalidTransactionalState) => {
            Ok(Outcome::Unknown(error.to_string()))
        }
        _ => Err(fatal(error)),
    }
}

fn fatal(error: KafkaError) -> Fatal {
    let fenced = matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::Fenced
                | RDKafkaErrorCode::ProducerFenced
                | RDKafkaErrorCode::InvalidProducerEpoch
        )
    );
    let message = if fenced {
        "another process took over this lane: each running process needs its own `pipeline.instance`"
    } else {
        "the transactional producer failed for good"
    };
    Fatal::unreachable(message).because(error)
}

#[cfg(test)]
mod tests;

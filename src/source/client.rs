//! The client under [`Source`](super::Source): what it tells between polls, which of its errors pass,
//! and how a call to the cluster is tried again.
//!
//! Callbacks run inside a poll, on the lane's thread. They decide nothing: they note down what happened,
//! and the source acts on it when the poll has returned.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use tracing::warn;

use super::CALL_TIMEOUT;
use crate::error::{Fatal, Result};
use crate::patience::Tries;

/// The consumer of a lane.
pub type Consumer = BaseConsumer<Notes>;

/// What the client tells between and during polls, noted down for [`Source`] to act on.
#[derive(Default)]
pub struct Notes {
    rebalances: Mutex<Vec<Rebalance>>,
    disturbed: AtomicBool,
    closing: AtomicBool,
    /// Whether the group waits for the answer to a rebalance.
    is_owed: AtomicBool,
}

/// A change of the assignment, by partition.
#[derive(Debug)]
pub(super) enum Rebalance {
    Assigned(Vec<i32>),
    Revoked(Vec<i32>),
    /// The group has given them to others already.
    Lost(Vec<i32>),
}

impl Notes {
    /// Whether the client reported an error since the last call.
    pub(super) fn take_disturbance(&self) -> bool {
        self.disturbed.swap(false, Ordering::Relaxed)
    }

    /// All rebalances so far were answered.
    pub(super) fn is_answered(&self) {
        self.is_owed.store(false, Ordering::Relaxed);
    }

    /// What changed since the last call.
    pub(super) fn take_rebalances(&self) -> Vec<Rebalance> {
        std::mem::take(
            &mut self
                .rebalances
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }
}

/// Passes on what librdkafka logs. It never logs payloads.
pub fn log_client(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error
        | RDKafkaLogLevel::Warning => warn!(target: "kafka", facility, "{message}"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
            tracing::debug!(target: "kafka", facility, "{message}");
        }
    }
}

impl ClientContext for Notes {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_client(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.disturbed.store(true, Ordering::Relaxed);
        warn!(target: "kafka", %error, reason, "consumer");
    }
}

impl ConsumerContext for Notes {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        event: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        if self.closing.load(Ordering::Relaxed) {
            // Nobody will serve the note any more, and closing waits for this answer.
            let answer = consumer.incremental_unassign(partitions);
            if let Err(error) = answer.or_else(|_| consumer.unassign()) {
                warn!(%error, "leaving the group");
            }
            return;
        }
        self.is_owed.store(true, Ordering::Relaxed);
        let numbers = partitions
            .elements()
            .iter()
            .map(|p| p.partition())
            .collect();
        let note = match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Rebalance::Assigned(numbers),
            _ if consumer.assignment_lost() => Rebalance::Lost(numbers),
            _ => Rebalance::Revoked(numbers),
        };
        self.rebalances
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(note);
    }
}

/// Makes a consumer that has not joined its group yet.
///
/// # Errors
/// When the configuration is refused.
pub fn connect(config: &ClientConfig) -> Result<Consumer> {
    config
        .create_with_context(Notes::default())
        .map_err(|error| Fatal::usage("creating the consumer").because(error))
}

/// Says that nothing will be served any more, so that dropping the consumer can leave the group.
pub fn close(consumer: &Consumer) {
    consumer.context().closing.store(true, Ordering::Relaxed);
    if consumer.context().is_owed.load(Ordering::Relaxed) {
        // Without an answer the group is never left. Only one of the two is the one that is owed.
        let none = TopicPartitionList::new();
        let answers = [
            consumer.incremental_assign(&none),
            consumer.incremental_unassign(&none),
        ];
        for error in answers.into_iter().filter_map(Result::err) {
            tracing::debug!(%error, "answering a rebalance before the end");
        }
    }
}

/// Whether the client gets over an error by itself.
pub(super) fn passes(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::Resolve
            | Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::NotLeaderForPartition
            | Code::LeaderNotAvailable
            | Code::ReplicaNotAvailable
            | Code::NotCoordinator
            | Code::CoordinatorNotAvailable
            | Code::CoordinatorLoadInProgress
            | Code::NetworkException
            | Code::FencedLeaderEpoch
            | Code::UnknownLeaderEpoch
            | Code::OffsetNotAvailable
            | Code::KafkaStorageError
            | Code::PollExceeded
            | Code::UnknownMemberId
            | Code::IllegalGeneration
            | Code::RebalanceInProgress
    )
}

/// Calls the cluster until it answers or patience ends. The call is told how long it may take.
pub(super) fn persist<T>(
    tries: &mut Tries,
    what: &str,
    mut call: impl FnMut(Duration) -> Result<T, KafkaError>,
) -> Result<T> {
    loop {
        let error = match call(tries.call(CALL_TIMEOUT)) {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        warn!(%error, "{what}");
        if !tries.again() {
            return Err(Fatal::unreachable(what).because(error));
        }
    }
}

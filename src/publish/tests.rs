//! What is made of a client's answers.

use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::*;
use crate::patience::Pulse;

#[test]
fn waiting_ends_when_the_last_report_arrives() {
    let deliveries = Arc::new(Deliveries::default());
    deliveries.lock().in_flight = 2;
    let reporter = deliveries.clone();
    let thread = std::thread::spawn(move || {
        for _ in 0..2 {
            reporter.lock().in_flight -= 1;
            reporter.changed.notify_all();
        }
    });
    assert!(deliveries.wait_below(1, Instant::now() + Duration::from_secs(10)));
    thread.join().unwrap();
}

#[test]
fn waiting_is_bounded() {
    let deliveries = Deliveries::default();
    deliveries.lock().in_flight = 1;
    assert!(!deliveries.wait_below(1, Instant::now()));
}

#[test]
fn what_will_never_pass_is_told_from_what_may() {
    assert!(is_deterministic(RDKafkaErrorCode::MessageSizeTooLarge));
    assert!(!is_deterministic(RDKafkaErrorCode::BrokerTransportFailure));
    assert!(is_fatal(&KafkaError::MessageProduction(
        RDKafkaErrorCode::Fenced
    )));
    assert!(!is_fatal(&KafkaError::MessageProduction(
        RDKafkaErrorCode::QueueFull
    )));
}

/// A publisher on a cluster of librdkafka's own, whose brokers answer as they are told. It shows what
/// the client's answers are taken for, not that anything is exactly once.
fn patience() -> Patience {
    Patience {
        first: Duration::from_millis(10),
        longest: Duration::from_millis(100),
        total: Duration::from_secs(20),
        pulse: Pulse::default(),
    }
}

struct Fixture {
    cluster: MockCluster<'static, DefaultProducerContext>,
    consumer: BaseConsumer,
    publisher: Publisher,
}

const TOPIC: &str = "payments.scored";

impl Fixture {
    fn new() -> Fixture {
        let cluster = MockCluster::new(1).unwrap();
        for topic in ["payments", TOPIC] {
            cluster.create_topic(topic, 1, 1).unwrap();
        }
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", cluster.bootstrap_servers())
            .set("reconnect.backoff.max.ms", "100");
        let consumer = config.clone().set("group.id", "risk").create().unwrap();
        config
            .set("transactional.id", "risk.a.0")
            .set("message.max.bytes", "1000");
        let timeouts = Timeouts {
            transaction: Duration::from_secs(20),
            commit: Duration::from_secs(10),
        };
        Fixture {
            publisher: Publisher::connect(config, timeouts, patience()).unwrap(),
            consumer,
            cluster,
        }
    }

    /// One transaction of records of these lengths, the next after the last was acknowledged.
    fn transact(&self, lengths: &[usize]) -> Result<Outcome> {
        let deliveries = self.publisher.deliveries();
        let bytes = [b'x'; 2_000];
        let records = lengths.iter().enumerate().map(|(row, &len)| {
            assert!(deliveries.wait_below(1, Instant::now() + Duration::from_secs(10)));
            Outgoing {
                row,
                topic: TOPIC,
                partition: Some(0),
                key: None,
                value: Some(&bytes[..len]),
                headers: None,
            }
        });
        let mut offsets = TopicPartitionList::new();
        offsets
            .add_partition_offset("payments", 0, Offset::Offset(1))
            .unwrap();
        let member = self.consumer.group_metadata().unwrap();
        self.publisher
            .transact(records, &offsets, &member, &mut Laps::start())
    }

    fn next_end_is(&self, error: RDKafkaRespErr) {
        self.cluster.request_errors(RDKafkaApiKey::EndTxn, &[error]);
    }
}

#[test]
fn a_record_that_is_too_long_is_named_and_nothing_is_committed() {
    let fixture = Fixture::new();
    let outcome = fixture.transact(&[10, 1_500, 10]).unwrap();
    assert!(
        matches!(
            outcome,
            Outcome::Refused {
                row: 1,
                code: RDKafkaErrorCode::MessageSizeTooLarge
            }
        ),
        "{outcome:?}"
    );
    let outcome = fixture.transact(&[10, 10]).unwrap();
    assert!(matches!(outcome, Outcome::Committed), "{outcome:?}");
}

/// An abort may overtake the request that opens the transaction on the broker, which then knows of none.
#[test]
fn a_broker_that_knows_of_no_transaction_costs_a_producer_and_not_the_lane() {
    let mut fixture = Fixture::new();
    for lengths in [&[10, 1_500][..], &[10]] {
        fixture.next_end_is(RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_TXN_STATE);
        let outcome = fixture.transact(lengths).unwrap();
        assert!(matches!(outcome, Outcome::Unknown(_)), "{outcome:?}");
        fixture.publisher.renew(&mut patience().start()).unwrap();
        let outcome = fixture.transact(&[10]).unwrap();
        assert!(matches!(outcome, Outcome::Committed), "{outcome:?}");
    }
}

#[test]
fn a_fenced_producer_ends_its_lane_with_the_fix() {
    for lengths in [&[10, 1_500][..], &[10]] {
        let fixture = Fixture::new();
        fixture.next_end_is(RDKafkaRespErr::RD_KAFKA_RESP_ERR_PRODUCER_FENCED);
        let error = fixture.transact(lengths).unwrap_err();
        assert!(error.message.contains("pipeline.instance"), "{error}");
    }
}

/// The client repeats its last request inside, and one that was late could end the next transaction.
#[test]
fn a_connection_that_failed_between_transactions_costs_a_producer() {
    let mut fixture = Fixture::new();
    let outcome = fixture.transact(&[10]).unwrap();
    assert!(matches!(outcome, Outcome::Committed), "{outcome:?}");
    fixture.cluster.broker_down(1).unwrap();
    let deliveries = fixture.publisher.deliveries();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !deliveries.is_disturbed() {
        assert!(Instant::now() < deadline, "no error was reported");
        std::thread::yield_now();
    }
    fixture.cluster.broker_up(1).unwrap();
    let outcome = fixture.transact(&[10]).unwrap();
    let is_untouched = |cause: &str| cause.contains("after the last transaction");
    assert!(
        matches!(&outcome, Outcome::Unknown(cause) if is_untouched(cause)),
        "{outcome:?}"
    );
    fixture.publisher.renew(&mut patience().start()).unwrap();
    let outcome = fixture.transact(&[10]).unwrap();
    assert!(matches!(outcome, Outcome::Committed), "{outcome:?}");
}

#[test]
fn who_starts_while_no_broker_answers_is_alive_and_gives_up_in_time() {
    let beats = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = beats.clone();
    let patience = Patience {
        total: Duration::from_secs(2),
        pulse: Pulse::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        }),
        ..patience()
    };
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", "127.0.0.1:1")
        .set("transactional.id", "risk.a.0");
    let timeouts = Timeouts {
        transaction: Duration::from_millis(500),
        commit: Duration::from_millis(400),
    };
    let started = Instant::now();
    let refused = Publisher::connect(config, timeouts, patience)
        .err()
        .unwrap();
    assert_eq!(refused.exit, crate::error::Exit::Unreachable);
    assert!(started.elapsed() >= Duration::from_secs(1));
    // Waits alone would add up to two seconds in some twenty tries, of which each takes half a second.
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "{:?}",
        started.elapsed()
    );
    assert!(beats.load(Ordering::Relaxed) >= 6);
}

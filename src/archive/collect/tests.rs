//! Against librdkafka's own mock cluster: it shows that the pieces fit, not that anything is exactly once.

use super::*;
use crate::archive::fixture::{NOON, Paper, Topic, context, identity, origin};
use crate::archive::ledger::Authority;
use crate::archive::log::Log;
use crate::archive::{Local, Nobody};
use rdkafka::message::{Header as KafkaHeader, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};

const TOPIC: &str = "payments.evidence";

fn produce(producer: &BaseProducer, topic: &mut Topic) {
    for record in topic.records.drain(..) {
        let header = KafkaHeader {
            key: Header::NAME,
            value: Some(&record.header),
        };
        let signature = KafkaHeader {
            key: SIGNATURE,
            value: Some(&record.signature),
        };
        let message = BaseRecord::<(), [u8]>::to(TOPIC)
            .partition(topic.partition)
            .payload(&record.value)
            .headers(OwnedHeaders::new().insert(header).insert(signature));
        producer.send(message).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(Duration::from_secs(30)).unwrap();
}

/// In a group of its own each time: the mock cluster waits for members that have left.
fn archive(
    cluster: &MockCluster<'_, DefaultProducerContext>,
    store: &Arc<Local>,
    group: &str,
) -> Result<Summary> {
    let mut consumer = ClientConfig::new();
    consumer
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("group.id", group)
        // Not what must hold: it is overridden.
        .set("auto.offset.reset", "latest");
    run(Args {
        consumer,
        origin: origin(),
        store: store.clone(),
        settings: Settings::default(),
        keys: identity("probity 0.1.0").keys,
        board: Box::new(Paper::default()),
        checkpoint_interval: Duration::from_secs(1),
        seal_on_stop: true,
        drain_timeout: Duration::from_secs(60),
        observer: Arc::new(Nobody),
        stop: Arc::new(AtomicBool::new(true)),
    })
}

fn tips(store: &Arc<Local>) -> Vec<(i32, i64, u64)> {
    let authority = Authority {
        archive: origin().archive_id(),
        log: identity("").keys.trust.log.clone(),
    };
    let log = Log::open(store.clone(), authority, || 0).unwrap();
    let streams = log.state().streams();
    let tips = streams.map(|(stream, tip)| {
        let rows = tip.last.as_ref().map_or(0, |last| last.segment.rows);
        (stream.partition, tip.next.0, rows)
    });
    tips.collect()
}

#[test]
fn a_topic_is_archived_from_where_the_ledger_ends() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Local::open(folder.path()).unwrap());
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TOPIC, 2, 1).unwrap();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap_servers());
    let producer: BaseProducer = config.create().unwrap();
    let context = context("1");
    let (mut one, mut two) = (Topic::new(0), Topic::new(1));
    for i in 0..5 {
        one.write(&context, 3, NOON + i);
        two.write(&context, 1, NOON + i);
    }
    produce(&producer, &mut one);
    produce(&producer, &mut two);
    let complete = Summary {
        stopped_partitions: 0,
        is_complete: true,
    };
    assert_eq!(archive(&cluster, &store, "first").unwrap(), complete);
    assert_eq!(tips(&store), [(0, 5, 15), (1, 5, 5)]);
    // The context came with the first message, which is behind the tip now.
    one.write(&context, 2, NOON);
    produce(&producer, &mut one);
    assert_eq!(archive(&cluster, &store, "second").unwrap(), complete);
    assert_eq!(tips(&store), [(0, 6, 2), (1, 5, 5)]);
    // A message that does not join stops its partition, and no other.
    one.head = crate::record::Digest::ZERO;
    one.write(&context, 1, NOON);
    two.write(&context, 4, NOON);
    produce(&producer, &mut one);
    produce(&producer, &mut two);
    let stopped = archive(&cluster, &store, "third").unwrap();
    assert_eq!(
        (stopped.stopped_partitions, stopped.is_complete),
        (1, false)
    );
    assert_eq!(tips(&store), [(0, 6, 2), (1, 6, 4)]);
}

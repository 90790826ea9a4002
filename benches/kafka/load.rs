//! Events for a pipeline that is not running yet, and waiting until it has processed them.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::types::RDKafkaErrorCode;

use crate::kit::{Cluster, DEADLINE, Message};

/// Longer than a slow machine takes for the largest load.
const PATIENCE: Duration = Duration::from_secs(600);

pub fn produce(kafka: &Cluster, topic: &str, events: &[Message]) {
    let mut config = kafka.client();
    config
        .set("linger.ms", "20")
        .set("compression.type", "lz4")
        .set("queue.buffering.max.messages", "200000");
    let producer: BaseProducer = config.create().expect("the settings are right");
    for event in events {
        let mut record: BaseRecord<'_, [u8], [u8]> =
            BaseRecord::to(topic).partition(event.partition);
        record.key = event.key.as_deref();
        record.payload = event.value.as_deref();
        while let Err((error, back)) = producer.send(record) {
            let is_full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
            assert_eq!(error, is_full, "{topic}");
            producer.poll(Duration::from_millis(10));
            record = back;
        }
    }
    producer.flush(DEADLINE).expect("the broker answers");
}

/// Waits until the group of the same name as the topic has committed all of it.
pub fn await_processed(kafka: &Cluster, topic: &str) {
    let ends = kafka.ends(topic);
    let mut config = kafka.client();
    config.set("group.id", topic);
    let consumer: BaseConsumer = config.create().expect("the settings are right");
    let mut asked = rdkafka::TopicPartitionList::new();
    asked.add_partition_range(topic, 0, crate::PARTITIONS - 1);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = consumer
            .committed_offsets(asked.clone(), DEADLINE)
            .expect("the broker answers");
        let committed = answer
            .elements()
            .iter()
            .map(|e| e.offset().to_raw())
            .collect::<Vec<_>>();
        if committed
            .iter()
            .zip(&ends)
            .all(|(offset, end)| *offset == Some(*end))
        {
            return;
        }
        assert!(Instant::now() < deadline, "{committed:?} of {ends:?}");
        // A group's commits come without notice.
        thread::sleep(Duration::from_millis(20));
    }
}

/// Makes room for the next run.
pub fn remove(kafka: &Cluster, pipeline: &str) {
    for suffix in ["", ".scored", ".evidence", ".dlq", ".checkpoints"] {
        kafka.delete_topic(&format!("{pipeline}{suffix}"));
    }
}

/// How many bytes the broker's log of a topic has.
pub fn bytes_on_disk(topic: &str) -> u64 {
    let runs = Path::new(env!("CARGO_TARGET_TMPDIR")).join("it");
    let node = runs
        .join(std::process::id().to_string())
        .join("kafka-bench/node-1");
    let partitions = entries(&node.join("data")).filter(|folder| {
        let name = folder.file_name().and_then(OsStr::to_str).unwrap_or("");
        name.rsplit_once('-').is_some_and(|(of, _)| of == topic)
    });
    let files = partitions.flat_map(|folder| entries(&folder));
    let logs = files.filter(|file| file.extension() == Some(OsStr::new("log")));
    logs.map(|log| fs::metadata(log).expect("it is there").len())
        .sum()
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(folder).expect("it is there");
    entries.map(|entry| entry.expect("it is there").path())
}

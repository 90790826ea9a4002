//! Events at a steady pace, and how long each takes until a reader of committed records sees its score.

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::kit::{Cluster, DEADLINE, Message, Signal};
use crate::process::Usage;
use crate::{AS_SHIPPED, Events, PACED_PER_SECOND};

/// The first seconds are not counted: connections, and the JVM's compiler.
const WARM_UP: Duration = Duration::from_secs(5);

/// Publishes the events at the pace, and says what probity took and how long each event did.
pub fn paced(kafka: &Cluster, name: &str, events: &Events) -> String {
    let pipeline = crate::pipeline(kafka, name);
    let mut arguments = vec!["--seal-on-stop"];
    arguments.extend(AS_SHIPPED);
    let mut process = pipeline.run("a", &arguments, &[]);
    process.wait_for("assigned");
    let reader = subscribe(kafka, &format!("{name}.scored"));
    let (sent, seen, before) = thread::scope(|scope| {
        let writer = scope.spawn(|| publish(kafka, name, &events.0, process.pid()));
        let seen = watch(&reader, events.0.len());
        let (sent, before) = writer.join().expect("the writer does not fail");
        (sent, seen, before)
    });
    let measured = sent.values().filter(|sent| sent.is_measured).count() as f64;
    let scored = Usage::of(process.pid());
    process.signal(Signal::Terminate);
    let after = Usage::until_end(&mut process);
    let mut latencies: Vec<f64> = seen
        .iter()
        .filter_map(|(id, seen)| {
            let sent = &sent[id];
            sent.is_measured
                .then(|| (*seen - sent.at).as_secs_f64() * 1e3)
        })
        .collect();
    latencies.sort_by(f64::total_cmp);
    let evidence = crate::load::bytes_on_disk(&format!("{name}.evidence"));
    let summary = format!(
        "p50 {:5.1} ms, p99 {:5.1} ms, p99.9 {:5.1} ms, {:5.2} µs of CPU per event ({:.2} with the end), {:4.0} MiB, {:5.0} B of evidence per event",
        latencies[latencies.len() / 2],
        latencies[latencies.len() * 99 / 100],
        latencies[latencies.len() * 999 / 1000],
        (scored.cpu() - before.cpu()) * 1e6 / measured,
        (after.cpu() - before.cpu()) * 1e6 / measured,
        after.peak_memory as f64 / 1024.0 / 1024.0,
        evidence as f64 / events.0.len() as f64,
    );
    crate::load::remove(kafka, name);
    summary
}

struct Sent {
    at: Instant,
    is_measured: bool,
}

/// Publishes one event after the other, on time. Returns when each was handed to the client, by its
/// id, and what probity had used up when the measurement began.
fn publish(
    kafka: &Cluster,
    topic: &str,
    events: &[Message],
    pid: u32,
) -> (HashMap<String, Sent>, Usage) {
    let mut config = kafka.client();
    // As Kafka's own producer since 4.0.
    config.set("linger.ms", "5");
    let producer: BaseProducer = config.create().expect("the settings are right");
    let start = Instant::now();
    let mut before = None;
    let mut sent = HashMap::with_capacity(events.len());
    for (index, event) in events.iter().enumerate() {
        let due = Duration::from_secs_f64(index as f64 / PACED_PER_SECOND as f64);
        if let Some(early) = due.checked_sub(start.elapsed()) {
            producer.poll(Duration::ZERO);
            thread::sleep(early);
        }
        if due >= WARM_UP && before.is_none() {
            before = Some(Usage::of(pid));
        }
        let value = event.value.as_deref().expect("an event has a value");
        let at = Instant::now();
        let record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic)
            .partition(event.partition)
            .key(event.key.as_deref().expect("an event has a key"))
            .payload(value);
        producer
            .send(record)
            .map_err(|(error, _)| error)
            .expect("the queue is large enough");
        sent.insert(
            id_of(value, "transaction_id"),
            Sent {
                at,
                is_measured: before.is_some(),
            },
        );
    }
    producer.flush(DEADLINE).expect("the broker answers");
    (sent, before.expect("longer than the warm-up"))
}

fn subscribe(kafka: &Cluster, topic: &str) -> BaseConsumer {
    let mut config: ClientConfig = kafka.client();
    config
        .set("group.id", "bench")
        .set("isolation.level", "read_committed")
        .set("fetch.wait.max.ms", "5");
    let consumer: BaseConsumer = config.create().expect("the settings are right");
    let mut assignment = rdkafka::TopicPartitionList::new();
    for partition in 0..crate::PARTITIONS {
        assignment
            .add_partition_offset(topic, partition, rdkafka::Offset::Beginning)
            .expect("a partition is added once");
    }
    consumer.assign(&assignment).expect("the topic exists");
    consumer
}

/// When each score was seen, by the event's id.
fn watch(reader: &BaseConsumer, count: usize) -> HashMap<String, Instant> {
    let mut seen = HashMap::with_capacity(count);
    let deadline = Instant::now() + DEADLINE;
    while seen.len() < count {
        // None comes early, too, when the client had something else to do.
        let Some(message) = reader.poll(Duration::from_secs(1)) else {
            assert!(
                Instant::now() < deadline,
                "only {} of {count} scores came",
                seen.len()
            );
            continue;
        };
        let message = message.expect("the broker answers");
        let now = Instant::now();
        seen.insert(
            id_of(message.payload().expect("a score has a value"), "event_id"),
            now,
        );
    }
    seen
}

/// The text of a field, found without reading the rest: this program shares the cores.
fn id_of(json: &[u8], field: &str) -> String {
    let text = std::str::from_utf8(json).expect("JSON is text");
    let after = text
        .split_once(&format!("\"{field}\":\""))
        .expect("the field is there")
        .1;
    after.split_once('"').expect("a string ends").0.to_owned()
}

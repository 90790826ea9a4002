//! What probity costs end to end: real Kafka on the same machine, exactly once, archive on.
//!
//! `make bench`, or `cargo bench --bench kafka -- [saturation] [paced] [backlog]` with the environment
//! that `make bench` sets. The figure that counts is probity's own CPU time per event, as the operating
//! system counts it for the process from its first assignment to its end, archiving of the last row
//! included. Wall figures share the cores with the broker, the JVM's compiler and this program.

#[allow(
    dead_code,
    reason = "the kit is that of the tests, which need all of it"
)]
#[allow(unused_imports, reason = "as above")]
#[path = "../../tests/it/kit/mod.rs"]
mod kit;
mod latency;
mod load;
mod process;

use std::time::Instant;

use kit::pipeline::Pipeline;
use kit::{Cluster, Jvm, Message, Signal};
use probity::generate::{Generator, Profile, Settings};
use process::Usage;

const PARTITIONS: i32 = 12;
const RUNS: usize = 5;
const PACED_RUNS: usize = 3;
const SATURATION_EVENTS: usize = 1_000_000;
const PACED_PER_SECOND: usize = 2_000;
const PACED_SECONDS: usize = 30;
/// Of 300-byte events this is 1 GB.
const BACKLOG_EVENTS: usize = 3_000_000;

fn main() {
    let Some(kafka) = &kit::own_kafka_on("bench", 1, Jvm::Server) else {
        panic!("the environment is not that of `make bench`");
    };
    let asked: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let is_asked = |name: &str| asked.is_empty() || asked.iter().any(|a| a == name);
    if is_asked("saturation") {
        println!(
            "saturation: {SATURATION_EVENTS} events waiting, {PARTITIONS} partitions, one lane"
        );
        for profile in [Profile::Compact, Profile::Full] {
            let events = Events::new(profile, SATURATION_EVENTS);
            println!("  {profile:?}, {} bytes of JSON", events.mean_bytes());
            for run in 1..=RUNS {
                let name = format!("saturation-{profile:?}-{run}").to_lowercase();
                println!("    {}", drain(kafka, &name, &events));
            }
        }
    }
    if is_asked("paced") {
        println!(
            "paced: {PACED_PER_SECOND} events a second for {PACED_SECONDS} s, {PARTITIONS} partitions, one lane"
        );
        let events = Events::new(Profile::Compact, PACED_PER_SECOND * PACED_SECONDS);
        for run in 1..=PACED_RUNS {
            println!(
                "    {}",
                latency::paced(kafka, &format!("paced-{run}"), &events)
            );
        }
    }
    if is_asked("backlog") {
        println!("backlog: {BACKLOG_EVENTS} events waiting");
        let events = Events::new(Profile::Compact, BACKLOG_EVENTS);
        println!("    {}", drain(kafka, "backlog", &events));
    }
}

/// Payments of the generator, and the partition of each.
pub struct Events(Vec<Message>);

impl Events {
    fn new(profile: Profile, count: usize) -> Events {
        let settings = Settings {
            profile,
            ..Settings::for_cards(50_000)
        };
        let message = |payment: probity::generate::Payment| {
            let mut value = Vec::with_capacity(700);
            payment.write_json(&mut value);
            let key = payment.key().as_bytes().to_vec();
            let sum: u32 = key.iter().copied().map(u32::from).sum();
            Message {
                partition: i32::try_from(sum).expect("a short key") % PARTITIONS,
                key: Some(key),
                value: Some(value),
                ..Message::default()
            }
        };
        Events(Generator::new(settings).take(count).map(message).collect())
    }

    fn mean_bytes(&self) -> usize {
        let bytes: usize = self
            .0
            .iter()
            .filter_map(|m| m.value.as_ref())
            .map(Vec::len)
            .sum();
        bytes / self.0.len()
    }
}

/// A pipeline of `PARTITIONS` partitions.
pub fn pipeline<'c>(kafka: &'c Cluster, name: &str) -> Pipeline<'c> {
    // What a user would leave as it is stays so: the tests' short limits and segments would cost.
    let pipeline = Pipeline::prepare(kafka, name, "");
    pipeline.create_topics_with("earliest", PARTITIONS);
    pipeline
}

const AS_SHIPPED: [&str; 2] = ["--set", "archive.segment_age_max=5m"];

/// Processes what waits, and says what it took.
fn drain(kafka: &Cluster, name: &str, events: &Events) -> String {
    let pipeline = pipeline(kafka, name);
    load::produce(kafka, name, &events.0);
    let mut arguments = vec!["--seal-on-stop"];
    arguments.extend(AS_SHIPPED);
    let mut process = pipeline.run("a", &arguments, &[]);
    process.wait_for("assigned");
    let (start, before) = (Instant::now(), Usage::of(process.pid()));
    load::await_processed(kafka, name);
    let wall = start.elapsed();
    let scored = Usage::of(process.pid());
    process.signal(Signal::Terminate);
    let after = Usage::until_end(&mut process);
    let count = events.0.len() as f64;
    let evidence = load::bytes_on_disk(&format!("{name}.evidence"));
    let summary = format!(
        "{:>7.0} events/s, {:5.2} µs of CPU per event ({:.2} when scored, {:.2} system), {:4.0} MiB, {:4.0} B of evidence per event",
        count / wall.as_secs_f64(),
        (after.cpu() - before.cpu()) * 1e6 / count,
        (scored.cpu() - before.cpu()) * 1e6 / count,
        (after.system - before.system) * 1e6 / count,
        after.peak_memory as f64 / 1024.0 / 1024.0,
        evidence as f64 / count,
    );
    load::remove(kafka, name);
    summary
}

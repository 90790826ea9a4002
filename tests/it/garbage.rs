//! Nothing but garbage, as fast as it can be produced.

use std::time::{Duration, Instant};

use crate::kit::{self, Guarded, Message, Signal, http, http::Admin, pipeline::Pipeline};

/// The most memory that the process may ever have taken. A minute of garbage was seen to take 200 MiB, of
/// which the queue of Kafka's client is a part.
const MEMORY_MAX_MIB: u64 = 500;

/// So many values that are no payments: cut off, of the wrong type, empty, no JSON at all.
fn garbage(count: usize) -> Vec<Message> {
    let payment = kit::pipeline::payments(9, 1).remove(0).value.unwrap();
    let value = |n: usize| match n % 4 {
        0 => payment[..n % payment.len()].to_vec(),
        1 => format!("garbage {n}").into_bytes(),
        2 => b"{\"transaction_id\": 5}".to_vec(),
        _ => vec![u8::try_from(n % 251).unwrap(); 100],
    };
    let partition = |n: usize| i32::try_from(n % 4).unwrap();
    (0..count)
        .map(|n| Message::new(partition(n), value(n)))
        .collect()
}

/// The most memory that a process has had so far.
fn peak_memory_mib(process: &Guarded) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let number = line.unwrap().split_whitespace().nth(1).unwrap();
    number.parse::<u64>().unwrap() / 1024
}

/// 60,000 records; with `PROBITY_GARBAGE_SECONDS`, without end for so long.
#[test]
fn nothing_but_garbage_is_rejected_within_bounded_memory() {
    let Some(kafka) = kit::kafka() else { return };
    let pipeline = Pipeline::create(kafka, "garbage", "");
    let mut process = pipeline.run("a", &[], &[]);
    let admin = Admin::of(&process);
    let seconds = std::env::var("PROBITY_GARBAGE_SECONDS");
    let seconds = seconds.map_or(0, |text| text.parse().expect("a number"));
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let garbage = garbage(60_000);
    let rejected = |metrics: &str| http::sum(metrics, "probity_rejected_total", "") as usize;
    let mut produced = 0;
    while produced == 0 || Instant::now() < deadline {
        kafka.produce("garbage", &garbage);
        produced += garbage.len();
        // One wave waits while another is worked on; more of them would only fill the topic.
        let is_near = |metrics: &str| rejected(metrics) + garbage.len() > produced;
        admin.wait_for("/metrics", is_near);
    }
    admin.wait_for("/metrics", |metrics| rejected(metrics) == produced);
    let peak = peak_memory_mib(&process);
    assert!(peak < MEMORY_MAX_MIB, "{peak} MiB");
    pipeline.assert_books_agree(true);
    process.signal(Signal::Terminate);
    assert_eq!(process.wait(), 0, "{}", process.lines().join("\n"));
    assert_eq!(pipeline.dead_letters().len(), produced);
    assert!(pipeline.scores().is_empty());
    println!("{produced} records, at most {peak} MiB");
}

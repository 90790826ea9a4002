//! `probity demo`: the real pipeline on an embedded broker, for people who have neither Kafka nor Java.
//!
//! A seeded generator publishes card payments, some broken on purpose; lanes score them and the
//! archiver archives them, as in a real run. The embedded broker is librdkafka's mock cluster: it has
//! no transactions to speak of and forgets all but the last 5 MiB of a partition, so the generator
//! waits for the slowest reader, and nothing here is evidence of exactly-once.

mod files;
mod summary;

use std::fs;
use std::io::{IsTerminal as _, Write as _, stderr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::config::{Config, Environment};
use crate::error::{Exit, Fatal, Result};
use crate::generate::{Generator, Settings as Payments};
use crate::keys::Trust;
use crate::lane::{Counts, Fate, Round};
use crate::logging;
use crate::native::TopicIds;
use crate::pipeline::{self, Roles, Stop, Watcher};
use crate::record::Decision;
use crate::topics::{From, Topics};
use crate::words::counted;

const TOPIC: &str = "payments";
const PARTITIONS: i32 = 4;
/// Two payments a day for each card: the models were made for that.
const CARDS: u32 = 20_000;
/// Payments between the generator and the slowest reader. With all of them on one partition, and at a
/// kilobyte each, they stay below what the embedded broker keeps.
const LEAD_MAX: u64 = 4_000;
/// One payment in so many is cut in half, as a broken producer would.
const BROKEN_EVERY: u64 = 997;
const ROLES: Roles = Roles {
    score: true,
    archive: true,
    seal_on_stop: true,
};
/// How long the rest may take after the last payment was sent.
const FINISH_TIMEOUT: Duration = Duration::from_secs(60);

/// What the caller chooses.
#[derive(Clone, Debug)]
pub struct Options {
    pub seconds: u64,
    /// Payments a second.
    pub rate: u64,
    pub seed: u64,
    /// A new or empty folder; a temporary one if none.
    pub archive: Option<PathBuf>,
}

/// What happened, as the pipeline saw it.
#[derive(Default)]
struct Tally {
    seen: Mutex<Seen>,
    sent: AtomicU64,
    done: AtomicU64,
    archived: AtomicU64,
}

#[derive(Default)]
struct Seen {
    counts: Counts,
    decisions: [u64; Decision::ALL.len()],
    /// From the broker's time of an event to the end of its transaction, µs.
    latencies: Vec<i64>,
}

impl Tally {
    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Payments that not every reader has seen.
    fn lead(&self) -> u64 {
        let slowest = self
            .done
            .load(Ordering::Relaxed)
            .min(self.archived.load(Ordering::Relaxed));
        self.sent.load(Ordering::Relaxed).saturating_sub(slowest)
    }
}

impl Watcher for Tally {
    fn on_round(&self, round: &Round<'_>) {
        if round.fate != Fate::Committed {
            return;
        }
        let counts = round.counts();
        let mut seen = self.seen();
        seen.counts.scored += counts.scored;
        seen.counts.rejected += counts.rejected;
        for row in (0..round.lineage.rows()).filter(|&row| round.lineage.is_live(row)) {
            seen.decisions[round.decided.decisions[row] as usize] += 1;
        }
        seen.latencies
            .extend(round.broker_times().map(|time| round.end_time - time));
        self.done
            .fetch_add(counts.scored + counts.rejected, Ordering::Relaxed);
    }

    fn on_taken(&self, rows: u32) {
        self.archived.fetch_add(u64::from(rows), Ordering::Relaxed);
    }
}

/// Runs the demo and prints its summary to standard output.
///
/// # Errors
/// When something that the demo needs is missing, or its books do not agree.
pub fn run(options: &Options) -> Result<()> {
    let folder = files::unpack()?;
    let archive = archive_folder(options)?;
    let cluster = MockCluster::new(1).map_err(embedded)?;
    let keys = files::make_keys(&folder)?;
    let config = configure(&cluster, &folder, &keys, &archive)?;
    logging::init(&config.log, None)?;
    let topics = [
        TOPIC,
        &config.output.scored,
        &config.output.evidence,
        &config.output.dead_letter,
        &config.output.checkpoints,
    ];
    for topic in topics {
        cluster
            .create_topic(topic, PARTITIONS, 1)
            .map_err(embedded)?;
    }
    Topics::connect(&config, TopicIds::Embedded)?.begin(PARTITIONS, From::Earliest)?;
    eprintln!(
        "embedded broker ready; {} a second for {}, seed {}",
        counted(options.rate, "payment"),
        counted(options.seconds, "second"),
        options.seed
    );
    let tally = Arc::new(Tally::default());
    let stop = Stop::default();
    let cpu_before = summary::cpu_seconds();
    let (sent, took) = std::thread::scope(|scope| {
        let pipeline = std::thread::Builder::new().name("pipeline".into());
        let pipeline = pipeline
            .spawn_scoped(scope, || {
                pipeline::run(&config, ROLES, TopicIds::Embedded, &stop, tally.clone())
            })
            .map_err(|error| Fatal::new(Exit::Bug, "starting a thread").because(error))?;
        let sent = publish(&cluster, options, &tally, || pipeline.is_finished());
        stop.ask();
        let ended = pipeline
            .join()
            .unwrap_or_else(|_| Err(Fatal::new(Exit::Bug, "the pipeline panicked")));
        ended.and(sent)
    })?;
    let cpu = summary::cpu_seconds() - cpu_before;
    // Other folders of the demo are small and in the system's temporary place.
    let seen = std::mem::take(&mut *tally.seen());
    summary::print(&summary::Run {
        sent,
        seen,
        took,
        cpu,
        archive: &archive,
        trust: Trust::load(&keys.join("trust.toml"))?,
    })
}

fn embedded(error: rdkafka::error::KafkaError) -> Fatal {
    Fatal::new(Exit::Bug, "starting the embedded broker").because(error)
}

fn archive_folder(options: &Options) -> Result<PathBuf> {
    let folder = options.archive.clone().unwrap_or_else(|| {
        std::env::temp_dir().join(format!("probity-demo-archive-{}", std::process::id()))
    });
    let fault = |error| {
        Fatal::usage(format!(
            "--archive {}: cannot be made or read",
            folder.display()
        ))
        .because(error)
    };
    fs::create_dir_all(&folder).map_err(fault)?;
    if fs::read_dir(&folder).map_err(fault)?.next().is_some() {
        return Err(Fatal::usage(format!(
            "--archive {}: the folder is not empty; an archive belongs to one topic of one cluster, \
             and each demo has its own",
            folder.display()
        )));
    }
    fs::canonicalize(&folder).map_err(fault)
}

fn configure(
    cluster: &MockCluster<'_, impl rdkafka::ClientContext>,
    folder: &Path,
    keys: &Path,
    archive: &Path,
) -> Result<Config> {
    let sets = [
        ("kafka.bootstrap.servers", cluster.bootstrap_servers()),
        ("pipeline.name", "demo".to_owned()),
        ("pipeline.instance", "demo".to_owned()),
        ("input.topic", TOPIC.to_owned()),
        (
            "input.schema",
            folder.join("payment.avsc").display().to_string(),
        ),
        (
            "model.package",
            folder.join("card-risk").display().to_string(),
        ),
        ("keys.folder", keys.display().to_string()),
        ("archive.url", format!("file://{}", archive.display())),
        ("archive.segment_age_max", "10s".to_owned()),
        ("output.allow_single_replica", "true".to_owned()),
        ("admin.listen", "127.0.0.1:0".to_owned()),
        ("log.level", "error".to_owned()),
    ];
    let sets: Vec<String> = sets
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    Config::load(None, &sets, &Environment::new())
}

/// Publishes payments at the rate, never further ahead than the broker remembers, then waits until all
/// are scored. Returns how many were sent, and for how long.
fn publish(
    cluster: &MockCluster<'_, impl rdkafka::ClientContext>,
    options: &Options,
    tally: &Tally,
    has_ended: impl Fn() -> bool,
) -> Result<(u64, Duration)> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("linger.ms", "2")
        .create()
        .map_err(embedded)?;
    let settings = Payments {
        seed: options.seed,
        ..Payments::for_cards(CARDS)
    };
    let mut payments = Generator::new(settings);
    let mut progress = Progress::new(options.seconds);
    // The first join of a group takes seconds: they are not the demo's.
    let warm = send_until(&producer, &mut payments, tally, 1)?;
    while tally.lead() > 0 && !has_ended() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let started = Instant::now();
    let mut sent = warm;
    while started.elapsed() < Duration::from_secs(options.seconds) && !has_ended() {
        let due = warm + options.rate * started.elapsed().as_millis() as u64 / 1000;
        if sent < due && tally.lead() < LEAD_MAX {
            sent = send_until(&producer, &mut payments, tally, due.min(sent + 256))?;
        } else {
            producer.poll(Duration::from_millis(1));
        }
        progress.show(started.elapsed(), tally);
    }
    producer.flush(Duration::from_secs(10)).map_err(embedded)?;
    let took = started.elapsed();
    let deadline = Instant::now() + FINISH_TIMEOUT;
    while tally.lead() > 0 && !has_ended() {
        if Instant::now() > deadline {
            return Err(Fatal::new(
                Exit::Bug,
                "not all payments were scored and archived",
            ));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    progress.end();
    Ok((sent, took))
}

/// Sends payments until so many were sent.
fn send_until(
    producer: &BaseProducer,
    payments: &mut Generator,
    tally: &Tally,
    count: u64,
) -> Result<u64> {
    let mut value = Vec::new();
    let mut sent = tally.sent.load(Ordering::Relaxed);
    while sent < count {
        let payment = payments.next().expect("the generator never ends");
        value.clear();
        payment.write_json(&mut value);
        if sent % BROKEN_EVERY == BROKEN_EVERY - 1 {
            value.truncate(value.len() / 2);
        }
        let mut record = BaseRecord::to(TOPIC).key(payment.key()).payload(&value);
        while let Err((error, back)) = producer.send(record) {
            if error.rdkafka_error_code() != Some(rdkafka::error::RDKafkaErrorCode::QueueFull) {
                return Err(embedded(error));
            }
            producer.poll(Duration::from_millis(5));
            record = back;
        }
        sent += 1;
        tally.sent.store(sent, Ordering::Relaxed);
    }
    producer.poll(Duration::ZERO);
    Ok(sent)
}

/// One line that changes on a terminal, and a line every few seconds elsewhere.
struct Progress {
    seconds: u64,
    is_terminal: bool,
    shown: Instant,
}

impl Progress {
    fn new(seconds: u64) -> Progress {
        Progress {
            seconds,
            is_terminal: stderr().is_terminal(),
            shown: Instant::now(),
        }
    }

    fn show(&mut self, elapsed: Duration, tally: &Tally) {
        let every = if self.is_terminal { 200 } else { 5_000 };
        if self.shown.elapsed() < Duration::from_millis(every) {
            return;
        }
        self.shown = Instant::now();
        let line = format!(
            "{:>3} of {} s   {:>9} sent   {:>9} scored   {:>9} archived",
            elapsed.as_secs(),
            self.seconds,
            summary::grouped(tally.sent.load(Ordering::Relaxed)),
            summary::grouped(tally.done.load(Ordering::Relaxed)),
            summary::grouped(tally.archived.load(Ordering::Relaxed)),
        );
        let (begin, end) = if self.is_terminal {
            ("\r", "")
        } else {
            ("", "\n")
        };
        eprint!("{begin}{line}{end}");
        // Progress that cannot be shown is no reason to stop.
        let _ = stderr().flush();
    }

    fn end(&self) {
        if self.is_terminal {
            eprintln!();
        }
    }
}

//! Every thread of the process: lanes, the archiver, the admin server, and who waits for whom.
//!
//! Lanes and the archiver block, so each has an operating-system thread; tokio serves HTTP, signals
//! and object stores. A worker that ends early stops all others: half a pipeline is not a pipeline.

mod signals;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::admin::{self, Health};
use crate::archive::{self, Store};
use crate::config::Config;
use crate::drift::Drift;
use crate::drift::teller::Teller;
use crate::error::{Exit, Fatal, Result};
use crate::keys::Keys;
use crate::lane::{self, Fate, Observer, Round, Sealer};
use crate::metrics::{
    self, ArchiveMetrics, Committed, EntryKind, LaneMetrics, PartitionMetrics, Rebalance,
};
use crate::native::TopicIds;
use crate::setup::{self, Setup};
use crate::source::{Change, Standing};
use crate::succession::{self, Current, Seats, Watch};
use crate::topics::{Identity, Topics};
pub use signals::stop_on_signals;

/// What a process does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Roles {
    pub score: bool,
    pub archive: bool,
    /// Whether a stop first archives everything that is committed. Otherwise what is young and small
    /// stays in the evidence topic until the next start.
    pub seal_on_stop: bool,
}

/// Asks a running pipeline to stop.
#[derive(Clone, Default, Debug)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a worker thread ends with.
struct Ended {
    name: String,
    duty: Duty,
    result: Result<()>,
}

/// Whether a stop waits for a thread.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Duty {
    /// It scores or archives: a stop waits until it has drained.
    Worker,
    /// It prepares or tells: a stop leaves it where it is.
    Aide,
}

struct Workers {
    threads: Vec<(String, JoinHandle<()>)>,
    ended: mpsc::Receiver<Ended>,
    report: mpsc::Sender<Ended>,
}

impl Workers {
    fn new() -> Workers {
        let (report, ended) = mpsc::channel();
        Workers {
            threads: Vec::new(),
            ended,
            report,
        }
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce() -> Result<()> + Send + 'static) {
        self.start(name, Duty::Worker, work);
    }

    fn assist(&mut self, name: &str, work: impl FnOnce() + Send + 'static) {
        self.start(name, Duty::Aide, || {
            work();
            Ok(())
        });
    }

    fn start(
        &mut self,
        name: &str,
        duty: Duty,
        work: impl FnOnce() -> Result<()> + Send + 'static,
    ) {
        let (report, owner) = (self.report.clone(), name.to_owned());
        let body = move || {
            let work = std::panic::AssertUnwindSafe(work);
            let result = std::panic::catch_unwind(work).unwrap_or_else(|_| {
                Err(Fatal::new(
                    Exit::Bug,
                    format!("{owner} panicked; see the log above"),
                ))
            });
            // Nobody listens only when the process is ending already.
            let _ = report.send(Ended {
                name: owner,
                duty,
                result,
            });
        };
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(body);
        let thread = thread.expect("the system has a thread to spare");
        if duty == Duty::Worker {
            self.threads.push((name.to_owned(), thread));
        }
    }

    /// Waits until all have ended; asks the others to stop as soon as one ends. Returns the first
    /// failure.
    fn join(self, stop: &Stop, drain_timeout: Duration) -> Result<()> {
        let mut running = self.threads.len();
        let mut failure: Result<()> = Ok(());
        let mut deadline: Option<Instant> = None;
        while running > 0 {
            if stop.is_asked() && deadline.is_none() {
                info!("draining");
                deadline = Some(Instant::now() + drain_timeout);
            }
            match self.ended.recv_timeout(Duration::from_millis(100)) {
                Ok(Ended { name, duty, result }) => {
                    running -= usize::from(duty == Duty::Worker);
                    stop.ask();
                    match result {
                        Ok(()) => info!(worker = name, "ended"),
                        Err(fatal) => {
                            error!(worker = name, %fatal, "ended");
                            failure = failure.and(Err(fatal));
                        }
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    if deadline.is_some_and(|deadline| Instant::now() > deadline) {
                        warn!(running, "not drained in time");
                        // Safe: what is open is aborted by the brokers, and nothing is half visible.
                        return failure.and(Err(Fatal::unreachable(format!(
                            "{running} workers did not stop within limits.drain_timeout"
                        ))));
                    }
                }
                Err(RecvTimeoutError::Disconnected) => unreachable!("we hold a sender"),
            }
        }
        for (_, thread) in self.threads {
            // Panics were caught inside.
            let _ = thread.join();
        }
        failure
    }
}

/// What a caller in the same process may look at while the pipeline runs, and after.
pub trait Watcher: Send + Sync {
    /// A lane ended a round.
    fn on_round(&self, _round: &Round<'_>) {}
    /// The archiver took so many rows of evidence.
    fn on_taken(&self, _rows: u32) {}
}

/// Nobody looks.
pub struct Unwatched;

impl Watcher for Unwatched {}

/// Runs the roles until somebody asks to stop or something fails.
///
/// # Errors
/// The first failure of a worker, or what keeps them from starting.
pub fn run(
    config: &Config,
    roles: Roles,
    ids: TopicIds,
    stop: &Stop,
    watcher: Arc<dyn Watcher>,
) -> Result<()> {
    let keys = Arc::new(Keys::load(&config.keys.folder)?);
    let setup = if roles.score {
        Some(Setup::load(config)?)
    } else {
        None
    };
    let topics = Topics::connect(config, ids)?;
    if ids == TopicIds::Broker {
        setup::require(&topics.check()?)?;
        if let Some(setup) = &setup {
            succession::admit(&setup.package, &topics.editions()?)?;
        }
    }
    let identity = topics.identity()?;
    drop(topics);
    let handle = metrics::install()?;
    metrics::build_is(env!("CARGO_PKG_VERSION"));
    metrics::config_is(config.digest());
    let lanes = if roles.score {
        config.pipeline.lanes
    } else {
        0
    };
    let health = Health::new(
        Instant::now(),
        lanes,
        roles.archive,
        config.limits.stuck_after,
    );
    let health = Arc::new(health);
    let runtime = runtime()?;
    let listener = runtime.block_on(admin::bind(config.admin.listen))?;
    let address = listener
        .local_addr()
        .map_err(|e| Fatal::usage("admin.listen").because(e))?;
    info!(%address, "admin server listens");
    let (close, closed) = watch::channel(false);
    let server = runtime.spawn(admin::serve(listener, health.clone(), handle, closed));

    let store = setup::archive::open(config, runtime.handle().clone())?;
    let mut chronicle = setup::archive::chronicle(config, &identity, store.clone(), keys.clone())?;
    let what_runs = setup::archive::what_runs(config, setup.as_ref(), roles.archive);
    chronicle.record("started", what_runs)?;
    let chronicle = Arc::new(Mutex::new(chronicle));
    let mut workers = Workers::new();
    let teller = setup
        .as_ref()
        .and_then(|it| Teller::new(config, &it.package, chronicle.clone()));
    if let Some(setup) = &setup {
        setup::archive::keep(store.as_ref(), setup, config)?;
        info!(
            group = config.group(),
            lanes,
            "scoring with {}",
            setup.describe()
        );
        info!("{}", setup.describe_reasons());
        let (sealer, seats) = (Sealer::new(keys.clone())?, Seats::new(lanes));
        let current = Current::of(setup);
        current.show(true);
        start_lanes(
            &mut workers,
            config,
            setup,
            &identity,
            ids,
            &sealer,
            &seats,
            &health,
            stop,
            &watcher,
            teller.as_ref().map(|teller| teller.drift()),
        )?;
        if !config.model.watch_interval.is_zero() {
            let watch = Watch {
                config: config.clone(),
                identity: identity.clone(),
                commitment_key: sealer.commitment_key(),
                store: store.clone(),
                chronicle: chronicle.clone(),
                seats,
                stop: stop.clone(),
                current,
                schemas: setup.schemas(),
                drift: teller.clone(),
            };
            workers.assist("model", move || watch.run());
        }
    }
    if let Some(teller) = teller.clone() {
        let stop = stop.clone();
        workers.assist("drift", move || teller.run(&stop));
    }
    if roles.archive {
        info!(place = store.place(), "archiving");
        start_archiver(
            &mut workers,
            config,
            &identity,
            roles,
            store.clone(),
            keys,
            &health,
            stop,
            watcher,
        );
    }
    let result = workers.join(stop, config.limits.drain_timeout);
    health.drain();
    if let Some(teller) = &teller {
        teller.close();
    }
    // A store that is gone is no reason to hide why the workers ended.
    let mut chronicle = chronicle.lock().unwrap_or_else(PoisonError::into_inner);
    let recorded = chronicle
        .record("stopped", why(&result))
        .and_then(|()| match roles.archive {
            true => chronicle.sign(store, setup::archive::board(config)),
            false => Ok(()),
        });
    if let Err(error) = recorded {
        warn!(%error, "the stop is not recorded in the ledger, or not signed for");
    }
    // The server ends when it is told, or when its channel is gone.
    let _ = close.send(true);
    let _ = runtime.block_on(server);
    result
}

/// Why the workers ended, without words that could hold more than that.
fn why(result: &Result<()>) -> BTreeMap<String, String> {
    let why = match result {
        Ok(()) => "asked to".to_owned(),
        Err(fatal) => format!("exit code {}", fatal.exit as u8),
    };
    BTreeMap::from([("why".to_owned(), why)])
}

fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("http")
        .enable_all()
        .build()
        .map_err(|error| Fatal::new(Exit::Bug, "starting the http runtime").because(error))
}

#[allow(
    clippy::too_many_arguments,
    reason = "everything that threads are born with"
)]
fn start_lanes(
    workers: &mut Workers,
    config: &Config,
    setup: &Setup,
    identity: &Identity,
    ids: TopicIds,
    sealer: &Sealer,
    seats: &Arc<Seats>,
    health: &Arc<Health>,
    stop: &Stop,
    watcher: &Arc<dyn Watcher>,
    drift: Option<Arc<Drift>>,
) -> Result<()> {
    for lane in 0..config.pipeline.lanes {
        let settings = setup.lane(config, identity, ids, sealer, seats.of(lane));
        let (consumer, producer) = (config.consumer(lane), config.producer(lane));
        let stages = setup.stages()?;
        let mut observer = Eyes {
            lane,
            metrics: LaneMetrics::new(lane),
            health: health.clone(),
            assigned: 0,
            refused: BTreeSet::new(),
            behind: BTreeMap::new(),
            watcher: watcher.clone(),
            drift: drift.clone(),
        };
        let stop = stop.clone();
        workers.spawn(&format!("lane {lane}"), move || {
            let result = lane::run(
                settings,
                &consumer,
                producer,
                stages,
                &mut observer,
                &stop.0,
            );
            observer.health.lane(lane).stop();
            result
        });
    }
    Ok(())
}

#[allow(
    clippy::too_many_arguments,
    reason = "everything that threads are born with"
)]
fn start_archiver(
    workers: &mut Workers,
    config: &Config,
    identity: &Identity,
    roles: Roles,
    store: Arc<dyn Store>,
    keys: Arc<Keys>,
    health: &Arc<Health>,
    stop: &Stop,
    watcher: Arc<dyn Watcher>,
) {
    let archive = &config.archive;
    let arguments = archive::Args {
        consumer: config.archiver_consumer(),
        origin: setup::archive::origin(config, identity),
        store,
        settings: archive::Settings {
            rows_max: archive.segment_rows_max as u64,
            bytes_max: archive.segment_bytes_max,
            age_max: archive.segment_age_max,
            buffer_bytes: archive.buffer_bytes,
        },
        keys,
        board: setup::archive::board(config),
        checkpoint_interval: archive.checkpoint_interval,
        seal_on_stop: roles.seal_on_stop,
        drain_timeout: config.limits.drain_timeout,
        observer: Arc::new(ArchiveEyes {
            metrics: ArchiveMetrics::new(),
            health: health.clone(),
            watcher,
        }),
        stop: stop.0.clone(),
    };
    let health = health.clone();
    workers.spawn("archive", move || {
        let result = archive::run(arguments);
        health.archive().stop();
        let summary = result?;
        if summary.stopped_partitions > 0 {
            return Err(Fatal::integrity(format!(
                "{} partitions of the evidence topic wait for an operator; see the log",
                summary.stopped_partitions
            )));
        }
        Ok(())
    });
}

/// Tells metrics and readiness of the archiver what happens in it.
struct ArchiveEyes {
    metrics: ArchiveMetrics,
    health: Arc<Health>,
    watcher: Arc<dyn Watcher>,
}

impl archive::Observer for ArchiveEyes {
    fn assigned(&self, partitions: usize) {
        self.health.archive().set_assigned(partitions);
    }

    fn taken(&self, _partition: i32, rows: u32) {
        self.metrics.taken(1, u64::from(rows));
        self.watcher.on_taken(rows);
    }

    fn sealed(&self, segment: &archive::ledger::Segment) {
        self.metrics.entry(EntryKind::Segment);
        self.metrics.sealed(segment.bytes);
    }

    fn stopped(&self, partition: i32, reason: &str) {
        self.health.archive().refuse(partition, reason);
    }

    fn open_bytes(&self, bytes: usize) {
        self.metrics.open(bytes as u64);
        self.health.archive().tick(Instant::now());
    }
}

/// Tells metrics and readiness of a lane what happens in it.
struct Eyes {
    lane: usize,
    metrics: LaneMetrics,
    health: Arc<Health>,
    assigned: usize,
    refused: BTreeSet<i32>,
    behind: BTreeMap<i32, PartitionMetrics>,
    watcher: Arc<dyn Watcher>,
    drift: Option<Arc<Drift>>,
}

impl Observer for Eyes {
    fn on_change(&mut self, change: &Change) {
        let part = self.health.lane(self.lane);
        match change {
            Change::Assigned { held } => {
                self.metrics.rebalanced(Rebalance::Assigned);
                self.assigned = *held;
                part.set_assigned(*held);
            }
            Change::Revoked { held } => {
                self.metrics.rebalanced(Rebalance::Revoked);
                self.assigned = *held;
                part.set_assigned(*held);
            }
            Change::Refused { partition, refusal } => {
                self.refused.insert(*partition);
                part.refuse(*partition, refusal.to_string());
            }
            Change::Cleared { partition } => {
                self.refused.remove(partition);
                part.clear(*partition);
            }
        }
        self.metrics.holds(self.assigned, self.refused.len());
    }

    fn on_round(&mut self, round: &Round<'_>) {
        self.watcher.on_round(round);
        let metrics = &mut self.metrics;
        metrics.gathered(round.lineage.rows());
        metrics.steps(round.laps);
        match round.fate {
            Fate::Aborted => metrics.aborted(),
            Fate::Unknown => metrics.unknown(),
            Fate::Committed => metrics.committed(&round.committed()),
        }
        if round.fate == Fate::Committed {
            if let Some(drift) = &self.drift {
                drift.count_round(round);
            }
            metrics.unknown_fields(round.decided.unknown_fields());
            let told = &round.decided.explanations;
            let counts = [told.count(), told.unexplained(), told.inexact()];
            let [explained, missing, inexact] = counts.map(|count| count as u64);
            metrics.explained(explained, missing, inexact);
            for ((shadow, decision, would), events) in round.opinions() {
                metrics::shadow(shadow, decision, would, events);
            }
            for (reason, count) in round.reasons() {
                metrics.rejected(reason, count);
            }
            for (rule, count) in round.rules() {
                metrics.ruled(rule, count);
            }
        }
    }

    fn on_standing(&mut self, standings: &[Standing]) {
        self.behind
            .retain(|partition, _| standings.iter().any(|it| it.partition == *partition));
        for standing in standings {
            self.behind
                .entry(standing.partition)
                .or_insert_with(|| PartitionMetrics::new(standing.partition))
                .behind(standing.rows, standing.age);
        }
    }

    fn on_tick(&mut self) {
        self.health.lane(self.lane).tick(Instant::now());
    }
}

impl Round<'_> {
    fn committed(&self) -> Committed {
        let micros = |from: i64| {
            Duration::from_micros(u64::try_from(self.end_time - from).unwrap_or_default())
        };
        let counts = self.counts();
        Committed {
            scored: counts.scored,
            rejected: counts.rejected,
            gaps: counts.gaps,
            event_to_commit: self.broker_times().min().map(micros),
            poll_to_commit: micros(self.ingest_time),
        }
    }
}

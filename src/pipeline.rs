//! Every thread of the process: lanes, the archiver, the admin server, and who waits for whom.
//!
//! Lanes and the archiver block, so each has an operating-system thread; tokio serves HTTP, signals
//! and object stores. A worker that ends early stops all others: half a pipeline is not a pipeline.

mod eyes;
mod signals;
mod workers;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::runtime::Runtime;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::admin::{self, Health};
use crate::archive::{self, Store};
use crate::config::Config;
use crate::drift::Drift;
use crate::drift::teller::Teller;
use crate::error::{Exit, Fatal, Result};
use crate::keys::Keys;
use crate::lane::{self, Round, Sealer};
use crate::metrics::{self, ArchiveMetrics};
use crate::native::TopicIds;
use crate::patience::Pulse;
use crate::setup::{self, Setup};
use crate::stages::Stages;
use crate::succession::{self, Current, Seats, Watch};
use crate::topics::{Identity, Topics};
use crate::words::counted;
use eyes::{ArchiveEyes, Eyes};
pub use signals::stop_on_signals;
use workers::Workers;

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

    // All that can fail, before the ledger says that this process has started and before a thread runs.
    let scoring = match &setup {
        Some(setup) => {
            let stages: Result<Vec<Stages>> = (0..lanes).map(|_| setup.stages()).collect();
            Some((setup, Sealer::new(keys.clone())?, stages?))
        }
        None => None,
    };
    let store = setup::archive::open(config, runtime.handle().clone())?;
    let mut chronicle = setup::archive::chronicle(config, &identity, store.clone(), keys.clone())?;
    if let Some(setup) = &setup {
        setup::archive::keep(store.as_ref(), setup, config)?;
    }
    let what_runs = setup::archive::what_runs(config, setup.as_ref(), roles.archive);
    chronicle.record("started", what_runs)?;
    let chronicle = Arc::new(Mutex::new(chronicle));
    let mut workers = Workers::new();
    let teller = setup
        .as_ref()
        .and_then(|it| Teller::new(config, &it.package, chronicle.clone()));
    if let Some((setup, sealer, stages)) = scoring {
        info!(
            group = config.group(),
            lanes,
            "scoring with {}",
            setup.describe()
        );
        info!("{}", setup.describe_reasons());
        let seats = Seats::new(lanes);
        let current = Current::of(setup);
        current.show(true);
        start_lanes(
            &mut workers,
            config,
            setup,
            stages,
            &identity,
            ids,
            &sealer,
            &seats,
            &health,
            stop,
            &watcher,
            teller.as_ref().map(|teller| teller.drift()),
        );
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
    let result = workers.join(stop, &health, config.limits.drain_timeout);
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
    stages: Vec<Stages>,
    identity: &Identity,
    ids: TopicIds,
    sealer: &Sealer,
    seats: &Arc<Seats>,
    health: &Arc<Health>,
    stop: &Stop,
    watcher: &Arc<dyn Watcher>,
    drift: Option<Arc<Drift>>,
) {
    for (lane, stages) in stages.into_iter().enumerate() {
        let mut settings = setup.lane(config, identity, ids, sealer, seats.of(lane));
        let alive = health.clone();
        settings.patience.pulse = Pulse::new(move || alive.lane(lane).tick(Instant::now()));
        let (consumer, producer) = (config.consumer(lane), config.producer(lane));
        let mut observer = Eyes::new(lane, health.clone(), watcher.clone(), drift.clone());
        let (health, stop) = (health.clone(), stop.clone());
        workers.spawn(&format!("lane {lane}"), move || {
            let result = lane::run(
                settings,
                &consumer,
                producer,
                stages,
                &mut observer,
                &stop.0,
            );
            health.lane(lane).stop();
            result
        });
    }
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
            let stopped = counted(summary.stopped_partitions, "partition");
            return Err(Fatal::integrity(format!(
                "archiving of {stopped} of the evidence topic waits for an operator; see the log"
            )));
        }
        Ok(())
    });
}

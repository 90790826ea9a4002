//! The model changes while payments flow: a new package is made ready beside the old one, and each lane takes it over
//! between two rounds.
//!
//! Who changes the package's folder gets the new package or the old one, never something between: a package is taken
//! when its files have stopped changing and it passed everything that a start asks of it. Whatever it lacks,
//! the old one goes on, and the refusal is a line in the log, a metric and an entry of the ledger.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::archive::Store;
use crate::archive::chronicle::Chronicle;
use crate::config::Config;
use crate::drift::teller::Teller;
use crate::error::{Exit, Fatal, Result};
use crate::evidence::Facts;
use crate::metrics::{self, ModelMetrics};
use crate::package::{Package, version};
use crate::pipeline::Stop;
use crate::record::Digest;
use crate::setup::{self, Setup};
use crate::stages::Stages;
use crate::topics::Identity;

/// How often it is looked whether to stop.
const TURN: Duration = Duration::from_millis(50);

/// What a lane decides with from its next round on.
pub struct Successor {
    pub stages: Stages,
    pub facts: Facts,
}

/// Where each lane finds its successor, if there is one.
#[derive(Default)]
pub struct Seats(Vec<Mutex<Option<Successor>>>);

/// The seat of one lane.
#[derive(Clone)]
pub struct Seat {
    seats: Arc<Seats>,
    lane: usize,
}

impl Seats {
    #[must_use]
    pub fn new(lanes: usize) -> Arc<Seats> {
        Arc::new(Seats((0..lanes).map(|_| Mutex::default()).collect()))
    }

    #[must_use]
    pub fn of(self: &Arc<Seats>, lane: usize) -> Seat {
        Seat {
            seats: self.clone(),
            lane,
        }
    }

    /// One that nobody took yet is replaced: only the newest counts.
    fn offer(&self, lane: usize, successor: Successor) {
        let mut seat = self.0[lane].lock().unwrap_or_else(PoisonError::into_inner);
        *seat = Some(successor);
    }
}

impl Seat {
    #[must_use]
    pub fn take(&self) -> Option<Successor> {
        let seat = self.seats.0[self.lane].lock();
        seat.unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The package that decides now.
pub struct Current {
    name: String,
    version: String,
    policy: String,
    digest: Digest,
    model: Digest,
    provider: String,
}

impl Current {
    #[must_use]
    pub fn of(setup: &Setup) -> Current {
        let package = &setup.package;
        Current {
            name: package.name.clone(),
            version: package.version.clone(),
            policy: package.policy.version().to_owned(),
            digest: package.digest(),
            model: package.model.digest,
            provider: setup.provider().to_owned(),
        }
    }

    fn title(&self) -> String {
        format!("{} {}", self.name, self.version)
    }

    /// Says in the metrics whether this one decides.
    pub fn show(&self, decides: bool) {
        metrics::model(
            &self.name,
            &self.version,
            self.model,
            &self.provider,
            decides,
        );
    }

    /// Whether the package may follow this one. `rollback` is the version that an operator wants back.
    fn may_be_followed_by(&self, next: &Package, rollback: Option<&str>) -> Result<(), String> {
        if next.name != self.name || rollback == Some(next.version.as_str()) {
            return Ok(());
        }
        let order = version::order(&next.version, &self.version)
            .then_with(|| version::order(next.policy.version(), &self.policy));
        let (is, was) = (next.title(), self.title());
        let (new_policy, policy) = (next.policy.version(), &self.policy);
        match order {
            Ordering::Greater => Ok(()),
            Ordering::Less => Err(format!(
                "{is} with policy {new_policy} is older than {was} with policy {policy}, which decides now; to go \
                 back on purpose, write {} into {}",
                next.version,
                rollback_file(&next.folder).display()
            )),
            Ordering::Equal => Err(format!(
                "{is} with policy {new_policy} has other files than the package of this version that decides now; raise \
                 `version`, or `policy.version` where only thresholds changed"
            )),
        }
    }
}

/// Beside the package's folder, so that it is no file of the package.
fn rollback_file(folder: &Path) -> PathBuf {
    let mut name = folder.as_os_str().to_owned();
    name.push(".rollback");
    PathBuf::from(name)
}

/// What can be seen of a package without reading its files, and of the wish to go back to it.
type Look = Vec<(PathBuf, u64, u64, i64, i64)>;

fn look(folder: &Path) -> std::io::Result<Look> {
    let mut paths = vec![rollback_file(folder)];
    // Where the folder is a link, another target is another package.
    for entry in fs::read_dir(folder.canonicalize()?)? {
        paths.push(entry?.path());
    }
    let mut files = Vec::new();
    for path in paths {
        match fs::metadata(&path) {
            Ok(at) => files.push((path, at.ino(), at.len(), at.mtime(), at.mtime_nsec())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    files.sort();
    Ok(files)
}

/// Tells a folder that has settled from one that is being written.
#[derive(Default)]
struct Settling {
    last: Option<Look>,
    tried: Option<Look>,
}

impl Settling {
    /// Whether this look is new, and the same as the one before it.
    fn has_settled(&mut self, now: Look) -> bool {
        let settled = self.last.as_ref() == Some(&now) && self.tried.as_ref() != Some(&now);
        self.last = Some(now);
        settled
    }

    /// Not to be tried again until it changes.
    fn tried(&mut self) {
        self.tried.clone_from(&self.last);
    }
}

/// Watches the package's folder, and makes what comes into it ready. Belongs on a thread of its own.
pub struct Watch {
    pub config: Config,
    pub identity: Identity,
    pub commitment_key: String,
    pub store: Arc<dyn Store>,
    pub chronicle: Arc<Mutex<Chronicle>>,
    pub seats: Arc<Seats>,
    pub stop: Stop,
    /// What lanes were started with.
    pub current: Current,
    pub schema: Digest,
    pub drift: Option<Arc<Teller>>,
}

impl Watch {
    /// Until somebody asks to stop. What fails is a refusal, and the old package goes on.
    pub fn run(mut self) {
        let folder = self.config.model.package.clone();
        let mut settling = Settling {
            last: None,
            tried: look(&folder).ok(),
        };
        let meters = ModelMetrics::new();
        let mut looked = Instant::now();
        while !self.stop.is_asked() {
            std::thread::sleep(TURN);
            if looked.elapsed() < self.config.model.watch_interval {
                continue;
            }
            looked = Instant::now();
            // While it is exchanged the folder may not be there.
            if !look(&folder).is_ok_and(|now| settling.has_settled(now)) {
                continue;
            }
            match self.change() {
                Ok(None) => settling.tried(),
                Ok(Some(next)) => {
                    settling.tried();
                    info!(
                        was = self.current.title(),
                        is = next.title(),
                        "the model changes"
                    );
                    self.current.show(false);
                    next.show(true);
                    meters.changed();
                    self.current = next;
                }
                Err(fatal) => {
                    warn!(%fatal, still = self.current.title(), "a model package is refused");
                    meters.refused();
                    // What cannot be reached may be there at the next look; anything else needs another package.
                    if fatal.exit != Exit::Unreachable {
                        settling.tried();
                        self.record("model refused", self.refusal(&fatal));
                    }
                }
            }
        }
    }

    /// Makes the package in the folder ready and hands it to the lanes, if it is another one.
    fn change(&self) -> Result<Option<Current>> {
        let config = &self.config;
        let setup = Setup::load(config)?;
        if setup.package.digest() == self.current.digest {
            return Ok(None);
        }
        if setup.schema.digest() != self.schema {
            return Err(Fatal::usage(
                "input.schema: the file has changed since the start; start again to read it",
            ));
        }
        let rollback = fs::read_to_string(rollback_file(&config.model.package)).ok();
        self.current
            .may_be_followed_by(&setup.package, rollback.as_deref().map(str::trim))
            .map_err(Fatal::usage)?;
        let lanes = 0..config.pipeline.lanes;
        let stages = lanes.map(|_| setup.stages()).collect::<Result<Vec<_>>>()?;
        // Kept before anything is decided with it.
        setup::archive::keep(self.store.as_ref(), &setup, config)?;
        self.record(
            "model changed",
            setup::archive::what_runs(config, Some(&setup), false),
        );
        if let Some(teller) = &self.drift {
            teller.change(&setup.package);
        }
        let facts = setup.facts(config, &self.identity, self.commitment_key.clone());
        for (lane, stages) in stages.into_iter().enumerate() {
            let facts = facts.clone();
            self.seats.offer(lane, Successor { stages, facts });
        }
        Ok(Some(Current::of(&setup)))
    }

    /// A ledger that cannot be written to now keeps nobody from deciding: evidence names the package of each decision.
    fn record(&self, kind: &str, facts: BTreeMap<String, String>) {
        let mut chronicle = self
            .chronicle
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = chronicle.record(kind, facts) {
            warn!(%error, kind, "not recorded in the ledger");
        }
    }

    fn refusal(&self, fatal: &Fatal) -> BTreeMap<String, String> {
        BTreeMap::from([
            ("why".to_owned(), fatal.to_string()),
            ("model".to_owned(), self.current.title()),
        ])
    }
}

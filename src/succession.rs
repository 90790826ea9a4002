//! The model changes while payments flow: a new package is made ready beside the old one, and each lane takes it over
//! between two rounds.
//!
//! Who changes the package's folder gets the new package or the old one, never something between: a package is taken
//! when its files have stopped changing and it passed everything that a start asks of it. Whatever it lacks,
//! the old one goes on, and the refusal is a line in the log, a metric and an entry of the ledger.

mod follow;
mod look;

use std::collections::BTreeMap;
#[cfg(test)]
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
#[cfg(test)]
use std::path::Path;
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
use crate::package::{Edition, Package};
use crate::pipeline::Stop;
use crate::record::Digest;
use crate::setup::{self, Setup};
use crate::stages::Stages;
use crate::topics::Identity;
use follow::{Rollback, follow, titled};
pub use follow::{admit, heed};
use look::{Look, Settling};

/// How often it is looked whether to stop.
const TURN: Duration = Duration::from_millis(50);
/// How long to wait where something cannot be reached.
const RETRY: Duration = Duration::from_secs(60);
/// The longest reason that the ledger is told.
const WHY_MAX_BYTES: usize = 1000;

/// What a lane decides with from its next round on.
pub struct Successor {
    pub stages: Stages,
    pub facts: Facts,
    pub edition: Edition,
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

/// The packages that decide and shadow now.
pub struct Current {
    edition: Edition,
    /// Of the package that decides, then of its shadows.
    digests: Vec<Digest>,
    model: Digest,
    provider: String,
}

impl Current {
    #[must_use]
    pub fn of(setup: &Setup) -> Current {
        let package = &setup.package;
        Current {
            edition: package.edition(),
            digests: digests([package].into_iter().chain(setup.shadows())),
            model: package.model.digest,
            provider: setup.provider().to_owned(),
        }
    }

    /// Says in the metrics whether this one decides.
    pub fn show(&self, decides: bool) {
        let Edition { name, version, .. } = &self.edition;
        metrics::model(name, version, self.model, &self.provider, decides);
    }
}

fn digests<'p>(packages: impl IntoIterator<Item = &'p Package>) -> Vec<Digest> {
    packages.into_iter().map(Package::digest).collect()
}

/// What is ready to be taken over.
struct Next {
    setup: Setup,
    /// One for each lane.
    stages: Vec<Stages>,
    /// Why it has no shadows, though the configuration names some.
    unshadowed: Option<Fatal>,
}

/// Watches the folders of packages, and makes what comes into them ready. Belongs on a thread of its own.
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
    /// Of the input, and of its writers.
    pub schemas: Vec<Digest>,
    pub drift: Option<Arc<Teller>>,
}

impl Watch {
    /// Until somebody asks to stop. What fails is a refusal, and the old package goes on.
    pub fn run(mut self) {
        let model = &self.config.model;
        let mut folders = vec![model.package.clone()];
        folders.extend(model.shadows.iter().cloned());
        let mut files = vec![Rollback::file(&model.package)];
        files.extend(model.trust_key.clone());
        let look = move || Look::at(&folders, &files);
        let mut settling = Settling::default();
        let meters = ModelMetrics::new();
        let mut looked = Instant::now();
        let mut patience = Duration::ZERO;
        while !self.stop.is_asked() {
            std::thread::sleep(TURN);
            if looked.elapsed() < self.config.model.watch_interval.max(patience) {
                continue;
            }
            (looked, patience) = (Instant::now(), Duration::ZERO);
            if !settling.has_settled(look()) {
                continue;
            }
            let mut seen = None;
            // A panic over a package is no reason to stop deciding.
            let change = AssertUnwindSafe(|| self.change(&mut seen));
            let outcome = catch_unwind(change).unwrap_or_else(|_| {
                let what = "it was made ready with a panic, which is a bug; see the log above";
                Err(Fatal::new(Exit::Bug, what))
            });
            // What was read while somebody wrote says nothing: the next look shows that it changed.
            if !settling.is_still(&look()) {
                continue;
            }
            match outcome {
                Ok(None) => settling.tried(),
                Ok(Some(mut next)) => {
                    settling.tried();
                    if let Some(fatal) = next.unshadowed.take() {
                        self.refuse(&meters, &fatal, None);
                    }
                    self.take(next);
                    meters.changed();
                }
                Err(fatal) => {
                    self.refuse(&meters, &fatal, seen.as_ref());
                    // What cannot be reached may be there later; anything else needs another package.
                    match fatal.exit {
                        Exit::Unreachable => patience = RETRY,
                        _ => settling.tried(),
                    }
                }
            }
        }
    }

    fn refuse(&self, meters: &ModelMetrics, fatal: &Fatal, seen: Option<&Edition>) {
        warn!(%fatal, still = titled(&self.current.edition), "a model package is refused");
        meters.refused();
        self.record("model refused", self.refusal(fatal, seen));
    }

    /// Makes the packages in the folders ready, if they are others than those in force. `seen` becomes what would decide.
    ///
    /// A shadow costs no decision: where only the shadows are not right, a new package that decides is taken without them,
    /// and mended ones come with the next change. Alone they change nothing, and those in force go on.
    fn change(&self, seen: &mut Option<Edition>) -> Result<Option<Next>> {
        let whole = self.change_to(&self.config, seen);
        let Err(unshadowed) = whole else { return whole };
        if self.config.model.shadows.is_empty() {
            return Err(unshadowed);
        }
        let mut alone = self.config.clone();
        alone.model.shadows.clear();
        match setup::packages(&alone)?[0].digest() == self.current.edition.digest {
            true => Err(unshadowed),
            false => Ok(self.change_to(&alone, seen)?.map(|next| Next {
                unshadowed: Some(unshadowed),
                ..next
            })),
        }
    }

    fn change_to(&self, config: &Config, seen: &mut Option<Edition>) -> Result<Option<Next>> {
        // Without model and tables this is quick, and mostly the end of it.
        let packages = setup::packages(config)?;
        if digests(&packages) == self.current.digests {
            return Ok(None);
        }
        let next = seen.insert(packages[0].edition());
        if next.digest != self.current.edition.digest {
            follow(&packages[0], &self.current.edition)?;
        }
        let setup = Setup::load(config)?;
        if digests([&setup.package].into_iter().chain(setup.shadows())) != digests(&packages) {
            let what = "the package changed while it was read; it is read again";
            return Err(Fatal::unreachable(what));
        }
        if setup.schemas() != self.schemas {
            return Err(Fatal::usage(
                "input.schema, input.schemas: a file has changed since the start; start again to read it",
            ));
        }
        let lanes = 0..config.pipeline.lanes;
        let stages = lanes.map(|_| setup.stages()).collect::<Result<Vec<_>>>()?;
        // Kept before anything is decided with it.
        setup::archive::keep(self.store.as_ref(), &setup, config)?;
        Ok(Some(Next {
            setup,
            stages,
            unshadowed: None,
        }))
    }

    /// Hands what is ready to the lanes.
    fn take(&mut self, next: Next) {
        let (setup, next) = (&next.setup, next.stages);
        let current = Current::of(setup);
        info!(
            was = titled(&self.current.edition),
            is = titled(&current.edition),
            "the model changes: {}",
            setup.describe()
        );
        if let Some(teller) = &self.drift {
            teller.change(&setup.package);
        }
        self.record("model changed", setup::archive::what_scores(setup));
        let facts = setup.facts(&self.config, &self.identity, self.commitment_key.clone());
        for (lane, stages) in next.into_iter().enumerate() {
            let successor = Successor {
                stages,
                facts: facts.clone(),
                edition: current.edition.clone(),
            };
            self.seats.offer(lane, successor);
        }
        self.current.show(false);
        current.show(true);
        self.current = current;
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

    fn refusal(&self, fatal: &Fatal, seen: Option<&Edition>) -> BTreeMap<String, String> {
        let mut facts = BTreeMap::from([
            ("why".to_owned(), cut(fatal.to_string())),
            ("model".to_owned(), titled(&self.current.edition)),
        ]);
        if let Some(edition) = seen {
            let digest = edition.digest.to_string();
            facts.insert("refused".to_owned(), titled(edition));
            facts.insert("refused_package_sha256".to_owned(), digest);
        }
        facts
    }
}

/// What fits an entry of the ledger well. The whole is in the log.
fn cut(mut why: String) -> String {
    if why.len() > WHY_MAX_BYTES {
        why.truncate(why.floor_char_boundary(WHY_MAX_BYTES));
        why.push('…');
    }
    why
}

#[cfg(test)]
mod testing {
    use super::*;

    /// A package of this version in a folder of its own.
    pub fn package(version: &str, policy: &str) -> (tempfile::TempDir, Package) {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/kinds");
        let above = tempfile::tempdir().unwrap();
        let folder = above.path().join("package");
        fs::create_dir(&folder).unwrap();
        for file in ["model.onnx", "golden.json"] {
            fs::copy(source.join(file), folder.join(file)).unwrap();
        }
        let mut text = fs::read_to_string(source.join("model.toml")).unwrap();
        let package = Package::load(&source).unwrap();
        for (was, is) in [
            (package.version.as_str(), version),
            (package.policy.version(), policy),
        ] {
            let (was, is) = (
                format!("version = \"{was}\""),
                format!("version = \"{is}\""),
            );
            assert!(text.contains(&was), "{was}");
            text = text.replacen(&was, &is, 1);
        }
        fs::write(folder.join("model.toml"), text).unwrap();
        (above, Package::load(&folder).unwrap())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_a_package_is_refused_fits_an_entry_of_the_ledger() {
        let short = "a sentence".to_owned();
        assert_eq!(cut(short.clone()), short);
        let long = cut("ä".repeat(100_000));
        assert!(long.len() <= WHY_MAX_BYTES + "…".len() && long.ends_with("ä…"));
    }
}

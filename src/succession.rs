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
use std::panic::{AssertUnwindSafe, catch_unwind};
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
use crate::package::{Edition, Package};
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

/// Refuses a package at start that is older than one that decided last for a partition: only an operator goes back.
///
/// # Errors
/// Usage, with the way to go back on purpose.
pub fn admit(package: &Package, before: &[Edition]) -> Result<()> {
    let rollback = Rollback::of(&package.folder);
    let older = before
        .iter()
        .find(|last| package.edition().compare(last) == Some(Ordering::Less));
    match older {
        Some(last) if !rollback.allows(package) => {
            Err(Fatal::usage(rollback.refusal(package, last)))
        }
        _ => Ok(()),
    }
}

/// Whether the package may follow the one that decides now, which it is not.
fn follow(package: &Package, now: &Edition) -> Result<()> {
    let rollback = Rollback::of(&package.folder);
    match package.edition().compare(now) {
        None | Some(Ordering::Greater) => Ok(()),
        Some(_) if rollback.allows(package) => Ok(()),
        Some(Ordering::Less) => Err(Fatal::usage(rollback.refusal(package, now))),
        Some(Ordering::Equal) => Err(Fatal::usage(format!(
            "{} has other files than the package of this version that decides now; raise `version`, or \
             `policy.version` where only the policy changed",
            titled(&package.edition())
        ))),
    }
}

fn titled(edition: &Edition) -> String {
    let Edition {
        name,
        version,
        policy,
    } = edition;
    format!("{name} {version} with policy {policy}")
}

/// An operator's wish to go back: a file beside the package's folder, so that it is no file of the package, which holds
/// the version to go back to.
struct Rollback {
    file: PathBuf,
    version: Option<String>,
}

impl Rollback {
    fn of(folder: &Path) -> Rollback {
        let file = Rollback::file(folder);
        let version = fs::read_to_string(&file).ok();
        Rollback {
            version: version.map(|text| text.trim().to_owned()),
            file,
        }
    }

    fn file(folder: &Path) -> PathBuf {
        let mut name = folder.as_os_str().to_owned();
        name.push(".rollback");
        PathBuf::from(name)
    }

    fn allows(&self, package: &Package) -> bool {
        self.version.as_deref() == Some(package.version.as_str())
    }

    fn refusal(&self, package: &Package, last: &Edition) -> String {
        format!(
            "{} is older than {}, which decided last; to go back on purpose, write {} into {}",
            titled(&package.edition()),
            titled(last),
            package.version,
            self.file.display()
        )
    }
}

/// What can be seen of packages without reading their files, and of the wish to go back to one.
type Look = Vec<(PathBuf, u64, u64, i64, i64)>;

fn look(folders: &[PathBuf]) -> std::io::Result<Look> {
    let mut paths = Vec::new();
    for folder in folders {
        paths.push(Rollback::file(folder));
        // Where the folder is a link, another target is another package.
        for entry in fs::read_dir(folder.canonicalize()?)? {
            paths.push(entry?.path());
        }
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

    /// Whether nothing has changed since the last look.
    fn is_still(&self, now: &Look) -> bool {
        self.last.as_ref() == Some(now)
    }

    /// Not to be tried again until it changes.
    fn tried(&mut self) {
        self.tried.clone_from(&self.last);
    }
}

/// What is ready to be taken over.
struct Next {
    setup: Setup,
    /// One for each lane.
    stages: Vec<Stages>,
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
    pub schema: Digest,
    pub drift: Option<Arc<Teller>>,
}

impl Watch {
    /// Until somebody asks to stop. What fails is a refusal, and the old package goes on.
    pub fn run(mut self) {
        let mut folders = vec![self.config.model.package.clone()];
        folders.extend(self.config.model.shadows.iter().cloned());
        let mut settling = Settling::default();
        let meters = ModelMetrics::new();
        let mut looked = Instant::now();
        while !self.stop.is_asked() {
            std::thread::sleep(TURN);
            if looked.elapsed() < self.config.model.watch_interval {
                continue;
            }
            looked = Instant::now();
            // While it is exchanged a folder may not be there.
            if !look(&folders).is_ok_and(|now| settling.has_settled(now)) {
                continue;
            }
            // A panic over a package is no reason to stop deciding.
            let change = AssertUnwindSafe(|| self.change());
            let outcome = catch_unwind(change).unwrap_or_else(|_| {
                let what = "it was made ready with a panic, which is a bug; see the log above";
                Err(Fatal::new(Exit::Bug, what))
            });
            // What was read while somebody wrote says nothing: the next look shows that it changed.
            if !look(&folders).is_ok_and(|now| settling.is_still(&now)) {
                continue;
            }
            match outcome {
                Ok(None) => settling.tried(),
                Ok(Some(next)) => {
                    settling.tried();
                    self.take(next);
                    meters.changed();
                }
                Err(fatal) => {
                    warn!(%fatal, still = titled(&self.current.edition), "a model package is refused");
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

    /// Makes the packages in the folders ready, if they are others than those in force.
    fn change(&self) -> Result<Option<Next>> {
        let config = &self.config;
        // Without model and tables this is quick, and mostly the end of it.
        let packages = setup::packages(config)?;
        if digests(&packages) == self.current.digests {
            return Ok(None);
        }
        if packages[0].digest() != self.current.digests[0] {
            follow(&packages[0], &self.current.edition)?;
        }
        let setup = Setup::load(config)?;
        if setup.schema.digest() != self.schema {
            return Err(Fatal::usage(
                "input.schema: the file has changed since the start; start again to read it",
            ));
        }
        let lanes = 0..config.pipeline.lanes;
        let stages = lanes.map(|_| setup.stages()).collect::<Result<Vec<_>>>()?;
        // Kept before anything is decided with it.
        setup::archive::keep(self.store.as_ref(), &setup, config)?;
        Ok(Some(Next { setup, stages }))
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
        let facts = setup::archive::what_runs(&self.config, Some(setup), false);
        self.record("model changed", facts);
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

    fn refusal(&self, fatal: &Fatal) -> BTreeMap<String, String> {
        BTreeMap::from([
            ("why".to_owned(), fatal.to_string()),
            ("model".to_owned(), titled(&self.current.edition)),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A package of this version in a folder of its own.
    fn package(version: &str, policy: &str) -> (tempfile::TempDir, Package) {
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

    fn edition(version: &str, policy: &str) -> Edition {
        Edition::parse(&format!("fixture-kinds {version} {policy}")).unwrap()
    }

    #[test]
    fn only_a_newer_package_follows() {
        let (_folder, next) = package("1.5.0", "p2");
        assert!(follow(&next, &edition("1.4.9", "p9")).is_ok());
        assert!(follow(&next, &edition("1.5.0", "p1")).is_ok());
        assert!(follow(&next, &Edition::parse("other-risk 9 9").unwrap()).is_ok());
        let refusal = |now| follow(&next, &now).unwrap_err().to_string();
        let older = refusal(edition("1.10.0", "p1"));
        assert!(
            older.contains("1.5.0 with policy p2 is older than fixture-kinds 1.10.0"),
            "{older}"
        );
        assert!(
            older.contains("write 1.5.0 into") && older.contains("package.rollback"),
            "{older}"
        );
        let same = refusal(edition("1.5.0", "p2"));
        assert!(same.contains("raise `version`"), "{same}");
    }

    #[test]
    fn an_operator_goes_back_to_the_version_that_is_written_down_and_to_no_other() {
        let (folder, next) = package("1.5.0", "p2");
        let newer = edition("1.6.0", "p2");
        let file = folder.path().join("package.rollback");
        fs::write(&file, "1.4.0\n").unwrap();
        assert!(follow(&next, &newer).is_err());
        fs::write(&file, "1.5.0\n").unwrap();
        assert!(follow(&next, &newer).is_ok());
        assert!(admit(&next, &[newer]).is_ok());
    }

    #[test]
    fn a_start_is_refused_where_a_newer_package_decided_last_for_any_partition() {
        let (_folder, next) = package("1.5.0", "p2");
        let before = [edition("1.4.0", "p1"), edition("1.5.0", "p2")];
        assert!(admit(&next, &[]).is_ok());
        assert!(admit(&next, &before).is_ok());
        let newer = [before.as_slice(), &[edition("1.5.0", "p3")]].concat();
        let refusal = admit(&next, &newer).unwrap_err();
        assert_eq!(refusal.exit, Exit::Usage);
        assert!(
            refusal.to_string().contains("which decided last"),
            "{refusal}"
        );
    }

    #[test]
    fn a_folder_is_tried_when_two_looks_agree_and_once_only() {
        let (folder, package) = package("1.5.0", "p2");
        let look = || look(std::slice::from_ref(&package.folder)).unwrap();
        let mut settling = Settling::default();
        assert!(!settling.has_settled(look()), "one look says nothing");
        assert!(settling.has_settled(look()));
        assert!(settling.has_settled(look()), "nobody has tried it yet");
        settling.tried();
        assert!(!settling.has_settled(look()));
        for change in [
            "package/golden.json",
            "package/model.toml",
            "package.rollback",
        ] {
            fs::write(folder.path().join(change), change).unwrap();
            assert!(!settling.is_still(&look()), "{change}");
            assert!(
                !settling.has_settled(look()),
                "{change} may still be written"
            );
            assert!(settling.has_settled(look()), "{change}");
            settling.tried();
        }
    }
}

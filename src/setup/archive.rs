//! The archive, as the configuration and the cluster make it: its store, what is kept in it before the
//! first decision, and the ledger that is told of starts and stops.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::{Handle, Runtime};

use super::Setup;
use crate::archive::board;
use crate::archive::chronicle::Chronicle;
use crate::archive::keeper::Board;
use crate::archive::operator::{self, Loss};
use crate::archive::store::{self, Ensured};
use crate::archive::{Bucket, Local, Origin, Store, layout};
use crate::clock::now_micros;
use crate::config::{self, Config};
use crate::error::{Exit, Fatal, Result};
use crate::keys::{Keys, Role};
use crate::native::TopicIds;
use crate::package::Package;
use crate::record::Digest;
use crate::tlog::Verifier;
use crate::topics::{Identity, Topics};

/// Opens the archive's store, and sees that it creates once.
///
/// # Errors
/// When it cannot be reached, or overwrites what is there.
pub fn open(config: &Config, runtime: Handle) -> Result<Arc<dyn Store>> {
    let store: Arc<dyn Store> = match &config.archive.store {
        config::Store::File { folder } => Arc::new(Local::open(folder)?),
        url @ config::Store::S3 { .. } => {
            let s3 = &config.archive.s3;
            let mut options = vec![("region", s3.region.as_str())];
            options.extend(
                s3.endpoint
                    .as_deref()
                    .map(|endpoint| ("endpoint", endpoint)),
            );
            options.extend(s3.allow_http.then_some(("allow_http", "true")));
            let largest = config.archive.segment_bytes_max;
            let timeout = store::request_timeout(largest, config.limits.poll_interval_max);
            Arc::new(Bucket::open(&url.to_string(), options, timeout, runtime)?)
        }
    };
    store::probe(store.as_ref())?;
    Ok(store)
}

/// Where the archive is, after a look at whether it creates once, and whether its folder had to be made for that.
///
/// # Errors
/// As [`open`].
pub fn place(config: &Config) -> Result<(String, bool)> {
    let runtime = runtime()?;
    let is_made = match &config.archive.store {
        config::Store::File { folder } => !folder.is_dir(),
        config::Store::S3 { .. } => false,
    };
    let place = open(config, runtime.handle().clone())?.place();
    Ok((place, is_made))
}

/// Keeps what makes decisions in the archive, before it makes any: the files of the model package, the
/// policy, the configuration, the input's schema and what the model runs on, each under its SHA-256.
///
/// # Errors
/// When the archive cannot be reached, or holds something else under such a name.
pub fn keep(store: &dyn Store, setup: &Setup, config: &Config) -> Result<()> {
    for (path, bytes) in what_decides(setup, config) {
        if store::ensure(store, &path, &bytes)? != Ensured::Same {
            let place = store.place();
            return Err(Fatal::integrity(format!(
                "`{path}` at {place} is not what its name says"
            )));
        }
    }
    Ok(())
}

/// Which archive the configuration and the cluster make.
#[must_use]
pub fn origin(config: &Config, identity: &Identity) -> Origin {
    Origin {
        cluster_id: identity.cluster_id.clone(),
        evidence_topic: config.output.evidence.clone(),
        evidence_topic_id: identity.evidence_topic_id.clone(),
    }
}

/// Where checkpoints are put up.
#[must_use]
pub fn board(config: &Config) -> Box<dyn Board> {
    let topic = config.output.checkpoints.clone();
    Box::new(board::Topic::new(config.board_client(), topic))
}

/// The ledger, to tell it what happens.
///
/// # Errors
/// When the archive cannot be reached, is another one, or is older than a checkpoint of it.
pub fn chronicle(
    config: &Config,
    identity: &Identity,
    store: Arc<dyn Store>,
    keys: Arc<Keys>,
) -> Result<Chronicle> {
    let instance = config.pipeline.instance.clone();
    let origin = origin(config, identity);
    Chronicle::open(store, &origin, keys, now_micros, board(config), instance)
}

/// What an operator does to the ledger.
pub enum Act {
    Break(Loss),
    Retire(Role, Verifier),
}

/// Does it. Returns what was done, as a sentence.
///
/// # Errors
/// When the cluster or the archive cannot be reached, or it cannot be done.
pub fn act(config: &Config, act: &Act) -> Result<String> {
    let keys = Arc::new(Keys::load(&config.keys.folder)?);
    let identity = Topics::connect(config, TopicIds::Broker)?.identity()?;
    let runtime = runtime()?;
    let store = open(config, runtime.handle().clone())?;
    let origin = origin(config, &identity);
    let mut chronicle = chronicle(config, &identity, store.clone(), keys.clone())?;
    match act {
        Act::Retire(role, key) => operator::retire(&keys, chronicle.log(), *role, key),
        Act::Break(loss) => {
            let client = config.board_client();
            operator::accept_loss(client, &*store, &origin, &keys, chronicle.log(), loss)
        }
    }
}

fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| Fatal::new(Exit::Bug, "starting a runtime").because(error))
}

/// What a process that starts does, and with what.
#[must_use]
pub fn what_runs(
    config: &Config,
    setup: Option<&Setup>,
    archives: bool,
) -> BTreeMap<String, String> {
    let mut facts = BTreeMap::new();
    let mut fact = |name: &str, value: String| facts.insert(name.to_owned(), value);
    fact("version", env!("CARGO_PKG_VERSION").to_owned());
    fact("config_sha256", config.digest().to_string());
    fact("archives", archives.to_string());
    fact("scores", setup.is_some().to_string());
    if let Some(setup) = setup {
        facts.extend(what_scores(setup));
    }
    facts
}

/// With what events are decided.
#[must_use]
pub fn what_scores(setup: &Setup) -> BTreeMap<String, String> {
    let mut facts = BTreeMap::new();
    let mut fact = |name: &str, value: String| facts.insert(name.to_owned(), value);
    let package = &setup.package;
    fact("model", package.title());
    fact("model_sha256", package.model.digest.to_string());
    fact("package_sha256", package.digest().to_string());
    fact("policy_version", package.policy.version().to_owned());
    fact("policy_sha256", package.policy.digest().to_string());
    let runtime = Digest::of(setup.runtime_document.as_bytes());
    fact("runtime_sha256", runtime.to_string());
    for (index, shadow) in setup.shadows().enumerate() {
        let number = index + 1;
        fact(&format!("shadow_{number}"), shadow.title());
        let digest = shadow.digest().to_string();
        fact(&format!("shadow_{number}_package_sha256"), digest);
    }
    facts
}

/// Everything that a row of evidence names by its SHA-256, and where it is kept.
fn what_decides(setup: &Setup, config: &Config) -> Vec<(String, Bytes)> {
    let runtime = &setup.runtime_document;
    let texts = [
        (layout::config(config.digest()), config.show().to_owned()),
        (
            layout::schema(setup.schema.digest()),
            setup.schema.text().to_owned(),
        ),
        (
            layout::runtime(Digest::of(runtime.as_bytes())),
            runtime.clone(),
        ),
    ];
    let packages = std::iter::once(&setup.package).chain(setup.shadows());
    let mut objects: Vec<_> = packages.flat_map(what_a_package_is).collect();
    objects.extend(texts.map(|(path, text)| (path, Bytes::from(text))));
    objects
}

fn what_a_package_is(package: &Package) -> Vec<(String, Bytes)> {
    let policy = &package.policy;
    let texts = [
        (layout::policy(policy.digest()), policy.canonical()),
        (layout::model(package.digest()), package.listing()),
    ];
    let files = package.files().into_iter();
    files
        .map(|file| (layout::model(file.digest), Bytes::from(file.bytes.clone())))
        .chain(texts.map(|(path, text)| (path, Bytes::from(text))))
        .collect()
}

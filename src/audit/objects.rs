//! The objects beside rows and ledger: whether each has the SHA-256 that names it, and whether all are there that
//! rows name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use super::file::{Kept, KeptPolicy, Policies};
use super::finding::{Finding, Name};
use crate::archive::leaf::Columns;
use crate::archive::store;
use crate::archive::{Store, layout};
use crate::decide::Policy;
use crate::error::Result;
use crate::evidence::Context;
use crate::record::Digest;

/// What is wrong with an object whose SHA-256 is not that of its name.
const ANOTHER: &str = "it is not what its name says";

/// Columns and policies, each read once.
pub struct Library {
    store: Arc<dyn Store>,
    columns: Mutex<BTreeMap<Digest, Option<Arc<Columns>>>>,
    policies: Mutex<BTreeMap<String, KeptPolicy>>,
    event_ids: Mutex<BTreeMap<Digest, Option<String>>>,
    findings: Mutex<Vec<Finding>>,
}

impl Library {
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Library {
        Library {
            store,
            columns: Mutex::default(),
            policies: Mutex::default(),
            event_ids: Mutex::default(),
            findings: Mutex::default(),
        }
    }

    /// The columns text of this digest; none if it is not there or none, which is a finding.
    ///
    /// # Errors
    /// When the store does not answer.
    pub fn columns(&self, digest: Digest) -> Result<Option<Arc<Columns>>> {
        let mut known = self.columns.lock().expect("a panic ends the process");
        if let Some(columns) = known.get(&digest) {
            return Ok(columns.clone());
        }
        let path = layout::columns(digest);
        let bytes = store::get(&*self.store, &path)?;
        let columns = match bytes {
            None => Err("entries name it, and it is not there"),
            Some(bytes) if Digest::of(&bytes) != digest => Err(ANOTHER),
            Some(bytes) => Columns::parse(&bytes).map_err(|_| "it is no columns text"),
        };
        if let Err(what) = columns {
            let mut findings = self.findings.lock().expect("a panic ends the process");
            findings.push(Finding::new(Name::Object, path, what));
        }
        let columns = columns.ok().map(Arc::new);
        known.insert(digest, columns.clone());
        Ok(columns)
    }

    /// The column that names the event. That a context is missing is told once, as an object.
    ///
    /// # Errors
    /// When the store does not answer.
    pub fn event_id(&self, context: Digest) -> Result<Option<String>> {
        let mut known = self.event_ids.lock().expect("a panic ends the process");
        if let Some(name) = known.get(&context) {
            return Ok(name.clone());
        }
        let bytes = store::get(&*self.store, &layout::context(context))?;
        let bytes = bytes.filter(|bytes| Digest::of(bytes) == context);
        let parsed = bytes.and_then(|bytes| Context::parse(&bytes).ok());
        let name = parsed.map(|context| context.facts().event_id.clone());
        known.insert(context, name.clone());
        Ok(name)
    }

    /// What was wrong with those that were asked for.
    ///
    /// # Panics
    /// Where a thread that read one did.
    #[must_use]
    pub fn into_findings(self) -> Vec<Finding> {
        self.findings
            .into_inner()
            .expect("a panic ends the process")
    }
}

impl Policies for Library {
    fn get(&self, digest: &str) -> KeptPolicy {
        let mut known = self.policies.lock().expect("a panic ends the process");
        let text = || {
            let wanted = Digest::parse(digest)?;
            let bytes = store::get(&*self.store, &layout::policy(wanted)).ok()??;
            (Digest::of(&bytes) == wanted).then_some(bytes)
        };
        let read = || match text() {
            None => KeptPolicy::Missing,
            Some(bytes) => match std::str::from_utf8(&bytes).ok().and_then(Policy::parse) {
                Some(policy) => KeptPolicy::Policy(Box::new(policy)),
                None => KeptPolicy::Unreadable,
            },
        };
        known.entry(digest.to_owned()).or_insert_with(read).clone()
    }
}

/// Every object that is named by its SHA-256 has it, whether or not a row names it.
///
/// # Errors
/// When the store does not answer.
pub fn check_names(store: &dyn Store) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (folder, _) in layout::NAMED {
        for path in store::list(store, folder)? {
            let what = match layout::digest_at(&path) {
                None => Some("its name is not that of an object of this folder"),
                Some(digest) => {
                    let found = store::get(store, &path)?.map(|bytes| Digest::of(&bytes));
                    (found != Some(digest)).then_some(ANOTHER)
                }
            };
            findings.extend(what.map(|what| Finding::new(Name::Object, path, what)));
        }
    }
    Ok(findings)
}

/// The objects that rows name are there, and are what they are named by.
///
/// # Errors
/// When the store does not answer.
pub fn check_named(store: &dyn Store, named: &BTreeSet<(Kept, String)>) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let mut wanted: BTreeSet<(Kept, String)> = named.clone();
    while let Some((kept, name)) = wanted.pop_first() {
        let mut fault = |path: &str, what: &str| {
            findings.push(Finding::new(Name::Object, path, what));
        };
        let Some(digest) = Digest::parse(&name) else {
            fault(&name, "a row names an object by this, which is no digest");
            continue;
        };
        let path = match kept {
            Kept::Model | Kept::Package => layout::model(digest),
            Kept::Policy => layout::policy(digest),
            Kept::Runtime => layout::runtime(digest),
            Kept::Config => layout::config(digest),
            Kept::Schema => layout::schema(digest),
            Kept::Context => layout::context(digest),
        };
        match store::get(store, &path)? {
            None => fault(&path, "rows name it, and it is not there"),
            Some(bytes) if Digest::of(&bytes) != digest => {
                fault(&path, ANOTHER);
            }
            Some(bytes) if kept == Kept::Package => {
                // A list as `sha256sum` prints it.
                let list = String::from_utf8_lossy(&bytes).into_owned();
                let files = list.lines().filter_map(|line| line.split_once("  "));
                wanted.extend(files.map(|(digest, _)| (Kept::Model, digest.to_owned())));
            }
            Some(_) => {}
        }
    }
    Ok(findings)
}

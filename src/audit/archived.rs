//! What an archive keeps beside its rows, ready for use: packages to run, policies, and whether this runtime is the
//! recorded one.
//!
//! Every object is compared with its digest before it is used.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{ArrayRef, RecordBatch};

use super::decided::Deciding;
use super::file::column;
use super::verify::violation;
use crate::archive::store;
use crate::archive::{Local, layout};
use crate::decide::Policy;
use crate::error::{Exit, Fatal, Result};
use crate::infer::{Model, Provider, Runtime};
use crate::package::Package;
use crate::record::Digest;
use crate::schema::InputSchema;

/// The objects of one archive. Each is loaded once.
pub struct Archived<'a> {
    folder: &'a Path,
    runtime: &'static Runtime,
    packages: BTreeMap<String, Loaded>,
    /// By policy and input schema.
    pub(super) deciding: BTreeMap<(String, String), Deciding>,
}

/// A package of the archive, ready to run.
pub struct Loaded {
    pub model: Model,
    pub package: Package,
    /// The files lie here as long as the model runs.
    _folder: Folder,
}

/// A folder that goes when it is dropped.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl<'a> Archived<'a> {
    /// `runtime`: ONNX Runtime's shared library; `None`: as `ORT_DYLIB_PATH` says.
    ///
    /// # Errors
    /// When the library cannot be loaded.
    pub fn new(folder: &'a Path, runtime: Option<&Path>) -> Result<Archived<'a>> {
        Ok(Archived {
            folder,
            runtime: Runtime::load(runtime).map_err(|fatal| not_loaded(fatal, runtime))?,
            packages: BTreeMap::new(),
            deciding: BTreeMap::new(),
        })
    }

    /// The policy of this digest.
    ///
    /// # Errors
    /// When it is missing, altered, or none.
    pub(super) fn policy(&self, digest: &str) -> Result<Policy> {
        let bytes = self.object(digest, layout::policy)?;
        let text = String::from_utf8_lossy(&bytes);
        Policy::parse(&text).ok_or_else(|| violation(format!("the policy {digest} is none")))
    }

    /// The input schema of this digest.
    ///
    /// # Errors
    /// When it is missing, altered, or none.
    pub(super) fn schema(&self, digest: &str) -> Result<InputSchema> {
        let bytes = self.object(digest, layout::schema)?;
        InputSchema::parse(&String::from_utf8_lossy(&bytes))
            .map_err(|error| violation(format!("the input schema {digest} is none")).because(error))
    }

    /// The configuration of this digest, as it was in force.
    ///
    /// # Errors
    /// When it is missing or altered.
    pub fn config(&self, digest: &str) -> Result<String> {
        let bytes = self.object(digest, layout::config)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The package of this digest, with its model opened.
    ///
    /// # Errors
    /// When a file of it is missing or altered, or the model cannot be run here.
    pub fn package(&mut self, name: &str) -> Result<&mut Loaded> {
        if !self.packages.contains_key(name) {
            let loaded = self.load(name)?;
            self.packages.insert(name.to_owned(), loaded);
        }
        Ok(self.packages.get_mut(name).expect("it was loaded"))
    }

    /// In what the runtime that runs a package here differs from the recorded one, named by its digest. `None`: in
    /// nothing.
    ///
    /// # Errors
    /// When the recorded document or the package is missing or altered.
    pub fn difference(&mut self, package: &str, recorded: &str) -> Result<Option<String>> {
        let recorded = self.object(recorded, layout::runtime)?;
        let runtime = self.runtime;
        let ours = runtime.document(&self.package(package)?.model)?;
        Ok(difference(&recorded, ours.as_bytes()))
    }

    /// An object that must be there and have its digest.
    fn object(&self, digest: &str, path: fn(Digest) -> String) -> Result<Vec<u8>> {
        let missing = |what: &str| {
            violation(format!(
                "{what} is missing or altered; run `probity verify`"
            ))
        };
        let digest = Digest::parse(digest).ok_or_else(|| missing("an object without a digest"))?;
        let path = path(digest);
        let bytes = store::get(&Local::read(self.folder), &path)?;
        let bytes = bytes.filter(|bytes| Digest::of(bytes) == digest);
        Ok(bytes.ok_or_else(|| missing(&path))?.to_vec())
    }

    fn load(&self, name: &str) -> Result<Loaded> {
        /// Two archives may have the same package.
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let list = String::from_utf8_lossy(&self.object(name, layout::model)?).into_owned();
        let folder = std::env::temp_dir().join(format!(
            "probity-archived-{}-{}-{:.16}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed),
            name
        ));
        let cannot = |error: std::io::Error| {
            Fatal::unreachable(format!("cannot write {}", folder.display())).because(error)
        };
        std::fs::create_dir_all(&folder).map_err(cannot)?;
        let guard = Folder(folder.clone());
        for line in list.lines() {
            let (digest, file) = line
                .split_once("  ")
                .filter(|(_, file)| !file.contains('/') && !file.starts_with('.'))
                .ok_or_else(|| violation(format!("the package {name} is no list of files")))?;
            let bytes = self.object(digest, layout::model)?;
            std::fs::write(folder.join(file), bytes).map_err(cannot)?;
        }
        let package = Package::load(&folder)?;
        let model = Model::open(&package, self.runtime, &[Provider::Cpu])?;
        Ok(Loaded {
            model,
            package,
            _folder: guard,
        })
    }
}

/// Says how an auditor names the library, who has no configuration.
fn not_loaded(fatal: Fatal, named: Option<&Path>) -> Fatal {
    if fatal.exit != Exit::Unreachable {
        return fatal;
    }
    let from = named.map_or(String::new(), |path| format!(" from {}", path.display()));
    let message = format!(
        "cannot load ONNX Runtime{from}; name its library, libonnxruntime.so, with --runtime or in ORT_DYLIB_PATH; \
         `make setup` fetches one"
    );
    Fatal { message, ..fatal }
}

/// The package's features in its order, from the columns of archived rows.
///
/// # Errors
/// When a column is missing, or of another type.
pub fn features(package: &Package, rows: &RecordBatch) -> Result<Vec<ArrayRef>, String> {
    let features = package.features.iter().map(|feature| {
        let name = format!("feature_{}", feature.name);
        column(rows, &name, &feature.kind.arrow_type())
    });
    features.collect()
}

/// The first key in which two runtime documents differ, the program's build aside: it runs no model.
fn difference(recorded: &[u8], ours: &[u8]) -> Option<String> {
    let parse = |bytes: &[u8]| {
        serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(bytes).ok()
    };
    let (Some(recorded), Some(ours)) = (parse(recorded), parse(ours)) else {
        return Some("the recorded document cannot be read".to_owned());
    };
    let keys = recorded.keys().chain(ours.keys());
    let mut keys = keys.filter(|key| key.as_str() != "program");
    keys.find(|key| recorded.get(*key) != ours.get(*key))
        .cloned()
}

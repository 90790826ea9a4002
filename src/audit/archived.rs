//! What an archive keeps beside its rows, ready for use: packages to run, policies, and whether this runtime is the
//! recorded one.
//!
//! Every object is compared with its digest before it is used.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

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

impl Folder {
    /// A new one, under a name that nobody could know before, and closed to all others: what lies in it is run.
    fn new() -> Result<Folder> {
        let mut random = [0; 16];
        aws_lc_rs::rand::fill(&mut random)
            .map_err(|_| Fatal::new(Exit::Bug, "the system gives no random numbers"))?;
        let name = format!("probity-archived-{:032x}", u128::from_be_bytes(random));
        let folder = std::env::temp_dir().join(name);
        let made = DirBuilder::new().mode(0o700).create(&folder);
        made.map_err(|error| not_written(&folder).because(error))?;
        Ok(Folder(folder))
    }

    fn write(&self, file: &str, bytes: &[u8]) -> Result<()> {
        let written = std::fs::write(self.0.join(file), bytes);
        written.map_err(|error| not_written(&self.0).because(error))
    }
}

fn not_written(folder: &Path) -> Fatal {
    Fatal::unreachable(format!("cannot write {}", folder.display()))
}

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
        let list = String::from_utf8_lossy(&self.object(name, layout::model)?).into_owned();
        let folder = Folder::new()?;
        for line in list.lines() {
            let (digest, file) = line
                .split_once("  ")
                .filter(|(_, file)| !file.contains('/') && !file.starts_with('.'))
                .ok_or_else(|| violation(format!("the package {name} is no list of files")))?;
            let bytes = self.object(digest, layout::model)?;
            folder.write(file, &bytes)?;
        }
        let package = Package::load(&folder.0)?;
        if package.digest().to_string() != name {
            return Err(violation(format!(
                "the package {name} is not what its list says; run `probity verify`"
            )));
        }
        let model = Model::open(&package, self.runtime, &[Provider::Cpu])?;
        Ok(Loaded {
            model,
            package,
            _folder: folder,
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn only_the_package_that_rows_name_is_run() {
        let test = "audit::archived::only_the_package_that_rows_name_is_run";
        if crate::infer::testing::runtime(test).is_none() {
            return;
        }
        let archive = tempfile::tempdir().unwrap();
        let keep = |bytes: &[u8]| {
            let path = archive.path().join(layout::model(Digest::of(bytes)));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
            Digest::of(bytes).to_string()
        };
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models");
        let list = crate::infer::testing::fixture("pipeline").listing();
        for (_, file) in list.lines().filter_map(|line| line.split_once("  ")) {
            keep(&std::fs::read(models.join("pipeline").join(file)).unwrap());
        }
        let mut archived = Archived::new(archive.path(), None).unwrap();
        assert!(archived.package(&keep(list.as_bytes())).is_ok());
        // The same files, and the digest of this list; but no start would have named the package so.
        let reversed: Vec<&str> = list.lines().rev().collect();
        let reversed = reversed.join("\n") + "\n";
        let error = archived.package(&keep(reversed.as_bytes())).err().unwrap();
        assert_eq!(error.exit, Exit::Integrity);
        let text = error.to_string();
        assert!(text.contains("is not what its list says"), "{text}");
    }

    #[test]
    fn what_is_run_lies_in_a_folder_of_its_own_that_is_closed_to_others() {
        let [one, other] = [Folder::new().unwrap(), Folder::new().unwrap()];
        assert_ne!(one.0, other.0);
        let mode = std::fs::metadata(&one.0).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        one.write("model.toml", b"x").unwrap();
        let path = one.0.clone();
        drop(one);
        assert!(!path.exists());
    }
}

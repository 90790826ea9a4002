//! ONNX Runtime's shared library, loaded once per process.
//!
//! Promises that a library that is missing, foreign or too old is an error with its fix and never a panic, and
//! that what was loaded is known by the digest of its file.

use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use ort::environment::Environment;
use ort::logging::LogLevel;

use crate::error::{Fatal, Result};
use crate::record::Digest;

/// Names the library where the configuration does not.
const LIBRARY_VARIABLE: &str = "ORT_DYLIB_PATH";

/// The loaded library. One per process, and never unloaded.
pub struct Runtime {
    pub(super) environment: Environment,
    library: PathBuf,
    digest: Digest,
    version: String,
    build: String,
}

static RUNTIME: OnceLock<Runtime> = OnceLock::new();
static LOADING: Mutex<()> = Mutex::new(());

impl Runtime {
    /// Loads the library at `path`, or else the one that `ORT_DYLIB_PATH` names. The loader's search path is
    /// not used: what is run must be known, because it is recorded.
    ///
    /// # Errors
    /// If there is none, if it is not ONNX Runtime or too old, or if another one was loaded before.
    pub fn load(path: Option<&Path>) -> Result<&'static Runtime> {
        let named = path.map(Path::to_owned).or_else(named_by_environment);
        let Some(named) = named else {
            return Err(Fatal::unreachable(format!(
                "no ONNX Runtime library is named: {}",
                how_to_name()
            )));
        };
        let library = fs::canonicalize(&named).map_err(|error| unusable(&named).because(error))?;
        let _alone = LOADING.lock().expect("loading does not panic");
        match RUNTIME.get() {
            Some(runtime) if runtime.library == library => Ok(runtime),
            Some(runtime) => Err(Fatal::usage(format!(
                "cannot load {}: this process has loaded {} already, and holds one ONNX Runtime library at most",
                library.display(),
                runtime.library.display()
            ))),
            None => {
                let runtime = Runtime::open(library)?;
                Ok(RUNTIME.get_or_init(|| runtime))
            }
        }
    }

    fn open(library: PathBuf) -> Result<Runtime> {
        let bytes = fs::read(&library).map_err(|error| unusable(&library).because(error))?;
        let builder =
            ort::init_from(&library).map_err(|error| unusable(&library).because(error))?;
        let environment = builder
            .with_name("probity")
            .with_telemetry(false)
            // Its log may repeat a value of a row; whatever fails also comes back as an error.
            .with_logger(Arc::new(|_, _, _, _, _| {}))
            .build()
            .map_err(|error| unusable(&library).because(error))?;
        environment.set_log_level(LogLevel::Fatal);
        Ok(Runtime {
            environment,
            digest: Digest::of(&bytes),
            version: version_of(&bytes).unwrap_or_else(|| "unknown".to_owned()),
            build: ort::info().to_owned(),
            library,
        })
    }

    /// `1.32.0`, or `unknown` if the library's file does not say so.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// What the library says of how it was built; holds the commit.
    #[must_use]
    pub fn build(&self) -> &str {
        &self.build
    }

    /// SHA-256 of the library's file.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The library's file, links resolved.
    #[must_use]
    pub fn library(&self) -> &Path {
        &self.library
    }
}

#[cfg(test)]
impl Runtime {
    /// The same, with its file said to be another.
    pub(super) fn as_if_at(&self, library: PathBuf) -> Runtime {
        Runtime {
            environment: self.environment.clone(),
            library,
            digest: self.digest,
            version: self.version.clone(),
            build: self.build.clone(),
        }
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ONNX Runtime {} at {}",
            self.version,
            self.library.display()
        )
    }
}

fn named_by_environment() -> Option<PathBuf> {
    env::var_os(LIBRARY_VARIABLE)
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
}

fn how_to_name() -> String {
    format!(
        "set {LIBRARY_VARIABLE}, or `runtime` under [model] of the configuration, to libonnxruntime.so of version \
         1.{} or newer; `make setup` fetches one",
        ort::MINOR_VERSION
    )
}

fn unusable(library: &Path) -> Fatal {
    Fatal::unreachable(format!(
        "cannot load ONNX Runtime from {}; {}",
        library.display(),
        how_to_name()
    ))
}

/// The version in the library's symbol table: Microsoft's linker script names every symbol `VERS_1.32.0`. There
/// is a function for it, but no safe way to call it.
fn version_of(library: &[u8]) -> Option<String> {
    let mark = b"VERS_";
    let is_digit = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
    library
        .windows(mark.len())
        .enumerate()
        .find_map(|(at, window)| {
            let digits: Vec<u8> = if window == mark {
                library[at + mark.len()..]
                    .iter()
                    .copied()
                    .take_while(is_digit)
                    .take(16)
                    .collect()
            } else {
                return None;
            };
            String::from_utf8(digits)
                .ok()
                .filter(|text| text.contains('.'))
        })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::error::Exit;
    use crate::infer::testing;

    #[test]
    fn a_missing_library_is_an_error_that_says_what_to_set() {
        let error = Runtime::load(Some(Path::new("/nonexistent/libonnxruntime.so"))).unwrap_err();
        assert_eq!(error.exit, Exit::Unreachable);
        let text = error.to_string();
        for word in [
            "/nonexistent/libonnxruntime.so",
            "ORT_DYLIB_PATH",
            "[model]",
            "make setup",
            "1.24",
        ] {
            assert!(text.contains(word), "{word} is not in: {text}");
        }
    }

    /// Names the library that [`loads_in_a_process_of_its_own`] loads.
    const CHILD_VARIABLE: &str = "PROBITY_TEST_LIBRARY";

    /// Not a test by itself: a process can load one library only, so others run this one in a child.
    #[test]
    fn loads_in_a_process_of_its_own() {
        if let Some(path) = env::var_os(CHILD_VARIABLE) {
            let error = Runtime::load(Some(Path::new(&path))).unwrap_err();
            println!("exit {}: {error}", error.exit as u8);
        }
    }

    /// What a fresh process says of the library.
    fn said_of(library: &Path) -> String {
        let name = "infer::runtime::tests::loads_in_a_process_of_its_own";
        let mut child = Command::new(env::current_exe().unwrap());
        child
            .args(["--exact", name, "--nocapture"])
            .env(CHILD_VARIABLE, library);
        let output = child.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}");
        text
    }

    /// A shared library with this source, by the compiler that librdkafka needs as well.
    fn compiled(folder: &Path, source: &str) -> PathBuf {
        let (code, library) = (folder.join("library.c"), folder.join("library.so"));
        fs::write(&code, source).unwrap();
        let status = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .arg(&library)
            .arg(&code)
            .status();
        assert!(status.unwrap().success());
        library
    }

    #[test]
    fn a_library_that_cannot_be_used_is_an_error_and_no_panic() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("text.so");
        fs::write(&text, "no library").unwrap();
        let said = said_of(&text);
        assert!(
            said.contains("exit 3: cannot load ONNX Runtime from"),
            "{said}"
        );

        let said = said_of(&compiled(folder.path(), "int other(void) { return 1; }"));
        assert!(said.contains("does not export `OrtGetApiBase`"), "{said}");

        let old = "static const char *version(void) { return \"1.23.2\"; }
            static const void *base[2] = { 0, version };
            const void *OrtGetApiBase(void) { return base; }";
        let said = said_of(&compiled(folder.path(), old));
        assert!(
            said.contains("exit 3: cannot load ONNX Runtime from"),
            "{said}"
        );
        assert!(
            said.contains("1.24 or newer") && said.contains("1.23.2"),
            "{said}"
        );
    }

    #[test]
    fn the_version_is_read_from_the_symbols() {
        assert_eq!(
            version_of(b"\0libfoo\0VERS_\0VERS_1.32.0\0OrtGetApiBase\0"),
            Some("1.32.0".into())
        );
        assert_eq!(version_of(b"\0VERS_x\0"), None);
        assert_eq!(version_of(b""), None);
    }

    #[test]
    fn the_library_is_loaded_once_and_recorded() {
        let Some(runtime) =
            testing::runtime("infer::runtime::the_library_is_loaded_once_and_recorded")
        else {
            return;
        };
        assert!(runtime.version().starts_with("1."), "{}", runtime.version());
        assert!(
            runtime.build().contains("git-commit-id"),
            "{}",
            runtime.build()
        );
        assert_eq!(
            runtime.digest(),
            Digest::of(&fs::read(runtime.library()).unwrap())
        );
        assert!(std::ptr::eq(
            runtime,
            Runtime::load(Some(runtime.library())).unwrap()
        ));
        let error = Runtime::load(Some(Path::new("/dev/null"))).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("holds one ONNX Runtime library at most"),
            "{error}"
        );
    }
}

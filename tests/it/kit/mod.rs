//! The test kit: real Kafka, real processes, and the folder in which a run leaves its traces.
//!
//! Waits for events, never for time: each wait has a deadline, and what happened instead is in the
//! panic. Nothing that the kit starts outlives the test process, however that ends.

pub mod auditor;
pub mod bucket;
pub mod client;
pub mod cluster;
pub mod cuda;
pub mod guarded;
pub mod http;
pub mod outputs;
pub mod pipeline;

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

pub use client::{Isolation, Message, Record};
pub use cluster::{Cluster, Jvm};
pub use guarded::{Guarded, Signal};

/// How long anything may take before the test fails. Generous: it is only ever spent on a failure.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// The one-node cluster that the tests of this run share; each uses topics of its own name.
///
/// `None` where something is absent that tests on real Kafka need: the calling test returns, and is
/// counted as skipped.
///
/// # Panics
///
/// With `CI=true`, where nothing may be skipped; and where Kafka does not start.
pub fn kafka() -> Option<&'static Cluster> {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    let libraries = kafka_libraries()?;
    Some(SHARED.get_or_init(|| Cluster::start("shared", 1, &libraries, Jvm::Small)))
}

/// A cluster of the test's own, for tests that stop its nodes. `None` as for [`kafka`].
pub fn own_kafka(name: &str, nodes: usize) -> Option<Cluster> {
    own_kafka_on(name, nodes, Jvm::Small)
}

/// As [`own_kafka`], on another kind of machine.
pub fn own_kafka_on(name: &str, nodes: usize, jvm: Jvm) -> Option<Cluster> {
    Some(Cluster::start(name, nodes, &kafka_libraries()?, jvm))
}

/// The folder of Kafka's jars, if all is there: without ONNX Runtime nothing is scored, and without
/// Python nobody takes the books.
fn kafka_libraries() -> Option<PathBuf> {
    present("ORT_DYLIB_PATH", "ONNX Runtime")?;
    python()?;
    present("KAFKA_LIBS", "Apache Kafka")
}

/// The interpreter of the tests' Python environment.
pub fn python() -> Option<PathBuf> {
    present("PROBITY_PYTHON", "the Python environment")
}

/// Whether ONNX Runtime is there, for tests that score without Kafka.
pub fn runtime() -> Option<()> {
    present("ORT_DYLIB_PATH", "ONNX Runtime").map(drop)
}

/// The program of `tests/go`, which checks a ledger with Go's libraries.
pub fn ledgercheck() -> Option<PathBuf> {
    present("PROBITY_LEDGERCHECK", "Go")
}

/// ONNX Runtime with its CUDA provider.
fn cuda_runtime() -> Option<PathBuf> {
    present("PROBITY_CUDA_RUNTIME", "ONNX Runtime for CUDA")
}

fn present(variable: &str, what: &str) -> Option<PathBuf> {
    match std::env::var_os(variable) {
        Some(path) if !path.is_empty() => Some(path.into()),
        _ => skip(&format!(
            "{what} is absent ({variable} is not set: use `make test`)"
        )),
    }
}

/// Notes that the calling test is skipped, and why, where `make test` reads it.
fn skip<T>(why: &str) -> Option<T> {
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "nothing may be skipped here: {why}"
    );
    let thread = std::thread::current();
    let line = format!("{}: {why}\n", thread.name().unwrap_or("a test"));
    eprint!("skipped {line}");
    if let Some(log) = std::env::var_os("PROBITY_SKIP_LOG") {
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
    None
}

/// Starts `probity` in `folder` with `arguments` and, on top of the environment, `variables`. Its
/// output goes to `<name>.stdout` and `<name>.stderr` there.
pub fn probity(
    folder: &Path,
    name: &str,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> Guarded {
    let mut command = Command::new(env!("CARGO_BIN_EXE_probity"));
    // Whoever runs the tests may have credentials of their own.
    command
        .args(arguments)
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_SECRET_ACCESS_KEY")
        .envs(variables.iter().copied())
        .current_dir(folder);
    Guarded::start(&command, &folder.join(name))
}

/// A new, empty folder of this run for `name`, usually the test's name. It stays after the run, so
/// that a failure can be looked into; the next run removes it.
pub fn folder(name: &str) -> PathBuf {
    let folder = run_folder().join(name);
    fs::create_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    folder
}

fn run_folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let runs = Path::new(env!("CARGO_TARGET_TMPDIR")).join("it");
        remove_ended_runs(&runs);
        let folder = runs.join(std::process::id().to_string());
        fs::create_dir_all(&folder).unwrap();
        folder
    })
}

/// Removes the folders of the runs whose process is gone.
fn remove_ended_runs(runs: &Path) {
    let Ok(entries) = fs::read_dir(runs) else {
        return;
    };
    for entry in entries.map(Result::unwrap) {
        if !Path::new("/proc").join(entry.file_name()).exists() {
            fs::remove_dir_all(entry.path()).unwrap();
        }
    }
}

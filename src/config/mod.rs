//! The configuration: one TOML file, the environment and `--set`, read once into plain types.
//!
//! After [`Config::load`] nobody checks a setting again: every key is known, every value is within
//! its limits, and the limits agree with each other. Touches no broker, no model and no archive.
//! Every error names the place, the key and the fix; all are found in one go. Secrets appear in no
//! output of this module.

mod checks;
mod clients;
mod kafka;
mod keys;
mod layers;
mod reader;
#[cfg(test)]
mod tests;
pub mod units;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::Result;
use crate::record::Digest;
pub use clients::refused_client;
use kafka::Kafka;
pub use kafka::{Properties, is_secret};
pub use layers::{Environment, environment};
use layers::{Layers, Origin};
use reader::Reader;

/// The folder of the default file, where relative paths start when no file is given.
const DEFAULT_FOLDER: &str = "config";

/// What a dead letter needs beside the value that it carries: key, headers, error headers.
pub const DEAD_LETTER_ROOM_BYTES: usize = 64 << 10;

/// Every setting, checked. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct Config {
    pub pipeline: Pipeline,
    pub input: Input,
    pub batch: Batch,
    pub model: Model,
    pub explain: Explain,
    pub drift: Drift,
    pub output: Output,
    pub keys: Keys,
    pub archive: Archive,
    pub admin: Admin,
    pub log: Log,
    pub limits: Limits,
    kafka: Kafka,
    effective: String,
    origins: BTreeMap<String, Origin>,
}

#[derive(Clone, Debug)]
pub struct Pipeline {
    /// The consumer group, and the beginning of every transactional id.
    pub name: String,
    /// Stable across restarts, different in each process that runs at the same time.
    pub instance: String,
    pub lanes: usize,
}

#[derive(Clone, Debug)]
pub struct Input {
    pub topic: String,
    pub format: Format,
    /// The Avro schema that declares the event.
    pub schema: PathBuf,
    /// Name of the field that identifies an event.
    pub event_id: String,
    /// Name of the field that says when the event happened.
    pub event_time: String,
    pub unknown_fields: UnknownFields,
    /// The largest value that is decoded; a larger one is rejected.
    pub max_bytes: usize,
    /// With `avro-registry`: the writer's schema by its id in the registry.
    pub schemas: BTreeMap<u32, PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    Json,
    Avro,
    /// Avro behind the schema registry's five bytes.
    AvroRegistry,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnknownFields {
    /// Counted, and otherwise as if they were not there.
    Ignore,
    Reject,
}

#[derive(Clone, Debug)]
pub struct Batch {
    pub max_rows: usize,
    /// Sum of the values of one round.
    pub max_bytes: usize,
    /// How long after the end of the last round the next one waits for more rows, once it has one.
    pub linger: Duration,
}

#[derive(Clone, Debug)]
pub struct Model {
    /// Folder of the model package.
    pub package: PathBuf,
    /// Folders of the packages that score beside it without deciding; at most [`SHADOWS_MAX`](crate::shadow::SHADOWS_MAX).
    pub shadows: Vec<PathBuf>,
    /// How often it is looked whether the folder has another package; zero: never.
    pub watch_interval: Duration,
    /// The public key of who may sign packages; `None`: they need no signature.
    pub trust_key: Option<PathBuf>,
    /// In the order in which ONNX Runtime prefers them; never empty.
    pub providers: Vec<Provider>,
    /// The shared library of ONNX Runtime; `None`: as `ORT_DYLIB_PATH` says.
    pub runtime: Option<PathBuf>,
    pub gpu: Gpu,
}

/// Read with a provider other than the CPU only.
#[derive(Clone, Debug)]
pub struct Gpu {
    /// As CUDA counts the devices that are visible.
    pub device: usize,
    /// What one session, that is one lane, may take of its memory.
    pub memory_bytes: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Provider {
    Cpu,
    Cuda,
    TensorRt,
}

/// What is said of decisions, where the package has reasons.
#[derive(Clone, Debug)]
pub struct Explain {
    pub rows: ExplainedRows,
    /// Of the approved events one in so many is explained too; 0: none.
    pub one_in: usize,
    /// The language of texts in scored records; `None`: the package's own.
    pub language: Option<String>,
    /// What the tables of one model may take.
    pub memory_bytes: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExplainedRows {
    None,
    /// Those that are reviewed or declined, and a sample of the others.
    NotApproved,
    All,
}

/// How far scores and features lie from the package's reference. It is told, and nothing follows.
#[derive(Clone, Debug)]
pub struct Drift {
    /// How long a window is at least; zero: there is none.
    pub window: Duration,
    /// How many rows it has at least.
    pub rows_min: usize,
    /// A population stability index above it is a warning.
    pub alert: f64,
}

#[derive(Clone, Debug)]
pub struct Output {
    pub scored: String,
    pub evidence: String,
    pub dead_letter: String,
    /// Where signed heads of the ledger go, for whoever keeps them elsewhere.
    pub checkpoints: String,
    /// Headers of the event that are passed on.
    pub headers: Vec<String>,
    /// Sum of names and values of the headers passed on; those beyond it are left out.
    pub header_bytes_max: usize,
    /// The largest message that is produced, uncompressed, to any topic.
    pub message_bytes_max: usize,
    /// The operator accepts topics without a second replica.
    pub allow_single_replica: bool,
}

#[derive(Clone, Debug)]
pub struct Keys {
    /// What `probity keys init` made.
    pub folder: PathBuf,
}

#[derive(Clone, Debug)]
pub struct Archive {
    pub store: Store,
    pub segment_rows_max: usize,
    pub segment_bytes_max: usize,
    pub segment_age_max: Duration,
    /// Memory of all open segments together.
    pub buffer_bytes: usize,
    /// How often the head of the ledger is signed, at most.
    pub checkpoint_interval: Duration,
    pub s3: S3,
}

/// Where the archive is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Store {
    /// A folder, absolute.
    File { folder: PathBuf },
    /// `prefix` neither begins nor ends with a slash and may be empty.
    S3 { bucket: String, prefix: String },
}

/// Read for an `s3://` archive only. Credentials come from the environment, as AWS's tools take them.
#[derive(Clone, Debug)]
pub struct S3 {
    /// `None`: AWS.
    pub endpoint: Option<String>,
    pub region: String,
    pub allow_http: bool,
}

#[derive(Clone, Debug)]
pub struct Admin {
    pub listen: SocketAddr,
}

#[derive(Clone, Debug)]
pub struct Log {
    pub format: LogFormat,
    pub level: LogLevel,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Clone, Debug)]
pub struct Limits {
    /// The broker aborts a transaction that is open for longer.
    pub transaction_timeout: Duration,
    /// After it the outcome of a commit is unknown, and the producer is made anew.
    pub commit_timeout: Duration,
    /// Of one request to a broker.
    pub request_timeout: Duration,
    /// The group takes the partitions of a lane that does not poll for longer.
    pub poll_interval_max: Duration,
    /// The group takes the partitions of a process that is silent for longer.
    pub session_timeout: Duration,
    /// From the wish to stop to the end of the process.
    pub drain_timeout: Duration,
    /// First wait before a retry; it doubles up to the next one.
    pub retry_backoff_min: Duration,
    pub retry_backoff_max: Duration,
    /// What did not succeed within it, tries and waits together, stops the process. The first try may take the
    /// time of its call.
    pub retry_timeout: Duration,
    /// A thread that did not tick for longer fails `/livez`. Above what one call to Kafka or the store may take.
    pub stuck_after: Duration,
}

impl Config {
    /// Reads the file (`None`: defaults only), the variables `PROBITY__SECTION__KEY` of
    /// `environment` and the `KEY=VALUE`s of `sets`; the later wins.
    ///
    /// # Errors
    /// Usage: the file cannot be read, or everything that is wrong, one sentence a line.
    pub fn load(path: Option<&Path>, sets: &[String], environment: &Environment) -> Result<Config> {
        let layers = Layers::read(path, environment, sets)?;
        let folder = path.map_or(Path::new(DEFAULT_FOLDER), |path| {
            path.parent().unwrap_or_else(|| Path::new(""))
        });
        let mut reader = Reader::new(layers, folder);
        let mut config = Config::read(&mut reader, environment);
        // Limits that are wrong themselves would only make noise about each other.
        if !reader.has_problems() {
            checks::relations(&config, &mut reader);
        }
        (config.effective, config.origins) = reader.finish()?;
        Ok(config)
    }

    /// The effective configuration as TOML: every key, defaults included, secrets redacted.
    /// [`Config::load`] reads it back, secrets aside.
    #[must_use]
    pub fn show(&self) -> &str {
        &self.effective
    }

    /// SHA-256 of [`Config::show`]. Paths count as they are written in the file.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.effective.as_bytes())
    }

    /// `probity.toml:31: model.package`: how an error of a later stage names the key to mend.
    #[must_use]
    pub fn place(&self, key: &str) -> String {
        match self.origins.get(key).unwrap_or(&Origin::Default) {
            Origin::Argument(name) => (*name).to_owned(),
            origin => format!("{origin}: {key}"),
        }
    }

    /// Puts the package of a command line into the place of the configuration's; `argument` names it in errors.
    pub fn set_package(&mut self, folder: &Path, argument: &'static str) {
        folder.clone_into(&mut self.model.package);
        let key = "model.package".to_owned();
        self.origins.insert(key, Origin::Argument(argument));
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.effective)
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Store::File { folder } => write!(f, "file://{}", folder.display()),
            Store::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Store::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

impl LogLevel {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}

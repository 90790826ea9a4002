//! The one list of keys: the name, the default and the limits of each, in the order of
//! `config/probity.toml`.

use super::*;
use crate::shadow::SHADOWS_MAX;

const FORMATS: [(&str, Format); 3] = [
    ("json", Format::Json),
    ("avro", Format::Avro),
    ("avro-registry", Format::AvroRegistry),
];
const UNKNOWN_FIELDS: [(&str, UnknownFields); 2] = [
    ("ignore", UnknownFields::Ignore),
    ("reject", UnknownFields::Reject),
];
const PROVIDERS: [(&str, Provider); 3] = [
    ("cpu", Provider::Cpu),
    ("cuda", Provider::Cuda),
    ("tensorrt", Provider::TensorRt),
];
const EXPLAINED_ROWS: [(&str, ExplainedRows); 3] = [
    ("none", ExplainedRows::None),
    ("not_approved", ExplainedRows::NotApproved),
    ("all", ExplainedRows::All),
];
const LOG_FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];
const LOG_LEVELS: [(&str, LogLevel); 5] = [
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];

impl Config {
    /// Every section, in its order.
    pub(super) fn read(reader: &mut Reader, environment: &Environment) -> Config {
        let pipeline = Pipeline::read(reader, environment);
        let kafka = Kafka::read(reader);
        let input = Input::read(reader);
        let batch = Batch::read(reader);
        let model = Model::read(reader);
        let explain = Explain::read(reader);
        let drift = Drift::read(reader);
        let output = Output::read(reader, &input.topic);
        Config {
            pipeline,
            input,
            batch,
            model,
            explain,
            drift,
            output,
            keys: Keys::read(reader),
            archive: Archive::read(reader),
            admin: Admin::read(reader),
            log: Log::read(reader),
            limits: Limits::read(reader),
            kafka,
            effective: String::new(),
            origins: BTreeMap::new(),
        }
    }
}

impl Pipeline {
    fn read(reader: &mut Reader, environment: &Environment) -> Pipeline {
        let name = reader.checked("pipeline.name", "payments", checks::name);
        let instance = reader.checked("pipeline.instance", &host_name(environment), checks::name);
        Pipeline {
            name,
            instance,
            lanes: reader.number("pipeline.lanes", 1, 1..=64),
        }
    }
}

/// The name of this host, or nothing, which is refused as the name of an instance.
fn host_name(environment: &Environment) -> String {
    let file = || std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let name = environment.get("HOSTNAME").cloned().unwrap_or_else(file);
    name.trim().to_owned()
}

impl Input {
    fn read(reader: &mut Reader) -> Input {
        let input = Input {
            topic: reader.checked("input.topic", "payments", checks::topic),
            format: reader.choice("input.format", "json", &FORMATS),
            schema: required_path(reader, "input.schema", "../schemas/payment.avsc"),
            event_id: reader.checked("input.event_id", "transaction_id", checks::field),
            event_time: reader.checked("input.event_time", "event_time", checks::field),
            unknown_fields: reader.choice("input.unknown_fields", "ignore", &UNKNOWN_FIELDS),
            max_bytes: reader.size("input.max_bytes", "1MiB", ["1KiB", "64MiB"]),
            schemas: BTreeMap::new(),
        };
        reader.section("input.schemas");
        Input {
            schemas: reader.numbered_paths("input.schemas"),
            ..input
        }
    }
}

impl Batch {
    fn read(reader: &mut Reader) -> Batch {
        Batch {
            max_rows: reader.number("batch.max_rows", 4096, 1..=65_536),
            max_bytes: reader.size("batch.max_bytes", "16MiB", ["1KiB", "1GiB"]),
            linger: reader.duration("batch.linger", "10ms", ["0ms", "1m"]),
        }
    }
}

impl Model {
    fn read(reader: &mut Reader) -> Model {
        Model {
            package: required_path(reader, "model.package", "models/card-risk"),
            shadows: shadows(reader),
            watch_interval: reader.duration("model.watch_interval", "5s", ["0ms", "1h"]),
            trust_key: reader.path("model.trust_key", ""),
            providers: reader.choices("model.providers", &[Provider::Cpu], &PROVIDERS),
            runtime: reader.path("model.runtime", ""),
            gpu: Gpu {
                device: reader.number("model.gpu.device", 0, 0..=255),
                memory_bytes: reader.size("model.gpu.memory", "1GiB", ["64MiB", "1024GiB"]),
            },
        }
    }
}

impl Explain {
    fn read(reader: &mut Reader) -> Explain {
        let language = reader.checked("explain.language", "", checks::language);
        Explain {
            rows: reader.choice("explain.rows", "not_approved", &EXPLAINED_ROWS),
            one_in: reader.number("explain.one_in", 100, 0..=1_000_000_000),
            language: Some(language).filter(|language| !language.is_empty()),
            memory_bytes: reader.size("explain.memory", "256MiB", ["1MiB", "16GiB"]),
        }
    }
}

impl Drift {
    fn read(reader: &mut Reader) -> Drift {
        Drift {
            window: reader.duration("drift.window", "1h", ["0ms", "168h"]),
            rows_min: reader.number("drift.rows_min", 1000, 1..=1_000_000_000),
            alert: reader.decimal("drift.alert", 0.25, 0.001..=100.0),
        }
    }
}

impl Output {
    fn read(reader: &mut Reader, input: &str) -> Output {
        let mut topic = |key: &str, suffix: &str| {
            reader.checked(key, &format!("{input}.{suffix}"), checks::topic)
        };
        let scored = topic("output.scored", "scored");
        let evidence = topic("output.evidence", "evidence");
        let dead_letter = topic("output.dead_letter", "dlq");
        let checkpoints = topic("output.checkpoints", "checkpoints");
        Output {
            scored,
            evidence,
            dead_letter,
            checkpoints,
            headers: reader.texts("output.headers", &["traceparent", "tracestate"]),
            header_bytes_max: reader.size("output.header_bytes_max", "4KiB", ["0B", "32KiB"]),
            message_bytes_max: reader.size(
                "output.message_bytes_max",
                "2MiB",
                ["128KiB", "128MiB"],
            ),
            allow_single_replica: reader.boolean("output.allow_single_replica", false),
        }
    }
}

impl Keys {
    fn read(reader: &mut Reader) -> Keys {
        Keys {
            folder: required_path(reader, "keys.folder", "keys"),
        }
    }
}

impl Archive {
    fn read(reader: &mut Reader) -> Archive {
        let store = reader.parsed(
            "archive.url",
            "file:///var/lib/probity/archive",
            checks::store,
            Store::to_string,
        );
        Archive {
            store,
            segment_rows_max: reader.number("archive.segment_rows_max", 1 << 20, 1..=1 << 30),
            segment_bytes_max: reader.size(
                "archive.segment_bytes_max",
                "128MiB",
                ["64KiB", "4GiB"],
            ),
            segment_age_max: reader.duration("archive.segment_age_max", "5m", ["1s", "24h"]),
            buffer_bytes: reader.size("archive.buffer_bytes", "192MiB", ["1MiB", "64GiB"]),
            checkpoint_interval: reader.duration("archive.checkpoint_interval", "1m", ["1s", "1h"]),
            s3: S3::read(reader),
        }
    }
}

impl S3 {
    fn read(reader: &mut Reader) -> S3 {
        let endpoint = reader.checked("archive.s3.endpoint", "", checks::endpoint);
        S3 {
            endpoint: (!endpoint.is_empty()).then_some(endpoint),
            region: reader.text("archive.s3.region", "us-east-1"),
            allow_http: reader.boolean("archive.s3.allow_http", false),
        }
    }
}

impl Admin {
    fn read(reader: &mut Reader) -> Admin {
        let parse = |text: &str| {
            text.parse().map_err(|_| {
                format!("is {text:?}; write an address and a port, like \"127.0.0.1:9464\"")
            })
        };
        Admin {
            listen: reader.parsed(
                "admin.listen",
                "127.0.0.1:9464",
                parse,
                SocketAddr::to_string,
            ),
        }
    }
}

impl Log {
    fn read(reader: &mut Reader) -> Log {
        Log {
            format: reader.choice("log.format", "text", &LOG_FORMATS),
            level: reader.choice("log.level", "info", &LOG_LEVELS),
        }
    }
}

impl Limits {
    fn read(reader: &mut Reader) -> Limits {
        let mut limit = |name: &str, default: &str, least: &str, most: &str| {
            reader.duration(&format!("limits.{name}"), default, [least, most])
        };
        Limits {
            transaction_timeout: limit("transaction_timeout", "15s", "1s", "15m"),
            commit_timeout: limit("commit_timeout", "10s", "500ms", "15m"),
            request_timeout: limit("request_timeout", "10s", "500ms", "5m"),
            poll_interval_max: limit("poll_interval_max", "5m", "10s", "24h"),
            session_timeout: limit("session_timeout", "45s", "6s", "30m"),
            drain_timeout: limit("drain_timeout", "25s", "1s", "1h"),
            retry_backoff_min: limit("retry_backoff_min", "100ms", "1ms", "1m"),
            retry_backoff_max: limit("retry_backoff_max", "5s", "1ms", "5m"),
            retry_timeout: limit("retry_timeout", "2m", "0ms", "1h"),
            stuck_after: limit("stuck_after", "2m", "1s", "1h"),
        }
    }
}

fn shadows(reader: &mut Reader) -> Vec<PathBuf> {
    let folders = reader.paths("model.shadows");
    if folders.len() > SHADOWS_MAX {
        let what = format!(
            "names {} packages; each costs as much as the one that decides: write {SHADOWS_MAX} at most",
            folders.len()
        );
        reader.problem("model.shadows", &what);
    }
    folders
}

fn required_path(reader: &mut Reader, key: &str, default: &str) -> PathBuf {
    reader.path(key, default).unwrap_or_else(|| {
        reader.problem(key, "is empty; name a path");
        PathBuf::new()
    })
}

//! One pipeline of a test's own on a cluster: its topics, its configuration, its processes, its books.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use probity::generate::{Generator, Settings};
use probity::keys::Keys;

use super::bucket::Bucket;
use super::{Cluster, Guarded, Message, folder, probity};

/// Partitions of every pipeline's topics, unless a test needs others.
pub const PARTITIONS: i32 = 4;

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub struct Pipeline<'c> {
    pub kafka: &'c Cluster,
    pub name: String,
    pub folder: PathBuf,
    config: PathBuf,
    bucket: Option<&'c Bucket>,
}

impl<'c> Pipeline<'c> {
    /// A pipeline with `PARTITIONS` partitions, created by its own command, that begins with the
    /// earliest record. `more` is added to its configuration.
    pub fn create(kafka: &'c Cluster, name: &str, more: &str) -> Pipeline<'c> {
        let pipeline = Pipeline::prepare(kafka, name, more);
        pipeline.create_topics("earliest");
        pipeline
    }

    /// As `create`, with its archive in a bucket.
    pub fn create_on(kafka: &'c Cluster, bucket: &'c Bucket, name: &str) -> Pipeline<'c> {
        let mut pipeline = Pipeline::prepare(kafka, name, "");
        pipeline.bucket = Some(bucket);
        pipeline.configure("");
        pipeline.create_topics("earliest");
        pipeline
    }

    /// As `create`, without topics and offsets.
    pub fn prepare(kafka: &'c Cluster, name: &str, more: &str) -> Pipeline<'c> {
        let folder = folder(name);
        let config = folder.join("probity.toml");
        let pipeline = Pipeline {
            kafka,
            name: name.to_owned(),
            folder,
            config,
            bucket: None,
        };
        Keys::create(&pipeline.keys(), "test.example").unwrap();
        pipeline.configure(more);
        pipeline
    }

    /// The folder of the pipeline's keys.
    pub fn keys(&self) -> PathBuf {
        self.folder.join("keys")
    }

    /// Writes the configuration anew.
    pub fn configure(&self, more: &str) {
        let text = format!(
            r#"
[pipeline]
name = "{name}"
instance = "a"
[kafka]
"bootstrap.servers" = "{bootstrap}"
[input]
topic = "{name}"
schema = "{root}/schemas/payment.avsc"
[model]
package = "{root}/config/models/card-risk"
[output]
allow_single_replica = {single}
[keys]
folder = "{keys}"
[archive]
segment_age_max = "1s"
checkpoint_interval = "1s"
{place}
[admin]
listen = "127.0.0.1:0"
[limits]
session_timeout = "6s"
transaction_timeout = "5s"
commit_timeout = "4s"
request_timeout = "3s"
{more}
"#,
            name = self.name,
            bootstrap = self.kafka.bootstrap(),
            root = root().display(),
            keys = self.keys().display(),
            single = self.kafka.size() == 1,
            place = self.place(),
        );
        fs::write(&self.config, text).unwrap();
    }

    /// Where the archive is, if it is in a bucket.
    pub fn bucket(&self) -> Option<&'c Bucket> {
        self.bucket
    }

    /// Where the archive is, for the section `[archive]`.
    fn place(&self) -> String {
        match self.bucket {
            None => format!("url = \"file://{}\"", self.archive().display()),
            Some(bucket) => format!(
                "url = \"{}\"\ns3.endpoint = \"{}\"\ns3.allow_http = true",
                bucket.url(),
                bucket.endpoint()
            ),
        }
    }

    /// Adds a line to the section `[input]` of the configuration.
    pub fn configure_input(&self, line: &str) {
        let text = fs::read_to_string(&self.config).unwrap();
        fs::write(
            &self.config,
            text.replace("[input]\n", &format!("[input]\n{line}\n")),
        )
        .unwrap();
    }

    /// Reads scores, evidence and archive by their written contracts, in Python.
    pub fn assert_contracts_hold(&self) {
        let python = std::env::var("PROBITY_PYTHON").expect("`make test` sets PROBITY_PYTHON");
        let output = Command::new(python)
            .arg(root().join("tests/python/contracts.py"))
            .args([
                "--bootstrap",
                self.kafka.bootstrap(),
                "--prefix",
                &self.name,
            ])
            .arg("--archive")
            .arg(self.archive())
            .arg("--keys")
            .arg(self.keys())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
    }

    /// Waits until the group has committed all of the input.
    pub fn await_processed(&self) {
        let deadline = std::time::Instant::now() + super::DEADLINE;
        loop {
            let committed = self.kafka.committed(&self.name, &self.name);
            let ends = self.kafka.ends(&self.name);
            if committed
                .iter()
                .zip(&ends)
                .all(|(offset, end)| *offset == Some(*end))
            {
                return;
            }
            assert!(
                std::time::Instant::now() < deadline,
                "{committed:?} of {ends:?}"
            );
            // A group's commits come without notice.
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
    }

    /// The archive's folder; of an archive in a bucket, the copy that the books were taken from.
    pub fn archive(&self) -> PathBuf {
        self.folder.join("archive")
    }

    /// Runs a command to its end. Its exit code and all that it said.
    pub fn command(&self, arguments: &[&str]) -> (i32, String) {
        static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let n = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut process = self.start(&format!("command-{n}"), arguments, &[]);
        let code = process.wait();
        (code, process.lines().join("\n"))
    }

    /// Creates the topics and commits first offsets.
    pub fn create_topics(&self, start: &str) {
        self.create_topics_with(start, PARTITIONS);
    }

    /// As [`Pipeline::create_topics`], with another number of partitions.
    pub fn create_topics_with(&self, start: &str, partitions: i32) {
        let replicas = self.kafka.size().min(3).to_string();
        let partitions = partitions.to_string();
        let (code, said) = self.command(&[
            "topics",
            "create",
            "--start",
            start,
            "--partitions",
            &partitions,
            "--replicas",
            &replicas,
        ]);
        assert_eq!(code, 0, "{said}");
    }

    /// Starts a process of the pipeline; `name` is its instance and names its logs.
    pub fn run(&self, instance: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Guarded {
        let set = format!("pipeline.instance={instance}");
        let mut all = vec!["run", "--set", &set];
        all.extend(arguments);
        self.start(&format!("run-{instance}"), &all, variables)
    }

    /// Starts any command of the pipeline; `name` names its logs.
    pub fn start(&self, name: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Guarded {
        let config = self.config.to_str().unwrap();
        let mut all = vec!["--config", config];
        all.extend(arguments);
        let bucket = self.bucket.iter().flat_map(|bucket| bucket.variables());
        let variables: Vec<_> = bucket.chain(variables.iter().copied()).collect();
        probity(&self.folder, name, &all, &variables)
    }

    /// Produces `count` payments of the generator, each card on a partition of its own.
    pub fn produce_payments(&self, seed: u64, count: usize) {
        self.kafka.produce(&self.name, &payments(seed, count));
    }

    /// The books: waits until all is processed (and archived, if `archived`), then judges. Panics with
    /// the report when they do not agree, or what is archived is not verified.
    pub fn assert_books_agree(&self, archived: bool) {
        let (agree, report) = self.books(archived);
        assert!(
            agree,
            "{}: the books do not agree:\n{report}",
            self.folder.display()
        );
        if archived {
            self.assert_verified();
        }
    }

    /// Whether the books agree, and the report.
    pub fn books(&self, archived: bool) -> (bool, String) {
        self.take_books(archived, true)
    }

    /// The books of a pipeline that is not probity's, and signs nothing.
    pub fn unsigned_books(&self) -> (bool, String) {
        self.take_books(true, false)
    }

    fn take_books(&self, archived: bool, signed: bool) -> (bool, String) {
        let python = std::env::var("PROBITY_PYTHON").expect("`make test` sets PROBITY_PYTHON");
        let mut command = Command::new(python);
        command
            .arg(root().join("tests/python/accounting.py"))
            .args(["--bootstrap", self.kafka.bootstrap(), "--group", &self.name])
            .args(["--input", &self.name])
            .args(["--scored", &format!("{}.scored", self.name)])
            .args(["--evidence", &format!("{}.evidence", self.name)])
            .args(["--dlq", &format!("{}.dlq", self.name)])
            .args(["--wait", "90"]);
        if signed {
            command.arg("--trust").arg(self.trust());
        }
        if archived {
            command.arg("--archive").arg(self.archive());
            if let Some(bucket) = self.bucket {
                bucket.let_read(&mut command);
            }
        }
        let output = command.output().unwrap();
        let report = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), report)
    }
}

/// `count` payments of the generator as messages, spread over the partitions by their key.
pub fn payments(seed: u64, count: usize) -> Vec<Message> {
    let settings = Settings {
        seed,
        ..Settings::for_cards(500)
    };
    Generator::new(settings)
        .take(count)
        .map(|payment| {
            let mut value = Vec::new();
            payment.write_json(&mut value);
            let sum: u32 = payment.key().bytes().map(u32::from).sum();
            Message {
                partition: i32::try_from(sum).unwrap() % PARTITIONS,
                key: Some(payment.key().into()),
                value: Some(value),
                ..Message::default()
            }
        })
        .collect()
}

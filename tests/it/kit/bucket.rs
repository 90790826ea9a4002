//! Buckets on a real server of S3's protocol, which misbehaves on request and remembers what it was asked.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::sync::OnceLock;

use probity::archive;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::{DEADLINE, Guarded, folder, pipeline::root, python};

/// The ids of the access keys: of the code under test, and of who judges it.
const PROBITY: &str = "probity";
const JUDGE: &str = "judge";

/// What the server does with a request instead of what it should.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// 409 ConditionalRequestConflict; nothing is stored.
    Conflict,
    /// 500 after the object was stored.
    ErrorAfter,
    /// The connection ends after the object was stored.
    DropAfter,
    /// 503 SlowDown; nothing is stored.
    Busy,
    /// `If-None-Match` is not heeded.
    Overwrite,
    /// 501 NotImplemented; nothing is stored.
    NotImplemented,
}

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Fault::Conflict => "conflict",
            Fault::ErrorAfter => "error-after",
            Fault::DropAfter => "drop-after",
            Fault::Busy => "busy",
            Fault::Overwrite => "overwrite",
            Fault::NotImplemented => "not-implemented",
        }
    }
}

/// A request of the code under test, as the server saw it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    pub method: String,
    pub key: String,
    pub status: u64,
    pub fault: Option<String>,
}

/// A bucket of a test's own, on the server that the tests of this run share.
pub struct Bucket {
    server: &'static Server,
    name: String,
}

impl Bucket {
    /// Makes a bucket. `None` as for [`super::kafka`].
    pub fn create(name: &str) -> Option<Bucket> {
        let bucket = Bucket::absent(name)?;
        bucket.server.ask("PUT", &format!("/{name}"), "");
        Some(bucket)
    }

    /// As `create`, without making it.
    pub fn absent(name: &str) -> Option<Bucket> {
        Some(Bucket {
            server: server()?,
            name: name.to_owned(),
        })
    }

    /// The archive's URL: a folder of the bucket.
    pub fn url(&self) -> String {
        format!("s3://{}/an/archive", self.name)
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.server.address)
    }

    /// What processes of probity find in their environment.
    pub fn variables(&self) -> [(&'static str, &'static str); 2] {
        [
            ("AWS_ACCESS_KEY_ID", PROBITY),
            ("AWS_SECRET_ACCESS_KEY", "any"),
        ]
    }

    /// Gives a command of boto3 what it needs to read the bucket.
    pub fn let_read(&self, command: &mut Command) {
        command
            .args(["--bucket", &self.url()])
            .env("AWS_ENDPOINT_URL_S3", self.endpoint())
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", JUDGE)
            .env("AWS_SECRET_ACCESS_KEY", "any");
    }

    /// Opens it as probity does.
    pub fn open(&self) -> archive::Bucket {
        static RUNTIME: OnceLock<Runtime> = OnceLock::new();
        let runtime = RUNTIME.get_or_init(|| {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(1).enable_all().build().unwrap()
        });
        let endpoint = self.endpoint();
        let options = [
            ("region", "us-east-1"),
            ("endpoint", &endpoint),
            ("allow_http", "true"),
            ("access_key_id", PROBITY),
            ("secret_access_key", "any"),
        ];
        let timeout = std::time::Duration::from_secs(30);
        archive::Bucket::open(&self.url(), options, timeout, runtime.handle().clone()).unwrap()
    }

    /// Plants a fault for the next `times` requests with that method and a path of the archive that
    /// fits the pattern; `None`: for all.
    pub fn plant(&self, method: &str, pattern: &str, fault: Fault, times: Option<u32>) {
        let planted = json!({
            "bucket": self.name,
            "method": method,
            "key": format!("an/archive/{pattern}"),
            "fault": fault.name(),
            "times": times,
        });
        self.server.ask("POST", "/-/faults", &planted.to_string());
    }

    /// What probity asked so far, in order.
    pub fn requests(&self) -> Vec<Request> {
        let path = format!("/-/requests?bucket={}", self.name);
        let answer: Value = serde_json::from_str(&self.server.ask("GET", &path, "")).unwrap();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        answer
            .as_array()
            .unwrap()
            .iter()
            .filter(|record| record["key_id"] == PROBITY)
            .map(|record| Request {
                method: text(&record["method"]).unwrap(),
                key: text(&record["key"]).unwrap(),
                status: record["status"].as_u64().unwrap(),
                fault: text(&record["fault"]),
            })
            .collect()
    }

    /// Checks that so many requests of probity met a planted fault.
    pub fn assert_faults_met(&self, fault: Fault, times: usize) {
        let requests = self.requests();
        let met = requests
            .iter()
            .filter(|request| request.fault.as_deref() == Some(fault.name()));
        assert_eq!(met.count(), times, "{requests:#?}");
    }

    /// Checks that probity asked something, and only for single objects: whatever has no key is asked
    /// of the bucket, as a listing is.
    pub fn assert_nothing_was_listed(&self) {
        let requests = self.requests();
        assert!(!requests.is_empty());
        let of_bucket: Vec<_> = requests.iter().filter(|r| r.key.is_empty()).collect();
        assert!(of_bucket.is_empty(), "{of_bucket:#?}");
    }
}

struct Server {
    address: String,
    _process: Guarded,
}

fn server() -> Option<&'static Server> {
    static SHARED: OnceLock<Server> = OnceLock::new();
    let python = python()?;
    Some(SHARED.get_or_init(|| {
        let mut command = Command::new(python);
        command.arg(root().join("tests/python/bucket_server.py"));
        let process = Guarded::start(&command, &folder("buckets").join("server"));
        let line = process.wait_for("listening on ");
        Server {
            address: line.replace("listening on ", ""),
            _process: process,
        }
    }))
}

impl Server {
    /// The body of the answer to one request.
    fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let length = body.len();
        let signature =
            format!("AWS4-HMAC-SHA256 Credential={JUDGE}/20260101/us-east-1/s3/aws4_request");
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: {}\r\nAuthorization: {signature}\r\n\
             Content-Length: {length}\r\n\r\n{body}",
            self.address
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(" 200 "), "{method} {path}: {answer}");
        body.to_owned()
    }
}

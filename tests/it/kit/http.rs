//! What a running process says of itself over HTTP: `/metrics`, `/livez`, `/readyz`.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::{DEADLINE, Guarded};

/// The admin server of a process.
pub struct Admin {
    address: String,
}

impl Admin {
    /// Waits until the process says where its admin server listens.
    pub fn of(process: &Guarded) -> Admin {
        let line = process.wait_for("admin server listens");
        let address = line.split("address=").nth(1).expect("the line says where");
        Admin {
            address: address.trim().to_owned(),
        }
    }

    /// Status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let host = &self.address;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer in HTTP");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }

    /// Asks until the body is as wanted. Returns it, and how long that took.
    pub fn wait_for(&self, path: &str, is_wanted: impl Fn(&str) -> bool) -> (String, Duration) {
        let started = Instant::now();
        loop {
            let (_, body) = self.get(path);
            let waited = started.elapsed();
            if is_wanted(&body) {
                return (body, waited);
            }
            assert!(
                waited < DEADLINE,
                "{path} still says after {waited:?}:\n{body}"
            );
            // Nobody calls back over HTTP.
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The sum of a metric over all its series whose labels contain `label`.
pub fn sum(metrics: &str, name: &str, label: &str) -> f64 {
    let series = metrics.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let labels = series.strip_prefix(name)?;
        let is_it = labels.is_empty() || labels.starts_with('{');
        (is_it && labels.contains(label)).then(|| value.parse::<f64>().unwrap())
    });
    series.sum()
}

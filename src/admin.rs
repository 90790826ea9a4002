//! Health and metrics over HTTP: `/livez`, `/readyz` and `/metrics`.
//!
//! Each worker thread owns one [`Part`] of [`Health`] and writes only that; this module only reads.
//! `/livez` asks whether threads tick, which they also do between calls that are tried again, never whether Kafka
//! or a store answers: a restart mends neither. One call that does not end within `limits.stuck_after` fails it.
//! `/readyz` says in sentences what keeps the process from its work. Neither waits for a worker:
//! every lock is held for a few instructions.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::error::{Fatal, Result};
use crate::metrics;

/// How long a client that does not finish its request may hold up the end of the process.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// What the worker threads say of themselves.
#[derive(Debug)]
pub struct Health {
    /// Ticks count from here.
    epoch: Instant,
    stuck_after: Duration,
    draining: AtomicBool,
    lanes: Vec<Part>,
    archive: Option<Part>,
}

/// One worker thread. Written by that thread alone.
#[derive(Debug)]
pub struct Part {
    name: String,
    epoch: Instant,
    /// Milliseconds since the epoch, plus one; 0: not yet.
    last_tick: AtomicU64,
    status: Mutex<Status>,
}

#[derive(Debug, Default)]
struct Status {
    /// `None` until the first assignment; an idle worker has `Some(0)` and is ready.
    assigned: Option<usize>,
    /// Why, by partition.
    refused: BTreeMap<i32, String>,
    stopped: bool,
}

impl Health {
    /// For this many lanes, and for the archiver where this process has that role.
    #[must_use]
    pub fn new(epoch: Instant, lanes: usize, archive: bool, stuck_after: Duration) -> Health {
        Health {
            epoch,
            stuck_after,
            draining: AtomicBool::new(false),
            lanes: (0..lanes)
                .map(|lane| Part::new(format!("lane {lane}"), epoch))
                .collect(),
            archive: archive.then(|| Part::new("archive".to_owned(), epoch)),
        }
    }

    /// # Panics
    /// There is no such lane.
    #[must_use]
    pub fn lane(&self, lane: usize) -> &Part {
        &self.lanes[lane]
    }

    /// # Panics
    /// This process does not archive.
    #[must_use]
    pub fn archive(&self) -> &Part {
        self.archive
            .as_ref()
            .expect("only the archiver asks for its own part")
    }

    /// The process was asked to stop: alive until it ends, and no longer ready.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    fn parts(&self) -> impl Iterator<Item = &Part> {
        self.lanes.iter().chain(&self.archive)
    }

    /// Why a restart is due, one sentence each; nothing while all is well. A worker that has not
    /// ticked yet is starting, which may take as long as it takes.
    #[must_use]
    pub fn not_alive(&self, now: Instant) -> Vec<String> {
        let now = ticks(self.epoch, now);
        let mut reasons = Vec::new();
        for part in self.parts() {
            let last_tick = part.last_tick.load(Ordering::Relaxed);
            let silent = Duration::from_millis(now.saturating_sub(last_tick));
            let is_running = last_tick != 0 && !part.status().stopped;
            if is_running && silent > self.stuck_after {
                reasons.push(format!(
                    "{}: no sign of life for {}s",
                    part.name,
                    silent.as_secs()
                ));
            }
        }
        reasons
    }

    /// Why this process does not do all of its work, one sentence each; nothing when it does.
    #[must_use]
    pub fn not_ready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.draining.load(Ordering::Relaxed) {
            reasons.push("process: stops, as it was asked to".to_owned());
        }
        for part in self.parts() {
            part.status().explain(&part.name, &mut reasons);
        }
        reasons
    }
}

impl Part {
    fn new(name: String, epoch: Instant) -> Part {
        Part {
            name,
            epoch,
            last_tick: AtomicU64::new(0),
            status: Mutex::default(),
        }
    }

    /// Says that the thread runs. Every round, idle or not, before each try of a call that is tried again, and
    /// around the waits in between: what is silent for long is one call that does not end.
    pub fn tick(&self, now: Instant) {
        self.last_tick
            .store(ticks(self.epoch, now), Ordering::Relaxed);
    }

    /// The thread holds this many partitions. Refusals of partitions that it no longer holds are
    /// cleared one by one.
    pub fn set_assigned(&self, partitions: usize) {
        self.status().assigned = Some(partitions);
    }

    /// The thread holds the partition and does not read it: why, and what to do.
    pub fn refuse(&self, partition: i32, sentence: impl Into<String>) {
        self.status().refused.insert(partition, sentence.into());
    }

    /// The partition is read again, or is no longer held.
    pub fn clear(&self, partition: i32) {
        self.status().refused.remove(&partition);
    }

    /// The thread has ended and will not tick again.
    pub fn stop(&self) {
        self.status().stopped = true;
    }

    /// A thread that died while it wrote a sentence must not take `/readyz` with it.
    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Status {
    fn explain(&self, name: &str, reasons: &mut Vec<String>) {
        if self.stopped {
            reasons.push(format!("{name}: has stopped"));
            return;
        }
        if self.assigned.is_none() {
            reasons.push(format!("{name}: has no assignment from its group yet"));
        }
        for (partition, sentence) in &self.refused {
            reasons.push(format!(
                "{name}: partition {partition} is refused: {sentence}"
            ));
        }
    }
}

/// Milliseconds from `epoch` to `now`, plus one, so that 0 can mean never.
fn ticks(epoch: Instant, now: Instant) -> u64 {
    let millis = now.saturating_duration_since(epoch).as_millis();
    u64::try_from(millis).unwrap_or(u64::MAX - 1) + 1
}

/// Opens the port of `[admin] listen`.
///
/// # Errors
/// Usage: the address is taken or not of this machine.
pub async fn bind(listen: SocketAddr) -> Result<TcpListener> {
    if !listen.ip().is_loopback() {
        tracing::warn!(%listen, "admin.listen is reachable from outside and asks for no password");
    }
    TcpListener::bind(listen).await.map_err(|error| {
        Fatal::usage(format!(
            "cannot listen on {listen}; choose another admin.listen"
        ))
        .because(error)
    })
}

/// Answers until `stop` holds true or its sender is gone; requests in flight get a second more.
pub async fn serve(
    listener: TcpListener,
    health: Arc<Health>,
    metrics: metrics::Handle,
    stop: watch::Receiver<bool>,
) {
    let router = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(health)
        .merge(
            Router::new()
                .route("/metrics", get(render))
                .with_state(metrics),
        );
    let server = axum::serve(listener, router).with_graceful_shutdown(stopped(stop.clone()));
    let patience = async {
        stopped(stop).await;
        tokio::time::sleep(STOP_GRACE).await;
    };
    tokio::select! {
        result = server.into_future() => result.expect("axum's server does not fail"),
        () = patience => tracing::warn!("an admin client did not finish its request"),
    }
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // An error says that the sender is gone, and with it whoever could ask to stop.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn livez(State(health): State<Arc<Health>>) -> (StatusCode, String) {
    answer(&health.not_alive(Instant::now()))
}

async fn readyz(State(health): State<Arc<Health>>) -> (StatusCode, String) {
    answer(&health.not_ready())
}

async fn render(
    State(metrics): State<metrics::Handle>,
) -> ([(&'static str, &'static str); 1], String) {
    (
        [("content-type", "text/plain; version=0.0.4; charset=utf-8")],
        metrics.render(),
    )
}

fn answer(reasons: &[String]) -> (StatusCode, String) {
    if reasons.is_empty() {
        return (StatusCode::OK, "ok\n".to_owned());
    }
    let mut text = String::new();
    for reason in reasons {
        writeln!(text, "{reason}").expect("a string takes everything");
    }
    (StatusCode::SERVICE_UNAVAILABLE, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    fn health(epoch: Instant) -> Health {
        Health::new(epoch, 2, true, Duration::from_secs(60))
    }

    fn ready(health: &Health) {
        health.lane(0).set_assigned(3);
        health.lane(1).set_assigned(0);
        health.archive().set_assigned(3);
    }

    #[test]
    fn alive_while_every_thread_ticks() {
        let epoch = Instant::now();
        let health = health(epoch);
        let at = |seconds| epoch + Duration::from_secs(seconds);
        assert!(health.not_alive(at(3600)).is_empty(), "still starting");
        health.lane(0).tick(at(0));
        health.lane(1).tick(at(10));
        health.archive().tick(at(5));
        assert!(health.not_alive(at(60)).is_empty());
        assert_eq!(
            health.not_alive(at(64)),
            ["lane 0: no sign of life for 64s"]
        );
        assert_eq!(health.not_alive(at(66)).len(), 2);
        health.archive().stop();
        health.lane(0).tick(at(66));
        assert!(health.not_alive(at(70)).is_empty());
    }

    #[test]
    fn ready_when_nothing_is_in_the_way() {
        let health = health(Instant::now());
        assert_eq!(health.not_ready().len(), 3);
        ready(&health);
        assert!(health.not_ready().is_empty());
        health
            .lane(0)
            .refuse(2, "the topic was re-created; run probity topics create");
        assert_eq!(
            health.not_ready(),
            ["lane 0: partition 2 is refused: the topic was re-created; run probity topics create"]
        );
        health.lane(0).clear(2);
        assert!(health.not_ready().is_empty());
        health.drain();
        health.lane(1).stop();
        assert_eq!(
            health.not_ready(),
            ["process: stops, as it was asked to", "lane 1: has stopped"]
        );
    }

    async fn request(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn the_server_answers_and_stops() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let health = Arc::new(health(Instant::now()));
        let (stop, stopped) = watch::channel(false);
        let server = serve(
            listener,
            health.clone(),
            metrics::Handle::default(),
            stopped,
        );
        let client = async {
            assert!(request(address, "/livez").await.ends_with("\r\n\r\nok\n"));
            let refused = request(address, "/readyz").await;
            assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
            assert!(refused.contains("lane 1: has no assignment from its group yet\n"));
            ready(&health);
            assert!(
                request(address, "/readyz")
                    .await
                    .starts_with("HTTP/1.1 200 ")
            );
            let metrics = request(address, "/metrics").await;
            assert!(metrics.starts_with("HTTP/1.1 200 "), "{metrics}");
            assert!(
                metrics.contains("content-type: text/plain; version=0.0.4"),
                "{metrics}"
            );
            assert!(
                request(address, "/nothing")
                    .await
                    .starts_with("HTTP/1.1 404 ")
            );
            stop.send(true).unwrap();
        };
        tokio::join!(server, client);
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_does_not_hold_up_the_end() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let health = Arc::new(health(Instant::now()));
        let more_than_a_socket_buffers = "x".repeat(32 << 20);
        health.lane(0).refuse(0, more_than_a_socket_buffers);
        let server = serve(listener, health, metrics::Handle::default(), stopped);
        let client = async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream
                .write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n")
                .await
                .unwrap();
            stream.read_u8().await.unwrap();
            drop(stop);
            stream
        };
        let (_, stream) = tokio::join!(server, client);
        drop(stream);
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_named() {
        let first = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = first.local_addr().unwrap();
        let message = bind(address).await.unwrap_err().to_string();
        let expected = format!("cannot listen on {address}; choose another admin.listen: ");
        assert!(message.starts_with(&expected), "{message}");
    }
}

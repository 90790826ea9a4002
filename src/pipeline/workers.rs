//! The threads that a pipeline waits for, and how it ends: a worker that ends early stops all others.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::Stop;
use crate::admin::Health;
use crate::error::{Exit, Fatal, Result};
use crate::words::counted;

/// What a worker thread ends with.
struct Ended {
    name: String,
    duty: Duty,
    result: Result<()>,
}

/// Whether a stop waits for a thread.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Duty {
    /// It scores or archives: a stop waits until it has drained.
    Worker,
    /// It prepares or tells: a stop leaves it where it is.
    Aide,
}

pub(super) struct Workers {
    threads: Vec<(String, JoinHandle<()>)>,
    ended: mpsc::Receiver<Ended>,
    report: mpsc::Sender<Ended>,
}

impl Workers {
    pub(super) fn new() -> Workers {
        let (report, ended) = mpsc::channel();
        Workers {
            threads: Vec::new(),
            ended,
            report,
        }
    }

    pub(super) fn spawn(&mut self, name: &str, work: impl FnOnce() -> Result<()> + Send + 'static) {
        self.start(name, Duty::Worker, work);
    }

    pub(super) fn assist(&mut self, name: &str, work: impl FnOnce() + Send + 'static) {
        self.start(name, Duty::Aide, || {
            work();
            Ok(())
        });
    }

    fn start(
        &mut self,
        name: &str,
        duty: Duty,
        work: impl FnOnce() -> Result<()> + Send + 'static,
    ) {
        let (report, owner) = (self.report.clone(), name.to_owned());
        let body = move || {
            let work = std::panic::AssertUnwindSafe(work);
            let result = std::panic::catch_unwind(work).unwrap_or_else(|_| {
                Err(Fatal::new(
                    Exit::Bug,
                    format!("{owner} panicked; see the log above"),
                ))
            });
            // Nobody listens only when the process is ending already.
            let _ = report.send(Ended {
                name: owner,
                duty,
                result,
            });
        };
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(body);
        let thread = thread.expect("the system has a thread to spare");
        if duty == Duty::Worker {
            self.threads.push((name.to_owned(), thread));
        }
    }

    /// Waits until all have ended; asks the others to stop as soon as one ends, and says that the process is
    /// not ready any more. Returns the first failure.
    pub(super) fn join(self, stop: &Stop, health: &Health, drain_timeout: Duration) -> Result<()> {
        let mut running = self.threads.len();
        let mut failure: Result<()> = Ok(());
        let mut deadline: Option<Instant> = None;
        while running > 0 {
            if stop.is_asked() && deadline.is_none() {
                info!("draining");
                health.drain();
                deadline = Some(Instant::now() + drain_timeout);
            }
            match self.ended.recv_timeout(Duration::from_millis(100)) {
                Ok(Ended { name, duty, result }) => {
                    running -= usize::from(duty == Duty::Worker);
                    stop.ask();
                    match result {
                        Ok(()) => info!(worker = name, "ended"),
                        Err(fatal) => {
                            error!(worker = name, %fatal, "ended");
                            failure = failure.and(Err(fatal));
                        }
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    if deadline.is_some_and(|deadline| Instant::now() > deadline) {
                        warn!(running, "not drained in time");
                        // Safe: what is open is aborted by the brokers, and nothing is half visible.
                        return failure.and(Err(Fatal::unreachable(format!(
                            "{} did not stop within limits.drain_timeout",
                            counted(running, "worker")
                        ))));
                    }
                }
                Err(RecvTimeoutError::Disconnected) => unreachable!("we hold a sender"),
            }
        }
        for (_, thread) in self.threads {
            // Panics were caught inside.
            let _ = thread.join();
        }
        failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_drains_is_not_ready() {
        let (stop, mut workers) = (Stop::default(), Workers::new());
        let health = Health::new(Instant::now(), 1, false, Duration::from_secs(60));
        let health = std::sync::Arc::new(health);
        health.lane(0).set_assigned(1);
        let seen = health.clone();
        workers.spawn("lane 0", move || {
            let begun = Instant::now();
            while seen.not_ready().is_empty() {
                assert!(
                    begun.elapsed() < Duration::from_secs(20),
                    "ready to the end"
                );
                std::thread::sleep(Duration::from_millis(5));
            }
            Ok(())
        });
        assert!(health.not_ready().is_empty());
        stop.ask();
        workers
            .join(&stop, &health, Duration::from_secs(30))
            .unwrap();
    }

    #[test]
    fn a_worker_that_does_not_stop_is_counted() {
        let (stop, mut workers) = (Stop::default(), Workers::new());
        let health = Health::new(Instant::now(), 1, false, Duration::from_secs(60));
        let (end, ended) = mpsc::channel::<()>();
        workers.spawn("lane 0", move || {
            let _ = ended.recv();
            Ok(())
        });
        stop.ask();
        let fatal = workers.join(&stop, &health, Duration::ZERO).unwrap_err();
        assert!(
            fatal.message.starts_with("1 worker did not stop"),
            "{fatal}"
        );
        drop(end);
    }
}

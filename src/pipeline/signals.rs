//! The thread that waits for signals.

use std::sync::mpsc;

use tracing::{info, warn};

use super::Stop;
use crate::error::{Exit, Fatal, Result};

/// Turns SIGTERM and SIGINT into a request to stop; the second one ends the process at once.
///
/// # Errors
/// When the system has no signals to give.
pub fn stop_on_signals(stop: &Stop) -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let stop = stop.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Fatal::new(Exit::Bug, "waiting for signals").because(error))?;
    let (ready, is_ready) = mpsc::channel();
    let body = move || {
        runtime.block_on(async {
            let terminate = signal(SignalKind::terminate());
            let interrupt = signal(SignalKind::interrupt());
            let (mut terminate, mut interrupt) = match (terminate, interrupt) {
                (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
                (Err(error), _) | (_, Err(error)) => {
                    let _ = ready.send(Err(error));
                    return;
                }
            };
            let _ = ready.send(Ok(()));
            for again in [false, true] {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                if again {
                    warn!("asked to stop twice: leaving at once");
                    std::process::exit(Exit::CheckFailed as i32);
                }
                info!("asked to stop");
                stop.ask();
            }
        });
    };
    let thread = std::thread::Builder::new()
        .name("signals".into())
        .spawn(body);
    thread.map_err(|error| Fatal::new(Exit::Bug, "waiting for signals").because(error))?;
    is_ready
        .recv()
        .map_err(|error| Fatal::new(Exit::Bug, "waiting for signals").because(error))?
        .map_err(|error| Fatal::new(Exit::Bug, "waiting for signals").because(error))
}

//! When the head of the ledger is signed, and by whom: drives the [`Keeper`] from the archiver.
//!
//! Knows the time only as it is told.

use std::sync::Arc;
use std::time::Duration;

use super::keeper::{Board, Keeper};
use super::ledger::Body;
use super::log::Log;
use super::store::Store;
use crate::error::Result;
use crate::keys::Keys;
use crate::record::Digest;

/// When nothing happens, an entry says so, so that the age of the head tells whether the archiver lives.
const HEARTBEAT: Duration = Duration::from_secs(3600);

/// The head of the ledger, and the board where it is put up.
pub struct Head {
    store: Arc<dyn Store>,
    board: Box<dyn Board>,
    interval: Duration,
    /// None as long as the board has not said what it has: signing might contradict it.
    keeper: Option<Keeper>,
    next: i64,
}

impl Head {
    /// Compares the ledger with the checkpoints that the store and the board have.
    ///
    /// # Errors
    /// When the store does not answer, or the ledger is not the one that was signed.
    pub fn open(
        store: Arc<dyn Store>,
        board: Box<dyn Board>,
        interval: Duration,
        log: &Log,
    ) -> Result<Head> {
        let mut head = Head {
            store,
            board,
            interval,
            keeper: None,
            next: 0,
        };
        head.compare(log)?;
        Ok(head)
    }

    fn compare(&mut self, log: &Log) -> Result<()> {
        match self.board.newest() {
            Ok(checkpoints) => {
                self.keeper = Some(Keeper::open(self.store.clone(), log, checkpoints)?);
            }
            Err(error) => tracing::warn!(
                error,
                "the topic of checkpoints does not answer: what is archived is not signed until it does"
            ),
        }
        Ok(())
    }

    /// This process has put a file with these bytes.
    pub fn has_put(&mut self, sha256: Digest) {
        if let Some(keeper) = &mut self.keeper {
            keeper.has_put(sha256);
        }
    }

    /// Signs what is there, if it is time. `now` is in µs since the epoch.
    ///
    /// # Errors
    /// When the store does not answer, or what is in it contradicts itself.
    pub fn tick(&mut self, log: &mut Log, keys: &Keys, now: i64) -> Result<()> {
        if keys.log.is_empty() || now < self.next {
            return Ok(());
        }
        self.next = now + micros(self.interval);
        if now - log.time_of_last() >= micros(HEARTBEAT)
            && let Some(signer) = &keys.archiver
        {
            let entries = log.state().entries();
            log.append(
                |state| state.entries() == entries,
                |_| Body::Heartbeat,
                signer,
            )?;
        }
        self.sign(log, keys)
    }

    /// Signs what is there now.
    ///
    /// # Errors
    /// As [`Head::tick`].
    pub fn sign(&mut self, log: &Log, keys: &Keys) -> Result<()> {
        if self.keeper.is_none() {
            self.compare(log)?;
        }
        let Some(keeper) = &mut self.keeper else {
            return Ok(());
        };
        keeper.catch_up()?;
        if let Some(size) = keeper.sign(&keys.log)? {
            tracing::debug!(size, "the head of the ledger is signed");
        }
        if let Err(error) = keeper.post(&mut *self.board) {
            tracing::warn!(
                error,
                "the topic of checkpoints has not taken the newest one yet"
            );
        }
        Ok(())
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).expect("an interval is far shorter than ages")
}

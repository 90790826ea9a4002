//! What happened to the system, as entries of the ledger: starts, stops, an operator's acts.
//!
//! They name no event and no person, and cover no offset. Before the first one of a process, the ledger is
//! compared with the checkpoints that are known, so that nothing is appended to a store that was restored
//! from an older backup.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::head::Head;
use super::keeper::Board;
use super::ledger::{Authority, Body, Event};
use super::log::{self, Clock, Log, Origin};
use super::store::Store;
use crate::error::Result;
use crate::keys::{Keys, Role};
use crate::tlog::Signer;

/// Tells the ledger of one process what happens to it.
pub struct Chronicle {
    log: Log,
    keys: Arc<Keys>,
    instance: String,
}

impl Chronicle {
    /// Claims the archive, compares the ledger with known checkpoints, and gives trusted keys their roles.
    ///
    /// # Errors
    /// When the store does not answer, is another archive's, or is older than a checkpoint.
    pub fn open(
        store: Arc<dyn Store>,
        origin: &Origin,
        keys: Arc<Keys>,
        clock: Clock,
        board: Box<dyn Board>,
        instance: String,
    ) -> Result<Chronicle> {
        log::claim(&*store, origin)?;
        let authority = Authority {
            archive: origin.archive_id(),
            log: keys.trust.log.clone(),
        };
        let mut log = Log::open(store.clone(), authority, clock)?;
        // Compares, and is not kept: the archiver signs.
        drop(Head::open(store, board, Duration::MAX, &log)?);
        log.introduce(&keys)?;
        Ok(Chronicle {
            log,
            keys,
            instance,
        })
    }

    #[must_use]
    pub fn log(&mut self) -> &mut Log {
        &mut self.log
    }

    /// Signs the head once more, with the last words of this process under it, if the log key is here.
    ///
    /// # Errors
    /// When the store does not answer, or contradicts itself.
    pub fn sign(&mut self, store: Arc<dyn Store>, board: Box<dyn Board>) -> Result<()> {
        if self.keys.log.is_empty() {
            return Ok(());
        }
        Head::open(store, board, Duration::MAX, &self.log)?.sign(&self.log, &self.keys)
    }

    /// Appends what happened. Where none of our keys has a role yet, it is not recorded, and said.
    ///
    /// # Errors
    /// When the store does not answer.
    pub fn record(&mut self, kind: &str, facts: BTreeMap<String, String>) -> Result<()> {
        self.log.catch_up()?;
        let Some(signer) = signer(&self.log, &self.keys) else {
            tracing::warn!(
                kind,
                "not recorded in the ledger: it gives none of our keys a role yet. the archiver that has \
                 log.key does, from its trust.toml"
            );
            return Ok(());
        };
        let event = || Event {
            kind: kind.to_owned(),
            instance: self.instance.clone(),
            facts: facts.clone(),
        };
        let mut is_recorded = false;
        self.log.append(
            |_| !std::mem::replace(&mut is_recorded, true),
            |_| Body::Event(event()),
            signer,
        )?;
        Ok(())
    }
}

/// The first of our keys that may sign an event.
fn signer<'k>(log: &Log, keys: &'k Keys) -> Option<&'k Signer> {
    let ours = [
        (Role::Archiver, &keys.archiver),
        (Role::Scorer, &keys.scorer),
    ];
    ours.into_iter().find_map(|(role, key)| {
        let key = key.as_ref()?;
        log.holders(role).contains(key.verifier()).then_some(key)
    })
}

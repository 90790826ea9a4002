//! What becomes of a round: it stands, it is undone and gathered again, or the brokers are asked.

use tracing::{info, warn};

use super::draft::Draft;
use super::{Fate, Lane};
use crate::batch::{Batch, Lineage, Origin};
use crate::error::{Fatal, Result};
use crate::publish::Outcome;
use crate::record::{Digest, NextOffset, Offset, Reason, Rejection, Stage};
use crate::stages::Decided;

impl Lane<'_> {
    /// A record that the brokers refuse, found by halving rounds, is a rejected record.
    pub(super) fn reject_poison(&self, batch: &mut Batch<Decided>) {
        let Some((partition, offset)) = self.poison else {
            return;
        };
        let lineage = batch.lineage();
        let part = lineage
            .parts()
            .iter()
            .find(|part| part.partition == partition);
        let mut rows = part.map_or(0..0, |part| part.rows.clone());
        if let Some(row) = rows.find(|&row| lineage.origins()[row].first() == offset) {
            let rejection = Rejection::new(Stage::Publish, Reason::RefusedByBroker);
            batch.lineage_mut().reject(row, rejection);
        }
    }

    /// Acts on what became of the transaction.
    pub(super) fn conclude(
        &mut self,
        outcome: Outcome,
        batch: &Batch<Decided>,
        draft: &Draft,
    ) -> Result<Fate> {
        match outcome {
            Outcome::Committed => {
                self.informed
                    .extend(draft.evidence.iter().map(|t| t.partition));
                self.source.on_committed(draft.ends());
                self.widen(draft);
                Ok(Fate::Committed)
            }
            Outcome::Aborted(cause) => {
                warn!(cause, rows = batch.lineage().rows(), "transaction aborted");
                self.undo(draft)?;
                self.back_off(&cause)?;
                Ok(Fate::Aborted)
            }
            Outcome::Refused { row, code } => {
                warn!(%code, rows = batch.lineage().rows(), "the brokers refuse a record");
                self.narrow(batch.lineage(), row)?;
                self.undo(draft)?;
                Ok(Fate::Aborted)
            }
            Outcome::Unknown(cause) => {
                warn!(
                    cause,
                    rows = batch.lineage().rows(),
                    "outcome unknown, asking the brokers"
                );
                self.informed.clear();
                let mut tries = self.settings.patience.start();
                self.publisher.renew(&mut tries)?;
                self.source.resolve(&mut tries)?;
                let committed = self.source.held();
                let stands = |(partition, next, _): (i32, NextOffset, Digest)| {
                    committed.contains(&(partition, next))
                };
                let fate = if draft.ends().any(stands) {
                    self.widen(draft);
                    Fate::Committed
                } else {
                    self.back_off(&cause)?;
                    Fate::Unknown
                };
                info!(?fate, "outcome resolved");
                Ok(fate)
            }
        }
    }

    /// A round went through: the next may be larger again.
    fn widen(&mut self, draft: &Draft) {
        self.failures = 0;
        self.failing = None;
        self.rows_max = self.settings.limits.rows_max.min(self.rows_max * 2);
        let is_behind = |(partition, offset): (i32, Offset)| {
            draft
                .ends()
                .any(|(p, next, _)| p == partition && next > NextOffset(offset.0))
        };
        self.poison = self.poison.filter(|poison| !is_behind(*poison));
    }

    /// A transaction failed: waits, longer each time, and gives up at last.
    fn back_off(&mut self, cause: &str) -> Result<()> {
        self.failures += 1;
        let patience = &self.settings.patience;
        let tries = self.failing.get_or_insert_with(|| patience.start());
        if !tries.again() {
            let failed = self.failures;
            let what =
                format!("{failed} transactions failed one after the other; the last: {cause}");
            return Err(Fatal::unreachable(what));
        }
        Ok(())
    }

    fn undo(&mut self, draft: &Draft) -> Result<()> {
        self.informed.clear();
        self.source
            .rewind(draft.evidence.iter().map(|t| t.partition))
    }

    /// Halves the next rounds until the refused record stands alone; then it is the culprit.
    fn narrow(&mut self, lineage: &Lineage, row: usize) -> Result<()> {
        let records = lineage
            .origins()
            .iter()
            .filter(|o| matches!(o, Origin::Record { .. }));
        if records.count() > 1 {
            self.rows_max = (lineage.rows() / 2).max(1);
            return Ok(());
        }
        let part = lineage.parts().iter().find(|part| part.rows.contains(&row));
        let part = part.expect("every row is in a part");
        let culprit = part
            .rows
            .clone()
            .map(|row| lineage.origins()[row])
            .find_map(|o| match o {
                Origin::Record { offset, .. } => Some((part.partition, offset)),
                Origin::Gap(_) => None,
            });
        let culprit = culprit.expect("a round has a record");
        if self.poison == Some(culprit) {
            let (partition, offset) = culprit;
            return Err(Fatal::unreachable(format!(
                "the brokers refuse even the dead letter of partition {partition}, offset \
                 {offset}; compare max.message.bytes of the topics with `probity check`"
            )));
        }
        self.poison = Some(culprit);
        Ok(())
    }
}

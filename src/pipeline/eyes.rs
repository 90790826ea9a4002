//! Tells metrics and health what happens in the lanes and in the archiver.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Watcher;
use crate::admin::Health;
use crate::archive::Observer as ArchiveObserver;
use crate::archive::ledger::{Body, Segment};
use crate::archive::store::Created;
use crate::drift::Drift;
use crate::lane::{Fate, Observer, Round};
use crate::metrics::{
    self, ArchiveMetrics, Committed, EntryKind, LaneMetrics, PartitionMetrics, Put, Rebalance,
};
use crate::source::{Change, Standing};

/// Tells metrics and readiness of the archiver what happens in it.
pub(super) struct ArchiveEyes {
    pub metrics: ArchiveMetrics,
    pub health: Arc<Health>,
    pub watcher: Arc<dyn Watcher>,
}

impl ArchiveObserver for ArchiveEyes {
    fn assigned(&self, partitions: usize) {
        self.health.archive().set_assigned(partitions);
    }

    fn taken(&self, _partition: i32, rows: u32) {
        self.metrics.taken(1, u64::from(rows));
        self.watcher.on_taken(rows);
    }

    fn appended(&self, body: &Body) {
        match body {
            Body::Segment(_) => self.metrics.entry(EntryKind::Segment),
            Body::Reseal(_) => self.metrics.entry(EntryKind::Reseal),
            // No file follows from these.
            Body::Break(_) | Body::Key(_) | Body::Event(_) | Body::Heartbeat => {}
        }
    }

    fn sealed(&self, segment: &Segment) {
        self.metrics.sealed(segment.bytes);
    }

    fn stopped(&self, partition: i32, reason: &str) {
        self.health.archive().refuse(partition, reason);
    }

    fn open_bytes(&self, bytes: usize) {
        self.metrics.open(bytes as u64);
    }

    fn behind(&self, age: Duration) {
        self.metrics.behind(age);
    }

    fn put(&self, created: Option<Created>) {
        self.metrics.put(match created {
            Some(Created::New) => Put::Created,
            Some(Created::Refused) => Put::Exists,
            None => Put::Failed,
        });
    }

    fn alive(&self) {
        self.health.archive().tick(Instant::now());
    }
}

/// Tells metrics and readiness of a lane what happens in it.
pub(super) struct Eyes {
    lane: usize,
    metrics: LaneMetrics,
    health: Arc<Health>,
    assigned: usize,
    refused: BTreeSet<i32>,
    behind: BTreeMap<i32, PartitionMetrics>,
    watcher: Arc<dyn Watcher>,
    drift: Option<Arc<Drift>>,
}

impl Eyes {
    pub(super) fn new(
        lane: usize,
        health: Arc<Health>,
        watcher: Arc<dyn Watcher>,
        drift: Option<Arc<Drift>>,
    ) -> Eyes {
        Eyes {
            lane,
            metrics: LaneMetrics::new(lane),
            health,
            assigned: 0,
            refused: BTreeSet::new(),
            behind: BTreeMap::new(),
            watcher,
            drift,
        }
    }
}

impl Observer for Eyes {
    fn on_change(&mut self, change: &Change) {
        let part = self.health.lane(self.lane);
        match change {
            Change::Assigned { held } => {
                self.metrics.rebalanced(Rebalance::Assigned);
                self.assigned = *held;
                part.set_assigned(*held);
            }
            Change::Revoked { held } => {
                self.metrics.rebalanced(Rebalance::Revoked);
                self.assigned = *held;
                part.set_assigned(*held);
            }
            Change::Lost { held } => {
                self.metrics.rebalanced(Rebalance::Lost);
                self.assigned = *held;
                part.set_assigned(*held);
            }
            Change::Refused { partition, refusal } => {
                self.refused.insert(*partition);
                part.refuse(*partition, refusal.to_string());
            }
            Change::Cleared { partition } => {
                self.refused.remove(partition);
                part.clear(*partition);
            }
            Change::Inherited { .. } => {}
        }
        self.metrics.holds(self.assigned, self.refused.len());
    }

    fn on_round(&mut self, round: &Round<'_>) {
        self.watcher.on_round(round);
        let metrics = &mut self.metrics;
        metrics.gathered(round.lineage.rows());
        metrics.steps(round.laps);
        match round.fate {
            Fate::Aborted => metrics.aborted(),
            Fate::Unknown => metrics.unknown(),
            Fate::Committed => metrics.committed(&round.committed()),
        }
        if round.fate == Fate::Committed {
            if let Some(drift) = &self.drift {
                drift.count_round(round);
            }
            metrics.unknown_fields(round.decided.unknown_fields());
            let told = &round.decided.explanations;
            let counts = [told.count(), told.unexplained(), told.inexact()];
            let [explained, missing, inexact] = counts.map(|count| count as u64);
            metrics.explained(explained, missing, inexact);
            for ((shadow, decision, would), events) in round.opinions() {
                metrics::shadow(shadow, decision, would, events);
            }
            for (reason, count) in round.reasons() {
                metrics.rejected(reason, count);
            }
            for (rule, count) in round.rules() {
                metrics.ruled(rule, count);
            }
        }
    }

    fn on_standing(&mut self, standings: &[Standing]) {
        self.behind
            .retain(|partition, _| standings.iter().any(|it| it.partition == *partition));
        for standing in standings {
            self.behind
                .entry(standing.partition)
                .or_insert_with(|| PartitionMetrics::new(standing.partition))
                .behind(standing.rows, standing.age);
        }
    }
}

impl Round<'_> {
    fn committed(&self) -> Committed {
        let micros = |from: i64| {
            Duration::from_micros(u64::try_from(self.end_time - from).unwrap_or_default())
        };
        let counts = self.counts();
        Committed {
            scored: counts.scored,
            rejected: counts.rejected,
            gaps: counts.gaps,
            event_to_commit: self.broker_times().min().map(micros),
            poll_to_commit: micros(self.ingest_time),
        }
    }
}

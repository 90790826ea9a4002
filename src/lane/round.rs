//! What a round was, for those who watch: metrics, readiness, the demo.

use std::collections::BTreeMap;

use crate::batch::{Lineage, Origin};
use crate::laps::Laps;
use crate::record::{Decision, Reason};
use crate::stages::Decided;

/// One round, after it ended.
pub struct Round<'a> {
    pub lineage: &'a Lineage,
    pub decided: &'a Decided,
    /// The SHA-256 of the package that decided.
    pub package: &'a str,
    pub fate: Fate,
    /// When the batch was gathered, µs since the epoch.
    pub ingest_time: i64,
    pub end_time: i64,
    pub laps: &'a Laps,
}

/// How many rows of each kind.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    pub scored: u64,
    pub rejected: u64,
    pub gaps: u64,
}

impl Round<'_> {
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for (row, origin) in self.lineage.origins().iter().enumerate() {
            match origin {
                Origin::Gap(_) => counts.gaps += 1,
                Origin::Record { .. } if self.lineage.is_live(row) => counts.scored += 1,
                Origin::Record { .. } => counts.rejected += 1,
            }
        }
        counts
    }

    /// How often each reason refused a row, without those that refused none.
    #[must_use]
    pub fn reasons(&self) -> BTreeMap<Reason, u64> {
        let mut reasons = BTreeMap::new();
        for rejection in (0..self.lineage.rows()).filter_map(|row| self.lineage.rejection(row)) {
            *reasons.entry(rejection.reason).or_default() += 1;
        }
        reasons
    }

    /// How many events each rule of the policy decided, without those that decided none.
    #[must_use]
    pub fn rules(&self) -> BTreeMap<&str, u64> {
        let live = (0..self.lineage.rows()).filter(|row| self.lineage.is_live(*row));
        let mut rules = BTreeMap::new();
        for rule in live.filter_map(|row| self.decided.ruled.of(row)) {
            *rules.entry(rule).or_default() += 1;
        }
        rules
    }

    /// How many scored events had this decision and, by the shadow with this number, that one; none where it failed.
    #[must_use]
    pub fn opinions(&self) -> BTreeMap<(usize, Decision, Option<Decision>), u64> {
        let mut counts = BTreeMap::new();
        for (index, opinion) in self.decided.shadows.iter().enumerate() {
            let decisions = self.decided.decisions.iter().zip(&opinion.decision);
            let rows = decisions
                .enumerate()
                .filter(|(row, _)| self.lineage.is_live(*row));
            for (_, (decision, would)) in rows {
                *counts.entry((index + 1, *decision, *would)).or_default() += 1;
            }
        }
        counts
    }

    /// The broker's time of each record that has one, µs since the epoch.
    pub fn broker_times(&self) -> impl Iterator<Item = i64> + '_ {
        self.lineage
            .origins()
            .iter()
            .filter_map(|origin| match origin {
                Origin::Record { broker_time, .. } => *broker_time,
                Origin::Gap(_) => None,
            })
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    Committed,
    Aborted,
    Unknown,
}

//! `probity score --compare`: two packages over the same events, and who would be decided differently.
//!
//! Each goes through its own stages, on what was decoded once. Writes one line of JSON for each event on which they do
//! not agree, in order; a row that one of them rejects is not agreed on. Nothing is explained.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use arrow::array::Array as _;
use serde::Serialize;

use super::open;
use crate::batch::Batch;
use crate::config::{Config, ExplainedRows};
use crate::error::Result;
use crate::evidence::Verdict;
use crate::laps::Laps;
use crate::model::configured;
use crate::record::Decision;
use crate::setup::Setup;
use crate::sink::Sink;
use crate::stages::{Decided, Decoded, Stages};
use crate::words::counted;

/// What to compare, and where the differences go.
pub struct Request {
    pub old: PathBuf,
    pub new: PathBuf,
    /// As [`super::Request::input`].
    pub input: PathBuf,
    /// Standard output without a file.
    pub output: Option<PathBuf>,
}

/// What became of an event; nothing: it was rejected.
type Outcome = Option<Decision>;

/// How the two packages decided.
#[derive(Clone, Default, Debug)]
pub struct Summary {
    pub events: u64,
    /// How many events had which outcome, by the old and the new package.
    pub matrix: BTreeMap<(Outcome, Outcome), u64>,
    /// Of the events that both scored.
    pub largest_difference: f32,
}

/// One of the two packages.
struct Side {
    setup: Setup,
    stages: Stages,
}

/// Compares the packages over the events of the file.
///
/// # Errors
/// When the schema, a package or the file is wrong, or the output cannot be written.
pub fn run(config: &Config, request: &Request) -> Result<Summary> {
    let mut old = Side::load(config, &request.old, "OLD")?;
    let mut new = Side::load(config, &request.new, "NEW")?;
    let mut input = open(
        config,
        &request.input,
        &old.setup.schema,
        &old.setup.decoding,
    )?;
    let mut out = Sink::open(request.output.as_deref())?;
    let mut summary = Summary::default();
    let mut bytes = Vec::new();
    while !out.is_closed()
        && let Some(batch) = input.next()?
    {
        let again = copy(&batch);
        let (was, is) = (old.decide(batch)?, new.decide(again)?);
        bytes.clear();
        for row in 0..was.lineage().rows() {
            let line = Line {
                line: was.lineage().origins()[row].first().0,
                event_id: old.event_id(&was, row),
                old: old.told(&was, row),
                new: new.told(&is, row),
            };
            summary.count(
                &old.stages.verdict(&was, row),
                &new.stages.verdict(&is, row),
            );
            if line.old.decision != line.new.decision {
                serde_json::to_writer(&mut bytes, &line).expect("memory takes every byte");
                bytes.push(b'\n');
            }
        }
        out.write(&bytes)?;
    }
    out.finish()?;
    Ok(summary)
}

/// The same rows once more; columns are shared.
fn copy(batch: &Batch<Decoded>) -> Batch<Decoded> {
    Batch::new(batch.lineage().clone(), batch.payload().clone())
}

impl Side {
    fn load(config: &Config, folder: &Path, argument: &'static str) -> Result<Side> {
        let mut config = configured(config, folder, argument);
        config.explain.rows = ExplainedRows::None;
        let setup = Setup::load(&config)?;
        let stages = setup.stages()?;
        Ok(Side { setup, stages })
    }

    fn decide(&mut self, batch: Batch<Decoded>) -> Result<Batch<Decided>> {
        self.stages.run_decoded(batch, &mut Laps::start())
    }

    fn event_id<'a>(&self, batch: &'a Batch<Decided>, row: usize) -> Option<&'a str> {
        let ids = self.stages.event_ids(batch.payload());
        ids.is_valid(row).then(|| ids.value(row))
    }

    fn told<'a>(&'a self, batch: &'a Batch<Decided>, row: usize) -> Told<'a> {
        let package = &self.setup.package;
        let verdict = self.stages.verdict(batch, row);
        let rejection = batch.lineage().rejection(row);
        Told {
            model: &package.name,
            version: &package.version,
            policy_version: package.policy.version(),
            score: verdict.as_ref().map(|verdict| verdict.score),
            decision: verdict.as_ref().map(|verdict| verdict.decision.as_str()),
            rule: batch.payload().ruled.of(row).filter(|_| verdict.is_some()),
            rejected: rejection.map(|rejection| rejection.reason.as_str()),
        }
    }
}

/// An event on which the packages do not agree.
#[derive(Serialize)]
struct Line<'a> {
    line: i64,
    event_id: Option<&'a str>,
    old: Told<'a>,
    new: Told<'a>,
}

/// What one package says of an event.
#[derive(Serialize)]
struct Told<'a> {
    model: &'a str,
    version: &'a str,
    policy_version: &'a str,
    score: Option<f32>,
    decision: Option<&'static str>,
    /// The rule that decided, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rejected: Option<&'static str>,
}

impl Summary {
    fn count(&mut self, old: &Option<Verdict>, new: &Option<Verdict>) {
        self.events += 1;
        let decision = |verdict: &Option<Verdict>| verdict.as_ref().map(|it| it.decision);
        *self
            .matrix
            .entry((decision(old), decision(new)))
            .or_default() += 1;
        if let (Some(old), Some(new)) = (old, new) {
            let difference = (old.score - new.score).abs();
            self.largest_difference = self.largest_difference.max(difference);
        }
    }

    /// How many events are decided differently, or rejected by one of the two.
    #[must_use]
    pub fn differ(&self) -> u64 {
        let differ = self.matrix.iter().filter(|((old, new), _)| old != new);
        differ.map(|(_, count)| count).sum()
    }

    fn of(&self, old: Outcome, new: Outcome) -> u64 {
        self.matrix.get(&(old, new)).copied().unwrap_or_default()
    }
}

/// In the order of the rows and columns of the table.
const OUTCOMES: [Outcome; 4] = [
    Some(Decision::Approve),
    Some(Decision::Review),
    Some(Decision::Decline),
    None,
];

fn name(outcome: Outcome) -> &'static str {
    outcome.map_or("rejected", Decision::as_str)
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}, {} decided differently, {} rejected by both, largest difference of score {}",
            counted(self.events, "event"),
            self.differ(),
            self.of(None, None),
            self.largest_difference
        )?;
        write!(f, "{:<12}", "old \\ new")?;
        OUTCOMES
            .iter()
            .try_for_each(|new| write!(f, "{:>12}", name(*new)))?;
        for old in OUTCOMES {
            write!(f, "\n{:<12}", name(old))?;
            OUTCOMES
                .iter()
                .try_for_each(|new| write!(f, "{:>12}", self.of(old, *new)))?;
        }
        Ok(())
    }
}

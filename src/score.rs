//! `probity score`: the path of an event, from its bytes to its decision, over a file and without
//! Kafka.
//!
//! Goes through the same stages as a lane, so that the same events get the same bits. Writes one line
//! of JSON for each event, in order, or the matrix of the features, for which the model need not be
//! there. Asks no clock: the same file and package give the same output. [`compare`] does it with two packages.

mod column;
pub mod compare;
mod container;
mod input;
mod lines;
mod matrix;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use arrow::array::Array as _;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::batch::{Batch, Payload};
use crate::config::Config;
use crate::decode::Settings as Decoding;
use crate::error::Result;
use crate::laps::Laps;
use crate::record::{Decision, Reason};
use crate::schema::InputSchema;
use crate::setup::{self, Setup};
use crate::sink::Sink;
use crate::stages::{Decided, Stages};
use crate::words::counted;
use input::{Input, Limits};
use matrix::Matrix;

/// What to score, and where the outcome goes.
pub struct Request {
    /// Lines of JSON, an Avro object container or Parquet; `-` is standard input.
    pub input: PathBuf,
    pub output: Output,
}

/// What is written.
pub enum Output {
    /// One line of JSON for each event; to standard output without a file.
    Scores(Option<PathBuf>),
    /// The matrix of the features, as Parquet.
    Features(PathBuf),
}

/// What became of the events.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Summary {
    pub events: u64,
    pub decisions: BTreeMap<Decision, u64>,
    pub rejected: BTreeMap<Reason, u64>,
    /// Fields that were passed over.
    pub unknown_fields: u64,
}

/// Scores the events that the request names, or computes their features.
///
/// # Errors
/// When the schema, the package or the file is wrong, or the output cannot be written.
pub fn run(config: &Config, request: &Request) -> Result<Summary> {
    match &request.output {
        Output::Scores(out) => scores(config, &request.input, out.as_deref()),
        Output::Features(path) => features(config, &request.input, path),
    }
}

fn open(config: &Config, path: &Path, schema: &InputSchema, decoding: &Decoding) -> Result<Input> {
    let limits = Limits {
        rows: config.batch.max_rows,
        bytes: config.batch.max_bytes,
    };
    Input::open(path, schema, decoding, limits)
}

fn features(config: &Config, path: &Path, out: &Path) -> Result<Summary> {
    let (schema, decoding) = setup::reading(config)?;
    let set = setup::features(config, &schema)?;
    let mut input = open(config, path, &schema, &decoding)?;
    let mut matrix = Matrix::create(out, &schema, set, &config.input.event_id)?;
    let mut summary = Summary::default();
    while let Some(batch) = input.next()? {
        matrix.add(&batch)?;
        summary.count(&batch, |_| None);
        summary.unknown_fields += batch.payload().unknown_fields;
    }
    matrix.finish()?;
    Ok(summary)
}

fn scores(config: &Config, path: &Path, out: Option<&Path>) -> Result<Summary> {
    let setup = Setup::load(config)?;
    let mut stages = setup.stages()?;
    let mut input = open(config, path, &setup.schema, &setup.decoding)?;
    let mut out = Sink::open(out)?;
    let model = Model {
        name: &setup.package.name,
        version: &setup.package.version,
        sha256: setup.package.model.digest.to_string(),
    };
    let policy_version = setup.package.policy.version();
    let mut summary = Summary::default();
    let mut bytes = Vec::new();
    let mut laps = Laps::start();
    while !out.is_closed()
        && let Some(batch) = input.next()?
    {
        let decided = stages.run_decoded(batch, &mut laps)?;
        summary.count(&decided, |row| {
            stages.verdict(&decided, row).map(|it| it.decision)
        });
        summary.unknown_fields += decided.payload().unknown_fields();
        bytes.clear();
        write_lines(&mut bytes, &stages, &decided, &model, policy_version);
        out.write(&bytes)?;
    }
    out.finish()?;
    Ok(summary)
}

/// The model, as a scored record names it.
#[derive(Serialize)]
struct Model<'a> {
    name: &'a str,
    version: &'a str,
    sha256: String,
}

/// A scored event. Floats are the shortest decimals that read back to the same bits.
#[derive(Serialize)]
struct ScoredLine<'a> {
    line: i64,
    event_id: Option<&'a str>,
    score: f32,
    margin: Option<f32>,
    decision: &'static str,
    rule: Option<&'a str>,
    explanation: Option<&'a RawValue>,
    model: &'a Model<'a>,
    policy_version: &'a str,
    event_time: Option<i64>,
}

#[derive(Serialize)]
struct RejectedLine {
    line: i64,
    rejected: &'static str,
    stage: &'static str,
}

fn write_lines(
    out: &mut Vec<u8>,
    stages: &Stages,
    batch: &Batch<Decided>,
    model: &Model<'_>,
    policy_version: &str,
) {
    let (ids, times) = (
        stages.event_ids(batch.payload()),
        stages.event_times(batch.payload()),
    );
    let mut reasons = Vec::new();
    for (row, origin) in batch.lineage().origins().iter().enumerate() {
        let line = origin.first().0;
        reasons.clear();
        let explanation = stages
            .write_reasons(&mut reasons, batch.payload(), row)
            .then(|| serde_json::from_slice(&reasons).expect("it is JSON"));
        let written = match (batch.lineage().rejection(row), stages.verdict(batch, row)) {
            (None, Some(verdict)) => serde_json::to_writer(
                &mut *out,
                &ScoredLine {
                    line,
                    event_id: ids.is_valid(row).then(|| ids.value(row)),
                    score: verdict.score,
                    margin: verdict.margin,
                    decision: verdict.decision.as_str(),
                    rule: batch.payload().ruled.of(row),
                    explanation,
                    model,
                    policy_version,
                    event_time: times.is_valid(row).then(|| times.value(row)),
                },
            ),
            (Some(rejection), None) => serde_json::to_writer(
                &mut *out,
                &RejectedLine {
                    line,
                    rejected: rejection.reason.as_str(),
                    stage: rejection.stage.as_str(),
                },
            ),
            _ => unreachable!("an event of a file is either refused or decided"),
        };
        written.expect("memory takes every byte");
        out.push(b'\n');
    }
}

impl Summary {
    fn count<P: Payload>(
        &mut self,
        batch: &Batch<P>,
        decision: impl Fn(usize) -> Option<Decision>,
    ) {
        for row in 0..batch.lineage().rows() {
            self.events += 1;
            if let Some(rejection) = batch.lineage().rejection(row) {
                *self.rejected.entry(rejection.reason).or_default() += 1;
            }
            if let Some(decision) = decision(row) {
                *self.decisions.entry(decision).or_default() += 1;
            }
        }
    }

    #[must_use]
    pub fn refused(&self) -> u64 {
        self.rejected.values().sum()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&counted(self.events, "event"))?;
        if !self.decisions.is_empty() {
            write!(f, ", {} scored", self.events - self.refused())?;
            list(f, self.decisions.iter().map(|(d, n)| (d.as_str(), *n)))?;
        }
        write!(f, ", {} rejected", self.refused())?;
        list(f, self.rejected.iter().map(|(r, n)| (r.as_str(), *n)))?;
        if self.unknown_fields > 0 {
            write!(f, ", {} unknown fields passed over", self.unknown_fields)?;
        }
        Ok(())
    }
}

fn list<'a>(
    f: &mut fmt::Formatter<'_>,
    counts: impl Iterator<Item = (&'a str, u64)>,
) -> fmt::Result {
    let counts: Vec<String> = counts.map(|(name, n)| format!("{n} {name}")).collect();
    if counts.is_empty() {
        return Ok(());
    }
    write!(f, " ({})", counts.join(", "))
}

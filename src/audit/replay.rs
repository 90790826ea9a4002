//! `probity replay`: decides again what was decided, from the archive alone.
//!
//! The policy is repeated from the score, and its rules from the event, always to the bit. The score is repeated from the features with
//! the archived model: to the bit where the package was admitted as deterministic and this runtime is the
//! recorded one, else within a tolerance and with the same decision. Rows whose decision hangs on that
//! tolerance are listed, never hidden.

use std::collections::BTreeMap;
use std::path::PathBuf;

use arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::{DataType, Float32Type, Int64Type};
use serde::Serialize;

use super::Output;
use super::archived::{self, Archived, Loaded};
use super::decided::Verdicts;
use super::file::column;
use super::find::{self, Event, Found};
use super::ledger::{Filed, Ledger};
use super::verify::violation;
use crate::decide::Policy;
use crate::error::{Exit, Fatal, Result};
use crate::sink::Sink;
use crate::words::counted;

/// How far a score may be from the recorded one on another runtime.
pub const TOLERANCE: f32 = 1e-6;

/// What is to be replayed.
pub struct Request {
    pub folder: PathBuf,
    /// One event, or all of the part.
    pub event: Option<Event>,
    pub part: super::verify::Part,
    /// Runs each row alone, padded, without the rows that were beside it.
    pub alone: bool,
    /// ONNX Runtime's shared library; `None`: as `ORT_DYLIB_PATH` says.
    pub runtime: Option<PathBuf>,
    pub output: Output,
}

/// What came of it.
#[derive(Clone, Default, Debug, Serialize)]
pub struct Report {
    pub scored: u64,
    /// Decisions that the policy gives again from the recorded score and event, by the same rule or by none.
    pub policy_same: u64,
    /// Scores that are the same to the bit.
    pub bits_same: u64,
    /// Those within the tolerance, with the same decision.
    pub within_tolerance: u64,
    /// Rows that had to be the same to the bit.
    pub exact: u64,
    /// Rows whose score is so near a threshold that another runtime may decide otherwise.
    pub boundary: Vec<String>,
    pub mismatches: Vec<String>,
    /// How each package was run: the same runtime, or what differs.
    pub packages: Vec<String>,
}

/// So many are named; the rest is counted.
const NAMED: usize = 20;

/// Replays, and prints the report to `out`.
///
/// # Errors
/// When something that is needed is missing, or nothing was scored; [`Exit::Integrity`] when a
/// decision or a score is not what it was.
pub fn run(request: &Request, ledger: &Ledger, mut out: Sink) -> Result<()> {
    let mut replay = Replay {
        archived: Archived::new(&request.folder, request.runtime.as_deref())?,
        alone: request.alone,
        runtimes: BTreeMap::new(),
        boundary: Listed::default(),
        mismatches: Listed::default(),
        report: Report::default(),
    };
    let mut unscored_event = None;
    match &request.event {
        Some(event) => {
            let found = find::find(&request.folder, ledger, event)?;
            if found.is_empty() {
                return Err(super::nothing_found());
            }
            for Found { segment, row } in found {
                let filed = &ledger.segments[segment];
                let rows = find::read_rows(&request.folder, filed, row, 1, None)?;
                let why = rows.iter().find_map(unscored);
                unscored_event = unscored_event.or(why);
                replay.rows(filed, rows)?;
            }
        }
        None => {
            let is_there = |filed: &&Filed| !ledger.awaits_file(&request.folder, filed);
            let chosen = ledger.segments.iter().filter(is_there);
            for filed in chosen.filter(|filed| request.part.holds(filed)) {
                let rows = filed.committed.segment.rows;
                replay.rows(
                    filed,
                    find::read_rows(&request.folder, filed, 0, rows, None)?,
                )?;
            }
        }
    }
    let report = replay.into_report();
    if report.scored == 0 {
        return Err(match unscored_event {
            Some(why) => Fatal::new(Exit::CheckFailed, why),
            None => Fatal::usage("nothing was scored there"),
        });
    }
    let text = match request.output {
        Output::Text => report.to_text(),
        Output::Json => serde_json::to_string_pretty(&report).expect("texts and numbers") + "\n",
    };
    out.write(text.as_bytes())?;
    out.finish()?;
    match report.mismatches.is_empty() {
        true => Ok(()),
        false => Err(violation("not everything replays")),
    }
}

struct Replay<'a> {
    archived: Archived<'a>,
    alone: bool,
    /// Whether this runtime is the recorded one, by package and recorded runtime.
    runtimes: BTreeMap<(String, String), bool>,
    boundary: Listed,
    mismatches: Listed,
    report: Report,
}

impl Replay<'_> {
    fn rows(&mut self, filed: &Filed, batches: Vec<RecordBatch>) -> Result<()> {
        let fault = |error: &dyn std::fmt::Display| {
            violation(format!("{}: {error}", filed.committed.segment.path))
        };
        let Some(first) = batches.first() else {
            return Ok(());
        };
        let rows = concat_batches(first.schema_ref(), &batches).map_err(|e| fault(&e))?;
        let kinds = column(&rows, "kind", &DataType::Utf8).map_err(|e| fault(&e))?;
        let kinds = kinds.as_string::<i32>();
        let scored = kinds.iter().map(|kind| Some(kind == Some("scored")));
        let rows = filter_record_batch(&rows, &scored.collect()).map_err(|e| fault(&e))?;
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let text = |name: &str| -> Result<String> {
            let texts = column(&rows, name, &DataType::Utf8).map_err(|e| fault(&e))?;
            Ok(texts.as_string::<i32>().value(0).to_owned())
        };
        let place = Place {
            topic: text("input_topic")?,
            partition: filed.committed.segment.stream.partition,
            offsets: column(&rows, "offset", &DataType::Int64).map_err(|e| fault(&e))?,
        };
        let scores = column(&rows, "score", &DataType::Float32).map_err(|e| fault(&e))?;
        let scores = scores.as_primitive::<Float32Type>().values().to_vec();
        let (policy, schema) = (text("policy_sha256")?, text("input_schema")?);
        let deciding = self.archived.deciding(&policy, &schema)?;
        let policy = deciding.policy().clone();
        let again = deciding.decide(&scores, &rows).map_err(|e| fault(&e))?;
        let recorded = Verdicts::of(&rows).map_err(|e| fault(&e))?;
        self.report.scored += scores.len() as u64;
        for row in 0..scores.len() {
            match recorded.compare(&again, row) {
                Ok(()) => self.report.policy_same += 1,
                Err(what) => self.mismatch(place.of(row), what),
            }
        }
        let (name, recorded) = (text("package_sha256")?, text("runtime_sha256")?);
        let is_exact = text("admission")? == "deterministic";
        let is_same_runtime = self.is_same_runtime(&name, &recorded)?;
        let is_exact = is_exact && is_same_runtime;
        let again = self.score(&name, &rows).map_err(|e| fault(&e))?;
        for (row, (was, is)) in scores.iter().zip(again).enumerate() {
            self.compare(&place.of(row), &policy, is_exact, *was, is);
        }
        Ok(())
    }

    fn compare(&mut self, place: &str, policy: &Policy, is_exact: bool, was: f32, is: f32) {
        self.report.exact += u64::from(is_exact);
        match judge(policy, is_exact, was, is) {
            Ok(Same::Bits) => self.report.bits_same += 1,
            Ok(Same::Nearly) => self.report.within_tolerance += 1,
            Err(what) => return self.mismatch(place.to_owned(), what),
        }
        let near = |score: f32| policy.by_thresholds(score) != policy.by_thresholds(was);
        if !is_exact && (near(was - TOLERANCE) || near(was + TOLERANCE)) {
            self.boundary.push(place.to_owned());
        }
    }

    fn mismatch(&mut self, place: String, what: &str) {
        self.mismatches.push(format!("{place}: {what}"));
    }

    fn into_report(self) -> Report {
        Report {
            boundary: self.boundary.into_texts(),
            mismatches: self.mismatches.into_texts(),
            ..self.report
        }
    }

    /// Whether what runs a package here is what ran it then, and says so once.
    fn is_same_runtime(&mut self, name: &str, recorded: &str) -> Result<bool> {
        let key = (name.to_owned(), recorded.to_owned());
        if let Some(known) = self.runtimes.get(&key) {
            return Ok(*known);
        }
        let difference = self.archived.difference(name, recorded)?;
        let title = self.archived.package(name)?.package.title();
        self.report.packages.push(match &difference {
            None => format!("{title}: the runtime is the recorded one"),
            Some(what) => format!("{title}: another runtime ({what})"),
        });
        self.runtimes.insert(key, difference.is_none());
        Ok(difference.is_none())
    }

    /// The scores of these rows, from their features.
    fn score(&mut self, package: &str, rows: &RecordBatch) -> Result<Vec<f32>, String> {
        let alone = self.alone;
        let loaded = self.archived.package(package);
        let Loaded { model, package, .. } = loaded.map_err(|error| error.to_string())?;
        let columns = archived::features(package, rows)?;
        let mut run = |columns: &[ArrayRef]| {
            let scored = model.run(columns).map_err(|error| error.to_string())?;
            Ok::<_, String>(scored.score)
        };
        if !alone {
            return run(&columns);
        }
        let mut scores = Vec::with_capacity(rows.num_rows());
        for row in 0..rows.num_rows() {
            let one: Vec<ArrayRef> = columns.iter().map(|column| column.slice(row, 1)).collect();
            scores.extend(run(&one)?);
        }
        Ok(scores)
    }
}

/// How well a score was repeated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Same {
    Bits,
    /// Within [`TOLERANCE`], with the same decision.
    Nearly,
}

/// Whether a score that was `was` and is `is` when it is repeated was repeated well enough; `is_exact`: it must be
/// the same to the bit.
///
/// # Errors
/// What is wrong with it.
pub fn judge(policy: &Policy, is_exact: bool, was: f32, is: f32) -> Result<Same, &'static str> {
    let is_near = is.is_finite() && (was - is).abs() <= TOLERANCE;
    if was.to_bits() == is.to_bits() {
        Ok(Same::Bits)
    } else if is_exact {
        Err("its score has other bits")
    } else if is_near && policy.by_thresholds(was) == policy.by_thresholds(is) {
        Ok(Same::Nearly)
    } else {
        Err("its score is another")
    }
}

/// Texts, of which the first [`NAMED`] are kept, and the others counted.
#[derive(Default)]
struct Listed {
    named: Vec<String>,
    more: u64,
}

impl Listed {
    fn push(&mut self, text: String) {
        match self.named.len() < NAMED {
            true => self.named.push(text),
            false => self.more += 1,
        }
    }

    fn into_texts(self) -> Vec<String> {
        let more = (self.more > 0).then(|| format!("and {} more", self.more));
        self.named.into_iter().chain(more).collect()
    }
}

/// Why an event has no decision that could be repeated; none if its row was scored.
fn unscored(row: &RecordBatch) -> Option<String> {
    let text = |name: &str| {
        let texts = column(row, name, &DataType::Utf8).ok()?;
        let texts = texts.as_string::<i32>();
        texts.iter().flatten().next().map(str::to_owned)
    };
    match text("kind")?.as_str() {
        "scored" => None,
        "rejected" => Some(format!(
            "the event was rejected as {} in {}: nothing was decided, and there is nothing to replay",
            text("reject_reason")?,
            text("reject_stage")?
        )),
        _ => Some(
            "there is no event at this offset, it is in a gap: there is nothing to replay"
                .to_owned(),
        ),
    }
}

/// Where rows stood in the input.
struct Place {
    topic: String,
    partition: i32,
    offsets: ArrayRef,
}

impl Place {
    fn of(&self, row: usize) -> String {
        let offset = self.offsets.as_primitive::<Int64Type>().value(row);
        format!("{}:{}:{offset}", self.topic, self.partition)
    }
}

impl Report {
    fn to_text(&self) -> String {
        let mut lines = self.packages.clone();
        lines.push(format!(
            "{} of {}: score and event give it again by the policy",
            self.policy_same,
            counted(self.scored, "decision")
        ));
        lines.push(format!(
            "{} of {}: the same to the bit ({} had to be); {} more within {TOLERANCE:e} and with the same decision",
            self.bits_same,
            counted(self.scored, "score"),
            self.exact,
            self.within_tolerance
        ));
        lines.extend(
            self.boundary
                .iter()
                .map(|place| format!("near a threshold: {place}")),
        );
        lines.extend(self.mismatches.iter().map(|text| format!("✘ {text}")));
        if self.mismatches.is_empty() {
            lines.push("✔ replayed".to_owned());
        }
        lines.join("\n") + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_named_and_the_rest_is_counted() {
        let texts = |count: usize| {
            let mut listed = Listed::default();
            (0..count).for_each(|n| listed.push(format!("row {n} of many")));
            listed.into_texts()
        };
        assert!(texts(0).is_empty());
        assert_eq!(texts(NAMED).len(), NAMED);
        assert_eq!(texts(NAMED + 1)[NAMED], "and 1 more");
        assert_eq!(texts(NAMED + 30)[NAMED], "and 30 more");
    }

    #[test]
    fn one_is_told_in_the_singular() {
        let report = Report {
            scored: 1,
            policy_same: 1,
            bits_same: 1,
            exact: 1,
            ..Report::default()
        };
        let text = report.to_text();
        assert!(text.contains("1 of 1 decision: "), "{text}");
        assert!(text.contains("1 of 1 score: "), "{text}");
    }
}

//! `probity replay`: decides again what was decided, from the archive alone.
//!
//! The policy is repeated from the score, always to the bit. The score is repeated from the features with
//! the archived model: to the bit where the package was admitted as deterministic and this runtime is the
//! recorded one, else within a tolerance and with the same decision. Rows whose decision hangs on that
//! tolerance are listed, never hidden.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::{DataType, Float32Type, Int64Type};
use serde::Serialize;

use super::Output;
use super::file::column;
use super::find::{self, Event, Found};
use super::ledger::{Filed, Ledger};
use super::verify::violation;
use crate::archive::store;
use crate::archive::{Local, layout};
use crate::decide::Policy;
use crate::error::{Fatal, Result};
use crate::infer::{Model, Provider, Runtime};
use crate::package::{FeatureKind, Package};
use crate::record::Digest;
use crate::sink::Sink;

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
    /// Decisions that the policy gives again from the recorded score.
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
/// When something that is needed is missing; [`Exit::Integrity`](crate::error::Exit::Integrity) when a
/// decision or a score is not what it was.
pub fn run(request: &Request, ledger: &Ledger, mut out: Sink) -> Result<()> {
    let mut replay = Replay {
        folder: &request.folder,
        alone: request.alone,
        runtime: Runtime::load(request.runtime.as_deref())?,
        packages: BTreeMap::new(),
        runtimes: BTreeMap::new(),
        policies: BTreeMap::new(),
        report: Report::default(),
    };
    match &request.event {
        Some(event) => {
            let found = find::find(&request.folder, ledger, event)?;
            if found.is_empty() {
                return Err(super::nothing_found());
            }
            for Found { segment, row } in found {
                let filed = &ledger.segments[segment];
                replay.rows(
                    filed,
                    find::read_rows(&request.folder, filed, row, 1, None)?,
                )?;
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
    let report = replay.report;
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
    folder: &'a Path,
    alone: bool,
    runtime: &'static Runtime,
    packages: BTreeMap<String, Loaded>,
    /// Whether this runtime is the recorded one, by package and recorded runtime.
    runtimes: BTreeMap<(String, String), bool>,
    policies: BTreeMap<String, Policy>,
    report: Report,
}

/// A package of the archive, ready to run.
struct Loaded {
    model: Model,
    package: Package,
    /// The files lie here as long as the model runs.
    _folder: Folder,
}

/// A folder that goes when it is dropped.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
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
        let decisions = column(&rows, "decision", &DataType::Utf8).map_err(|e| fault(&e))?;
        let decisions: Vec<&str> = decisions.as_string::<i32>().iter().flatten().collect();
        let policy = self.policy(&text("policy_sha256")?)?;
        self.report.scored += scores.len() as u64;
        for (row, score) in scores.iter().enumerate() {
            if decisions.get(row) == Some(&policy.decide_one(*score).as_str()) {
                self.report.policy_same += 1;
            } else {
                self.mismatch(place.of(row), "the policy does not give its decision");
            }
        }
        let (name, recorded) = (text("package_sha256")?, text("runtime_sha256")?);
        let is_exact = text("admission")? == "deterministic";
        self.load(&name)?;
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
        if was.to_bits() == is.to_bits() {
            self.report.bits_same += 1;
        } else if is_exact {
            return self.mismatch(place.to_owned(), "its score has other bits");
        } else if is.is_finite()
            && (was - is).abs() <= TOLERANCE
            && policy.decide_one(was) == policy.decide_one(is)
        {
            self.report.within_tolerance += 1;
        } else {
            return self.mismatch(place.to_owned(), "its score is another");
        }
        let near = |score: f32| policy.decide_one(score) != policy.decide_one(was);
        if !is_exact && (near(was - TOLERANCE) || near(was + TOLERANCE)) {
            push(&mut self.report.boundary, place.to_owned());
        }
    }

    fn mismatch(&mut self, place: String, what: &str) {
        push(&mut self.report.mismatches, format!("{place}: {what}"));
    }

    fn policy(&mut self, digest: &str) -> Result<Policy> {
        if let Some(policy) = self.policies.get(digest) {
            return Ok(policy.clone());
        }
        let bytes = self.object(digest, layout::policy)?;
        let text = String::from_utf8_lossy(&bytes);
        let policy = Policy::parse(&text)
            .ok_or_else(|| violation(format!("the policy {digest} is none")))?;
        self.policies.insert(digest.to_owned(), policy.clone());
        Ok(policy)
    }

    /// An object that must be there and have its digest.
    fn object(&self, digest: &str, path: fn(Digest) -> String) -> Result<Vec<u8>> {
        let missing = || {
            violation(format!(
                "an object {digest} is missing or altered; run `probity verify`"
            ))
        };
        let digest = Digest::parse(digest).ok_or_else(missing)?;
        let bytes = store::get(&Local::read(self.folder), &path(digest))?;
        let bytes = bytes.filter(|bytes| Digest::of(bytes) == digest);
        Ok(bytes.ok_or_else(missing)?.to_vec())
    }

    /// Makes the package ready, once.
    fn load(&mut self, name: &str) -> Result<()> {
        if self.packages.contains_key(name) {
            return Ok(());
        }
        let list = String::from_utf8_lossy(&self.object(name, layout::model)?).into_owned();
        let folder = std::env::temp_dir().join(format!(
            "probity-replay-{}-{:.16}",
            std::process::id(),
            name
        ));
        let cannot = |error: std::io::Error| {
            Fatal::unreachable(format!("cannot write {}", folder.display())).because(error)
        };
        std::fs::create_dir_all(&folder).map_err(cannot)?;
        let guard = Folder(folder.clone());
        for line in list.lines() {
            let (digest, file) = line
                .split_once("  ")
                .filter(|(_, file)| !file.contains('/') && !file.starts_with('.'))
                .ok_or_else(|| violation(format!("the package {name} is no list of files")))?;
            let bytes = self.object(digest, layout::model)?;
            std::fs::write(folder.join(file), bytes).map_err(cannot)?;
        }
        let package = Package::load(&folder)?;
        let model = Model::open(&package, self.runtime, &[Provider::Cpu])?;
        let loaded = Loaded {
            model,
            package,
            _folder: guard,
        };
        self.packages.insert(name.to_owned(), loaded);
        Ok(())
    }

    /// Whether what runs a package here is what ran it then, and says so once.
    fn is_same_runtime(&mut self, name: &str, recorded: &str) -> Result<bool> {
        let key = (name.to_owned(), recorded.to_owned());
        if let Some(known) = self.runtimes.get(&key) {
            return Ok(*known);
        }
        let recorded = self.object(recorded, layout::runtime)?;
        let Loaded { model, package, .. } = &self.packages[name];
        let ours = self.runtime.document(model.provider())?;
        let difference = difference(&recorded, ours.as_bytes());
        self.report.packages.push(match &difference {
            None => format!("{}: the runtime is the recorded one", package.title()),
            Some(what) => format!("{}: another runtime ({what})", package.title()),
        });
        self.runtimes.insert(key, difference.is_none());
        Ok(difference.is_none())
    }

    /// The scores of these rows, from their features.
    fn score(&mut self, package: &str, rows: &RecordBatch) -> Result<Vec<f32>, String> {
        let Loaded { model, package, .. } = self.packages.get_mut(package).expect("it was loaded");
        let columns: Vec<ArrayRef> = package
            .features
            .iter()
            .map(|feature| {
                column(
                    rows,
                    &format!("feature_{}", feature.name),
                    &arrow_type(feature.kind),
                )
            })
            .collect::<Result<_, _>>()?;
        let mut run = |columns: &[ArrayRef]| {
            let scored = model.run(columns).map_err(|error| error.to_string())?;
            Ok::<_, String>(scored.score)
        };
        if !self.alone {
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

fn arrow_type(kind: FeatureKind) -> DataType {
    match kind {
        FeatureKind::Float32 => DataType::Float32,
        FeatureKind::Float64 => DataType::Float64,
        FeatureKind::Int64 => DataType::Int64,
        FeatureKind::Utf8 => DataType::Utf8,
        FeatureKind::Boolean => DataType::Boolean,
    }
}

fn push(list: &mut Vec<String>, text: String) {
    match list.len() {
        NAMED.. => {
            let more = list
                .get(NAMED)
                .and_then(|last| last.split(' ').nth(1)?.parse().ok());
            list.truncate(NAMED);
            list.push(format!("and {} more", more.unwrap_or(0) + 1));
        }
        _ => list.push(text),
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

/// The first key in which two runtime documents differ, the program's build aside: it runs no model.
fn difference(recorded: &[u8], ours: &[u8]) -> Option<String> {
    let parse = |bytes: &[u8]| {
        serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(bytes).ok()
    };
    let (Some(recorded), Some(ours)) = (parse(recorded), parse(ours)) else {
        return Some("the recorded document cannot be read".to_owned());
    };
    let keys = recorded.keys().chain(ours.keys());
    let mut keys = keys.filter(|key| key.as_str() != "program");
    keys.find(|key| recorded.get(*key) != ours.get(*key))
        .cloned()
}

impl Report {
    fn to_text(&self) -> String {
        let mut lines = self.packages.clone();
        lines.push(format!(
            "{} decisions of {} follow from their scores by the policy",
            self.policy_same, self.scored
        ));
        lines.push(format!(
            "{} scores of {} are the same to the bit ({} had to be), {} more within {TOLERANCE:e} and with the same decision",
            self.bits_same, self.scored, self.exact, self.within_tolerance
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

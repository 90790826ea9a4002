//! One segment: whether its file holds the rows that were signed for, and whether they agree with
//! themselves.
//!
//! Columns, their order and their kinds come from the columns text, never from the file; statistics are
//! never believed. A file may hold anything: what cannot be read is a finding.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::array::{Array, ArrayRef, AsArray as _, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int32Type, Int64Type};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::finding::{Finding, Name};
use super::ledger::Filed;
use crate::archive::layout::{self, Day};
use crate::archive::leaf::{Columns, Leaves, RowTree};
use crate::archive::ledger::Segment;
use crate::decide::{Claim, Policy};
use crate::evidence::columns;
use crate::record::Digest;

/// Rows that are read at once.
const BATCH_ROWS: usize = 8_192;

/// The columns that hold the digest of an object, and what it is. Packages of shadows are named beside these:
/// [`is_shadow_package`].
pub const NAMED: [(&str, Kept); 6] = [
    ("model_sha256", Kept::Model),
    ("package_sha256", Kept::Package),
    ("policy_sha256", Kept::Policy),
    ("runtime_sha256", Kept::Runtime),
    ("config_sha256", Kept::Config),
    ("input_schema", Kept::Schema),
];

/// What an object is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kept {
    Model,
    Package,
    Policy,
    Runtime,
    Config,
    Schema,
    Context,
}

/// What was found in a file.
#[derive(Default)]
pub struct Seen {
    pub findings: Vec<Finding>,
    pub rows: u64,
    pub bytes: u64,
    /// The objects that its rows name.
    pub named: BTreeSet<(Kept, String)>,
}

/// Where policies come from, by digest.
pub trait Policies: Sync {
    fn get(&self, digest: &str) -> KeptPolicy;
}

/// What an archive has under the digest of a policy.
#[derive(Clone, PartialEq, Debug)]
pub enum KeptPolicy {
    Policy(Box<Policy>),
    /// It has that digest, and is no policy, or of a form that this version does not know.
    Unreadable,
    /// It is missing, or another. That is told once, as an object.
    Missing,
}

/// Checks the file of a segment against its entry. `columns` is the text that the entry names.
pub fn check(
    filed: &Filed,
    file: &Bytes,
    columns: &Columns,
    event_id: Option<&str>,
    policies: &dyn Policies,
) -> Seen {
    let segment = &filed.committed.segment;
    let mut seen = Seen {
        bytes: file.len() as u64,
        ..Seen::default()
    };
    // Bytes that somebody altered may hold any number: the reader believes some of them.
    let read = catch_unwind(AssertUnwindSafe(|| {
        let mut check = Check::new(segment, columns, policies);
        check.event_id = event_id;
        check.run(file).map(|()| check)
    }));
    let check = match read {
        Ok(Ok(check)) => check,
        Ok(Err(fault)) => {
            seen.findings.push(fault);
            return seen;
        }
        Err(_) => {
            seen.findings
                .push(unreadable(segment, "its metadata contradict themselves"));
            return seen;
        }
    };
    seen.rows = check.tree.rows();
    seen.named = check.named;
    seen.findings = check.findings;
    let roots = check.tree.roots();
    let has_rows = roots.row_root == segment.row_root && roots.group_roots == segment.group_roots;
    let mut fault = |name, what: &str| seen.findings.push(Finding::new(name, &segment.path, what));
    if !has_rows {
        fault(
            Name::FileRows,
            "its rows are not those that were signed for",
        );
    } else if filed
        .files
        .iter()
        .all(|known| known.sha256 != Digest::of(file))
    {
        fault(
            Name::FileBytes,
            "it has the right rows in other bytes: something wrote it again",
        );
    }
    seen
}

fn unreadable(segment: &Segment, what: impl Into<String>) -> Finding {
    Finding::new(Name::FileUnreadable, &segment.path, what)
}

struct Check<'a> {
    segment: &'a Segment,
    columns: &'a Columns,
    policies: &'a dyn Policies,
    /// The column that names the event.
    event_id: Option<&'a str>,
    tree: RowTree,
    /// The offset at which the next row must begin.
    next: i64,
    /// Rows that are scored, rejected and gaps.
    kinds: [u64; 3],
    named: BTreeSet<(Kept, String)>,
    policy: Option<(String, KeptPolicy)>,
    findings: Vec<Finding>,
}

impl<'a> Check<'a> {
    fn new(segment: &'a Segment, columns: &'a Columns, policies: &'a dyn Policies) -> Check<'a> {
        Check {
            segment,
            columns,
            policies,
            event_id: None,
            tree: RowTree::default(),
            next: segment
                .coverage
                .first()
                .map_or(0, |covered| covered.first.0),
            kinds: [0; 3],
            named: BTreeSet::new(),
            policy: None,
            findings: Vec::new(),
        }
    }

    fn fault(&mut self, name: Name, what: impl Into<String>) {
        // One of a kind per file: a shifted row would be told a million times.
        if self.findings.iter().all(|finding| finding.name != name) {
            let finding = Finding::new(name, &self.segment.path, what);
            self.findings.push(finding);
        }
    }

    fn run(&mut self, file: &Bytes) -> Result<(), Finding> {
        let segment = self.segment;
        let broken = |error: &dyn std::fmt::Display| unreadable(segment, error.to_string());
        let builder = ParquetRecordBatchReaderBuilder::try_new(file.clone())
            .map_err(|error| broken(&error))?;
        let schema = builder.schema().clone();
        let mut leaves = Leaves::new(self.columns, &schema)
            .map_err(|error| Finding::new(Name::FileColumns, &segment.path, error))?;
        let reader = builder
            .with_batch_size(BATCH_ROWS)
            .build()
            .map_err(|error| broken(&error))?;
        for rows in reader {
            let rows = rows.map_err(|error| broken(&error))?;
            self.tree.extend(leaves.of(&rows).iter().copied());
            if let Err(what) = self.check_rows(&rows) {
                self.fault(Name::Rows, what);
            }
        }
        let wanted = [segment.scored, segment.rejected, segment.gaps];
        if self.kinds != wanted {
            self.fault(
                Name::Rows,
                "its rows are not as many of each kind as its entry says",
            );
        }
        let end = segment.coverage.last().map_or(0, |covered| covered.next.0);
        if self.next != end {
            self.fault(
                Name::Rows,
                format!("its rows end at offset {}, not at {end}", self.next),
            );
        }
        Ok(())
    }

    /// Rows tile the coverage, and say what their entry says.
    fn check_rows(&mut self, rows: &RecordBatch) -> Result<(), String> {
        let offsets = column(rows, "offset", &DataType::Int64)?;
        let nexts = column(rows, "next_offset", &DataType::Int64)?;
        let (offsets, nexts) = (
            offsets.as_primitive::<Int64Type>(),
            nexts.as_primitive::<Int64Type>(),
        );
        let kinds = column(rows, "kind", &DataType::Utf8)?;
        let kinds = kinds.as_string::<i32>();
        for row in 0..rows.num_rows() {
            let (offset, next) = (offsets.value(row), nexts.value(row));
            let (kind, is_one) = match kinds.value(row) {
                "scored" => (0, true),
                "rejected" => (1, true),
                "gap" => (2, false),
                _ => return Err("a row is neither scored, rejected nor a gap".into()),
            };
            self.kinds[kind] += 1;
            if offset != self.next || next <= offset || (is_one && next != offset + 1) {
                let expected = std::mem::replace(&mut self.next, next);
                return Err(format!(
                    "a row begins at offset {offset}, and {expected} was expected"
                ));
            }
            self.next = next;
        }
        self.check_place(rows)?;
        self.check_names(rows)?;
        self.check_decisions(rows, kinds)
    }

    fn check_place(&self, rows: &RecordBatch) -> Result<(), String> {
        let stream = &self.segment.stream;
        let partitions = column(rows, "partition", &DataType::Int32)?;
        let mut partitions = partitions.as_primitive::<Int32Type>().iter();
        if partitions.any(|partition| partition != Some(stream.partition)) {
            return Err("a row is of another partition".into());
        }
        let Some(covered) = self.segment.coverage.first() else {
            return Err("its entry covers no input".into());
        };
        let constants = [
            ("cluster_id", &stream.cluster_id),
            ("input_topic", &covered.topic),
            ("input_topic_id", &covered.topic_id),
        ];
        for (name, wanted) in constants {
            let texts = column(rows, name, &DataType::Utf8)?;
            let mut texts = texts.as_string::<i32>().iter();
            if texts.any(|text| text != Some(wanted)) {
                return Err(format!("a row has another {name} than its entry"));
            }
        }
        let positions = column(rows, "evidence_position", &DataType::Int64)?;
        let range = self.segment.first.0..self.segment.next.0;
        let mut positions = positions.as_primitive::<Int64Type>().iter().flatten();
        if !positions.all(|position| range.contains(&position)) {
            return Err("a row is of a position that its entry does not commit".into());
        }
        let times = column(rows, "score_time", &DataType::Int64)?;
        let range = self.segment.min_time..=self.segment.max_time;
        let mut times = times.as_primitive::<Int64Type>().iter().flatten();
        if !times.all(|time| range.contains(&time)) {
            return Err("a row was scored at a time that its entry does not have".into());
        }
        let day = layout::day_at(&self.segment.path);
        let in_day = |time| Day::of(time).is_some_and(|of| day == Some(&of.to_string()));
        if !in_day(self.segment.min_time) || !in_day(self.segment.max_time) {
            return Err("it lies under another day than that of its rows".into());
        }
        self.check_ids(rows)
    }

    /// A range of ids that is too small would hide an event from who looks it up.
    fn check_ids(&self, rows: &RecordBatch) -> Result<(), String> {
        let (Some(name), Some(min), Some(max)) =
            (self.event_id, &self.segment.min_id, &self.segment.max_id)
        else {
            return Ok(());
        };
        let ids = column(rows, name, &DataType::Utf8)?;
        let range = min.as_str()..=max.as_str();
        let mut ids = ids.as_string::<i32>().iter().flatten();
        match ids.all(|id| range.contains(&id)) {
            true => Ok(()),
            false => Err("an event's id is not in the range that its entry says".into()),
        }
    }

    fn check_names(&mut self, rows: &RecordBatch) -> Result<(), String> {
        let columns = self.columns;
        let names = columns.list().iter().map(|column| column.name.as_str());
        let shadows = names.filter(|name| is_shadow_package(name));
        let shadows = shadows.map(|name| (name, Kept::Package));
        for (name, kept) in NAMED.into_iter().chain(shadows) {
            let texts = column(rows, name, &DataType::Utf8)?;
            let texts = texts.as_string::<i32>();
            let mut last = "";
            for text in texts.iter().flatten() {
                if text != last {
                    self.named.insert((kept, text.to_owned()));
                    last = text;
                }
            }
        }
        Ok(())
    }

    /// Each decision is what the policy makes of the score, or what one of its rules makes stricter. Whether the
    /// rule's condition was met is for `probity replay`.
    fn check_decisions(
        &mut self,
        rows: &RecordBatch,
        kinds: &arrow::array::StringArray,
    ) -> Result<(), String> {
        let scores = column(rows, "score", &DataType::Float32)?;
        let scores = scores.as_primitive::<Float32Type>();
        let decisions = column(rows, "decision", &DataType::Utf8)?;
        let decisions = decisions.as_string::<i32>();
        let thresholds = column(rows, "threshold", &DataType::Float64)?;
        let thresholds = thresholds.as_primitive::<Float64Type>();
        let rules = optional_column(rows, columns::RULE, &DataType::Utf8)?;
        let rules = rules.as_ref().map(|rules| rules.as_string::<i32>());
        let policies = column(rows, "policy_sha256", &DataType::Utf8)?;
        let policies = policies.as_string::<i32>();
        for row in 0..rows.num_rows() {
            let claim = Claim {
                decision: decisions.is_valid(row).then(|| decisions.value(row)),
                threshold: thresholds.is_valid(row).then(|| thresholds.value(row)),
                rule: rules.and_then(|rules| rules.is_valid(row).then(|| rules.value(row))),
            };
            if kinds.value(row) != "scored" {
                if claim != Claim::default() || scores.is_valid(row) {
                    self.fault(
                        Name::Policy,
                        "a row that was not scored has a score or a decision",
                    );
                }
                continue;
            }
            let policy = match self.policy(policies.value(row)) {
                KeptPolicy::Policy(policy) => policy,
                KeptPolicy::Missing => continue,
                KeptPolicy::Unreadable => {
                    let what = format!("its policy {} is none", policies.value(row));
                    self.fault(Name::Policy, what);
                    continue;
                }
            };
            let score = scores.is_valid(row).then(|| scores.value(row));
            let Some(score) = score.filter(|score| score.is_finite()) else {
                self.fault(Name::Policy, "a row is scored and has no score");
                continue;
            };
            if !policy.allows(score, claim) {
                let what = "a decision is not what the policy makes of its score, nor what its rule makes stricter";
                self.fault(Name::Policy, what);
            }
        }
        Ok(())
    }

    fn policy(&mut self, digest: &str) -> &KeptPolicy {
        if self
            .policy
            .as_ref()
            .is_none_or(|(known, _)| known != digest)
        {
            self.policy = Some((digest.to_owned(), self.policies.get(digest)));
        }
        &self.policy.as_ref().expect("it was got").1
    }
}

/// Whether a column holds the digest of a shadow's package.
fn is_shadow_package(name: &str) -> bool {
    let rest = name.strip_prefix(columns::SHADOW_PREFIX);
    let number = rest.and_then(|rest| rest.strip_suffix("_package_sha256"));
    number.is_some_and(|number| number.parse::<u32>().is_ok())
}

/// As [`column`], of a column that only some files have.
///
/// # Errors
/// When it cannot be had as this type.
pub fn optional_column(
    rows: &RecordBatch,
    name: &str,
    wanted: &DataType,
) -> Result<Option<ArrayRef>, String> {
    let is_there = rows.column_by_name(name).is_some();
    is_there.then(|| column(rows, name, wanted)).transpose()
}

/// A column as this type, whatever width or encoding a writer chose.
///
/// # Errors
/// When there is none, or it cannot be had as this type.
pub fn column(rows: &RecordBatch, name: &str, wanted: &DataType) -> Result<ArrayRef, String> {
    let column = rows
        .column_by_name(name)
        .ok_or_else(|| format!("it has no column `{name}`"))?;
    if column.data_type() == wanted {
        return Ok(column.clone());
    }
    cast(column, wanted).map_err(|error| format!("its column `{name}`: {error}"))
}

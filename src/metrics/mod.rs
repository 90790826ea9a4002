//! Every metric: its name, its labels, its unit, what it tells, and the handles that record it.
//!
//! The only place that names a metric. Code records through the structs below, which resolve their
//! handles once; it never sees a name or a label. Knows nothing of what it counts. Everything is
//! recorded once per batch, segment or request, never once per row: one recording is an atomic
//! addition of some 10 ns, which a batch does not notice and a row would.
//!
//! No label ever holds anything of an event: labels are closed lists, partitions, hashes, and names that a
//! model package gives.

mod drift;

use std::collections::BTreeMap;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Label};
use metrics_prometheus::FrozenRecorder;
use metrics_prometheus::recorder::Builder;
use prometheus::{GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, Opts};
use prometheus::{Registry, TextEncoder};

use crate::error::{Exit, Fatal, Result};
use crate::laps::{Laps, Step};
use crate::record::{Decision, Digest, Reason};
pub use drift::DriftMetrics;

/// What a metric is; a histogram with the upper bounds of its buckets.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram(&'static [f64]),
}

/// One line of the table of metrics.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    /// In what it counts, in the plural.
    pub unit: &'static str,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

/// Seconds, half a millisecond to ten seconds.
const LATENCY: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// Seconds of one stage, ten microseconds to a second and more.
const STEP_TIME: &[f64] = &[
    0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
    0.1, 0.25, 1.0,
];
/// Rows, by powers of two, up to the largest batch that the configuration allows.
const ROWS_IN_BATCH: &[f64] = &[
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0,
    16384.0, 32768.0, 65536.0,
];
/// Bytes, 64 KiB to 1 GiB, by powers of four.
const FILE_BYTES: &[f64] = &[
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
    268_435_456.0,
    1_073_741_824.0,
];

macro_rules! metrics_table {
    ($($constant:ident: $name:literal, $kind:expr, $unit:literal, $labels:expr, $help:literal;)*) => {
        $(const $constant: Metric =
            Metric { name: $name, kind: $kind, unit: $unit, labels: &$labels, help: $help };)*

        /// Every metric there is.
        pub const ALL: &[Metric] = &[$($constant,)*];
    };
}

metrics_table! {
    ROWS: "probity_rows_total", Kind::Counter, "rows", ["outcome"],
        "Rows of evidence committed, by outcome: scored, rejected or gap.";
    REJECTED: "probity_rejected_total", Kind::Counter, "events", ["reason"],
        "Events rejected, by reason.";
    UNKNOWN_FIELDS: "probity_unknown_fields_total", Kind::Counter, "fields", [],
        "Fields of events that the schema does not know.";
    OUT_OF_MEMORY: "probity_out_of_memory_total", Kind::Counter, "chunks", [],
        "Chunks that a device's memory did not hold; each made the chunks of its lane smaller.";
    EXPLAINED: "probity_explained_total", Kind::Counter, "events", [],
        "Events whose decision was explained when it was made.";
    UNEXPLAINED: "probity_unexplained_total", Kind::Counter, "events", [],
        "Events whose decision was to be explained when it was made, and could not be.";
    INEXACT: "probity_inexact_explanations_total", Kind::Counter, "events", [],
        "Events whose explanation does not add up to the model's margin.";
    RULED: "probity_rule_decisions_total", Kind::Counter, "events", ["rule"],
        "Events that a rule of the policy decided, by rule.";
    ROUNDS: "probity_rounds_total", Kind::Counter, "rounds", ["outcome"],
        "Kafka transactions, by outcome: committed, also where only the brokers knew it at first; aborted; or \
         unknown, which the brokers then said was not committed.";
    BATCH_ROWS: "probity_batch_rows", Kind::Histogram(ROWS_IN_BATCH), "rows", [],
        "Events of one batch.";
    EVENT_TO_COMMIT: "probity_event_to_commit_seconds", Kind::Histogram(LATENCY), "seconds", [],
        "From the time of the oldest event of a batch to its commit, one observation a batch.";
    POLL_TO_COMMIT: "probity_poll_to_commit_seconds", Kind::Histogram(LATENCY), "seconds", [],
        "From the first poll of a batch to its commit, one observation a batch.";
    STEP: "probity_stage_seconds", Kind::Histogram(STEP_TIME), "seconds", ["stage"],
        "Time of one batch in a stage.";
    REBALANCES: "probity_rebalances_total", Kind::Counter, "rebalances", ["kind"],
        "Changes of the assignment, by kind: assigned, revoked or lost.";
    PARTITIONS_ASSIGNED: "probity_partitions_assigned", Kind::Gauge, "partitions", ["lane"],
        "Partitions of the input that a lane holds.";
    PARTITIONS_REFUSED: "probity_partitions_refused", Kind::Gauge, "partitions", ["lane"],
        "Partitions that a lane holds and does not read; /readyz says why.";
    BEHIND_ROWS: "probity_behind_rows", Kind::Gauge, "rows", ["partition"],
        "Offsets from the committed one to the end of the log, markers of transactions included.";
    BEHIND_SECONDS: "probity_behind_seconds", Kind::Gauge, "seconds", ["partition"],
        "Age of the last event taken; 0 when none came after it, or it is not assigned here.";
    ARCHIVE_MESSAGES: "probity_archive_messages_total", Kind::Counter, "messages", [],
        "Messages of evidence taken into segments.";
    ARCHIVE_ROWS: "probity_archive_rows_total", Kind::Counter, "rows", [],
        "Rows of evidence taken into segments.";
    ARCHIVE_SEGMENTS: "probity_archive_segments_total", Kind::Counter, "segments", [],
        "Segments whose file is in the archive.";
    ARCHIVE_SEGMENT_SIZE: "probity_archive_segment_bytes", Kind::Histogram(FILE_BYTES), "bytes", [],
        "Size of a segment's file.";
    ARCHIVE_OPEN: "probity_archive_open_bytes", Kind::Gauge, "bytes", [],
        "Memory of all open segments.";
    ARCHIVE_ENTRIES: "probity_archive_entries_total", Kind::Counter, "entries", ["kind"],
        "Entries that the archiver appended for a file, by kind: segment or reseal.";
    ARCHIVE_PUTS: "probity_archive_puts_total", Kind::Counter, "requests", ["outcome"],
        "Objects that the archiver put, by outcome: created, exists, or failed, which may be there or not.";
    ARCHIVE_BEHIND: "probity_archive_behind_seconds", Kind::Gauge, "seconds", [],
        "Age of the oldest evidence that was read and is in no segment of the archive.";
    SHADOW: "probity_shadow_decisions_total", Kind::Counter, "events", ["shadow", "decision", "would"],
        "Events by what was decided and what a shadow would have decided; none where it failed.";
    MODEL_PACKAGES: "probity_model_packages_total", Kind::Counter, "packages", ["outcome"],
        "Model packages that came while payments flowed, by outcome: changed or refused.";
    OLDER_PACKAGE: "probity_older_package_partitions_total", Kind::Counter, "partitions", [],
        "Partitions taken over from a process of the group whose package was newer than the one that decides here.";
    DRIFT_PSI: "probity_drift_psi", Kind::Gauge, "indices", ["of"],
        "Population stability index of the score or a feature, last window against the package's reference.";
    DRIFT_MISSING: "probity_drift_missing_ratio", Kind::Gauge, "ratios", ["of"],
        "Share of the last window's events in which a feature was missing, or imputed.";
    DRIFT_OUT_OF_RANGE: "probity_drift_out_of_range_ratio", Kind::Gauge, "ratios", ["of"],
        "Share of the last window's events in which a feature was outside the range that the package says.";
    DRIFT_UNKNOWN: "probity_drift_unknown_category_ratio", Kind::Gauge, "ratios", ["of"],
        "Share of the last window's events in which a feature's text was none of its categories.";
    BUILD: "probity_build_info", Kind::Gauge, "builds", ["version"],
        "1 for the version that runs.";
    MODEL: "probity_model_info", Kind::Gauge, "models", ["name", "version", "sha256", "provider"],
        "1 for the model that scores, and the execution provider that runs it.";
    CONFIG: "probity_config_info", Kind::Gauge, "configurations", ["sha256"],
        "1 for the digest of the effective configuration, as `probity config show` prints it.";
}

impl Metric {
    fn labelled(&self, values: &[&str]) -> Vec<Label> {
        assert_eq!(values.len(), self.labels.len(), "labels of {}", self.name);
        let pairs = self.labels.iter().zip(values);
        pairs
            .map(|(name, value)| Label::new(*name, (*value).to_owned()))
            .collect()
    }

    fn counter(&self, values: &[&str]) -> Counter {
        metrics::counter!(self.name, self.labelled(values))
    }

    fn gauge(&self, values: &[&str]) -> Gauge {
        metrics::gauge!(self.name, self.labelled(values))
    }

    fn histogram(&self, values: &[&str]) -> Histogram {
        metrics::histogram!(self.name, self.labelled(values))
    }

    fn add_to(&self, builder: Builder) -> prometheus::Result<Builder> {
        let options = Opts::new(self.name, self.help);
        match self.kind {
            Kind::Counter => builder.try_with_metric(IntCounterVec::new(options, self.labels)?),
            Kind::Gauge => builder.try_with_metric(GaugeVec::new(options, self.labels)?),
            Kind::Histogram(buckets) => {
                let options = HistogramOpts::from(options).buckets(buckets.to_vec());
                builder.try_with_metric(HistogramVec::new(options, self.labels)?)
            }
        }
    }
}

/// Renders the metrics of this process. The default has none.
#[derive(Clone, Default, Debug)]
pub struct Handle {
    registry: Registry,
}

impl Handle {
    /// In the text format of Prometheus. A metric appears once something holds its handle.
    #[must_use]
    pub fn render(&self) -> String {
        let families = self.registry.gather();
        TextEncoder::new()
            .encode_to_string(&families)
            .expect("a registered metric has a name and a consistent type")
    }
}

/// Makes the one recorder of this process. Handles that were made before record nothing.
///
/// # Errors
/// A bug: the table contradicts itself, or somebody has installed a recorder before.
pub fn install() -> Result<Handle> {
    let failed = |error: &dyn std::fmt::Display| {
        Fatal::new(
            Exit::Bug,
            format!("cannot install the recorder of metrics: {error}"),
        )
    };
    let (recorder, handle) = recorder().map_err(|error| failed(&error))?;
    metrics::set_global_recorder(recorder).map_err(|error| failed(&error))?;
    Ok(handle)
}

pub(crate) fn recorder() -> prometheus::Result<(FrozenRecorder, Handle)> {
    let registry = Registry::new();
    let mut builder = metrics_prometheus::Recorder::builder().with_registry(registry.clone());
    for metric in ALL {
        builder = metric.add_to(builder)?;
    }
    Ok((builder.build_frozen(), Handle { registry }))
}

/// Says which version runs.
pub fn build_is(version: &str) {
    BUILD.gauge(&[version]).set(1.0);
}

/// So many chunks did not fit the device's memory.
pub fn out_of_memory(chunks: u64) {
    OUT_OF_MEMORY.counter(&[]).increment(chunks);
}

/// A partition goes on with an older package than the one that decided last.
pub fn older_package() {
    OLDER_PACKAGE.counter(&[]).increment(1);
}

/// Says which configuration is in force.
pub fn config_is(digest: Digest) {
    CONFIG.gauge(&[&digest.to_string()]).set(1.0);
}

/// Says whether this model scores, and what runs it.
pub fn model(name: &str, version: &str, digest: Digest, provider: &str, scores: bool) {
    MODEL
        .gauge(&[name, version, &digest.to_string(), provider])
        .set(f64::from(u8::from(scores)));
}

/// So many events were decided so, and the shadow with this number said that.
pub fn shadow(number: usize, decision: Decision, would: Option<Decision>, events: u64) {
    let would = would.map_or("none", Decision::as_str);
    SHADOW
        .counter(&[&number.to_string(), decision.as_str(), would])
        .increment(events);
}

/// Packages that came while payments flowed.
pub struct ModelMetrics {
    changed: Counter,
    refused: Counter,
}

impl Default for ModelMetrics {
    fn default() -> Self {
        Self::new()
    }
}

impl ModelMetrics {
    #[must_use]
    pub fn new() -> ModelMetrics {
        // The series is there before anything happens.
        OLDER_PACKAGE.counter(&[]).increment(0);
        ModelMetrics {
            changed: MODEL_PACKAGES.counter(&["changed"]),
            refused: MODEL_PACKAGES.counter(&["refused"]),
        }
    }

    pub fn changed(&self) {
        self.changed.increment(1);
    }

    pub fn refused(&self) {
        self.refused.increment(1);
    }
}

macro_rules! label_values {
    ($(#[$doc:meta])* $name:ident { $($variant:ident => $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $name { $($variant,)* }

        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }
        }
    };
}

label_values! {
    /// What happened to the assignment of a lane.
    Rebalance { Assigned => "assigned", Revoked => "revoked", Lost => "lost", }
}
label_values! {
    /// For what an entry of the ledger was appended.
    EntryKind { Segment => "segment", Reseal => "reseal", }
}
label_values! {
    /// What became of a put-if-absent.
    Put { Created => "created", Exists => "exists", Failed => "failed", }
}

/// What one committed round did.
#[derive(Clone, Copy, Default, Debug)]
pub struct Committed {
    pub scored: u64,
    pub rejected: u64,
    /// Rows of evidence that stand for a gap.
    pub gaps: u64,
    /// From the time of the oldest event to the commit; `None` without a scored event.
    pub event_to_commit: Option<Duration>,
    pub poll_to_commit: Duration,
}

/// What a lane records.
pub struct LaneMetrics {
    scored: Counter,
    rejected: Counter,
    gaps: Counter,
    /// In the order of `Reason::ALL`.
    rejected_by_reason: Vec<Counter>,
    unknown_fields: Counter,
    explained: Counter,
    unexplained: Counter,
    inexact: Counter,
    /// By the rule's name. Packages bring them, a few dozen each.
    ruled: BTreeMap<String, Counter>,
    committed: Counter,
    aborted: Counter,
    unknown: Counter,
    batch_rows: Histogram,
    event_to_commit: Histogram,
    poll_to_commit: Histogram,
    /// In the order of `Step::ALL`, as with the next one.
    steps: Vec<Histogram>,
    rebalances: Vec<Counter>,
    partitions_assigned: Gauge,
    partitions_refused: Gauge,
}

impl LaneMetrics {
    #[must_use]
    pub fn new(lane: usize) -> LaneMetrics {
        let lane = lane.to_string();
        let reasons = Reason::ALL.iter();
        LaneMetrics {
            scored: ROWS.counter(&["scored"]),
            rejected: ROWS.counter(&["rejected"]),
            gaps: ROWS.counter(&["gap"]),
            rejected_by_reason: reasons.map(|r| REJECTED.counter(&[r.as_str()])).collect(),
            unknown_fields: UNKNOWN_FIELDS.counter(&[]),
            explained: EXPLAINED.counter(&[]),
            unexplained: UNEXPLAINED.counter(&[]),
            inexact: INEXACT.counter(&[]),
            ruled: BTreeMap::new(),
            committed: ROUNDS.counter(&["committed"]),
            aborted: ROUNDS.counter(&["aborted"]),
            unknown: ROUNDS.counter(&["unknown"]),
            batch_rows: BATCH_ROWS.histogram(&[]),
            event_to_commit: EVENT_TO_COMMIT.histogram(&[]),
            poll_to_commit: POLL_TO_COMMIT.histogram(&[]),
            steps: Step::ALL
                .iter()
                .map(|step| STEP.histogram(&[step.as_str()]))
                .collect(),
            rebalances: Rebalance::ALL
                .iter()
                .map(|r| REBALANCES.counter(&[r.as_str()]))
                .collect(),
            partitions_assigned: PARTITIONS_ASSIGNED.gauge(&[&lane]),
            partitions_refused: PARTITIONS_REFUSED.gauge(&[&lane]),
        }
    }

    /// A batch of this many events was gathered.
    pub fn gathered(&self, rows: usize) {
        self.batch_rows.record(float(rows as u64));
    }

    /// A batch spent this time in each step.
    pub fn steps(&self, laps: &Laps) {
        for (step, time) in laps.iter() {
            self.steps[step as usize].record(time);
        }
    }

    pub fn committed(&self, round: &Committed) {
        self.committed.increment(1);
        self.scored.increment(round.scored);
        self.rejected.increment(round.rejected);
        self.gaps.increment(round.gaps);
        self.poll_to_commit.record(round.poll_to_commit);
        if let Some(time) = round.event_to_commit {
            self.event_to_commit.record(time);
        }
    }

    pub fn aborted(&self) {
        self.aborted.increment(1);
    }

    /// The outcome of a commit was not known in time, and the brokers said that it was none.
    pub fn unknown(&self) {
        self.unknown.increment(1);
    }

    /// A committed round had this many rejections with this reason.
    pub fn rejected(&self, reason: Reason, events: u64) {
        self.rejected_by_reason[reason as usize].increment(events);
    }

    pub fn unknown_fields(&self, fields: u64) {
        self.unknown_fields.increment(fields);
    }

    /// A committed round had this many explanations, this many that are missing, and this many that do not add up.
    pub fn explained(&self, events: u64, missing: u64, inexact: u64) {
        self.explained.increment(events);
        self.unexplained.increment(missing);
        self.inexact.increment(inexact);
    }

    /// A rule of the policy decided this many events of a committed round.
    pub fn ruled(&mut self, rule: &str, events: u64) {
        if !self.ruled.contains_key(rule) {
            self.ruled.insert(rule.to_owned(), RULED.counter(&[rule]));
        }
        self.ruled[rule].increment(events);
    }

    pub fn rebalanced(&self, kind: Rebalance) {
        self.rebalances[kind as usize].increment(1);
    }

    /// The lane holds `assigned` partitions and does not read `refused` of them.
    pub fn holds(&self, assigned: usize, refused: usize) {
        self.partitions_assigned.set(float(assigned as u64));
        self.partitions_refused.set(float(refused as u64));
    }
}

/// What a lane records of a partition that it holds. Dropping it sets both to 0, so that a sum over
/// all processes counts every partition once.
pub struct PartitionMetrics {
    rows: Gauge,
    seconds: Gauge,
}

impl PartitionMetrics {
    #[must_use]
    pub fn new(partition: i32) -> PartitionMetrics {
        let partition = partition.to_string();
        PartitionMetrics {
            rows: BEHIND_ROWS.gauge(&[&partition]),
            seconds: BEHIND_SECONDS.gauge(&[&partition]),
        }
    }

    /// `rows`: offsets up to the end of the log. `age`: of the last event that was taken.
    pub fn behind(&self, rows: u64, age: Duration) {
        self.rows.set(float(rows));
        self.seconds.set(age);
    }
}

impl Drop for PartitionMetrics {
    fn drop(&mut self) {
        self.behind(0, Duration::ZERO);
    }
}

/// What the archiver records.
pub struct ArchiveMetrics {
    messages: Counter,
    rows: Counter,
    segments: Counter,
    segment_bytes: Histogram,
    open_bytes: Gauge,
    /// In the order of `EntryKind::ALL`.
    entries: Vec<Counter>,
    /// In the order of `Put::ALL`.
    puts: Vec<Counter>,
    behind: Gauge,
}

impl ArchiveMetrics {
    #[must_use]
    #[allow(
        clippy::new_without_default,
        reason = "makes handles, and is no neutral value"
    )]
    pub fn new() -> ArchiveMetrics {
        let entry = |kind: &EntryKind| ARCHIVE_ENTRIES.counter(&[kind.as_str()]);
        let put = |outcome: &Put| ARCHIVE_PUTS.counter(&[outcome.as_str()]);
        ArchiveMetrics {
            messages: ARCHIVE_MESSAGES.counter(&[]),
            rows: ARCHIVE_ROWS.counter(&[]),
            segments: ARCHIVE_SEGMENTS.counter(&[]),
            segment_bytes: ARCHIVE_SEGMENT_SIZE.histogram(&[]),
            open_bytes: ARCHIVE_OPEN.gauge(&[]),
            entries: EntryKind::ALL.iter().map(entry).collect(),
            puts: Put::ALL.iter().map(put).collect(),
            behind: ARCHIVE_BEHIND.gauge(&[]),
        }
    }

    /// Evidence was taken into a segment.
    pub fn taken(&self, messages: u64, rows: u64) {
        self.messages.increment(messages);
        self.rows.increment(rows);
    }

    /// The file of a segment is in the archive.
    pub fn sealed(&self, bytes: u64) {
        self.segments.increment(1);
        self.segment_bytes.record(float(bytes));
    }

    /// Memory of all open segments.
    pub fn open(&self, bytes: u64) {
        self.open_bytes.set(float(bytes));
    }

    pub fn entry(&self, kind: EntryKind) {
        self.entries[kind as usize].increment(1);
    }

    pub fn put(&self, outcome: Put) {
        self.puts[outcome as usize].increment(1);
    }

    /// Age of the oldest evidence that was read and is in no segment of the archive.
    pub fn behind(&self, age: Duration) {
        self.behind.set(age);
    }
}

/// Prometheus knows only floats; counts below 2^53 are exact.
#[allow(
    clippy::cast_precision_loss,
    reason = "no count of ours comes near 2^53"
)]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;

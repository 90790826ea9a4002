//! `probity verify`: everything that was signed, compared with everything that is there.
//!
//! Reads the whole ledger, and the files of all segments or of the part that was asked for, on as many
//! threads as there are processors. Changes nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde::Serialize;

use super::Output;
use super::file::{self, Kept, Seen};
use super::finding::{Finding, Name};
use super::ledger::{self, Filed, KeptNote, Ledger};
use super::objects::{self, Library};
use crate::archive::ledger::Break;
use crate::archive::store;
use crate::archive::{Store, layout};
use crate::error::{Exit, Fatal, Result};
use crate::keys::Trust;
use crate::record::Digest;
use crate::sink::Sink;
use crate::words::counted;

/// What is to be verified.
pub struct Request {
    pub folder: PathBuf,
    pub trust: Trust,
    /// Whether the age of the checkpoint counts.
    pub judges_age: bool,
    /// Checkpoints that the auditor kept from earlier.
    pub kept: Vec<KeptNote>,
    pub part: Part,
    pub output: Output,
    pub now: i64,
}

impl Request {
    /// Everything, by what is there alone.
    #[must_use]
    pub fn all(folder: &Path, trust: Trust) -> Request {
        Request {
            folder: folder.to_owned(),
            trust,
            judges_age: false,
            kept: Vec::new(),
            part: Part::default(),
            output: Output::Text,
            now: 0,
        }
    }
}

/// Of which segments the files are read. The ledger is always read whole.
#[derive(Clone, Default, Debug)]
pub struct Part {
    /// UTC days, `2026-11-23`, first and last.
    pub days: Option<(String, String)>,
    pub partitions: Vec<i32>,
    /// Every so many-th.
    pub one_in: Option<usize>,
}

impl Part {
    #[must_use]
    pub fn holds(&self, filed: &Filed) -> bool {
        let segment = &filed.committed.segment;
        let day = layout::day_at(&segment.path).unwrap_or("");
        let in_days =
            |(first, last): &(String, String)| first.as_str() <= day && day <= last.as_str();
        let in_sample = |every: usize| {
            // Spread by what nobody can choose: the digest of the path.
            let word = Digest::of(segment.path.as_bytes()).0;
            usize::from(u16::from_be_bytes([word[0], word[1]])).is_multiple_of(every)
        };
        self.days.as_ref().is_none_or(in_days)
            && (self.partitions.is_empty() || self.partitions.contains(&segment.stream.partition))
            && self.one_in.is_none_or(in_sample)
    }

    /// What to say where no segment is of it.
    fn holds_none(&self) -> &'static str {
        match self.days.is_none() && self.partitions.is_empty() {
            true => "no segment is in the sample; say a smaller --sample",
            false if self.one_in.is_none() => "no segment is of these days and partitions",
            false => "no segment is of these days and partitions, and in the sample",
        }
    }

    fn is_whole(&self) -> bool {
        self.days.is_none() && self.partitions.is_empty() && self.one_in.is_none()
    }
}

/// What was verified and what was found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub archive: String,
    pub cluster: String,
    pub evidence_topic: String,
    pub entries: u64,
    pub checkpoint: Option<Head>,
    pub streams: usize,
    pub segments: usize,
    /// Whether the files of all segments were read.
    pub whole: bool,
    /// Of so many segments the files were read.
    pub files: usize,
    pub bytes: u64,
    pub rows: u64,
    pub scored: u64,
    pub rejected: u64,
    pub gaps: u64,
    /// What alarms nobody: what is in flight, and what an operator said is missing.
    pub told: Vec<Told>,
    pub seconds: f64,
    pub findings: Vec<Finding>,
}

/// Something to know, with its name in `schemas/ARCHIVE.md`.
#[derive(Clone, Debug, Serialize)]
pub struct Told {
    pub name: &'static str,
    pub object: &'static str,
    pub what: String,
}

impl Told {
    fn in_flight(what: impl Into<String>) -> Told {
        Told {
            name: "in-flight",
            object: "ledger",
            what: what.into(),
        }
    }
}

/// The checkpoint that the report rests on.
#[derive(Clone, Debug, Serialize)]
pub struct Head {
    pub size: u64,
    pub root: String,
    /// When the last entry below it was written, µs since the epoch.
    pub time: i64,
}

/// Verifies, prints the report to `out`, and fails if there are findings.
///
/// # Errors
/// When the folder is no archive or cannot be read, or no segment is of the part; [`Exit::Integrity`] when there are
/// findings.
pub fn run(request: &Request, mut out: Sink) -> Result<()> {
    let report = verify(request)?;
    let text = match request.output {
        Output::Text => report.to_text(),
        Output::Json => serde_json::to_string_pretty(&report).expect("texts and numbers") + "\n",
    };
    out.write(text.as_bytes())?;
    out.finish()?;
    match report.findings.len() {
        0 => Ok(()),
        count => Err(Fatal::integrity(format!(
            "the archive is not verified: {}",
            counted(count, "finding")
        ))),
    }
}

/// Verifies.
///
/// # Errors
/// As [`run`], but for findings.
pub fn verify(request: &Request) -> Result<Report> {
    let started = Instant::now();
    let store = super::open(&request.folder)?;
    // Before the ledger is read: an entry is there before its file, also in an archive that grows meanwhile.
    let files = store::list(&*store, layout::SEGMENTS)?;
    let mut ledger = ledger::read(&store, &request.trust, &request.kept)?;
    let mut findings = std::mem::take(&mut ledger.findings);
    if request.judges_age {
        findings.extend(too_old(&ledger, &request.trust, request.now));
    }
    let mut told: Vec<Told> = ledger.breaks.iter().map(gap).collect();
    told.extend(in_flight(&ledger));
    let signed = ledger.signed();
    let (known, newer): (Vec<&Filed>, Vec<&Filed>) = ledger
        .segments
        .iter()
        .partition(|filed| filed.committed.n < signed);
    for filed in newer {
        if store::size(&*store, &filed.committed.segment.path)?.is_none() {
            let path = &filed.committed.segment.path;
            told.push(Told::in_flight(format!("{path} is not there yet")));
        }
    }
    findings.extend(foreign_files(files, &ledger));
    let chosen: Vec<&Filed> = known
        .iter()
        .copied()
        .filter(|filed| request.part.holds(filed))
        .collect();
    let seen = check_files(&store, &chosen)?;
    findings.extend(objects::check_names(&*store)?);
    findings.extend(objects::check_named(&*store, &seen.named)?);
    findings.extend(seen.findings);
    findings.sort();
    findings.dedup();
    if chosen.is_empty() && !request.part.is_whole() && findings.is_empty() {
        return Err(Fatal::usage(request.part.holds_none()));
    }
    let sum = |count: fn(&Filed) -> u64| known.iter().map(|filed| count(filed)).sum();
    Ok(Report {
        archive: ledger.origin.archive_id.clone(),
        cluster: ledger.origin.cluster_id.clone(),
        evidence_topic: ledger.origin.evidence_topic.clone(),
        entries: ledger.records.len() as u64,
        checkpoint: ledger.checkpoint.as_ref().map(|(checkpoint, _)| Head {
            size: checkpoint.size,
            root: checkpoint.root.to_string(),
            time: ledger.signed_time().unwrap_or(0),
        }),
        streams: ledger.state.streams().count(),
        segments: known.len(),
        whole: request.part.is_whole(),
        files: chosen.len(),
        bytes: seen.bytes,
        rows: seen.rows,
        scored: sum(|filed| filed.committed.segment.scored),
        rejected: sum(|filed| filed.committed.segment.rejected),
        gaps: sum(|filed| filed.committed.segment.gaps),
        told,
        seconds: started.elapsed().as_secs_f64(),
        findings,
    })
}

fn too_old(ledger: &Ledger, trust: &Trust, now: i64) -> Option<Finding> {
    let age = now.saturating_sub(ledger.signed_time()?);
    let max = i64::try_from(trust.max_age.as_micros()).unwrap_or(i64::MAX);
    (age > max).then(|| {
        let hours = age / 3_600_000_000;
        let what = format!(
            "its last entry is {} old; the archiver stopped, or newer ones were cut off",
            counted(hours, "hour")
        );
        Finding::new(Name::CheckpointOld, layout::CHECKPOINT, what)
    })
}

fn gap((n, brk): &(u64, Break)) -> Told {
    Told {
        name: "gap",
        object: "ledger",
        what: format!(
            "entry {n}: {}, positions {} to {}: {} ({})",
            brk.stream, brk.first, brk.next, brk.reason, brk.operator
        ),
    }
}

fn in_flight(ledger: &Ledger) -> Option<Told> {
    let (signed, entries) = (ledger.signed(), ledger.records.len() as u64);
    match entries - signed.min(entries) {
        0 => None,
        1 => Some(Told::in_flight(format!(
            "entry {signed} is not signed for yet"
        ))),
        more => Some(Told::in_flight(format!(
            "{more} entries from {signed} on are not signed for yet"
        ))),
    }
}

/// Files under `segments/` that no entry commits.
fn foreign_files(files: Vec<String>, ledger: &Ledger) -> Vec<Finding> {
    let committed: BTreeSet<&str> = ledger
        .segments
        .iter()
        .map(|filed| filed.committed.segment.path.as_str())
        .collect();
    let foreign = files
        .into_iter()
        .filter(|path| !committed.contains(path.as_str()));
    foreign
        .map(|path| Finding::new(Name::FileForeign, path, "no entry of the ledger commits it"))
        .collect()
}

/// Checks files on all processors; tells how far it is on standard error where a person looks.
fn check_files(store: &Arc<dyn Store>, chosen: &[&Filed]) -> Result<Seen> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Done::default()));
    let library = Library::new(store.clone());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(chosen.len()) {
            scope.spawn(|| {
                while let Some(filed) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let seen = check_file(&**store, filed, &library);
                    let mut done = done.lock().expect("a panic ends the process");
                    match seen {
                        Ok(seen) => done.seen.add(seen),
                        Err(fatal) => done.failed = Some(fatal),
                    }
                    done.files += 1;
                    progress(done.files, chosen.len());
                }
            });
        }
    });
    let Done {
        mut seen, failed, ..
    } = done.into_inner().expect("a panic ends the process");
    match failed {
        Some(fatal) => Err(fatal),
        None => {
            seen.findings.extend(library.into_findings());
            Ok(seen)
        }
    }
}

/// What all threads have done together.
#[derive(Default)]
struct Done {
    seen: Seen,
    files: usize,
    failed: Option<Fatal>,
}

/// Told by one thread at a time, after each file.
fn progress(done: usize, all: usize) {
    use std::io::IsTerminal as _;
    if let Some(line) = progress_line(done, all)
        && std::io::stderr().is_terminal()
    {
        eprint!("{line}");
    }
}

/// What replaces the line before; the last one ends it.
fn progress_line(done: usize, all: usize) -> Option<String> {
    let files = counted(all, "file");
    match done == all {
        true => Some(format!("\r{done} of {files}\n")),
        false => done
            .is_multiple_of(16)
            .then(|| format!("\r{done} of {files}")),
    }
}

impl Seen {
    fn add(&mut self, other: Seen) {
        self.findings.extend(other.findings);
        self.rows += other.rows;
        self.bytes += other.bytes;
        self.named.extend(other.named);
    }
}

fn check_file(store: &dyn Store, filed: &Filed, library: &Library) -> Result<Seen> {
    let segment = &filed.committed.segment;
    let mut seen = Seen::default();
    seen.named
        .insert((Kept::Context, segment.context.to_string()));
    let Some(bytes) = store::get(store, &segment.path)? else {
        let what = format!(
            "entry {} commits it, and it is not there",
            filed.committed.n
        );
        seen.findings
            .push(Finding::new(Name::FileMissing, &segment.path, what));
        return Ok(seen);
    };
    let Some(columns) = library.columns(segment.columns)? else {
        return Ok(seen);
    };
    let event_id = library.event_id(segment.context)?;
    let event_id = event_id.as_deref();
    seen.add(file::check(filed, &bytes, &columns, event_id, library));
    Ok(seen)
}

impl Report {
    fn to_text(&self) -> String {
        let mut lines = vec![format!("archive     {}", self.archive)];
        // Known from archive.json alone; that it lacks is a finding.
        if !self.evidence_topic.is_empty() {
            lines.push(format!(
                "evidence    topic {} of cluster {}",
                self.evidence_topic, self.cluster
            ));
        }
        let entries = counted(self.entries, "entry");
        lines.push(match &self.checkpoint {
            Some(head) => format!(
                "checkpoint  {} of {entries}, the last of {}, root {}",
                head.size,
                show_time(head.time),
                head.root
            ),
            None => format!("checkpoint  none; {entries}"),
        });
        lines.push(format!(
            "signed      {} of {}: {} scored, {} rejected, {}",
            counted(self.segments, "segment"),
            counted(self.streams, "stream"),
            self.scored,
            self.rejected,
            counted(self.gaps, "gap")
        ));
        let part = if self.whole {
            "all"
        } else {
            "a part, as asked"
        };
        lines.push(format!(
            "read        {} ({part}), {}, {:.1} MB, in {:.1} s",
            counted(self.files, "file"),
            counted(self.rows, "row"),
            self.bytes as f64 / 1e6,
            self.seconds
        ));
        lines.extend(
            self.told
                .iter()
                .map(|told| format!("{:<11} {}", told.name, told.what)),
        );
        lines.push(String::new());
        lines.extend(self.findings.iter().map(|finding| format!("✘ {finding}")));
        lines.push(match self.findings.len() {
            0 if !self.whole => format!(
                "✔ verified as far as read: the ledger, and {} of {}",
                self.files,
                counted(self.segments, "file")
            ),
            0 => "✔ verified: nothing that was signed is altered, missing or added".to_owned(),
            count => format!("✘ not verified: {}", counted(count, "finding")),
        });
        lines.join("\n") + "\n"
    }
}

/// A time as people read it.
#[must_use]
pub fn show_time(micros: i64) -> String {
    let time = chrono::DateTime::from_timestamp_micros(micros);
    time.map_or_else(
        || format!("{micros} µs"),
        |time| time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true),
    )
}

/// What ends a command for auditors that found something wrong.
#[must_use]
pub fn violation(message: impl Into<String>) -> Fatal {
    Fatal::new(Exit::Integrity, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_ends_once() {
        let lines: Vec<String> = (1..=40)
            .filter_map(|done| progress_line(done, 40))
            .collect();
        let wanted = ["\r16 of 40 files", "\r32 of 40 files", "\r40 of 40 files\n"];
        assert_eq!(lines, wanted);
        assert_eq!(progress_line(1, 1).unwrap(), "\r1 of 1 file\n");
    }

    #[test]
    fn one_is_told_in_the_singular_and_what_is_not_known_not_at_all() {
        let report = Report {
            archive: "0".repeat(64),
            cluster: String::new(),
            evidence_topic: String::new(),
            entries: 1,
            checkpoint: None,
            streams: 1,
            segments: 1,
            whole: false,
            files: 1,
            bytes: 0,
            rows: 1,
            scored: 1,
            rejected: 0,
            gaps: 1,
            told: Vec::new(),
            seconds: 0.0,
            findings: Vec::new(),
        };
        let text = report.to_text();
        assert!(text.contains("none; 1 entry\n"), "{text}");
        let signed = "1 segment of 1 stream: 1 scored, 0 rejected, 1 gap\n";
        assert!(text.contains(signed), "{text}");
        assert!(
            text.contains("1 file (a part, as asked), 1 row, "),
            "{text}"
        );
        assert!(text.contains("1 of 1 file\n"), "{text}");
        assert!(!text.contains("evidence"), "{text}");
    }
}

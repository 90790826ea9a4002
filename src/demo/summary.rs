//! What a person reads at the end of the demo, taken from the pipeline and, apart from it, from the
//! archive's files.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::{Float32Type, Int64Type};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::archive::layout;
use crate::audit::verify;
use crate::error::{Exit, Fatal, Result};
use crate::evidence::{Kind, columns};
use crate::keys::Trust;
use crate::record::Decision;

use super::Seen;

/// How many of the worst payments are shown.
const WORST: usize = 3;

pub(super) struct Run<'a> {
    pub sent: u64,
    pub seen: Seen,
    /// How long payments were published.
    pub took: Duration,
    /// CPU time of the whole process, s.
    pub cpu: f64,
    pub archive: &'a Path,
    /// Whose signatures count in the archive.
    pub trust: Trust,
}

/// Columns of the archive that the summary reads, in this order.
const COLUMNS: [&str; 8] = [
    columns::KIND,
    columns::SCORE,
    columns::DECISION,
    "event_transaction_id",
    "event_amount_minor",
    "event_currency",
    "event_mcc",
    columns::EXPLANATION,
];

/// What the files of the archive hold.
#[derive(Default)]
struct Archived {
    files: usize,
    bytes: u64,
    rows: u64,
    scored: u64,
    rejected: u64,
    worst: Vec<Payment>,
}

#[derive(Clone)]
struct Payment {
    score: f32,
    decision: String,
    id: String,
    amount_minor: i64,
    currency: String,
    mcc: String,
    /// The codes of its reasons, the weightiest first; `+` raises the risk.
    reasons: String,
}

/// Prints the summary.
///
/// # Errors
/// Check failed, when the books do not agree.
pub(super) fn print(run: &Run<'_>) -> Result<()> {
    let archived = read(run.archive)?;
    let Run {
        sent,
        seen,
        took,
        cpu,
        archive,
        trust,
    } = run;
    let counts = seen.counts;
    let seconds = took.as_secs_f64();
    println!();
    println!(
        "events       {:>11}  in {seconds:.1} s, {:.0} a second",
        grouped(*sent),
        *sent as f64 / seconds
    );
    println!("  scored     {:>11}", grouped(counts.scored));
    println!(
        "  rejected   {:>11}  each with a reason, as a dead letter and in the archive",
        grouped(counts.rejected)
    );
    for (decision, count) in Decision::ALL.iter().zip(seen.decisions) {
        println!("  {:<10} {:>11}", decision.as_str(), grouped(count));
    }
    println!("latency      {}", latencies(seen.latencies.clone()));
    println!(
        "cpu          {:>11.1}  seconds per million decisions, with broker and generator in the process",
        cpu / (counts.scored.max(1) as f64) * 1e6
    );
    println!("worst payments");
    for payment in &archived.worst {
        println!(
            "  {:.4} {:<8} {:>11} minor units of {}, mcc {}, {}",
            payment.score,
            payment.decision,
            payment.amount_minor,
            payment.currency,
            payment.mcc,
            payment.id,
        );
        if !payment.reasons.is_empty() {
            println!("         {}", payment.reasons);
        }
    }
    println!(
        "archive      {:>11}  rows in {} files, {} KiB",
        grouped(archived.rows),
        archived.files,
        grouped(archived.bytes / 1024)
    );
    println!("             {}", archive.display());
    let log_key = trust.log[0].to_string();
    let verified = verify::verify(&verify::Request::all(archive, trust.clone()))?;
    println!(
        "verified     {:>11}  rows by one signature: {} findings. do it yourself:",
        grouped(verified.rows),
        verified.findings.len()
    );
    println!(
        "             probity verify {} --key {log_key}",
        archive.display()
    );
    if let Some(worst) = archived.worst.first() {
        println!(
            "             probity explain {} {} --key {log_key}",
            archive.display(),
            worst.id
        );
    }
    let agree = *sent == counts.scored + counts.rejected
        && counts.scored == archived.scored
        && counts.rejected == archived.rejected
        && *sent == archived.rows;
    println!(
        "books        {} produced = {} scored + {} rejected = {} rows archived: {}",
        grouped(*sent),
        grouped(counts.scored),
        grouped(counts.rejected),
        grouped(archived.rows),
        if agree {
            "they agree"
        } else {
            "THEY DO NOT AGREE"
        }
    );
    println!(
        "This broker is embedded and proves nothing; `make test` proves exactly-once on real Kafka."
    );
    if agree && verified.findings.is_empty() {
        return Ok(());
    }
    Err(Fatal::new(
        Exit::CheckFailed,
        "the demo's books do not agree, or its archive is not verified",
    ))
}

fn latencies(mut micros: Vec<i64>) -> String {
    if micros.is_empty() {
        return "none was measured".to_owned();
    }
    micros.sort_unstable();
    let at = |share: f64| micros[((micros.len() - 1) as f64 * share) as usize] as f64 / 1000.0;
    format!(
        "{:>8.0} ms  p50, {:.0} ms p95, {:.0} ms p99, from event to commit",
        at(0.5),
        at(0.95),
        at(0.99)
    )
}

/// Reads every segment of the archive.
fn read(archive: &Path) -> Result<Archived> {
    let mut archived = Archived::default();
    for path in segments(&archive.join(layout::SEGMENTS))? {
        read_segment(&path, &mut archived).map_err(|error| {
            Fatal::integrity(format!("reading {}", path.display())).because(error)
        })?;
    }
    Ok(archived)
}

/// The files two folders down: `dt=…/….parquet`.
fn segments(root: &Path) -> Result<Vec<PathBuf>> {
    let list = |folder: &Path| -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(folder).and_then(|entries| {
            entries
                .map(|e| e.map(|e| e.path()))
                .collect::<Result<Vec<_>, _>>()
        });
        let fault =
            |error| Fatal::integrity(format!("reading {}", folder.display())).because(error);
        let mut paths = entries.map_err(fault)?;
        paths.sort();
        Ok(paths)
    };
    let mut files = Vec::new();
    for day in list(root)? {
        files.extend(list(&day)?);
    }
    Ok(files)
}

type Fault = Box<dyn std::error::Error + Send + Sync>;

fn read_segment(path: &Path, archived: &mut Archived) -> Result<(), Fault> {
    let file = File::open(path)?;
    archived.files += 1;
    archived.bytes += file.metadata()?.len();
    let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), COLUMNS);
    for batch in builder.with_projection(mask).build()? {
        count(&batch?, archived)?;
    }
    Ok(())
}

fn count(batch: &RecordBatch, archived: &mut Archived) -> Result<(), Fault> {
    let column = |name: &str| {
        batch
            .column_by_name(name)
            .ok_or(format!("no column {name}"))
    };
    let text = |name: &str| Ok::<_, String>(column(name)?.as_string::<i32>().clone());
    let (kinds, decisions) = (text(COLUMNS[0])?, text(COLUMNS[2])?);
    let (ids, currencies, mccs) = (text(COLUMNS[3])?, text(COLUMNS[5])?, text(COLUMNS[6])?);
    let explanations = text(COLUMNS[7])?;
    let scores = column(COLUMNS[1])?.as_primitive::<Float32Type>();
    let amounts = column(COLUMNS[4])?.as_primitive::<Int64Type>();
    archived.rows += batch.num_rows() as u64;
    for row in 0..batch.num_rows() {
        if kinds.value(row) == Kind::Rejected.as_str() {
            archived.rejected += 1;
        }
        if kinds.value(row) != Kind::Scored.as_str() {
            continue;
        }
        archived.scored += 1;
        let score = scores.value(row);
        let is_worse = |other: &Payment| score > other.score;
        if archived.worst.len() == WORST && !archived.worst.last().is_some_and(is_worse) {
            continue;
        }
        archived.worst.push(Payment {
            score,
            decision: decisions.value(row).to_owned(),
            id: ids.value(row).to_owned(),
            amount_minor: amounts.value(row),
            currency: currencies.value(row).to_owned(),
            mcc: if mccs.is_valid(row) {
                mccs.value(row).to_owned()
            } else {
                "none".to_owned()
            },
            reasons: match explanations.is_valid(row) {
                true => reasons(explanations.value(row))?,
                false => String::new(),
            },
        });
        archived.worst.sort_by(|a, b| b.score.total_cmp(&a.score));
        archived.worst.truncate(WORST);
    }
    Ok(())
}

/// The codes that an explanation of the archive lists.
fn reasons(explanation: &str) -> Result<String, Fault> {
    #[derive(serde::Deserialize)]
    struct Explanation {
        reasons: Vec<String>,
    }
    let explanation: Explanation = serde_json::from_str(explanation)?;
    Ok(explanation.reasons.join(" "))
}

/// CPU time of this process so far, all its threads.
pub(super) fn cpu_seconds() -> f64 {
    // Fields 14 and 15, after the command in parentheses; in ticks, of which Linux shows 100 a second.
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    let ticks: u64 = fields
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    ticks as f64 / 100.0
}

/// A number as people read it: 12,345.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(grouped),
            ["0", "999", "1,000", "1,234,567"]
        );
    }

    #[test]
    fn percentiles_are_of_the_sorted_times() {
        let text = latencies((1..=100).rev().map(|ms| ms * 1000).collect());
        assert!(text.contains("50 ms  p50, 95 ms p95, 99 ms p99"), "{text}");
    }
}

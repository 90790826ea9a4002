//! The commands for auditors: they need an archive and a key, no configuration and no broker.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use chrono::NaiveDate;
use clap::{Args, ValueEnum};

use probity::audit::find::{Event, find};
use probity::audit::ledger::Ledger;
use probity::audit::prove::Proof;
use probity::audit::{self, Output, explain, ledger, replay, show, verify};
use probity::clock::now_micros;
use probity::error::{Fatal, Result};
use probity::keys::Trust;
use probity::sink::Sink;

use crate::print;

/// Whom to trust, in every command.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct Trusted {
    /// Whose signatures count: the operator's trust.toml
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
    /// The log key alone, as text; the age of the checkpoint is not judged then
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
}

impl Trusted {
    fn load(&self) -> Result<Trust> {
        match (&self.trust, &self.key) {
            (Some(file), _) => Trust::load(file),
            (None, Some(key)) => audit::trust_key(key),
            (None, None) => unreachable!("the command line has seen to it"),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    Text,
    Json,
}

impl From<Form> for Output {
    fn from(form: Form) -> Output {
        match form {
            Form::Text => Output::Text,
            Form::Json => Output::Json,
        }
    }
}

/// Of which segments the files are read.
#[derive(Args)]
struct Part {
    /// Only these UTC days: 2026-11-23, or 2026-11-01..2026-11-30
    #[arg(long, value_name = "DAY[..DAY]", value_parser = parse_days)]
    days: Option<(String, String)>,
    /// Only these partitions
    #[arg(long = "partition", value_name = "P")]
    partitions: Vec<i32>,
    /// Only one file in N
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    sample: Option<u32>,
}

impl Part {
    fn chosen(&self) -> verify::Part {
        verify::Part {
            days: self.days.clone(),
            partitions: self.partitions.clone(),
            one_in: self.sample.map(|every| every as usize),
        }
    }
}

fn parse_days(text: &str) -> Result<(String, String), String> {
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    // Days are compared as texts: they must be written as the archive writes them.
    let is_day = |day: &str| {
        NaiveDate::parse_from_str(day, "%Y-%m-%d").is_ok_and(|date| date.to_string() == day)
    };
    match is_day(first) && is_day(last) && first <= last {
        true => Ok((first.to_owned(), last.to_owned())),
        false => Err(
            "write a day that exists, like 2026-11-23, or two with .. between them, the earlier first"
                .to_owned(),
        ),
    }
}

#[derive(Args)]
pub struct Verify {
    /// The folder of the archive
    archive: PathBuf,
    #[command(flatten)]
    trusted: Trusted,
    /// A checkpoint that you kept from earlier: the archive must still extend it
    #[arg(long = "checkpoint", value_name = "FILE")]
    checkpoints: Vec<PathBuf>,
    #[command(flatten)]
    part: Part,
    /// How the report is written
    #[arg(long, value_enum, default_value = "text")]
    output: Form,
}

#[derive(Args)]
pub struct Prove {
    /// The folder of the archive
    #[arg(required_unless_present = "check")]
    archive: Option<PathBuf>,
    /// The event: its id, or topic:partition:offset
    #[arg(required_unless_present = "check")]
    event: Option<String>,
    /// Check this proof instead, without an archive
    #[arg(long, value_name = "FILE", conflicts_with_all = ["archive", "event", "out"])]
    check: Option<PathBuf>,
    #[command(flatten)]
    trusted: Trusted,
    /// Where the proof goes, instead of standard output; more occurrences get a number
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Args)]
pub struct Replay {
    /// The folder of the archive
    archive: PathBuf,
    /// One event, instead of all: its id, or topic:partition:offset
    #[arg(conflicts_with_all = ["days", "partitions", "sample"])]
    event: Option<String>,
    #[command(flatten)]
    trusted: Trusted,
    #[command(flatten)]
    part: Part,
    /// Run each row alone, without those that were beside it
    #[arg(long)]
    alone: bool,
    /// ONNX Runtime's shared library, instead of what ORT_DYLIB_PATH says
    #[arg(long, value_name = "FILE")]
    runtime: Option<PathBuf>,
    /// How the report is written
    #[arg(long, value_enum, default_value = "text")]
    output: Form,
}

#[derive(Args)]
pub struct Show {
    /// The folder of the archive
    archive: PathBuf,
    /// The event: its id, or topic:partition:offset
    event: String,
    #[command(flatten)]
    trusted: Trusted,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Page {
    Text,
    Json,
    Html,
}

#[derive(Args)]
pub struct Explain {
    /// The folder of the archive
    archive: PathBuf,
    /// The event: its id, or topic:partition:offset
    event: String,
    #[command(flatten)]
    trusted: Trusted,
    /// The language of the reasons, instead of that of the scored record
    #[arg(long, value_name = "LANG")]
    language: Option<String>,
    /// ONNX Runtime's shared library, instead of what ORT_DYLIB_PATH says
    #[arg(long, value_name = "FILE")]
    runtime: Option<PathBuf>,
    /// How the explanation is written; html is one page that needs nothing else
    #[arg(long, value_enum, default_value = "text")]
    output: Page,
}

fn read(path: &Path) -> Result<Bytes> {
    let read = std::fs::read(path);
    read.map(Bytes::from)
        .map_err(|error| Fatal::usage(format!("cannot read {}", path.display())).because(error))
}

pub fn verify(arguments: &Verify) -> Result<()> {
    let kept = arguments.checkpoints.iter();
    let kept = kept.map(|path| audit::kept_checkpoint(path, read(path)?));
    let request = verify::Request {
        folder: arguments.archive.clone(),
        trust: arguments.trusted.load()?,
        judges_age: arguments.trusted.trust.is_some(),
        kept: kept.collect::<Result<_>>()?,
        part: arguments.part.chosen(),
        output: arguments.output.into(),
        now: now_micros(),
    };
    verify::run(&request, Sink::open(None)?)
}

pub fn prove(arguments: &Prove) -> Result<()> {
    let trust = arguments.trusted.load()?;
    if let Some(path) = &arguments.check {
        let proof = Proof::parse(&path.display().to_string(), &read(path)?)?;
        let shown = proof.check(&trust.log).map_err(|what| {
            verify::violation(format!("{} proves nothing: {what}", path.display()))
        })?;
        let mut text = format!(
            "✔ row {} of {} is in the archive {}, under the checkpoint of {} entries\n\n",
            shown.row,
            shown.segment().path,
            shown.entry.archive,
            shown.checkpoint.size
        );
        for (name, value) in &shown.values {
            let _ = writeln!(text, "{name:<32} {value}");
        }
        return print(&text);
    }
    let (Some(archive), Some(event)) = (&arguments.archive, &arguments.event) else {
        unreachable!("the command line has seen to it");
    };
    let store = audit::open(archive)?;
    let ledger = ledger::read(&store, &trust, &[])?;
    let found = find(archive, &ledger, &Event::parse(event))?;
    if found.is_empty() {
        return Err(audit::nothing_found());
    }
    for (number, found) in found.into_iter().enumerate() {
        let text = Proof::make(archive, &ledger, found)?.to_text();
        let Some(out) = &arguments.out else {
            print(&text)?;
            continue;
        };
        let mut path = out.clone();
        if number > 0 {
            path.set_extension(format!("{number}.json"));
        }
        let mut sink = Sink::open(Some(&path))?;
        sink.write(text.as_bytes())?;
        sink.finish()?;
        print(&format!("{}: {} bytes\n", path.display(), text.len()))?;
    }
    sound(&ledger)
}

pub fn replay(arguments: &Replay) -> Result<()> {
    let store = audit::open(&arguments.archive)?;
    let ledger = ledger::read(&store, &arguments.trusted.load()?, &[])?;
    let request = replay::Request {
        folder: arguments.archive.clone(),
        event: arguments.event.as_deref().map(Event::parse),
        part: arguments.part.chosen(),
        alone: arguments.alone,
        runtime: arguments.runtime.clone(),
        output: arguments.output.into(),
    };
    replay::run(&request, &ledger, Sink::open(None)?)?;
    sound(&ledger)
}

pub fn explain(arguments: &Explain) -> Result<()> {
    let store = audit::open(&arguments.archive)?;
    let ledger = ledger::read(&store, &arguments.trusted.load()?, &[])?;
    let request = explain::Request {
        folder: arguments.archive.clone(),
        event: arguments.event.clone(),
        runtime: arguments.runtime.clone(),
        language: arguments.language.clone(),
        form: match arguments.output {
            Page::Text => explain::Form::Text,
            Page::Json => explain::Form::Json,
            Page::Html => explain::Form::Html,
        },
    };
    explain::run(&request, &ledger, Sink::open(None)?)?;
    sound(&ledger)
}

pub fn show(arguments: &Show) -> Result<()> {
    let store = audit::open(&arguments.archive)?;
    let ledger = ledger::read(&store, &arguments.trusted.load()?, &[])?;
    let found = find(&arguments.archive, &ledger, &Event::parse(&arguments.event))?;
    if found.is_empty() {
        return Err(audit::nothing_found());
    }
    let mut text = String::new();
    for (number, found) in found.into_iter().enumerate() {
        let page = show::page(&arguments.archive, &ledger, found)?;
        let gap = if number > 0 { "\n" } else { "" };
        let _ = write!(text, "{gap}{page}");
    }
    print(&text)?;
    sound(&ledger)
}

/// What was read rests on a ledger in which nothing is wrong.
fn sound(ledger: &Ledger) -> Result<()> {
    match ledger.findings.first() {
        None => Ok(()),
        Some(first) => Err(verify::violation(format!(
            "the ledger is not what was signed: {first}; run `probity verify`"
        ))),
    }
}

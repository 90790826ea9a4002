//! `probity explain`: why an event was decided as it was, calculated again from the archive alone.
//!
//! Every occurrence of the event is explained by the archived package from the archived features, and compared with
//! what was recorded when it was decided: the decision, the score, and the explanation, if the row has one. What
//! differs is a finding.

use std::path::PathBuf;

use super::find::{self, Event};
use super::ledger::Ledger;
use super::verify::violation;
use crate::error::{Exit, Fatal, Result};
use crate::sink::Sink;

mod cells;
mod chart;
mod configured;
mod html;
mod recorded;
mod report;
mod retelling;
#[cfg(test)]
mod tests;
mod text;
mod words;

pub use report::*;
use retelling::Retelling;

/// How the explanation is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    Text,
    Json,
    /// One page that needs nothing else.
    Html,
}

/// What is to be explained.
pub struct Request {
    pub folder: PathBuf,
    pub event: String,
    /// ONNX Runtime's shared library; `None`: as `ORT_DYLIB_PATH` says.
    pub runtime: Option<PathBuf>,
    /// The language of the texts, where the package has it; `None`: that of the scored record.
    pub language: Option<String>,
    pub form: Form,
}

/// Explains all occurrences of the event, and prints them to `out`.
///
/// # Errors
/// When there is no such event, or something that is needed is missing; [`Exit::Integrity`] when something is not
/// what was recorded, and [`Exit::CheckFailed`] when a package does not say how its scores are explained.
pub fn run(request: &Request, ledger: &Ledger, mut out: Sink) -> Result<()> {
    let report = report(request, ledger)?;
    let printed = match request.form {
        Form::Text => text::page(&report),
        Form::Json => serde_json::to_string_pretty(&report).expect("texts and numbers") + "\n",
        Form::Html => html::page(&report),
    };
    out.write(printed.as_bytes())?;
    out.finish()?;
    let occurrences = &report.occurrences;
    if occurrences.iter().any(|it| !it.findings.is_empty()) {
        return Err(violation(
            "what is explained is not what was recorded; run `probity verify` and `probity replay`",
        ));
    }
    if occurrences.iter().any(|it| it.lacks_reasons) {
        let what = "not everything is explained: a package does not say how";
        return Err(Fatal::new(Exit::CheckFailed, what));
    }
    Ok(())
}

/// Explains all occurrences of the event.
///
/// # Errors
/// As [`run`], without those about what was found.
pub fn report(request: &Request, ledger: &Ledger) -> Result<Report> {
    let found = find::find(&request.folder, ledger, &Event::parse(&request.event))?;
    if found.is_empty() {
        return Err(super::nothing_found());
    }
    let (runtime, language) = (request.runtime.as_deref(), request.language.as_deref());
    let mut retelling = Retelling::new(&request.folder, ledger, runtime, language)?;
    let occurrences = found.into_iter().map(|found| retelling.occurrence(found));
    Ok(Report {
        archive: ledger.origin.archive_id.clone(),
        event: request.event.clone(),
        occurrences: occurrences.collect::<Result<_>>()?,
    })
}

//! `probity explain`: why an event was decided as it was, calculated again from the archive alone.
//!
//! Every occurrence of the event is explained by the archived package from the archived features, and compared with
//! what was recorded when it was decided: the decision, the score, and the explanation, if the row has one. What
//! differs is a finding.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use arrow::array::ArrayRef;
use serde::Serialize;

use super::archived::{self, Archived, Loaded};
use super::decided::Verdicts;
use super::find::{self, Event, Found};
use super::ledger::{Filed, Ledger};
use super::replay::judge;
use super::show;
use super::verify::{show_time, violation};
use crate::archive::leaf::Value;
use crate::decide::Policy;
use crate::error::{Exit, Fatal, Result};
use crate::evidence::columns::RULE;
use crate::explain::reasons::rank;
use crate::explain::{Explainer, live};
use crate::package::{Method, Package};
use crate::sink::Sink;

mod chart;
mod html;
mod recorded;
#[cfg(test)]
mod tests;
mod text;
mod words;

use recorded::Recorded;

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
    /// The language of the texts; `None`: the package's own.
    pub language: Option<String>,
    pub form: Form,
}

/// All occurrences of an event. Its JSON is described in `schemas/explanation.md`.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// The archive's id.
    pub archive: String,
    /// As it was asked for.
    pub event: String,
    pub occurrences: Vec<Occurrence>,
}

/// One row of the archive.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Occurrence {
    /// `topic:partition:offset`.
    pub record: String,
    /// `scored`, `rejected` or `gap`.
    pub kind: String,
    pub event_id: Option<String>,
    /// As the event itself says.
    pub event_time: Option<String>,
    pub score_time: Option<String>,
    /// The checkpoint by which the row is proven. None: it is too young for one.
    pub proven: Option<Proven>,
    /// None if the row was not scored.
    pub decision: Option<Decided>,
    pub explanation: Option<Explanation>,
    /// Why there is no explanation.
    pub unexplained: Option<String>,
    /// What is not as it was recorded.
    pub findings: Vec<String>,
    /// The event's columns that are archived.
    pub event: Vec<Named>,
    /// The package would have to be another one for an explanation.
    #[serde(skip)]
    pub lacks_reasons: bool,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Proven {
    /// Entries that the checkpoint covers.
    pub entries: u64,
    pub root: String,
}

/// What was decided, and by what.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Decided {
    /// `approve`, `review` or `decline`.
    pub decision: String,
    pub score: f32,
    /// In log-odds; none where the package does not name that output.
    pub margin: Option<f32>,
    /// The bound that the score reached; none for what is approved, or decided by a rule.
    pub threshold: Option<f64>,
    /// The rule of the policy that made the decision stricter than the score asks for.
    pub rule: Option<Rule>,
    pub policy_version: String,
    pub policy_sha256: String,
    pub model_name: String,
    pub model_version: String,
    pub model_sha256: String,
    pub package_sha256: String,
    /// The inference library that decided, and its version.
    pub runtime: String,
    /// In what the runtime that explains differs from the one that decided. None: in nothing.
    pub runtime_differs: Option<String>,
    /// The score was repeated to the bit.
    pub score_repeated: bool,
}

/// A rule that decided.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Rule {
    pub name: String,
    /// The condition that the event met, as the policy has it.
    pub when: String,
    /// What the package says of it.
    pub description: Option<String>,
}

impl Rule {
    /// The condition for people: with a blank for each end of a line.
    fn condition(&self) -> String {
        self.when.replace(char::is_control, " ")
    }
}

/// Why the margin is what it is: `base`, the contributions of all features and `residual` add up to it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Explanation {
    /// `tree-interventional`, `linear` or `permutation`.
    pub method: String,
    /// The method gives Shapley values and no approximation of them.
    pub exact: bool,
    /// Runs of the model for one explanation; 0 for exact methods.
    pub evaluations: u32,
    /// Rows of the background, with which the score is compared.
    pub background_rows: usize,
    /// The mean margin of the background.
    pub base: f64,
    /// The sum of base and contributions.
    pub sum: f64,
    /// What is missing to the recorded margin: the model adds in 32 bits. None where no margin is recorded.
    pub residual: Option<f64>,
    /// Of the texts.
    pub language: String,
    pub reasons: Vec<Told>,
    /// The largest contribution first, of equal ones the first in the package.
    pub features: Vec<Part>,
    /// How the explanation that was recorded with the decision compares with this one.
    pub recorded: Comparison,
}

/// A reason in words, as scored records have it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Told {
    pub code: String,
    pub text: String,
    /// `raises` or `lowers`.
    pub direction: String,
    /// From 0 to 1, of all reasons.
    pub share: f64,
    pub contribution: f64,
}

/// What a feature was, and what it adds to the margin.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Part {
    pub feature: String,
    pub value: serde_json::Value,
    /// The value as texts show it.
    #[serde(skip)]
    pub shown: String,
    pub unit: Option<String>,
    pub description: Option<String>,
    /// The code of its group; none: it is in no group.
    pub reason: Option<String>,
    pub contribution: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    /// The row was not explained when it was decided.
    NotRecorded,
    /// To the bit.
    Same,
    /// Within the tolerance that another runtime has.
    WithinTolerance,
    Differs,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Named {
    pub name: String,
    pub value: serde_json::Value,
    #[serde(skip)]
    pub shown: String,
}

/// What the tables of trees may take where the archived configuration does not say it.
const MEMORY_BYTES: usize = 256 << 20;

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
    let mut retelling = Retelling {
        folder: &request.folder,
        ledger,
        language: request.language.as_deref(),
        archived: Archived::new(&request.folder, request.runtime.as_deref())?,
        explainers: BTreeMap::new(),
    };
    let occurrences = found.into_iter().map(|found| retelling.occurrence(found));
    Ok(Report {
        archive: ledger.origin.archive_id.clone(),
        event: request.event.clone(),
        occurrences: occurrences.collect::<Result<_>>()?,
    })
}

/// The values of a row, by column.
struct Cells(Vec<(String, Value)>);

impl Cells {
    fn get(&self, name: &str) -> Option<&Value> {
        let found = self.0.iter().find(|(column, _)| column == name);
        found
            .map(|(_, value)| value)
            .filter(|value| **value != Value::Null)
    }

    /// A text without quotes, anything else as it shows itself; none for null.
    fn shown(&self, name: &str) -> Option<String> {
        self.get(name).map(plain)
    }

    /// Of a column that all rows have.
    fn text(&self, name: &str) -> String {
        self.shown(name).unwrap_or_default()
    }
}

struct Retelling<'a> {
    folder: &'a Path,
    ledger: &'a Ledger,
    language: Option<&'a str>,
    archived: Archived<'a>,
    /// By package, and the memory that its tables may take. None: the package has no reasons.
    explainers: BTreeMap<(String, usize), Option<Explainer>>,
}

impl Retelling<'_> {
    fn occurrence(&mut self, found: Found) -> Result<Occurrence> {
        let filed = &self.ledger.segments[found.segment];
        let (proof, values) = show::values(self.folder, self.ledger, found)?;
        let cells = Cells(values);
        let facts = find::facts(self.folder, filed.committed.segment.context)?;
        let proven = self.ledger.checkpoint.as_ref().filter(|_| proof.is_some());
        let place = ["input_topic", "partition", "offset"].map(|name| cells.text(name));
        let event = cells.0.iter().filter_map(|(name, value)| {
            Some(Named {
                name: name.strip_prefix("event_")?.to_owned(),
                value: json(value),
                shown: plain(value),
            })
        });
        let mut occurrence = Occurrence {
            record: place.join(":"),
            kind: cells.text("kind"),
            event_id: cells.shown(&facts.event_id),
            event_time: cells.shown(&facts.event_time),
            score_time: cells.shown("score_time"),
            proven: proven.map(|(checkpoint, _)| Proven {
                entries: checkpoint.size,
                root: checkpoint.root.to_string(),
            }),
            decision: None,
            explanation: None,
            unexplained: None,
            findings: Vec::new(),
            event: event.collect(),
            lacks_reasons: false,
        };
        match occurrence.kind.as_str() {
            "scored" => self.explain(&mut occurrence, &cells, filed, found.row)?,
            "rejected" => {
                occurrence.unexplained = Some(format!(
                    "the event was rejected as {} in {}: nothing was decided, and there is nothing to explain",
                    cells.text("reject_reason"),
                    cells.text("reject_stage")
                ));
            }
            _ => {
                occurrence.unexplained = Some(format!(
                    "the offsets {} to {} hold no event: there is nothing to explain",
                    cells.text("offset"),
                    cells.text("next_offset")
                ));
            }
        }
        Ok(occurrence)
    }

    fn explain(
        &mut self,
        told: &mut Occurrence,
        cells: &Cells,
        filed: &Filed,
        row: u64,
    ) -> Result<()> {
        let fault = |what: String| violation(format!("{}: {what}", filed.committed.segment.path));
        let name = cells.text("package_sha256");
        let Some(Value::F32(score)) = cells.get("score") else {
            return Err(fault("a row is scored and has no score".to_owned()));
        };
        let margin = match cells.get("margin") {
            Some(Value::F32(margin)) => Some(*margin),
            _ => None,
        };
        let differs = self
            .archived
            .difference(&name, &cells.text("runtime_sha256"))?;
        let rows = find::read_rows(self.folder, filed, row, 1, None)?;
        let rows = rows
            .first()
            .ok_or_else(|| fault("it lacks a row".to_owned()))?;
        let (policy, schema) = (cells.text("policy_sha256"), cells.text("input_schema"));
        let deciding = self.archived.deciding(&policy, &schema)?;
        let policy = deciding.policy().clone();
        let decided = deciding.decide(&[*score], rows).map_err(fault)?;
        if let Err(what) = Verdicts::of(rows).map_err(fault)?.compare(&decided, 0) {
            told.findings.push(what.to_owned());
        }
        let config = self.archived.config(&cells.text("config_sha256"))?;
        let Loaded { model, package, .. } = self.archived.package(&name)?;
        let features = archived::features(package, rows).map_err(fault)?;
        let is_deterministic = cells.text("admission") == "deterministic";
        let again = model.run(&features)?;
        let is_exact = is_deterministic && differs.is_none();
        let repeated = judge(&policy, is_exact, *score, again.score[0]);
        if let Err(what) = repeated {
            told.findings.push(what.to_owned());
        }
        told.decision = Some(Decided {
            decision: cells.text("decision"),
            score: *score,
            margin,
            threshold: match cells.get("threshold") {
                Some(Value::F64(threshold)) => Some(*threshold),
                _ => None,
            },
            rule: cells
                .shown(RULE)
                .map(|name| told_rule(package, &policy, name)),
            policy_version: cells.text("policy_version"),
            policy_sha256: cells.text("policy_sha256"),
            model_name: cells.text("model_name"),
            model_version: cells.text("model_version"),
            model_sha256: cells.text("model_sha256"),
            package_sha256: name.clone(),
            runtime: cells.text("runtime"),
            runtime_differs: differs.clone(),
            score_repeated: score.to_bits() == again.score[0].to_bits(),
        });
        let memory = memory(&config);
        let key = (name, memory);
        if !self.explainers.contains_key(&key) {
            let explainer = Explainer::open(package, model, memory)
                // Nobody was explained live with so little memory, so there is nothing to be the same as.
                .or_else(|_| Explainer::open(package, model, usize::MAX))?;
            self.explainers.insert(key.clone(), explainer);
        }
        let Some(explainer) = &self.explainers[&key] else {
            told.lacks_reasons = true;
            told.unexplained = Some(format!(
                "the package {} does not say how its scores are explained; add [reasons] with method, background and \
                 language to its model.toml, and a [[reason]] for each group of features. decisions of the new package \
                 can be explained then, these not",
                package.title()
            ));
            return Ok(());
        };
        let recorded = Recorded::read(&cells.0, package).map_err(fault)?;
        let found = match again.rejected[0] {
            Some(_) => None,
            None => {
                let found = explainer.explain(model, &features, again.margin.as_deref(), &[0])?;
                (!found.rows.is_empty()).then_some(found)
            }
        };
        let Some(found) = found else {
            if recorded.is_some() {
                let what = "it was explained, and cannot be explained now";
                told.findings.push(what.to_owned());
            }
            told.unexplained = Some(
                "the model cannot be run around this event, so there is no explanation".to_owned(),
            );
            return Ok(());
        };
        let contributions: Vec<f64> = found.contributions.iter().map(|of| of[0]).collect();
        let sum = found.sum(0);
        let method = package.reasons.as_ref().expect("it is explained").method;
        let ours = Recorded {
            method: explainer.method().to_owned(),
            base: found.base,
            residual: margin.map(|margin| f64::from(margin) - sum),
            evaluations: explainer.evaluations(),
            reasons: recorded::codes(package, &contributions),
            contributions,
        };
        // What is calculated from the package alone is the same everywhere; what the model says needs its runtime.
        let is_exact = differs.is_none() && (is_deterministic || method != Method::Permutation);
        let mut comparison = Comparison::NotRecorded;
        if let Some(recorded) = recorded {
            match recorded.compare(&ours, package, margin.map_or(sum, f64::from), is_exact) {
                Ok(found) => comparison = found,
                Err(differences) => {
                    comparison = Comparison::Differs;
                    told.findings.extend(differences);
                }
            }
        }
        told.explanation = Some(explanation(
            package,
            &features,
            ours,
            self.language,
            comparison,
        )?);
        Ok(())
    }
}

/// The rule of this name, with what the policy and the package say of it.
fn told_rule(package: &Package, policy: &Policy, name: String) -> Rule {
    let described = package.policy.rule(&name);
    Rule {
        when: policy
            .rule(&name)
            .map(|rule| rule.when.clone())
            .unwrap_or_default(),
        description: described.and_then(|rule| rule.description.clone()),
        name,
    }
}

fn explanation(
    package: &Package,
    features: &[ArrayRef],
    found: Recorded,
    language: Option<&str>,
    recorded: Comparison,
) -> Result<Explanation> {
    let reasons = package.reasons.as_ref().expect("it is explained");
    let language = language.unwrap_or(&reasons.language);
    let known = &reasons.groups[0].raises;
    if !known.contains_key(language) {
        let known: Vec<&str> = known.keys().map(String::as_str).collect();
        return Err(Fatal::usage(format!(
            "--language: the package {} has no texts in {language:?}; write one of {}",
            package.title(),
            known.join(", ")
        )));
    }
    let value = |feature: usize| live::shown(&features[feature], 0);
    let reasons_told = rank(&reasons.groups, &found.contributions);
    let reasons_told = reasons_told.iter().map(|reason| Told {
        code: reason.code(&reasons.groups).to_owned(),
        text: match reason.group.map(|group| &reasons.groups[group]) {
            None => live::other(language).to_owned(),
            Some(group) if reason.raises() => group.raises[language].render(value),
            Some(group) => group.lowers[language].render(value),
        },
        direction: reason.direction().to_owned(),
        share: reason.share,
        contribution: reason.contribution,
    });
    let group_of = |feature: usize| {
        let group = reasons
            .groups
            .iter()
            .find(|group| group.features.contains(&feature));
        group.map(|group| group.code.clone())
    };
    let parts = package.features.iter().zip(&found.contributions);
    let mut parts: Vec<Part> = parts
        .enumerate()
        .map(|(at, (feature, contribution))| Part {
            feature: feature.name.clone(),
            value: words::json_value(&features[at], 0),
            shown: value(at),
            unit: feature.about.unit.clone(),
            description: feature.about.description.clone(),
            reason: group_of(at),
            contribution: *contribution,
        })
        .collect();
    parts.sort_by(|a, b| b.contribution.abs().total_cmp(&a.contribution.abs()));
    Ok(Explanation {
        exact: reasons.method != Method::Permutation,
        evaluations: found.evaluations,
        background_rows: reasons.background.rows,
        base: found.base,
        sum: found.sum(),
        residual: found.residual,
        language: language.to_owned(),
        reasons: reasons_told.collect(),
        features: parts,
        recorded,
        method: found.method,
    })
}

/// What `explain.memory` was. How a forest is cut into tables depends on it, and with that the order of additions and
/// the last bits.
fn memory(config: &str) -> usize {
    let config: Option<toml::Table> = config.parse().ok();
    let text = config
        .as_ref()
        .and_then(|it| it.get("explain")?.get("memory")?.as_str());
    let bytes = text.and_then(|text| crate::config::units::size(text).ok());
    bytes.unwrap_or(MEMORY_BYTES)
}

/// A value on one line, texts without quotes where nothing in them needs any.
fn plain(value: &Value) -> String {
    match value {
        Value::Time(time) => show_time(*time),
        Value::Text(text) if !text.contains(char::is_control) => text.clone(),
        value => value.to_string(),
    }
}

fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::F32(value) => (*value).into(),
        Value::F64(value) => (*value).into(),
        Value::Text(text) => text.clone().into(),
        Value::Time(time) => show_time(*time).into(),
        value => value.to_string().into(),
    }
}

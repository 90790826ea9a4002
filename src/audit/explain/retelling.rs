//! One row of the archive after the other, decided and explained again.

use std::collections::BTreeMap;
use std::path::Path;

use arrow::array::{ArrayRef, RecordBatch};

use super::cells::{Cells, json, plain};
use super::configured::Configured;
use super::recorded::{self, Allowed, Recorded};
use super::report::*;
use super::words;
use crate::archive::leaf::Value;
use crate::audit::archived::{self, Archived, Loaded};
use crate::audit::decided::Verdicts;
use crate::audit::find::{self, Found};
use crate::audit::ledger::{Filed, Ledger};
use crate::audit::replay::judge;
use crate::audit::show;
use crate::audit::verify::violation;
use crate::decide::Policy;
use crate::error::{Fatal, Result};
use crate::evidence::columns::RULE;
use crate::explain::reasons::rank;
use crate::explain::{Explainer, live};
use crate::infer::Scored;
use crate::package::{Method, Package};
use crate::record::Offset;

pub struct Retelling<'a> {
    folder: &'a Path,
    ledger: &'a Ledger,
    /// Of the texts, where one was asked for.
    language: Option<&'a str>,
    archived: Archived<'a>,
    /// By package, and the memory that its tables may take. None: the package has no reasons.
    explainers: BTreeMap<(String, usize), Option<Explainer>>,
}

/// A scored row.
struct Row<'a> {
    cells: &'a Cells,
    /// Of the file that it is in.
    path: &'a str,
    columns: RecordBatch,
    package: String,
    score: f32,
    margin: Option<f32>,
    /// In what the runtime here differs from the one that decided.
    differs: Option<String>,
    configured: Configured,
}

/// What the model says of the row now.
struct Again {
    features: Vec<ArrayRef>,
    scored: Scored,
}

impl<'a> Retelling<'a> {
    /// `runtime`: ONNX Runtime's shared library.
    ///
    /// # Errors
    /// When there is no runtime.
    pub fn new(
        folder: &'a Path,
        ledger: &'a Ledger,
        runtime: Option<&Path>,
        language: Option<&'a str>,
    ) -> Result<Retelling<'a>> {
        Ok(Retelling {
            folder,
            ledger,
            language,
            archived: Archived::new(folder, runtime)?,
            explainers: BTreeMap::new(),
        })
    }

    /// # Errors
    /// When something that is needed is missing, or cannot be read.
    pub fn occurrence(&mut self, found: Found) -> Result<Occurrence> {
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
            "scored" => {
                let row = self.row(&cells, filed, found.row)?;
                let again = self.decide(&mut occurrence, &row)?;
                self.explain(&mut occurrence, &row, &again)?;
            }
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

    fn row<'r>(&mut self, cells: &'r Cells, filed: &'r Filed, row: u64) -> Result<Row<'r>> {
        let path = &filed.committed.segment.path;
        let package = cells.text("package_sha256");
        let Some(Value::F32(score)) = cells.get("score") else {
            return Err(fault(path, "a row is scored and has no score"));
        };
        let columns = find::read_rows(self.folder, filed, row, 1, None)?;
        let columns = columns.into_iter().next();
        Ok(Row {
            path,
            columns: columns.ok_or_else(|| fault(path, "it lacks a row"))?,
            score: *score,
            margin: match cells.get("margin") {
                Some(Value::F32(margin)) => Some(*margin),
                _ => None,
            },
            differs: self
                .archived
                .difference(&package, &cells.text("runtime_sha256"))?,
            configured: Configured::read(&self.archived.config(&cells.text("config_sha256"))?),
            cells,
            package,
        })
    }

    /// Decides the row again, and compares.
    fn decide(&mut self, told: &mut Occurrence, row: &Row<'_>) -> Result<Again> {
        let (cells, columns) = (row.cells, &row.columns);
        let fault = |what: String| fault(row.path, &what);
        let (policy, schema) = (cells.text("policy_sha256"), cells.text("input_schema"));
        let deciding = self.archived.deciding(&policy, &schema)?;
        let policy = deciding.policy().clone();
        let decided = deciding.decide(&[row.score], columns).map_err(fault)?;
        if let Err(what) = Verdicts::of(columns).map_err(fault)?.compare(&decided, 0) {
            told.findings.push(what.to_owned());
        }
        let Loaded { model, package, .. } = self.archived.package(&row.package)?;
        let features = archived::features(package, columns).map_err(fault)?;
        let scored = model.run(&features)?;
        let is_exact = row.is_deterministic() && row.differs.is_none();
        if let Err(what) = judge(&policy, is_exact, row.score, scored.score[0]) {
            told.findings.push(what.to_owned());
        }
        told.decision = Some(Decided {
            decision: cells.text("decision"),
            score: row.score,
            margin: row.margin,
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
            package_sha256: row.package.clone(),
            runtime: cells.text("runtime"),
            runtime_differs: row.differs.clone(),
            score_repeated: row.score.to_bits() == scored.score[0].to_bits(),
        });
        Ok(Again { features, scored })
    }

    /// Explains the row again, and compares with what was recorded.
    fn explain(&mut self, told: &mut Occurrence, row: &Row<'_>, again: &Again) -> Result<()> {
        let Loaded { model, package, .. } = self.archived.package(&row.package)?;
        let memory = row.configured.memory;
        let key = (row.package.clone(), memory);
        if !self.explainers.contains_key(&key) {
            let explainer = Explainer::open(package, model, memory)
                // Nobody was explained live with so little memory, so there is nothing to be the same as.
                .or_else(|_| Explainer::open(package, model, usize::MAX))?;
            self.explainers.insert(key.clone(), explainer);
        }
        let Some(explainer) = &self.explainers[&key] else {
            told.lacks_reasons = true;
            told.unexplained = Some(lacks_reasons(package));
            return Ok(());
        };
        let recorded = Recorded::read(&row.cells.0, package);
        let recorded = recorded.map_err(|what| fault(row.path, &what))?;
        let found = match again.scored.rejected[0] {
            Some(_) => None,
            None => {
                let margins = again.scored.margin.as_deref();
                let found = explainer.explain(model, &again.features, margins, &[0])?;
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
        let ours = Recorded {
            method: explainer.method().to_owned(),
            base: found.base,
            residual: row.margin.map(|margin| f64::from(margin) - found.sum(0)),
            evaluations: explainer.evaluations(),
            reasons: recorded::codes(package, &found.of(0)),
            contributions: found.of(0),
        };
        let comparison = match recorded {
            None if row.is_due() => Comparison::DueNotRecorded,
            None => Comparison::NotRecorded,
            Some(recorded) => {
                let compared = recorded.compare(&ours, package, row.allowed(package, explainer));
                compared.unwrap_or_else(|differences| {
                    told.findings.extend(differences);
                    Comparison::Differs
                })
            }
        };
        let asked = self.language.or(row.configured.language.as_deref());
        let language = Language::of(package, asked);
        told.explanation = Some(explanation(
            package,
            &again.features,
            ours,
            language,
            comparison,
        ));
        Ok(())
    }
}

fn fault(path: &str, what: &str) -> Fatal {
    violation(format!("{path}: {what}"))
}

impl Row<'_> {
    fn is_deterministic(&self) -> bool {
        self.cells.text("admission") == "deterministic"
    }

    /// Whether the configuration asked for an explanation.
    fn is_due(&self) -> bool {
        let number = |name: &str| match self.cells.get(name) {
            Some(Value::Int(number)) => Some(*number),
            _ => None,
        };
        let partition = number("partition").and_then(|number| i32::try_from(number).ok());
        let (Some(partition), Some(offset)) = (partition, number("offset")) else {
            return false;
        };
        let decision = self.cells.text("decision");
        self.configured.is_due(&decision, partition, Offset(offset))
    }

    /// How far the recorded explanation may be from one that is made here.
    fn allowed(&self, package: &Package, explainer: &Explainer) -> Allowed {
        let runs_the_model = package
            .reasons
            .as_ref()
            .is_some_and(|reasons| reasons.method == Method::Permutation);
        // What is calculated from the package alone is the same everywhere; what the model says needs its runtime.
        if self.differs.is_none() && (self.is_deterministic() || !runs_the_model) {
            return Allowed::Nothing;
        }
        Allowed::Relative {
            on_device: self.cells.text("provider") != "cpu",
            largest: explainer
                .largest_margin()
                .max(self.margin.map_or(0.0, |margin| f64::from(margin.abs()))),
        }
    }
}

fn lacks_reasons(package: &Package) -> String {
    format!(
        "the package {} does not say how its scores are explained; add [reasons] with method, background and language \
         to its model.toml, and a [[reason]] for each group of features. decisions of the new package can be explained \
         then, these not",
        package.title()
    )
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

/// In which language a package's texts are told.
struct Language<'a> {
    used: &'a str,
    /// What was asked for, where the package has nothing like it.
    missed: Option<&'a str>,
}

impl<'a> Language<'a> {
    /// Packages need not have the same languages, and an explanation in another one is better than none.
    fn of(package: &'a Package, asked: Option<&'a str>) -> Language<'a> {
        let reasons = package.reasons.as_ref().expect("it is explained");
        let spoken = asked.and_then(|asked| reasons.spoken(asked));
        Language {
            used: spoken.unwrap_or(&reasons.language),
            missed: asked.filter(|_| spoken.is_none()),
        }
    }
}

fn explanation(
    package: &Package,
    features: &[ArrayRef],
    found: Recorded,
    language: Language<'_>,
    recorded: Comparison,
) -> Explanation {
    let reasons = package.reasons.as_ref().expect("it is explained");
    let Language { used, missed } = language;
    let value = |feature: usize| live::shown(&features[feature], 0);
    let reasons_told = rank(&reasons.groups, &found.contributions);
    let reasons_told = reasons_told.iter().map(|reason| Told {
        code: reason.code(&reasons.groups).to_owned(),
        text: match reason.group.map(|group| &reasons.groups[group]) {
            None => live::other(reasons, used),
            Some(group) if reason.raises() => group.raises[used].render(value),
            Some(group) => group.lowers[used].render(value),
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
    Explanation {
        exact: reasons.method != Method::Permutation,
        evaluations: found.evaluations,
        background_rows: reasons.background.rows,
        base: found.base,
        sum: found.sum(),
        residual: found.residual,
        language: used.to_owned(),
        language_asked: missed.map(str::to_owned),
        reasons: reasons_told.collect(),
        features: parts,
        recorded,
        method: found.method,
    }
}

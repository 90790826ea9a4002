//! What is in a model package, as a document: for people, for `--output json`, and to be compared with another.
//!
//! Read from the package alone, without ONNX Runtime. Whatever a package gets that matters to a decision belongs here,
//! because [`super::diff`] compares nothing else.

use std::collections::BTreeMap;

use serde::Serialize;

use super::onnx::OnnxFile;
use crate::error::{Fatal, Result};
use crate::explain::Explainer;
use crate::package::{
    Class, FeatureSpec, Group, Inputs, Output, Package, Personal, Pick, Reasons, Template,
};

#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Description {
    pub name: String,
    pub version: String,
    /// Of the whole package.
    pub sha256: String,
    pub files: Vec<File>,
    pub onnx: OnnxFile,
    /// How the features reach the model, and where its numbers are.
    pub inputs: String,
    pub probability: String,
    pub margin: Option<String>,
    pub chunk_rows: Vec<usize>,
    pub policy: Policy,
    pub features: Vec<Feature>,
    pub golden_rows: usize,
    pub golden_contributions: bool,
    pub reasons: Option<Explained>,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct File {
    pub name: String,
    pub sha256: String,
    pub bytes: usize,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Policy {
    pub version: String,
    pub sha256: String,
    /// The lines of its text, which is archived and hashed.
    pub text: Vec<String>,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Feature {
    pub name: String,
    pub sql: String,
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub impute: Option<f64>,
    pub unit: Option<String>,
    pub range: Option<[f64; 2]>,
    pub description: Option<String>,
    pub personal: Option<&'static str>,
}

/// How scores are explained.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Explained {
    pub method: &'static str,
    pub permutations: usize,
    pub background_rows: usize,
    pub language: String,
    /// What it takes, or why it cannot be done; nothing for an approximate method.
    pub effort: Option<String>,
    pub groups: Vec<Reason>,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Reason {
    pub code: String,
    pub features: Vec<String>,
    /// By language; `{name}` stands for the value of a feature.
    pub raises: BTreeMap<String, String>,
    pub lowers: BTreeMap<String, String>,
}

impl Description {
    /// `max_bytes`: what the tables for explanations may take.
    ///
    /// # Errors
    /// When the model's file is no ONNX file.
    pub fn of(package: &Package, max_bytes: usize) -> Result<Description> {
        let onnx = OnnxFile::read(&package.model.bytes).map_err(|problem| {
            let path = package.folder.join(&package.model.file);
            Fatal::usage(format!("{} {problem}", path.display()))
        })?;
        let file = |part: &&crate::package::PackageFile| File {
            name: part.file.clone(),
            sha256: part.digest.to_string(),
            bytes: part.bytes.len(),
        };
        let golden = package.golden.as_ref();
        let explained = |reasons: &Reasons| explained(package, reasons, max_bytes);
        Ok(Description {
            name: package.name.clone(),
            version: package.version.clone(),
            sha256: package.digest().to_string(),
            files: package.files().iter().map(file).collect(),
            onnx,
            inputs: match &package.inputs {
                Inputs::Matrix(name) => format!("one matrix, `{name}`"),
                Inputs::Columns => "one input for each feature, by its name".to_owned(),
            },
            probability: output(&package.probability),
            margin: package.margin.as_ref().map(output),
            chunk_rows: package.chunk_rows.clone(),
            policy: Policy {
                version: package.policy.version().to_owned(),
                sha256: package.policy.digest().to_string(),
                text: package
                    .policy
                    .canonical()
                    .lines()
                    .map(str::to_owned)
                    .collect(),
            },
            features: package.features.iter().map(feature).collect(),
            golden_rows: golden.map_or(0, |golden| golden.score.len()),
            golden_contributions: golden.is_some_and(|golden| golden.contributions.is_some()),
            reasons: package.reasons.as_ref().map(explained),
        })
    }
}

fn output(output: &Output) -> String {
    let name = &output.name;
    match &output.pick {
        Pick::Only => format!("`{name}`"),
        Pick::Column(column) => format!("`{name}`, column {column}"),
        Pick::Class(Class::Number(class)) => format!("`{name}`, class {class}"),
        Pick::Class(Class::Text(class)) => format!("`{name}`, class {class:?}"),
    }
}

fn feature(spec: &FeatureSpec) -> Feature {
    let about = &spec.about;
    Feature {
        name: spec.name.clone(),
        sql: spec.sql.clone(),
        kind: spec.kind.as_str(),
        impute: spec.impute,
        unit: about.unit.clone(),
        range: about.range,
        description: about.description.clone(),
        personal: about.personal.map(Personal::as_str),
    }
}

fn explained(package: &Package, reasons: &Reasons, max_bytes: usize) -> Explained {
    let name = |index: &usize| package.features[*index].name.clone();
    let texts = |texts: &BTreeMap<String, Template>| -> BTreeMap<String, String> {
        let written =
            |template: &Template| template.render(|index| format!("{{{}}}", name(&index)));
        let texts = texts.iter();
        texts
            .map(|(language, text)| (language.clone(), written(text)))
            .collect()
    };
    let group = |group: &Group| Reason {
        code: group.code.clone(),
        features: group.features.iter().map(name).collect(),
        raises: texts(&group.raises),
        lowers: texts(&group.lowers),
    };
    Explained {
        method: reasons.method.as_str(),
        permutations: reasons.permutations,
        background_rows: reasons.background.rows,
        language: reasons.language.clone(),
        effort: match Explainer::forecast(package, max_bytes) {
            Ok(effort) => effort,
            Err(problem) => Some(format!("cannot be explained: {problem}")),
        },
        groups: reasons.groups.iter().map(group).collect(),
    }
}

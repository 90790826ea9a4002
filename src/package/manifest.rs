//! The text of `model.toml`: its keys, and the rules each value must keep.
//!
//! Promises that an error names the line and the key, and says what to write instead.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

mod about;
mod categories;
mod policy;
mod reasons;
mod wrong;

pub(super) use reasons::Explaining;

use super::{Class, FeatureSpec, Inputs, MANIFEST, Output, Pick, SIGNATURE};
use crate::decide::{NAME_MAX_BYTES, Policy, is_plain};
use crate::error::{Fatal, Result};
use crate::features::FeatureType;
use about::Bounds;
use categories::Codes;
use policy::PolicyTable;
use reasons::{ReasonTable, ReasonsTable};

const FEATURES_MAX: usize = 4096;
const CHUNK_ROWS_MAX: i64 = 4096;

/// Integers beyond this have no exact 64-bit float, which is how `impute` is written.
const EXACT_INTEGER_MAX: f64 = 9_007_199_254_740_992.0;

/// What `model.toml` says, checked.
pub(super) struct Manifest {
    pub name: String,
    pub version: String,
    pub model_file: String,
    pub golden_file: Option<String>,
    pub reference_file: Option<String>,
    pub card_file: Option<String>,
    /// The largest last.
    pub chunk_rows: Vec<usize>,
    pub inputs: Inputs,
    pub probability: Output,
    pub margin: Option<Output>,
    pub policy: Policy,
    pub features: Vec<FeatureSpec>,
    pub explaining: Option<Explaining>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Root {
    name: Spanned<String>,
    version: Spanned<String>,
    model: ModelTable,
    output: OutputTable,
    policy: PolicyTable,
    feature: Spanned<Vec<FeatureTable>>,
    reasons: Option<Spanned<ReasonsTable>>,
    reason: Option<Spanned<Vec<ReasonTable>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelTable {
    file: Spanned<String>,
    chunk_rows: Spanned<Sizes>,
    matrix: Option<String>,
    golden: Option<Spanned<String>>,
    reference: Option<Spanned<String>>,
    card: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Sizes {
    One(i64),
    Several(Vec<i64>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutputTable {
    probability: Spanned<PickTable>,
    margin: Option<Spanned<PickTable>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PickTable {
    name: String,
    column: Option<usize>,
    class: Option<Class>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FeatureTable {
    name: Spanned<String>,
    sql: Spanned<String>,
    /// Without it, a 32-bit float.
    #[serde(rename = "type")]
    kind: Option<Spanned<String>>,
    impute: Option<Spanned<f64>>,
    categories: Option<Spanned<Codes>>,
    unknown: Option<Spanned<f64>>,
    unit: Option<Spanned<String>>,
    range: Option<Spanned<Bounds>>,
    description: Option<Spanned<String>>,
    personal: Option<Spanned<String>>,
}

/// Reads `bytes`, the content of the file at `path`.
pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<Manifest> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Fatal::usage(format!("{} is not UTF-8", path.display())).because(error))?;
    let reader = Reader { path, text };
    let root: Root = toml::from_str(text).map_err(|error| {
        let (span, message) = wrong::explained(text, &error);
        reader.refuse(span, message)
    })?;
    reader.check(root)
}

/// The file, to say where in it something is wrong.
struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Reader<'_> {
    fn refuse(&self, span: Range<usize>, message: impl Display) -> Fatal {
        let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        Fatal::usage(format!("{}:{line}: {message}", self.path.display()))
    }

    fn check(&self, root: Root) -> Result<Manifest> {
        let inputs = root.model.matrix.map_or(Inputs::Columns, Inputs::Matrix);
        let model_file = self.file_name("model.file", &root.model.file, &[])?;
        let golden = root.model.golden.as_ref();
        let golden_name =
            |file: &Spanned<String>| self.file_name("model.golden", file, &[&model_file]);
        let golden_file = golden.map(golden_name).transpose()?;
        let mut taken = vec![model_file.as_str()];
        taken.extend(golden_file.as_deref());
        let reference = root.model.reference.as_ref();
        let reference_name =
            |file: &Spanned<String>| self.file_name("model.reference", file, &taken);
        let reference_file = reference.map(reference_name).transpose()?;
        taken.extend(reference_file.as_deref());
        let card = root.model.card.as_ref();
        let card_name = |file: &Spanned<String>| self.file_name("model.card", file, &taken);
        let card_file = card.map(card_name).transpose()?;
        let margin = root.output.margin;
        let mut manifest = Manifest {
            name: self.plain_name("name", &root.name)?,
            version: self.plain_name("version", &root.version)?,
            model_file,
            golden_file,
            reference_file,
            card_file,
            chunk_rows: self.chunk_rows(&root.model.chunk_rows)?,
            probability: self.output("output.probability", root.output.probability)?,
            margin: margin
                .map(|m| self.output("output.margin", m))
                .transpose()?,
            policy: self.policy(&root.policy)?,
            features: self.features(root.feature, &inputs)?,
            inputs,
            explaining: None,
        };
        manifest.explaining = self.reasons(root.reasons, root.reason, &manifest)?;
        Ok(manifest)
    }

    /// Names stand in headers, metrics, paths and lines of text, so they are one plain word.
    fn plain_name(&self, key: &str, name: &Spanned<String>) -> Result<String> {
        let text = name.get_ref();
        if !is_plain(text) {
            let message = format!(
                "`{key}` is {text:?}; write 1 to {NAME_MAX_BYTES} ASCII letters, digits, `.`, `_`, `+` or `-`"
            );
            return Err(self.refuse(name.span(), message));
        }
        Ok(text.clone())
    }

    /// `taken`: what the other files of the package are called.
    fn file_name(&self, key: &str, file: &Spanned<String>, taken: &[&str]) -> Result<String> {
        let text = self.plain_name(key, file)?;
        let is_taken =
            [MANIFEST, SIGNATURE].contains(&text.as_str()) || taken.contains(&text.as_str());
        if text.starts_with('.') || is_taken {
            let message =
                format!("`{key}` is {text:?}; write the name of another file in this folder");
            return Err(self.refuse(file.span(), message));
        }
        Ok(text)
    }

    fn chunk_rows(&self, sizes: &Spanned<Sizes>) -> Result<Vec<usize>> {
        let numbers = match sizes.get_ref() {
            Sizes::One(number) => std::slice::from_ref(number),
            Sizes::Several(numbers) => numbers.as_slice(),
        };
        let in_range = numbers
            .iter()
            .all(|number| (1..=CHUNK_ROWS_MAX).contains(number));
        if numbers.is_empty() || !in_range || !numbers.is_sorted_by(|a, b| a < b) {
            let message = format!(
                "`model.chunk_rows` is {numbers:?}; write a number from 1 to {CHUNK_ROWS_MAX}, or several in rising order"
            );
            return Err(self.refuse(sizes.span(), message));
        }
        Ok(numbers
            .iter()
            .map(|number| usize::try_from(*number).expect("it is in range"))
            .collect())
    }

    fn output(&self, key: &str, table: Spanned<PickTable>) -> Result<Output> {
        let span = table.span();
        let PickTable {
            name,
            column,
            class,
        } = table.into_inner();
        let pick = match (column, class) {
            (None, None) => Pick::Only,
            (Some(column), None) => Pick::Column(column),
            (None, Some(class)) => Pick::Class(class),
            (Some(_), Some(_)) => {
                let message = format!(
                    "`{key}` has both `column` and `class`; write `column` for a tensor, `class` for a ZipMap"
                );
                return Err(self.refuse(span, message));
            }
        };
        Ok(Output { name, pick })
    }

    fn features(
        &self,
        tables: Spanned<Vec<FeatureTable>>,
        inputs: &Inputs,
    ) -> Result<Vec<FeatureSpec>> {
        let span = tables.span();
        let tables = tables.into_inner();
        if !(1..=FEATURES_MAX).contains(&tables.len()) {
            let message = format!(
                "{} features; write 1 to {FEATURES_MAX} tables [[feature]]",
                tables.len()
            );
            return Err(self.refuse(span, message));
        }
        let mut names = BTreeSet::new();
        let mut features = Vec::with_capacity(tables.len());
        for table in tables {
            let feature = self.feature(&table, inputs)?;
            if !names.insert(feature.name.clone()) {
                let message = format!(
                    "a second feature has the name `{}`; rename one",
                    feature.name
                );
                return Err(self.refuse(table.name.span(), message));
            }
            features.push(feature);
        }
        Ok(features)
    }

    fn feature(&self, table: &FeatureTable, inputs: &Inputs) -> Result<FeatureSpec> {
        let name = self.column_name(&table.name)?;
        let kind = match &table.kind {
            Some(kind) => self.kind(&name, kind)?,
            None => FeatureType::Float32,
        };
        if matches!(inputs, Inputs::Matrix(_)) && kind != FeatureType::Float32 {
            let message = format!(
                "feature `{name}` is {}, but a matrix holds float32 only; write type = \"float32\", or leave out \
                 `model.matrix` if the model has one input for each feature",
                kind.as_str()
            );
            let span = table.kind.as_ref().map_or(table.name.span(), Spanned::span);
            return Err(self.refuse(span, message));
        }
        if table.sql.get_ref().trim().is_empty() {
            let message =
                format!("feature `{name}` has no expression; write one, or the name of a column");
            return Err(self.refuse(table.sql.span(), message));
        }
        self.check_impute(&name, kind, table)?;
        let impute = table.impute.as_ref().map(|impute| *impute.get_ref());
        let categories = self.categories(&name, kind, table)?;
        let about = self.about(&name, kind, table)?;
        Ok(FeatureSpec {
            name,
            sql: table.sql.get_ref().clone(),
            impute,
            categories,
            kind,
            about,
        })
    }

    /// Becomes the column `feature_<name>` of the archive, and an input's name.
    fn column_name(&self, name: &Spanned<String>) -> Result<String> {
        let text = name.get_ref();
        let starts_well = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !starts_well || text.len() > NAME_MAX_BYTES || !text.chars().all(is_word) {
            let message = format!(
                "feature name {text:?}; write at most {NAME_MAX_BYTES} ASCII letters, digits and `_`, a letter first"
            );
            return Err(self.refuse(name.span(), message));
        }
        Ok(text.clone())
    }

    fn kind(&self, name: &str, kind: &Spanned<String>) -> Result<FeatureType> {
        let known = FeatureType::ALL
            .into_iter()
            .find(|k| k.as_str() == kind.get_ref());
        known.ok_or_else(|| {
            let all = FeatureType::ALL.map(FeatureType::as_str).join(", ");
            let message = format!(
                "feature `{name}` has the unknown type {:?}; write one of {all}",
                kind.get_ref()
            );
            self.refuse(kind.span(), message)
        })
    }

    fn check_impute(&self, name: &str, kind: FeatureType, table: &FeatureTable) -> Result<()> {
        let (span, impute) = match &table.impute {
            Some(impute) => (impute.span(), Some(*impute.get_ref())),
            None => (table.name.span(), None),
        };
        let problem = match (kind, impute) {
            (FeatureType::Float32 | FeatureType::Float64 | FeatureType::Utf8, None) => None,
            (FeatureType::Float32, Some(value)) if (value as f32).is_finite() => None,
            (FeatureType::Float64, Some(value)) if value.is_finite() => None,
            (FeatureType::Int64, Some(value))
                if value.fract() == 0.0 && value.abs() <= EXACT_INTEGER_MAX =>
            {
                None
            }
            (FeatureType::Boolean, Some(value)) if value == 0.0 || value == 1.0 => None,
            (FeatureType::Utf8, Some(_)) => {
                Some("a text cannot be imputed: null is the empty text; leave it out")
            }
            (FeatureType::Int64, _) => Some("an integer cannot be missing; write a whole number"),
            (FeatureType::Boolean, _) => Some("a boolean cannot be missing; write 0 or 1"),
            (FeatureType::Float32 | FeatureType::Float64, Some(_)) => {
                Some("not a finite number of the feature's type; leave it out for NaN")
            }
        };
        match problem {
            None => Ok(()),
            Some(problem) => {
                Err(self.refuse(span, format!("`impute` of feature `{name}`: {problem}")))
            }
        }
    }
}

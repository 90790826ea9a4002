//! Golden rows: features with the scores that the model is known to give for them, and, if scores are
//! explained, with the contributions that the features are known to have.

use std::collections::BTreeMap;
use std::path::Path;

use arrow::array::{Array, ArrayRef};
use serde::{Deserialize, Serialize};

use super::FeatureSpec;
use super::values::{self, Values};
use crate::error::{Fatal, Result};

pub const ROWS_MAX: usize = 10_000;

/// Rows with known answers, checked to be equally many of each.
#[derive(Clone, Debug)]
pub struct Golden {
    /// In the order of the package's features.
    pub columns: Vec<ArrayRef>,
    pub score: Vec<f32>,
    pub margin: Option<Vec<f32>>,
    /// What the contributions are added to: the mean margin of the background. There if `contributions` are.
    pub base: Option<f64>,
    /// Known Shapley values on the margin, by feature in the package's order, then by row. All are finite.
    pub contributions: Option<Vec<Vec<f64>>>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct GoldenFile {
    /// Which library gave the answers, and in chunks of how many rows: for people.
    onnxruntime: String,
    chunk_rows: usize,
    columns: BTreeMap<String, Values>,
    score: Values,
    #[serde(skip_serializing_if = "Option::is_none")]
    margin: Option<Values>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base: Option<Values>,
    #[serde(skip_serializing_if = "Option::is_none")]
    contributions: Option<BTreeMap<String, Values>>,
}

impl Golden {
    /// The text of the file that reads back as these rows of these features. `onnxruntime`: the version of the library
    /// that gave the answers, in chunks of `chunk_rows` rows.
    #[must_use]
    pub fn to_json(
        &self,
        features: &[FeatureSpec],
        onnxruntime: &str,
        chunk_rows: usize,
    ) -> String {
        let doubles = |values: &Vec<f64>| Values::of_doubles(values.iter().copied());
        let floats = |values: &Vec<f32>| Values::of_floats(values.iter().copied());
        let by_feature = |known: &Vec<Vec<f64>>| {
            let named = features.iter().zip(known);
            named
                .map(|(spec, of)| (spec.name.clone(), doubles(of)))
                .collect()
        };
        let file = GoldenFile {
            onnxruntime: onnxruntime.to_owned(),
            chunk_rows,
            columns: values::by_feature(features, &self.columns),
            score: floats(&self.score),
            margin: self.margin.as_ref().map(floats),
            base: self.base.map(|base| doubles(&vec![base])),
            contributions: self.contributions.as_ref().map(by_feature),
        };
        serde_json::to_string_pretty(&file).expect("texts and numbers serialize") + "\n"
    }
}

/// The base, and the contributions by feature, then by row.
type Known = (f64, Vec<Vec<f64>>);

/// Reads `bytes`, the content of the file at `path`. `explained`: `model.toml` has `[reasons]`.
pub(super) fn read(
    path: &Path,
    bytes: &[u8],
    features: &[FeatureSpec],
    explained: bool,
) -> Result<Golden> {
    let refuse = |problem: String| Fatal::usage(format!("{}: {problem}", path.display()));
    let file: GoldenFile = serde_json::from_slice(bytes)
        .map_err(|error| refuse("not the JSON of golden rows".to_owned()).because(error))?;
    let columns = values::columns(file.columns, features).map_err(refuse)?;
    let score = file
        .score
        .floats()
        .map_err(|problem| refuse(format!("`score`: {problem}")))?;
    let margin = file.margin.map(Values::floats).transpose();
    let margin = margin.map_err(|problem| refuse(format!("`margin`: {problem}")))?;
    let known = known_contributions(file.base, file.contributions, features).map_err(refuse)?;
    if known.is_some() && !explained {
        let problem = "`contributions` would never be checked; write [reasons] in model.toml, or take them out";
        return Err(refuse(problem.to_owned()));
    }
    let (base, contributions) = known.unzip();
    let lengths = columns
        .iter()
        .map(|column| column.len())
        .chain(margin.iter().map(Vec::len))
        .chain(contributions.iter().flatten().map(Vec::len));
    let rows = score.len();
    if !(1..=ROWS_MAX).contains(&rows) || lengths.into_iter().any(|length| length != rows) {
        return Err(refuse(format!(
            "write the same number of rows, 1 to {ROWS_MAX}, in every column"
        )));
    }
    Ok(Golden {
        columns,
        score,
        margin,
        base,
        contributions,
    })
}

/// The base and the contributions: both or neither, since their sum is what can be checked.
fn known_contributions(
    base: Option<Values>,
    contributions: Option<BTreeMap<String, Values>>,
    features: &[FeatureSpec],
) -> Result<Option<Known>, String> {
    let (base, contributions) = match (base, contributions) {
        (None, None) => return Ok(None),
        (Some(base), Some(contributions)) => (base, contributions),
        _ => {
            let problem = "`base` and `contributions` belong together; write both, or neither";
            return Err(problem.to_owned());
        }
    };
    let base = base
        .doubles()
        .map_err(|problem| format!("`base`: {problem}"))?;
    let &[base] = base.as_slice() else {
        return Err(format!("`base` has {} values; write one", base.len()));
    };
    let read = |values: Values, _| values.doubles();
    let contributions = values::of_each_feature(contributions, features, read)
        .map_err(|problem| format!("`contributions`: {problem}"))?;
    let is_finite = |value: &f64| value.is_finite();
    if !base.is_finite() || !contributions.iter().flatten().all(is_finite) {
        let problem = "`base` or a contribution is not a finite number; leave both out, or calculate them again";
        return Err(problem.to_owned());
    }
    Ok(Some((base, contributions)))
}

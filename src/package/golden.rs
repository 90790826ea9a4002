//! Golden rows: features with the scores that the model is known to give for them, and, if scores are
//! explained, with the contributions that the features are known to have.

use std::collections::BTreeMap;
use std::path::Path;

use arrow::array::{Array, ArrayRef};
use serde::{Deserialize, Serialize};

use super::values::{self, Values};
use super::{FeatureSpec, Method};
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

/// What else than a score the model gives, as `model.toml` says: golden rows have all of it, or none.
#[derive(Clone, Copy)]
pub(super) struct Given {
    /// There is `output.margin`.
    pub margin: bool,
    /// Of `[reasons]`.
    pub method: Option<Method>,
}

/// Reads `bytes`, the content of the file at `path`.
pub(super) fn read(
    path: &Path,
    bytes: &[u8],
    features: &[FeatureSpec],
    given: Given,
) -> Result<Golden> {
    let refuse = |problem: String| Fatal::usage(format!("{}: {problem}", path.display()));
    let file: GoldenFile = serde_json::from_slice(bytes)
        .map_err(|error| refuse(values::unreadable("golden rows", &error)))?;
    let columns = values::columns(file.columns, features).map_err(refuse)?;
    let score = file
        .score
        .floats()
        .map_err(|problem| refuse(format!("`score`: {problem}")))?;
    let margin = file.margin.map(Values::floats).transpose();
    let margin = margin.map_err(|problem| refuse(format!("`margin`: {problem}")))?;
    let known = known_contributions(file.base, file.contributions, features).map_err(refuse)?;
    complete(given, margin.is_some(), known.is_some())
        .map_err(|problem| refuse(problem.to_owned()))?;
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
    numbers(&score, margin.as_deref()).map_err(refuse)?;
    Ok(Golden {
        columns,
        score,
        margin,
        base,
        contributions,
    })
}

/// Whether everything has an answer that the model gives, and nothing that it does not give.
fn complete(given: Given, margin: bool, contributions: bool) -> Result<(), &'static str> {
    match (given.margin, margin) {
        (true, false) => {
            return Err(
                "no `margin`, and model.toml names `output.margin`; write the known margins, or leave the output out",
            );
        }
        (false, true) => {
            return Err(
                "`margin` would never be checked; name `output.margin` in model.toml, or take it out",
            );
        }
        _ => (),
    }
    match (given.method, contributions) {
        (None, true) => Err(
            "`contributions` would never be checked; write [reasons] in model.toml, or take them out",
        ),
        (Some(Method::Tree | Method::Linear), false) => Err(
            "no `base` and `contributions`, and the method of [reasons] is exact; write the known ones, or let \
             `probity model pack` make the golden rows",
        ),
        _ => Ok(()),
    }
}

/// NaN is the answer to a row that the model rejects, which says nothing of what it gives to others.
fn numbers(score: &[f32], margin: Option<&[f32]>) -> Result<(), String> {
    let (rows, without) = (
        score.len(),
        score.iter().filter(|score| score.is_nan()).count(),
    );
    if 2 * without > rows {
        return Err(format!(
            "`score` is no number in {without} of {rows} rows; write rows of which the model scores at least half"
        ));
    }
    let scored = |row: &usize| !score[*row].is_nan() && margin.is_some_and(|it| it[*row].is_nan());
    (0..rows).find(scored).map_or(Ok(()), |row| {
        Err(format!(
            "row {row} (counted from 0) has a `score` and no `margin` that is a number; write both, or NaN for both"
        ))
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

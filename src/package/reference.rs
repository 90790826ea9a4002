//! What the score and the most important features looked like where the model was fitted: `drift` compares with it.
//!
//! Numbers of JSON are read by Rust's own parser: an edge that is one unit off in the last place would count a value
//! that many rows share in the neighbouring bin.

use std::path::Path;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::FeatureSpec;
use super::values::unreadable;
use crate::drift::SCORE;
use crate::error::{Fatal, Result};
use crate::features::FeatureType;

pub const EDGES_MAX: usize = 64;
/// Every one costs time in every row.
const FEATURES_MAX: usize = 64;
/// Above it a count is no 64-bit float.
const ROWS_MAX: u64 = 1 << 53;

/// The score and features, all of the same rows.
#[derive(Clone, PartialEq, Debug)]
pub struct Reference {
    pub score: Distribution,
    /// With the index of the feature, the most important one first.
    pub features: Vec<(usize, Distribution)>,
}

/// How many values were where.
#[derive(Clone, PartialEq, Debug)]
pub struct Distribution {
    /// Finite, strictly rising, 1 to [`EDGES_MAX`]. Bin 0 holds the values below the first edge, bin i those of at
    /// least edge i-1 and below edge i, the last one those of at least the last edge.
    pub edges: Vec<f64>,
    /// One for each bin.
    pub counts: Vec<u64>,
    /// Rows without a value.
    pub missing: u64,
}

impl Distribution {
    /// Values and missing ones.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.counts.iter().sum::<u64>() + self.missing
    }
}

impl Reference {
    /// The text of the file that reads back as this reference of these features.
    #[must_use]
    pub fn to_json(&self, features: &[FeatureSpec]) -> String {
        let of = |it: &Distribution| json!({"edges": it.edges, "counts": it.counts, "missing": it.missing});
        let named = |(index, it): &(usize, Distribution)| {
            let mut line = of(it);
            line["name"] = features[*index].name.clone().into();
            line
        };
        let features: Vec<Value> = self.features.iter().map(named).collect();
        let file = json!({"score": of(&self.score), "features": features});
        serde_json::to_string_pretty(&file).expect("texts and numbers serialize") + "\n"
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReferenceFile {
    score: Written,
    features: Vec<Named>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    edges: Vec<Box<RawValue>>,
    counts: Vec<u64>,
    missing: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: String,
    edges: Vec<Box<RawValue>>,
    counts: Vec<u64>,
    missing: u64,
}

/// Reads `bytes`, the content of the file at `path`.
pub(super) fn read(path: &Path, bytes: &[u8], features: &[FeatureSpec]) -> Result<Reference> {
    let refuse = |problem: String| Fatal::usage(format!("{}: {problem}", path.display()));
    let file: ReferenceFile =
        serde_json::from_slice(bytes).map_err(|error| refuse(unreadable("a reference", &error)))?;
    let of_score = |problem| refuse(format!("`score`: {problem}"));
    let score = distribution(&file.score.edges, file.score.counts, file.score.missing);
    let score = score.map_err(of_score)?;
    if score.missing > 0 {
        return Err(of_score("no score is missing; write 0".to_owned()));
    }
    if file.features.len() > FEATURES_MAX {
        let count = file.features.len();
        return Err(refuse(format!(
            "{count} features; write the {FEATURES_MAX} most important ones, or fewer"
        )));
    }
    let mut found: Vec<(usize, Distribution)> = Vec::with_capacity(file.features.len());
    for named in file.features {
        let of_feature = |problem| refuse(format!("feature `{}`: {problem}", named.name));
        let index = index(&named.name, features).map_err(of_feature)?;
        if found.iter().any(|(other, _)| *other == index) {
            return Err(of_feature("is there twice; take one out".to_owned()));
        }
        let read = distribution(&named.edges, named.counts, named.missing).map_err(of_feature)?;
        if read.rows() != score.rows() {
            return Err(of_feature(format!(
                "is of {} rows, and `score` of {}; count the same rows",
                read.rows(),
                score.rows()
            )));
        }
        found.push((index, read));
    }
    Ok(Reference {
        score,
        features: found,
    })
}

fn index(name: &str, features: &[FeatureSpec]) -> Result<usize, String> {
    let index = features.iter().position(|feature| feature.name == name);
    match index {
        None => Err("is no feature of model.toml; take it out".to_owned()),
        Some(_) if name == SCORE => Err(
            "is called as the score is in metrics; take it out, or rename the feature".to_owned(),
        ),
        Some(index) if features[index].kind == FeatureType::Utf8 => {
            Err("is a text, and edges are between numbers; take it out".to_owned())
        }
        Some(index) => Ok(index),
    }
}

fn distribution(
    edges: &[Box<RawValue>],
    counts: Vec<u64>,
    missing: u64,
) -> Result<Distribution, String> {
    let number = |edge: &RawValue| edge.get().parse::<f64>().ok().filter(|n| n.is_finite());
    let edges: Option<Vec<f64>> = edges.iter().map(|edge| number(edge)).collect();
    let is_fit = |edges: &Vec<f64>| {
        (1..=EDGES_MAX).contains(&edges.len()) && edges.is_sorted_by(|low, high| low < high)
    };
    let edges = edges.filter(is_fit).ok_or_else(|| {
        format!("`edges`: write 1 to {EDGES_MAX} finite numbers, each above the one before")
    })?;
    if counts.len() != edges.len() + 1 {
        return Err(format!(
            "`counts` has {} numbers; write {}, one more than edges: the first and the last bin are open",
            counts.len(),
            edges.len() + 1
        ));
    }
    let all = counts
        .iter()
        .try_fold(missing, |sum, count| sum.checked_add(*count));
    if !all.is_some_and(|all| (1..ROWS_MAX).contains(&all)) {
        return Err(
            "`counts` and `missing` are of no row, or of more than 2^53; count some".to_owned(),
        );
    }
    Ok(Distribution {
        edges,
        counts,
        missing,
    })
}

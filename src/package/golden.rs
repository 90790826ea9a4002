//! Golden rows: features with the scores that the model is known to give for them.
//!
//! Floats are written as the hexadecimal digits of their bits, 8 or 16 a value and nothing between, because
//! the point of them is every bit.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Float32Array, Float64Array, Int64Array, StringArray,
};
use serde::Deserialize;

use super::{FeatureKind, FeatureSpec};
use crate::error::{Fatal, Result};

const ROWS_MAX: usize = 10_000;

/// Rows with known answers, checked to be equally many of each.
#[derive(Clone, Debug)]
pub struct Golden {
    /// In the order of the package's features.
    pub columns: Vec<ArrayRef>,
    pub score: Vec<f32>,
    pub margin: Option<Vec<f32>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GoldenFile {
    /// Which library gave the answers, and in chunks of how many rows: for people.
    #[serde(rename = "onnxruntime")]
    _onnxruntime: String,
    #[serde(rename = "chunk_rows")]
    _chunk_rows: usize,
    columns: BTreeMap<String, Values>,
    score: Values,
    margin: Option<Values>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Values {
    Float32(String),
    Float64(String),
    Int64(Vec<i64>),
    Boolean(Vec<bool>),
    String(Vec<String>),
}

/// Reads `bytes`, the content of the file at `path`.
pub(super) fn read(path: &Path, bytes: &[u8], features: &[FeatureSpec]) -> Result<Golden> {
    let refuse = |problem: String| Fatal::usage(format!("{}: {problem}", path.display()));
    let mut file: GoldenFile = serde_json::from_slice(bytes)
        .map_err(|error| refuse("not the JSON of golden rows".to_owned()).because(error))?;
    let mut columns = Vec::with_capacity(features.len());
    for feature in features {
        let values = file.columns.remove(&feature.name);
        let values = values.ok_or_else(|| {
            refuse(format!(
                "no column `{}`; write one for each feature",
                feature.name
            ))
        })?;
        columns.push(
            values
                .column(feature.kind)
                .map_err(|problem| refuse(format!("column `{}`: {problem}", feature.name)))?,
        );
    }
    if let Some(name) = file.columns.keys().next() {
        return Err(refuse(format!(
            "column `{name}` is no feature of model.toml; take it out"
        )));
    }
    let score = file
        .score
        .floats()
        .map_err(|problem| refuse(format!("`score`: {problem}")))?;
    let margin = file.margin.map(|margin| margin.floats()).transpose();
    let margin = margin.map_err(|problem| refuse(format!("`margin`: {problem}")))?;
    let lengths = columns
        .iter()
        .map(|column| column.len())
        .chain(margin.iter().map(Vec::len));
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
    })
}

impl Values {
    fn column(self, kind: FeatureKind) -> Result<ArrayRef, String> {
        Ok(match (kind, self) {
            (FeatureKind::Float32, values @ Values::Float32(_)) => {
                Arc::new(Float32Array::from(values.floats()?))
            }
            (FeatureKind::Float64, Values::Float64(digits)) => {
                let values = words(&digits, 16)?.into_iter().map(f64::from_bits);
                Arc::new(Float64Array::from_iter_values(values))
            }
            (FeatureKind::Int64, Values::Int64(values)) => Arc::new(Int64Array::from(values)),
            (FeatureKind::Boolean, Values::Boolean(values)) => Arc::new(BooleanArray::from(values)),
            (FeatureKind::Utf8, Values::String(values)) => Arc::new(StringArray::from(values)),
            _ => {
                return Err(format!(
                    "the feature is {}; write {{{:?}: …}}",
                    kind.as_str(),
                    kind.as_str()
                ));
            }
        })
    }

    fn floats(self) -> Result<Vec<f32>, String> {
        let Values::Float32(digits) = self else {
            return Err("write {\"float32\": …}".to_owned());
        };
        let to_float = |word| f32::from_bits(u32::try_from(word).expect("8 digits are 32 bits"));
        Ok(words(&digits, 8)?.into_iter().map(to_float).collect())
    }
}

/// The numbers that each `length` hexadecimal digits stand for.
fn words(digits: &str, length: usize) -> Result<Vec<u64>, String> {
    let bad = || format!("write {length} hexadecimal digits for each value, and nothing between");
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit())
        || !digits.len().is_multiple_of(length)
    {
        return Err(bad());
    }
    let word = |at| u64::from_str_radix(&digits[at..at + length], 16).map_err(|_| bad());
    (0..digits.len()).step_by(length).map(word).collect()
}

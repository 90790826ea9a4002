//! Columns of numbers in JSON, to the bit: `{"float32": "<digits>"}`.
//!
//! Floats are written as the hexadecimal digits of their bits, 8 or 16 a value and nothing between, because
//! the point of them is every bit.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, BooleanArray, Float32Array, Float64Array, Int64Array,
    StringArray,
};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type};
use serde::{Deserialize, Serialize};
use serde_json::error::Category;

use super::FeatureSpec;
use crate::features::FeatureType;

/// The values of one column, as they are written.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Values {
    Float32(String),
    Float64(String),
    Int64(Vec<i64>),
    Boolean(Vec<bool>),
    String(Vec<String>),
}

/// What stands under the name of each feature, in the order of the features.
///
/// # Errors
/// What is wrong and what to write, if a feature has none, or a name is no feature.
pub(super) fn of_each_feature<T>(
    mut found: BTreeMap<String, Values>,
    features: &[FeatureSpec],
    read: impl Fn(Values, FeatureType) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let mut columns = Vec::with_capacity(features.len());
    for FeatureSpec { name, kind, .. } in features {
        let values = found
            .remove(name)
            .ok_or_else(|| format!("no column `{name}`; write one for each feature"))?;
        columns.push(read(values, *kind).map_err(|problem| format!("column `{name}`: {problem}"))?);
    }
    match found.keys().next() {
        None => Ok(columns),
        Some(name) => Err(format!(
            "column `{name}` is no feature of model.toml; take it out"
        )),
    }
}

/// The values of each feature, as columns of their types.
///
/// # Errors
/// As [`of_each_feature`]; or if a feature with categories has a value that is no code of it.
pub(super) fn columns(
    found: BTreeMap<String, Values>,
    features: &[FeatureSpec],
) -> Result<Vec<ArrayRef>, String> {
    let columns = of_each_feature(found, features, Values::column)?;
    for (column, feature) in columns.iter().zip(features) {
        known_codes(column, feature)
            .map_err(|problem| format!("column `{}`: {problem}", feature.name))?;
    }
    Ok(columns)
}

/// Whether the model is shown what it can meet: codes, what stands for null, or nothing.
fn known_codes(column: &ArrayRef, feature: &FeatureSpec) -> Result<(), String> {
    let Some(categories) = &feature.categories else {
        return Ok(());
    };
    let known: Vec<f64> = categories.codes().chain(feature.impute).collect();
    let is_known = |value: f64| value.is_nan() || known.contains(&value);
    let unknown = match column.data_type() {
        DataType::Float32 => {
            let values = column.as_primitive::<Float32Type>().values();
            values.iter().position(|value| !is_known(f64::from(*value)))
        }
        DataType::Float64 => {
            let values = column.as_primitive::<Float64Type>().values();
            values.iter().position(|value| !is_known(*value))
        }
        _ => {
            let values = column.as_primitive::<Int64Type>().values();
            values.iter().position(|value| !is_known(*value as f64))
        }
    };
    unknown.map_or(Ok(()), |row| {
        Err(format!(
            "row {row} (counted from 0) has an unknown category code; write one of {known:?}"
        ))
    })
}

/// Why a file is not the JSON that it should be, and where.
pub(super) fn unreadable(what: &str, error: &serde_json::Error) -> String {
    let place = format!("line {}, column {}", error.line(), error.column());
    match error.classify() {
        Category::Eof => {
            format!("it ends at {place}, in the middle of the JSON of {what}; write the whole file")
        }
        Category::Syntax | Category::Io => {
            format!("it is no JSON at {place}; make the {what} again, or mend the file")
        }
        Category::Data => {
            let said = error.to_string();
            let said = said.split(" at line ").next().unwrap_or_default();
            // Which type of ours something is not, helps nobody.
            let known = [
                "missing field",
                "unknown field",
                "unknown variant",
                "duplicate field",
            ];
            let said = match known.iter().any(|words| said.starts_with(words)) {
                true => format!(": {said}"),
                false => String::new(),
            };
            format!("it is not the JSON of {what} at {place}{said}")
        }
    }
}

/// The columns by the names of the features, which are in the same order.
pub(super) fn by_feature(
    features: &[FeatureSpec],
    columns: &[ArrayRef],
) -> BTreeMap<String, Values> {
    let named = features.iter().zip(columns);
    named
        .map(|(spec, column)| (spec.name.clone(), Values::of(column, spec.kind)))
        .collect()
}

impl Values {
    /// What [`Values::column`] reads back. Null is NaN for floats, and the empty text for texts.
    ///
    /// # Panics
    /// If the column is not of the feature's type, or an integer or boolean is null.
    pub fn of(column: &ArrayRef, kind: FeatureType) -> Values {
        match kind {
            FeatureType::Float32 => {
                let values = column.as_primitive::<Float32Type>().iter();
                Values::of_floats(values.map(|value| value.unwrap_or(f32::NAN)))
            }
            FeatureType::Float64 => {
                let values = column.as_primitive::<Float64Type>().iter();
                Values::of_doubles(values.map(|value| value.unwrap_or(f64::NAN)))
            }
            FeatureType::Int64 => {
                assert_eq!(column.null_count(), 0, "an integer is never missing");
                Values::Int64(column.as_primitive::<Int64Type>().values().to_vec())
            }
            FeatureType::Boolean => {
                assert_eq!(column.null_count(), 0, "a boolean is never missing");
                Values::Boolean(column.as_boolean().values().iter().collect())
            }
            FeatureType::Utf8 => {
                let values = column.as_string::<i32>().iter();
                Values::String(values.map(|v| v.unwrap_or_default().to_owned()).collect())
            }
        }
    }

    pub fn of_floats(values: impl Iterator<Item = f32>) -> Values {
        Values::Float32(values.map(|v| format!("{:08x}", v.to_bits())).collect())
    }

    pub fn of_doubles(values: impl Iterator<Item = f64>) -> Values {
        Values::Float64(values.map(|v| format!("{:016x}", v.to_bits())).collect())
    }

    /// As a column of the feature's type.
    pub fn column(self, kind: FeatureType) -> Result<ArrayRef, String> {
        Ok(match (kind, self) {
            (FeatureType::Float32, values @ Values::Float32(_)) => {
                Arc::new(Float32Array::from(values.floats()?))
            }
            (FeatureType::Float64, values @ Values::Float64(_)) => {
                Arc::new(Float64Array::from(values.doubles()?))
            }
            (FeatureType::Int64, Values::Int64(values)) => Arc::new(Int64Array::from(values)),
            (FeatureType::Boolean, Values::Boolean(values)) => Arc::new(BooleanArray::from(values)),
            (FeatureType::Utf8, Values::String(values)) => Arc::new(StringArray::from(values)),
            _ => {
                return Err(format!(
                    "the feature is {}; write {{{:?}: …}}",
                    kind.as_str(),
                    kind.as_str()
                ));
            }
        })
    }

    pub fn floats(self) -> Result<Vec<f32>, String> {
        let Values::Float32(digits) = self else {
            return Err("write {\"float32\": …}".to_owned());
        };
        let to_float = |word| f32::from_bits(u32::try_from(word).expect("8 digits are 32 bits"));
        Ok(words(&digits, 8)?.into_iter().map(to_float).collect())
    }

    pub fn doubles(self) -> Result<Vec<f64>, String> {
        let Values::Float64(digits) = self else {
            return Err("write {\"float64\": …}".to_owned());
        };
        Ok(words(&digits, 16)?
            .into_iter()
            .map(f64::from_bits)
            .collect())
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

//! Rows to try a model with that brings no golden ones.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float32Array, Float64Array, Int64Array, StringArray};

use crate::features::{Definition, FeatureType};

/// Rows that a model is tried with before it may decide.
const SAMPLE_ROWS: usize = 96;

/// Rows to try a model with: numbers of all sizes, and gaps where there may be some. What matters is
/// only that the rows differ, because the probe asks whether bits depend on a row's neighbours.
pub(super) fn sample(definitions: &[(Definition, FeatureType)]) -> Vec<ArrayRef> {
    // A model may fail on a code that it does not know.
    let codes = |(definition, _): &(Definition, FeatureType)| {
        let categories = definition.categories.as_ref();
        categories.map(|categories| categories.codes().collect::<Vec<f64>>())
    };
    let codes: Vec<Option<Vec<f64>>> = definitions.iter().map(codes).collect();
    let number = |feature: usize, row: usize| {
        if let Some(codes) = &codes[feature] {
            return codes[row % codes.len()];
        }
        let step = (row * 7 + feature * 13) % 23;
        let size = libm::pow(10.0, (step % 7) as f64 - 2.0);
        if step.is_multiple_of(2) {
            size
        } else {
            -size + step as f64
        }
    };
    let column = |(feature, (definition, kind)): (usize, &(Definition, FeatureType))| -> ArrayRef {
        let rows = 0..SAMPLE_ROWS;
        let is_missing =
            |row: usize| definition.impute.is_none() && (row + feature).is_multiple_of(11);
        let numbers = rows
            .clone()
            .map(|row| (!is_missing(row)).then(|| number(feature, row)));
        match kind {
            FeatureType::Float32 => Arc::new(
                numbers
                    .map(|n| n.map(|n| n as f32))
                    .collect::<Float32Array>(),
            ),
            FeatureType::Float64 => Arc::new(numbers.collect::<Float64Array>()),
            FeatureType::Int64 => Arc::new(Int64Array::from_iter_values(
                rows.map(|row| number(feature, row) as i64),
            )),
            FeatureType::Boolean => {
                Arc::new(rows.map(|row| Some(row % 2 == 0)).collect::<BooleanArray>())
            }
            FeatureType::Utf8 => {
                let texts = rows.map(|row| format!("text {}", row % 5));
                Arc::new(StringArray::from_iter_values(texts))
            }
        }
    };
    definitions.iter().enumerate().map(column).collect()
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray as _;
    use arrow::datatypes::Int64Type;

    use super::*;
    use crate::features::Categories;

    #[test]
    fn a_model_is_tried_with_codes_that_its_categories_have() {
        let codes = [("a".to_owned(), 3.0), ("b".to_owned(), 7.0)];
        let definition = Definition {
            name: "feature".to_owned(),
            sql: "id".to_owned(),
            impute: Some(0.0),
            categories: Some(Categories::new(codes.into(), -1.0)),
        };
        let columns = sample(&[(definition, FeatureType::Int64)]);
        let values = columns[0].as_primitive::<Int64Type>().values();
        assert!([3, 7, -1].iter().all(|code| values.contains(code)));
        assert!(
            values.iter().all(|value| [3, 7, -1].contains(value)),
            "{values:?}"
        );
    }
}

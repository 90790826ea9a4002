//! What drift is measured from: how the score and the most important features are distributed in the sample.
//!
//! Bins are cut as `deploy/pack_model/distributions.py` cuts them. A feature counts for what the score changes when the
//! feature's values are dealt out anew among the rows.

use arrow::array::{Array as _, ArrayRef, AsArray as _, UInt32Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Float64Type};

use super::synthetic::{at, between};
use crate::error::Result;
use crate::features::FeatureType;
use crate::infer::Model;
use crate::package::{Distribution, FeatureSpec, Reference};

const FEATURES_MAX: usize = 10;
/// With no more values than these, each has a bin of its own.
const DISTINCT_MAX: usize = 10;
/// More rows would not change which features matter.
const WEIGHED_ROWS: usize = 2_000;

/// Of rows that the model gives a score.
pub(super) fn of(
    model: &mut Model,
    features: &[FeatureSpec],
    columns: &[ArrayRef],
) -> Result<Reference> {
    let scores = model.run(columns)?.score;
    let some: Vec<ArrayRef> = columns
        .iter()
        .map(|column| column.slice(0, column.len().min(WEIGHED_ROWS)))
        .collect();
    let mut weights = Vec::new();
    for (index, spec) in features.iter().enumerate() {
        if spec.kind != FeatureType::Utf8 {
            weights.push((index, weight(model, &some, index, &scores)?));
        }
    }
    weights.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    weights.truncate(FEATURES_MAX);
    let named = weights
        .iter()
        .map(|(index, _)| (*index, distribution(numbers(&columns[*index]))));
    Ok(Reference {
        score: distribution(scores.into_iter().map(f64::from).collect()),
        features: named.collect(),
    })
}

/// What the scores change in all when each row has the value of the row on the other end.
fn weight(model: &mut Model, columns: &[ArrayRef], index: usize, before: &[f32]) -> Result<f64> {
    let rows = u32::try_from(columns[index].len()).expect("few rows are weighed");
    let backwards: UInt32Array = (0..rows).rev().collect::<Vec<u32>>().into();
    let mut dealt = columns.to_vec();
    dealt[index] = take(&columns[index], &backwards, None).expect("the rows are there");
    let after = model.run(&dealt)?.score;
    let changes = after
        .iter()
        .zip(before)
        .filter(|(after, _)| after.is_finite());
    Ok(changes
        .map(|(after, before)| f64::from((after - before).abs()))
        .sum())
}

/// Null and NaN are missing values; a boolean is 0 or 1.
fn numbers(column: &ArrayRef) -> Vec<f64> {
    let column = cast(column, &DataType::Float64).expect("numbers and booleans are numbers");
    let values = column.as_primitive::<Float64Type>().iter();
    values.map(|value| value.unwrap_or(f64::NAN)).collect()
}

fn distribution(values: Vec<f64>) -> Distribution {
    let rows = values.len();
    let mut known: Vec<f64> = values.into_iter().filter(|value| !value.is_nan()).collect();
    known.sort_by(f64::total_cmp);
    let edges = edges(&known);
    let mut counts = vec![0; edges.len() + 1];
    for value in &known {
        counts[edges.partition_point(|edge| edge <= value)] += 1;
    }
    Distribution {
        missing: (rows - known.len()) as u64,
        edges,
        counts,
    }
}

/// What separates the bins of these sorted values. A bin begins at its edge.
fn edges(known: &[f64]) -> Vec<f64> {
    let mut distinct = known.to_vec();
    distinct.dedup();
    match *distinct {
        [] => vec![0.0],
        [only] => vec![only, f64::from((only as f32).next_up())],
        [_, ref others @ ..] if distinct.len() <= DISTINCT_MAX => others.to_vec(),
        [least, second, ..] => {
            let is_whole = distinct.iter().all(|value| value.fract() == 0.0);
            let decile = |tenth: u32| match (f64::from(tenth) / 10.0, is_whole) {
                (place, true) => known[at(place, known.len())],
                (place, false) => between(place, known),
            };
            let mut found: Vec<f64> = (1..10).map(decile).filter(|edge| *edge > least).collect();
            found.dedup();
            match found.is_empty() {
                true => vec![second],
                false => found,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_are_deciles_or_single_values_and_count_every_row() {
        let deciles = distribution((0..1000).map(f64::from).chain([f64::NAN; 7]).collect());
        assert_eq!(
            deciles.edges,
            [99.0, 199.0, 299.0, 399.0, 499.0, 599.0, 699.0, 799.0, 899.0]
        );
        assert_eq!(
            (deciles.counts[0], deciles.counts[9], deciles.missing),
            (99, 101, 7)
        );
        assert_eq!(deciles.rows(), 1007);
        let flags = distribution(vec![1.0, 0.0, 1.0, 1.0]);
        assert_eq!((flags.edges, flags.counts), (vec![1.0], vec![1, 3]));
        let only = distribution(vec![2.0, 2.0]);
        assert_eq!(only.counts, [0, 2, 0]);
        let nothing = distribution(vec![f64::NAN]);
        assert_eq!((nothing.counts, nothing.missing), (vec![0, 0], 1));
        // Most rows are zero, and no edge lies among them.
        let mostly = (0..100).map(|row| if row < 95 { 0.0 } else { f64::from(row) + 0.5 });
        let mostly = distribution(
            mostly
                .chain((0..20).map(|n| 200.5 + f64::from(n)))
                .collect(),
        );
        assert_eq!(mostly.counts[0], 96);
        assert_eq!(mostly.rows(), 120);
    }
}

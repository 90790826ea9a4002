//! Rows that are nobody's: each column is distributed as in the sample, and drawn on its own.
//!
//! A package is copied widely and kept for years, so no customer's row may be in it. A column's values are its quantiles
//! at the middles of equal parts, shuffled by themselves: a largest or smallest value, which may point at somebody, is
//! not used unless the sample is tiny. Whole numbers stay whole, and the share of missing values stays. What is lost is
//! how columns go together, which Shapley values take apart anyway.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray as _, BooleanArray, Float32Array, Float64Array, Int64Array, StringArray,
};
use arrow::compute::concat;
use arrow::datatypes::{Float32Type, Float64Type, Int64Type};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use super::sample::Sample;
use crate::features::FeatureType;
use crate::package::FeatureSpec;

/// Rows for different purposes are different rows.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    Background = 1,
    Golden = 2,
}

/// So many made-up rows. The same seed makes the same ones.
pub(super) fn rows(sample: &Sample, count: usize, seed: u64, purpose: Purpose) -> Vec<ArrayRef> {
    let columns = sample.features.iter().zip(&sample.columns).enumerate();
    let column = |(number, (spec, column)): (usize, (&FeatureSpec, &ArrayRef))| {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8] = purpose as u8;
        key[16..24].copy_from_slice(&(number as u64).to_le_bytes());
        drawn(column, spec.kind, count, &mut ChaCha8Rng::from_seed(key))
    };
    columns.map(column).collect()
}

/// The rows and two more: one of zeros and empty texts, and one in which everything is missing that may be.
pub(super) fn with_edges(sample: &Sample, columns: Vec<ArrayRef>) -> Vec<ArrayRef> {
    let features = sample.features.iter().zip(&sample.columns);
    let edges = features
        .zip(&columns)
        .map(|((spec, known), made)| edges(spec, known, made));
    let both = columns.iter().zip(edges);
    both.map(|(column, edges)| concat(&[column, &edges]).expect("both are of the feature's type"))
        .collect()
}

/// Zero and missing. Where the sample has whole numbers and no zero, zero may be no code: then the first made-up value
/// stands for it.
fn edges(spec: &FeatureSpec, known: &ArrayRef, made: &ArrayRef) -> ArrayRef {
    let missing = spec.impute.unwrap_or(f64::NAN);
    match spec.kind {
        FeatureType::Float32 => {
            let values = known.as_primitive::<Float32Type>().values();
            let is_code = is_without_zero(values.iter().copied().map(f64::from));
            let first = made.as_primitive::<Float32Type>().value(0);
            let zero = if is_code { first } else { 0.0 };
            Arc::new(Float32Array::from(vec![zero, missing as f32]))
        }
        FeatureType::Float64 => {
            let is_code =
                is_without_zero(known.as_primitive::<Float64Type>().values().iter().copied());
            let first = made.as_primitive::<Float64Type>().value(0);
            let zero = if is_code { first } else { 0.0 };
            Arc::new(Float64Array::from(vec![zero, missing]))
        }
        FeatureType::Int64 => {
            let is_code = !known.as_primitive::<Int64Type>().values().contains(&0);
            let first = made.as_primitive::<Int64Type>().value(0);
            let zero = if is_code { first } else { 0 };
            Arc::new(Int64Array::from(vec![zero, missing as i64]))
        }
        FeatureType::Boolean => Arc::new(BooleanArray::from(vec![false, missing == 1.0])),
        FeatureType::Utf8 => Arc::new(StringArray::from(vec!["", ""])),
    }
}

fn is_without_zero(values: impl Iterator<Item = f64>) -> bool {
    let mut known = values.filter(|value| !value.is_nan());
    known.all(|value| value.fract() == 0.0 && value != 0.0)
}

fn drawn(column: &ArrayRef, kind: FeatureType, count: usize, random: &mut ChaCha8Rng) -> ArrayRef {
    match kind {
        FeatureType::Float32 => {
            let values = column.as_primitive::<Float32Type>().values();
            let values = numbers(values.iter().copied().map(f64::from), count, random);
            Arc::new(Float32Array::from_iter_values(
                values.into_iter().map(|v| v as f32),
            ))
        }
        FeatureType::Float64 => {
            let values = column.as_primitive::<Float64Type>().values();
            let values = numbers(values.iter().copied(), count, random);
            Arc::new(Float64Array::from(values))
        }
        FeatureType::Int64 => {
            let values = column.as_primitive::<Int64Type>().values().to_vec();
            Arc::new(Int64Array::from(values_of(values, count, random)))
        }
        FeatureType::Boolean => {
            let values = column.as_boolean().values().iter().collect();
            Arc::new(BooleanArray::from(values_of(values, count, random)))
        }
        FeatureType::Utf8 => {
            let values = column.as_string::<i32>().iter().flatten().collect();
            Arc::new(StringArray::from(values_of(values, count, random)))
        }
    }
}

/// NaN is a missing value.
fn numbers(values: impl Iterator<Item = f64>, count: usize, random: &mut ChaCha8Rng) -> Vec<f64> {
    let all: Vec<f64> = values.collect();
    let mut known: Vec<f64> = all
        .iter()
        .copied()
        .filter(|value| !value.is_nan())
        .collect();
    known.sort_by(f64::total_cmp);
    let share = known.len() as f64 / all.len() as f64;
    let there = (count as f64 * share).round() as usize;
    let is_whole = known.iter().all(|value| value.fract() == 0.0);
    let mut made: Vec<f64> = middles(there)
        .map(|place| match is_whole {
            true => known[at(place, known.len())],
            false => between(place, &known),
        })
        .collect();
    made.resize(count, f64::NAN);
    shuffle(&mut made, random);
    made
}

/// Values that nothing lies between.
fn values_of<T: Ord + Clone>(mut values: Vec<T>, count: usize, random: &mut ChaCha8Rng) -> Vec<T> {
    values.sort();
    let pick = |place| values[at(place, values.len())].clone();
    let mut made: Vec<T> = middles(count).map(pick).collect();
    shuffle(&mut made, random);
    made
}

/// The middles of so many equal parts of the whole.
fn middles(count: usize) -> impl Iterator<Item = f64> {
    (0..count).map(move |part| (part as f64 + 0.5) / count as f64)
}

/// The first of `len` sorted values that this share of them does not exceed.
pub(super) fn at(place: f64, len: usize) -> usize {
    ((place * len as f64).ceil() as usize).clamp(1, len) - 1
}

/// The quantile between two neighbours.
pub(super) fn between(place: f64, sorted: &[f64]) -> f64 {
    let exact = place * (sorted.len() - 1) as f64;
    let (low, part) = (exact.floor() as usize, exact.fract());
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] * (1.0 - part) + sorted[high] * part
}

/// By Fisher and Yates.
fn shuffle<T>(values: &mut [T], random: &mut ChaCha8Rng) {
    for last in (1..values.len()).rev() {
        let product = u64::from(random.next_u32()) * (last as u64 + 1);
        let other = usize::try_from(product >> 32).expect("it is at most `last`");
        values.swap(last, other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::About;

    fn spec(name: &str, kind: FeatureType) -> FeatureSpec {
        FeatureSpec {
            name: name.to_owned(),
            sql: name.to_owned(),
            impute: None,
            kind,
            categories: None,
            about: About::default(),
        }
    }

    /// A thousand rows of which the columns go together: each says which row it is.
    fn sample() -> Sample {
        let rows = 0..1000_i32;
        let missing = |row: i32| {
            if row % 10 == 0 {
                f32::NAN
            } else {
                row as f32 + 0.25
            }
        };
        Sample {
            features: vec![
                spec("amount", FeatureType::Float32),
                spec("count", FeatureType::Float64),
                spec("number", FeatureType::Int64),
                spec("flag", FeatureType::Boolean),
                spec("channel", FeatureType::Utf8),
            ],
            columns: vec![
                Arc::new(Float32Array::from_iter_values(rows.clone().map(missing))),
                Arc::new(Float64Array::from_iter_values(rows.clone().map(f64::from))),
                Arc::new(Int64Array::from_iter_values(rows.clone().map(i64::from))),
                Arc::new(
                    rows.clone()
                        .map(|row| Some(row >= 900))
                        .collect::<BooleanArray>(),
                ),
                Arc::new(StringArray::from_iter_values(
                    rows.map(|row| ["chip", "online"][usize::from(row >= 750)]),
                )),
            ],
        }
    }

    #[test]
    fn a_row_of_the_sample_comes_back_by_chance_only() {
        let mut sample = sample();
        // Without the column whose values no row has, and with values that go together.
        sample.features.remove(0);
        sample.columns.remove(0);
        assert_eq!(
            sample.holds(&sample.columns),
            1000,
            "copies would be noticed"
        );
        let copies = |seed| sample.holds(&rows(&sample, 100, seed, Purpose::Background));
        let copies: usize = (0..20).map(copies).sum();
        assert!(copies < 100, "{copies} of 2000");
    }

    #[test]
    fn each_column_is_distributed_as_in_the_sample() {
        let made = rows(&sample(), 100, 7, Purpose::Golden);
        let amounts = made[0].as_primitive::<Float32Type>().values();
        assert_eq!(amounts.iter().filter(|value| value.is_nan()).count(), 10);
        assert!(
            amounts
                .iter()
                .all(|value| value.is_nan() || (1.25..999.25).contains(value))
        );
        let counts = made[1].as_primitive::<Float64Type>().values();
        assert!(
            counts
                .iter()
                .all(|value| value.fract() == 0.0 && (1.0..999.0).contains(value))
        );
        let sum: f64 = counts.iter().sum();
        assert!((sum / 100.0 - 499.5).abs() < 1.0, "{sum}");
        let numbers = made[2].as_primitive::<Int64Type>().values();
        assert!(!numbers.contains(&0) && !numbers.contains(&999));
        assert_eq!(made[3].as_boolean().true_count(), 10);
        let online = made[4]
            .as_string::<i32>()
            .iter()
            .flatten()
            .filter(|it| *it == "online");
        assert_eq!(online.count(), 25);
    }

    #[test]
    fn the_same_seed_makes_the_same_rows_and_another_one_others() {
        let sample = sample();
        let made = |seed, purpose| rows(&sample, 50, seed, purpose)[1].clone();
        let first = made(1, Purpose::Golden);
        assert_eq!(&first, &made(1, Purpose::Golden));
        assert_ne!(&first, &made(2, Purpose::Golden));
        assert_ne!(&first, &made(1, Purpose::Background));
    }

    #[test]
    fn zero_is_no_edge_where_it_may_be_no_code() {
        let edge = |values: Vec<f64>| {
            let sample = Sample {
                features: vec![spec("a", FeatureType::Float64)],
                columns: vec![Arc::new(Float64Array::from(values))],
            };
            let made = with_edges(&sample, rows(&sample, 1, 1, Purpose::Golden));
            made[0].as_primitive::<Float64Type>().value(1)
        };
        assert_eq!(edge(vec![3.0, 3.0, f64::NAN]), 3.0);
        assert_eq!(edge(vec![0.0, 3.0, 3.0]), 0.0);
        assert_eq!(edge(vec![3.5, 3.5, 3.5]), 0.0);
    }

    #[test]
    fn what_is_always_missing_stays_missing() {
        let sample = Sample {
            features: vec![spec("a", FeatureType::Float32)],
            columns: vec![Arc::new(Float32Array::from(vec![f32::NAN; 3]))],
        };
        let made = rows(&sample, 4, 1, Purpose::Golden);
        let made = with_edges(&sample, made);
        let values = made[0].as_primitive::<Float32Type>().values();
        let missing = values.iter().filter(|value| value.is_nan()).count();
        assert_eq!((values.len(), missing), (6, 6));
    }
}

//! Shapley values of any model, approximated by running it on rows that change feature by feature from a background row
//! to the explained row.
//!
//! The order of the features is a random permutation, walked there and back: what the second walk adds cancels most of
//! what the first one got wrong. Every background row gets the same number of such pairs, so the base is the
//! mean of all of them and base and contributions give the margin, however few pairs there are. The permutations are
//! drawn from the package's digest and the row's own values, and nothing else.

use arrow::array::{Array, ArrayRef, AsArray as _};
use arrow::compute::kernels::interleave::interleave;
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use sha2::{Digest as _, Sha256};

use crate::error::Result;
use crate::infer::Model;
use crate::record::Digest;

/// Rows of the model's input that are made at once, for as many explanations as fit.
const ROWS_AT_ONCE: usize = 1 << 14;

pub struct Permutations {
    background: Vec<ArrayRef>,
    /// Of each background row.
    margins: Vec<f32>,
    /// For each background row.
    pairs: usize,
    seed: Digest,
}

/// One walk from a background row to the explained one, which stands at this place among the rows that are asked for.
struct Walk {
    place: usize,
    background: usize,
    order: Vec<usize>,
}

impl Permutations {
    pub fn new(
        background: Vec<ArrayRef>,
        margins: Vec<f32>,
        pairs: usize,
        package: &Digest,
    ) -> Permutations {
        Permutations {
            background,
            margins,
            pairs,
            seed: *package,
        }
    }

    /// How many rows the model is run on for one explanation.
    pub fn evaluations(&self) -> u32 {
        let steps = self.background.len() - 1;
        u32::try_from(self.margins.len() * self.pairs * 2 * steps).unwrap_or(u32::MAX)
    }

    /// Of the background rows.
    pub fn largest_margin(&self) -> f64 {
        let margins = self.margins.iter().map(|margin| f64::from(margin.abs()));
        margins.fold(0.0, f64::max)
    }

    /// The contribution of each feature to the margin of each of these rows, of which `margins` has all. None for a row
    /// that the model rejects on the way.
    ///
    /// Rows share the model's batches, in which none has anything to do with another.
    ///
    /// # Errors
    /// If the model no longer runs.
    pub fn explain(
        &self,
        model: &mut Model,
        features: &[ArrayRef],
        margins: &[f32],
        rows: &[usize],
    ) -> Result<Vec<Option<Vec<f64>>>> {
        let together = (ROWS_AT_ONCE / (self.evaluations() as usize).max(1)).max(1);
        let mut found = Vec::with_capacity(rows.len());
        for rows in rows.chunks(together) {
            found.extend(self.explain_together(model, features, margins, rows)?);
        }
        Ok(found)
    }

    fn explain_together(
        &self,
        model: &mut Model,
        features: &[ArrayRef],
        margins: &[f32],
        rows: &[usize],
    ) -> Result<Vec<Option<Vec<f64>>>> {
        let width = features.len();
        let walks: Vec<Walk> = (0..rows.len())
            .flat_map(|place| self.walks(features, rows[place], place))
            .collect();
        let mut sums = vec![Some(vec![0.0; width]); rows.len()];
        for walks in walks.chunks((ROWS_AT_ONCE / width).max(1)) {
            let scored = model.run(&self.steps(features, rows, walks))?;
            let after = scored
                .margin
                .expect("a package explained by permutation has a margin");
            let mut steps = after.iter().zip(&scored.rejected);
            for walk in walks {
                let (last, others) = walk.order.split_last().expect("there is a feature");
                let mut before = f64::from(self.margins[walk.background]);
                for (feature, (after, rejected)) in others.iter().zip(&mut steps) {
                    if rejected.is_some() {
                        sums[walk.place] = None;
                    }
                    let after = f64::from(*after);
                    add(&mut sums[walk.place], *feature, after - before);
                    before = after;
                }
                let margin = f64::from(margins[rows[walk.place]]);
                add(&mut sums[walk.place], *last, margin - before);
            }
        }
        let count = self.walks_of_a_row() as f64;
        sums.iter_mut()
            .flatten()
            .flatten()
            .for_each(|sum| *sum /= count);
        Ok(sums)
    }

    fn walks_of_a_row(&self) -> usize {
        self.margins.len() * self.pairs * 2
    }

    fn walks(&self, features: &[ArrayRef], row: usize, place: usize) -> Vec<Walk> {
        let mut hash = Sha256::new();
        hash.update(self.seed.0);
        features
            .iter()
            .for_each(|column| add_value(&mut hash, column, row));
        let mut random = ChaCha8Rng::from_seed(hash.finalize().into());
        let mut walks = Vec::with_capacity(self.walks_of_a_row());
        for background in 0..self.margins.len() {
            for _ in 0..self.pairs {
                let there = shuffled(features.len(), &mut random);
                let back = there.iter().rev().copied().collect();
                walks.extend([there, back].map(|order| Walk {
                    place,
                    background,
                    order,
                }));
            }
        }
        walks
    }

    /// The rows of the walks, but for their ends, of which the margins are known.
    fn steps(&self, features: &[ArrayRef], rows: &[usize], walks: &[Walk]) -> Vec<ArrayRef> {
        let width = features.len();
        let mut places = vec![Vec::with_capacity(walks.len() * (width - 1)); width];
        for walk in walks {
            for (step, feature) in walk.order.iter().enumerate() {
                // The background's value until this step, the row's own from here on.
                let (from_background, from_row) = ((0, walk.background), (1, rows[walk.place]));
                let places = &mut places[*feature];
                places.extend(std::iter::repeat_n(from_background, step));
                places.extend(std::iter::repeat_n(from_row, width - 1 - step));
            }
        }
        let columns = self.background.iter().zip(features).zip(places);
        columns
            .map(|((background, explained), places)| {
                interleave(&[background, explained], &places).expect("columns of one type")
            })
            .collect()
    }
}

/// Nothing is added for a row that the model rejected.
fn add(sums: &mut Option<Vec<f64>>, feature: usize, more: f64) {
    if let Some(sums) = sums {
        sums[feature] += more;
    }
}

/// Fisher and Yates, in the version of Durstenfeld.
fn shuffled(count: usize, random: &mut ChaCha8Rng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        let product = u64::from(random.next_u32()) * (last as u64 + 1);
        order.swap(last, (product >> 32) as usize);
    }
    order
}

/// What tells the value of a column from others, as the model gets it: null is NaN, and one NaN is any.
fn add_value(hash: &mut Sha256, column: &ArrayRef, row: usize) {
    match column.data_type() {
        DataType::Float32 => {
            let column = column.as_primitive::<Float32Type>();
            let value = Some(column.value(row)).filter(|v| column.is_valid(row) && !v.is_nan());
            hash.update(value.unwrap_or(f32::NAN).to_bits().to_le_bytes());
        }
        DataType::Float64 => {
            let column = column.as_primitive::<Float64Type>();
            let value = Some(column.value(row)).filter(|v| column.is_valid(row) && !v.is_nan());
            hash.update(value.unwrap_or(f64::NAN).to_bits().to_le_bytes());
        }
        DataType::Int64 => {
            hash.update(column.as_primitive::<Int64Type>().value(row).to_le_bytes());
        }
        DataType::Boolean => hash.update([u8::from(column.as_boolean().value(row))]),
        DataType::Utf8 => {
            let column = column.as_string::<i32>();
            let text = if column.is_null(row) {
                ""
            } else {
                column.value(row)
            };
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        }
        other => unreachable!("no feature is {other}"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Float32Array;

    use super::*;

    /// Ten features; the last rows are equal.
    fn rows() -> Vec<ArrayRef> {
        let column = |feature: u8| {
            let values = [0.0, 1.0, 2.0, 2.0].map(|value| value * f32::from(feature + 1));
            Arc::new(Float32Array::from(values.to_vec())) as ArrayRef
        };
        (0..10).map(column).collect()
    }

    fn orders(package: &str, row: usize) -> Vec<Vec<usize>> {
        let background = rows().iter().map(|column| column.slice(0, 2)).collect();
        let digest = Digest::of(package.as_bytes());
        let permutations = Permutations::new(background, vec![0.0; 2], 3, &digest);
        let walks = permutations.walks(&rows(), row, 0);
        let per_background = |z| walks.iter().filter(|walk| walk.background == z).count();
        assert_eq!([0, 1].map(per_background), [6; 2]);
        walks.into_iter().map(|walk| walk.order).collect()
    }

    /// What the second walk of a pair gets wrong cancels what the first one got wrong only if it is the way back.
    #[test]
    fn every_walk_is_walked_back() {
        let orders = orders("one", 1);
        for pair in orders.chunks_exact(2) {
            let back: Vec<usize> = pair[0].iter().rev().copied().collect();
            assert_eq!(pair[1], back);
            let mut all = back;
            all.sort_unstable();
            assert_eq!(all, (0..10).collect::<Vec<_>>());
        }
        let there: std::collections::BTreeSet<_> = orders.iter().step_by(2).collect();
        assert_eq!(there.len(), 6, "each pair has an order of its own");
    }

    #[test]
    fn orders_are_drawn_from_the_package_and_the_values_of_the_row() {
        assert_eq!(orders("one", 1), orders("one", 1));
        assert_eq!(orders("one", 2), orders("one", 3), "rows of equal values");
        assert_ne!(orders("one", 1), orders("one", 2));
        assert_ne!(orders("one", 1), orders("two", 1));
    }
}

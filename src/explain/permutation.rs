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

/// Rows of the model's input that are made at once.
const ROWS_AT_ONCE: usize = 1 << 14;

pub struct Permutations {
    background: Vec<ArrayRef>,
    /// Of each background row.
    margins: Vec<f32>,
    /// For each background row.
    pairs: usize,
    seed: Digest,
}

/// One walk from a background row to the explained one.
struct Walk {
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

    /// The contribution of each feature to the margin of a row. None if the model rejects a row on the way.
    ///
    /// # Errors
    /// If the model no longer runs.
    pub fn explain(
        &self,
        model: &mut Model,
        features: &[ArrayRef],
        row: usize,
        margin: f32,
    ) -> Result<Option<Vec<f64>>> {
        let explained: Vec<ArrayRef> = features.iter().map(|column| column.slice(row, 1)).collect();
        let walks = self.walks(&explained);
        let mut sums = vec![0.0; features.len()];
        for walks in walks.chunks((ROWS_AT_ONCE / features.len()).max(1)) {
            let scored = model.run(&self.steps(&explained, walks))?;
            if scored.rejected.iter().any(Option::is_some) {
                return Ok(None);
            }
            let Some(margins) = scored.margin else {
                return Ok(None);
            };
            let mut margins = margins.into_iter().map(f64::from);
            for walk in walks {
                let mut before = f64::from(self.margins[walk.background]);
                let (last, others) = walk.order.split_last().expect("there is a feature");
                for (feature, after) in others.iter().zip(&mut margins) {
                    sums[*feature] += after - before;
                    before = after;
                }
                sums[*last] += f64::from(margin) - before;
            }
        }
        sums.iter_mut().for_each(|sum| *sum /= walks.len() as f64);
        Ok(Some(sums))
    }

    fn walks(&self, explained: &[ArrayRef]) -> Vec<Walk> {
        let mut hash = Sha256::new();
        hash.update(self.seed.0);
        explained
            .iter()
            .for_each(|column| add_value(&mut hash, column));
        let mut random = ChaCha8Rng::from_seed(hash.finalize().into());
        let mut walks = Vec::with_capacity(2 * self.pairs * self.margins.len());
        for background in 0..self.margins.len() {
            for _ in 0..self.pairs {
                let order = shuffled(explained.len(), &mut random);
                let back = order.iter().rev().copied().collect();
                walks.push(Walk { background, order });
                walks.push(Walk {
                    background,
                    order: back,
                });
            }
        }
        walks
    }

    /// The rows of the walks, but for their ends, of which the margins are known.
    fn steps(&self, explained: &[ArrayRef], walks: &[Walk]) -> Vec<ArrayRef> {
        let width = explained.len();
        let mut places = vec![Vec::with_capacity(walks.len() * (width - 1)); width];
        for walk in walks {
            for (step, feature) in walk.order.iter().enumerate() {
                // The background's value until this step, the row's own from here on.
                let (from_background, from_row) = ((0, walk.background), (1, 0));
                let places = &mut places[*feature];
                places.extend(std::iter::repeat_n(from_background, step));
                places.extend(std::iter::repeat_n(from_row, width - 1 - step));
            }
        }
        let columns = self.background.iter().zip(explained).zip(places);
        columns
            .map(|((background, explained), places)| {
                interleave(&[background, explained], &places).expect("columns of one type")
            })
            .collect()
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

/// What tells the first value of a column from others, as the model gets it: null is NaN, and one NaN is any.
fn add_value(hash: &mut Sha256, column: &ArrayRef) {
    match column.data_type() {
        DataType::Float32 => {
            let column = column.as_primitive::<Float32Type>();
            let value = Some(column.value(0)).filter(|v| column.is_valid(0) && !v.is_nan());
            hash.update(value.unwrap_or(f32::NAN).to_bits().to_le_bytes());
        }
        DataType::Float64 => {
            let column = column.as_primitive::<Float64Type>();
            let value = Some(column.value(0)).filter(|v| column.is_valid(0) && !v.is_nan());
            hash.update(value.unwrap_or(f64::NAN).to_bits().to_le_bytes());
        }
        DataType::Int64 => {
            hash.update(column.as_primitive::<Int64Type>().value(0).to_le_bytes());
        }
        DataType::Boolean => hash.update([u8::from(column.as_boolean().value(0))]),
        DataType::Utf8 => {
            let column = column.as_string::<i32>();
            let text = if column.is_null(0) {
                ""
            } else {
                column.value(0)
            };
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        }
        other => unreachable!("no feature is {other}"),
    }
}

//! Counts of one item's values: which bin of the reference they are in, and what is wrong with them.

use arrow::array::{Array as _, AsArray as _};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type};

use super::{Item, Seen};

/// What was seen of an item.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tally {
    /// By bin, as the reference has them.
    pub bins: Vec<u64>,
    pub missing: u64,
    pub out_of_range: u64,
    /// Texts that the package does not list.
    pub unknown: u64,
}

impl Tally {
    #[must_use]
    pub fn new(item: &Item) -> Tally {
        Tally {
            bins: vec![0; item.reference.edges.len() + 1],
            missing: 0,
            out_of_range: 0,
            unknown: 0,
        }
    }

    #[must_use]
    pub fn rows(&self) -> u64 {
        self.bins.iter().sum::<u64>() + self.missing
    }

    /// Adds what another lane, or an earlier round, has seen of the same item.
    pub fn add(&mut self, other: &Tally) {
        let bins = self.bins.iter_mut().zip(&other.bins);
        bins.for_each(|(bin, more)| *bin += more);
        self.missing += other.missing;
        self.out_of_range += other.out_of_range;
        self.unknown += other.unknown;
    }

    /// Counts the live rows. A value that was imputed is missing.
    pub fn count(&mut self, item: &Item, seen: &Seen<'_>) {
        let Some(index) = item.feature else {
            return self.values(item, seen, None, |row| f64::from(seen.score[row]));
        };
        let column = seen.feature(index);
        let known = seen.features.known(index);
        match column.data_type() {
            DataType::Float32 => {
                let values = column.as_primitive::<Float32Type>().values();
                self.values(item, seen, known, |row| f64::from(values[row]));
            }
            DataType::Float64 => {
                let values = column.as_primitive::<Float64Type>().values();
                self.values(item, seen, known, |row| values[row]);
            }
            DataType::Int64 => {
                let values = column.as_primitive::<Int64Type>().values();
                self.values(item, seen, known, |row| values[row] as f64);
            }
            DataType::Boolean => {
                let values = column.as_boolean().values();
                self.values(item, seen, known, |row| {
                    f64::from(u8::from(values.value(row)))
                });
            }
            _ => unreachable!("a reference has no texts"),
        }
    }

    fn values(
        &mut self,
        item: &Item,
        seen: &Seen<'_>,
        known: Option<&NullBuffer>,
        value: impl Fn(usize) -> f64,
    ) {
        let is_known = |row: usize| known.is_none_or(|known| known.is_valid(row));
        let mut one = |row: usize| match is_known(row) {
            true => self.value(item, value(row)),
            false => self.missing += 1,
        };
        match &seen.live {
            None => (0..seen.score.len()).for_each(one),
            Some(rows) => rows.iter().for_each(|row| one(*row)),
        }
    }

    #[inline]
    fn value(&mut self, item: &Item, value: f64) {
        let bin = item.reference.edges.partition_point(|edge| *edge <= value);
        self.bins[bin] += 1;
        let is_outside = |[low, high]: [f64; 2]| value < low || value > high;
        self.out_of_range += u64::from(item.range.is_some_and(is_outside));
        self.unknown += u64::from(item.unknown == Some(value));
    }
}

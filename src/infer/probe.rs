//! Whether a model gives a row the same bits wherever it stands in whatever chunk.

use std::fmt;

use arrow::array::{Array, ArrayRef, UInt32Array};
use arrow::compute::take;

use super::{Model, Scored, Sizes};
use crate::error::{Fatal, Result};
use crate::package::Golden;

/// Rows that are also run each alone in a chunk.
const ALONE_MAX: usize = 16;

/// How far the scores of a model can be reproduced, as found with sample rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    /// To the bit.
    Deterministic,
    /// Within this many units in the last place of a 32-bit float.
    Tolerant { max_ulp: u32 },
}

impl Admission {
    fn max_ulp(self) -> u32 {
        match self {
            Admission::Deterministic => 0,
            Admission::Tolerant { max_ulp } => max_ulp,
        }
    }
}

impl fmt::Display for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Admission::Deterministic => f.write_str("deterministic"),
            Admission::Tolerant { max_ulp } => write!(f, "tolerant({max_ulp})"),
        }
    }
}

/// How far a score may be from its known answer, and a margin above 1 in proportion: another version of the
/// library or another processor may differ in the last bits.
const KNOWN_ANSWER_TOLERANCE: f32 = 1e-6;

/// A margin on a device, which adds up in another order: still far below what a wrong weight does. Scores must be as near
/// as ever, because they are compared when they are repeated elsewhere.
const KNOWN_MARGIN_TOLERANCE_ON_DEVICE: f32 = 1e-5;

impl Model {
    /// Checks the known answers, probes the largest chunk that the memory holds, and takes those smaller ones whose bits
    /// are equal to its. Of a tolerant package, those that keep to its tolerance are spare.
    pub(super) fn admit(&mut self, golden: &Golden, smaller: &[usize]) -> Result<()> {
        let (largest, reference, admission) = loop {
            let largest = self.sizes.largest();
            let reference = self.run(&golden.columns)?;
            self.check_answers(&reference, golden)?;
            let admission = self.probe(&golden.columns)?;
            // Else the memory ran out on the way, and bits of two sizes were compared.
            if self.sizes.largest() == largest {
                break (largest, reference, admission);
            }
        };
        let (mut equal, mut spare) = (Vec::new(), Vec::new());
        for size in smaller.iter().filter(|size| **size < largest) {
            self.sizes = Sizes::one(*size);
            let scored = self.run(&golden.columns)?;
            let distance = self.largest_distance(&reference, &scored)?;
            if distance > admission.max_ulp() {
                continue;
            }
            let within = self.probe(&golden.columns)?;
            if distance == 0 && within == Admission::Deterministic {
                equal.push(*size);
            } else if within.max_ulp() <= admission.max_ulp() {
                spare.push(*size);
            }
        }
        self.sizes = Sizes::new(equal, largest, spare);
        self.admission = Some(admission);
        Ok(())
    }

    fn check_answers(&self, scored: &Scored, golden: &Golden) -> Result<()> {
        self.check_known(
            "score",
            &scored.score,
            &golden.score,
            KNOWN_ANSWER_TOLERANCE,
        )?;
        let tolerance = if self.has_device() {
            KNOWN_MARGIN_TOLERANCE_ON_DEVICE
        } else {
            KNOWN_ANSWER_TOLERANCE
        };
        match (&scored.margin, &golden.margin) {
            (Some(given), Some(known)) => self.check_known("margin", given, known, tolerance),
            _ => Ok(()),
        }
    }

    fn check_known(&self, what: &str, given: &[f32], known: &[f32], tolerance: f32) -> Result<()> {
        let near = |given: f32, known: f32| {
            let distance = (given - known).abs();
            distance <= tolerance * known.abs().max(1.0) || (given.is_nan() && known.is_nan())
        };
        for (row, (given, known)) in given.iter().zip(known).enumerate() {
            if !near(*given, *known) {
                return Err(self.disagrees(&format!(
                    "golden row {row} has the {what} {given}, but its known answer is {known}; make the golden rows \
                     again if the model is right"
                )));
            }
        }
        Ok(())
    }

    fn largest_distance(&self, left: &Scored, right: &Scored) -> Result<u32> {
        let mut largest = 0;
        for row in 0..left.score.len() {
            largest = largest.max(self.compare(left, row, right, row)?);
        }
        Ok(largest)
    }

    /// Scores the sample in order, backwards, shifted by every power of two below the chunk, and the first rows each
    /// alone; compares the bits of score and margin of each row. Some dozens of chunks: a matter of milliseconds.
    ///
    /// # Errors
    /// If no row gets a score, a score is no probability, or a row is rejected in one place and scored in another.
    ///
    /// # Panics
    /// As [`Model::run`], and if there are no rows.
    pub fn probe(&mut self, columns: &[ArrayRef]) -> Result<Admission> {
        let rows = columns[0].len();
        assert!(rows > 0, "a probe needs rows");
        let reference = self.run(columns)?;
        if reference.rejected.iter().all(Option::is_some) {
            return Err(self.disagrees(&format!(
                "none of {rows} sample rows gets a score that is a finite number; mend the model, or write golden \
                 rows that it accepts"
            )));
        }
        self.check_probabilities(&reference)?;
        let mut max_ulp = 0;
        for order in orders(rows, self.sizes.largest()) {
            let scored = self.run(&reordered(columns, &order))?;
            for (at, row) in order.iter().enumerate() {
                max_ulp = max_ulp.max(self.compare(&reference, *row as usize, &scored, at)?);
            }
        }
        Ok(if max_ulp == 0 {
            Admission::Deterministic
        } else {
            Admission::Tolerant { max_ulp }
        })
    }

    fn check_probabilities(&self, scored: &Scored) -> Result<()> {
        let outside = |score: &f32| !score.is_nan() && !(0.0..=1.0).contains(score);
        if scored.score.iter().any(outside) {
            return Err(self.disagrees(
                "a sample row has a score below 0 or above 1; name the output that is a probability",
            ));
        }
        Ok(())
    }

    fn compare(&self, left: &Scored, i: usize, right: &Scored, j: usize) -> Result<u32> {
        if left.rejected[i] != right.rejected[j] {
            return Err(Fatal::usage(format!(
                "the model {} scores a sample row in one place of a chunk and fails on it in another; it cannot be used",
                self.title
            )));
        }
        if left.rejected[i].is_some() {
            return Ok(0);
        }
        let score = ulps(left.score[i], right.score[j]);
        let margin = match (&left.margin, &right.margin) {
            (Some(left), Some(right)) => ulps(left[i], right[j]),
            _ => 0,
        };
        Ok(score.max(margin))
    }
}

/// Orders of the rows in which each stands elsewhere and among others. An order of one row is a row alone.
fn orders(rows: usize, chunk_rows: usize) -> Vec<Vec<u32>> {
    let rows = u32::try_from(rows).expect("a sample has few rows");
    let shifts = (0..)
        .map(|power| 1u32 << power)
        .take_while(|shift| (*shift as usize) < chunk_rows);
    let rotated = shifts.map(|shift| (0..rows).map(|row| (row + shift) % rows).collect());
    let alone = (0..rows.min(ALONE_MAX as u32)).map(|row| vec![row]);
    std::iter::once((0..rows).rev().collect())
        .chain(rotated)
        .chain(alone)
        .collect()
}

fn reordered(columns: &[ArrayRef], order: &[u32]) -> Vec<ArrayRef> {
    let order = UInt32Array::from(order.to_vec());
    columns
        .iter()
        .map(|column| take(column, &order, None).expect("the rows are there"))
        .collect()
}

/// The number of 32-bit floats from one finite number to the other. Both zeros are neighbours, one apart.
fn ulps(left: f32, right: f32) -> u32 {
    let ordered = |number: f32| {
        let bits = i64::from(number.to_bits());
        if number.is_sign_negative() {
            i64::from(0x7fff_ffff) - bits
        } else {
            bits
        }
    };
    u32::try_from((ordered(left) - ordered(right)).unsigned_abs())
        .expect("finite floats are less than 2^32 apart")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ulps_count_the_floats_between() {
        assert_eq!(ulps(1.0, 1.0), 0);
        assert_eq!(ulps(1.0, 1.0 + f32::EPSILON), 1);
        assert_eq!(ulps(-1.0, -1.0 - f32::EPSILON), 1);
        assert_eq!(ulps(0.0, -0.0), 1);
        assert_eq!(ulps(f32::from_bits(1), -f32::from_bits(1)), 3);
        assert_eq!(ulps(f32::MAX, f32::MIN), 2 * 0x7f7f_ffff + 1);
    }

    #[test]
    fn every_order_moves_rows_and_loses_none() {
        for order in orders(70, 64) {
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert!(order.len() == 1 || sorted == (0..70).collect::<Vec<_>>());
            assert!(order.len() == 1 || order != sorted);
        }
        assert_eq!(orders(1, 64).last(), Some(&vec![0]));
    }

    #[test]
    fn an_admission_has_a_text_to_record() {
        assert_eq!(Admission::Deterministic.to_string(), "deterministic");
        assert_eq!(
            Admission::Tolerant { max_ulp: 3 }.to_string(),
            "tolerant(3)"
        );
    }
}

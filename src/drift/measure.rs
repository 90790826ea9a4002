//! The numbers that a window is told in.

use super::{Item, Tally};

/// No share counts as smaller, on either side: one row in ten thousand. An empty bin has no logarithm, and what is
/// rarer than that is luck.
pub const SHARE_MIN: f64 = 1e-4;

/// How an item of a window lies to its reference.
#[derive(Clone, PartialEq, Debug)]
pub struct Measure {
    pub of: String,
    /// Population stability index, over the bins and the missing values.
    pub psi: f64,
    /// Shares of the window's rows.
    pub missing: f64,
    /// Where the package says a range.
    pub out_of_range: Option<f64>,
    /// Where the feature has categories.
    pub unknown_category: Option<f64>,
}

impl Measure {
    pub(super) fn of(item: &Item, tally: &Tally) -> Measure {
        let rows = tally.rows();
        let with_missing = |bins: &[u64], missing| [bins, &[missing]].concat();
        let reference = with_missing(&item.reference.counts, item.reference.missing);
        let seen = with_missing(&tally.bins, tally.missing);
        Measure {
            of: item.of.clone(),
            psi: psi(&reference, &seen),
            missing: share(tally.missing, rows),
            out_of_range: item.range.map(|_| share(tally.out_of_range, rows)),
            unknown_category: item.unknown.map(|_| share(tally.unknown, rows)),
        }
    }
}

/// Σ (p − q) · ln(p / q) over the bins, where p is the share of the rows seen and q that of the reference, neither
/// below [`SHARE_MIN`]. No term is negative. The logarithm is `libm`'s, so that bits do not depend on the machine.
#[must_use]
pub fn psi(reference: &[u64], seen: &[u64]) -> f64 {
    let sums = [reference, seen].map(|counts| counts.iter().sum::<u64>());
    let bins = reference.iter().zip(seen);
    bins.map(|(reference, seen)| {
        let q = share(*reference, sums[0]).max(SHARE_MIN);
        let p = share(*seen, sums[1]).max(SHARE_MIN);
        (p - q) * libm::log(p / q)
    })
    .sum()
}

/// Counts are below 2^53, where they are doubles. Nothing is no share of nothing.
fn share(count: u64, of: u64) -> f64 {
    match of {
        0 => 0.0,
        _ => count as f64 / of as f64,
    }
}

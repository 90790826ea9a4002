//! A number becomes the bin it is in: between which thresholds of its feature it lies.
//!
//! All numbers of a bin pass all branches of the ensemble alike, so what follows needs the bin alone. NaN has
//! a bin of its own.

use super::ensemble::{Branch, Ensemble, Node, Test};

/// Bins are numbered in 16 bits.
const CUTS_MAX: usize = u16::MAX as usize - 2;

/// The bins of one feature: bin `i` holds what is above `cuts[i - 1]` and not above `cuts[i]`. After the last one
/// comes what is above all cuts, then NaN.
#[derive(Clone, Debug, Default)]
pub struct Bins {
    cuts: Vec<f32>,
}

impl Bins {
    /// The bins of each feature, so many of them.
    ///
    /// # Errors
    /// When a feature has too many thresholds.
    pub fn of(ensemble: &Ensemble, features: usize) -> Result<Vec<Bins>, String> {
        let mut bins = vec![Bins::default(); features];
        for node in &ensemble.nodes {
            if let Node::Branch(branch) = node {
                cuts(&branch.test, &mut bins[branch.feature].cuts);
            }
        }
        for (feature, bins) in bins.iter_mut().enumerate() {
            bins.cuts.sort_unstable_by(f32::total_cmp);
            // Zero and minus zero are one number, and one cut.
            bins.cuts.dedup_by(|a, b| a == b);
            if bins.cuts.len() > CUTS_MAX {
                return Err(format!(
                    "feature {feature} is compared with {} numbers; at most {CUTS_MAX} can be told apart",
                    bins.cuts.len()
                ));
            }
        }
        Ok(bins)
    }

    pub fn count(&self) -> usize {
        self.cuts.len() + 2
    }

    pub fn of_value(&self, value: f32) -> u16 {
        let bin = if value.is_nan() {
            self.cuts.len() + 1
        } else {
            self.cuts.partition_point(|cut| *cut < value)
        };
        u16::try_from(bin).expect("there are few cuts")
    }

    /// In which bins the branch's test holds.
    pub fn holds<'a>(&'a self, branch: &'a Branch) -> impl Iterator<Item = bool> + 'a {
        let above = self.cuts.last().map_or(0.0, |last| last.next_up());
        let values = self.cuts.iter().copied().chain([above, f32::NAN]);
        values.map(|value| branch.holds(value))
    }
}

/// Below or at which numbers a test changes what it says.
fn cuts(test: &Test, cuts: &mut Vec<f32>) {
    let mut add = |cut: f32| {
        if !cut.is_nan() {
            cuts.push(cut);
        }
    };
    match test {
        Test::Le(t) | Test::Gt(t) => add(*t),
        Test::Lt(t) | Test::Ge(t) => add(t.next_down()),
        Test::Eq(t) | Test::Ne(t) => {
            add(t.next_down());
            add(*t);
        }
        Test::In(members) => {
            for member in members {
                add(member.next_down());
                add(*member);
            }
        }
    }
}

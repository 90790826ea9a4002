//! A number becomes the bin it is in: between which thresholds of its feature it lies.
//!
//! All numbers of a bin pass all branches of the ensemble alike, so what follows needs the bin alone. NaN has
//! a bin of its own.

use std::rc::Rc;

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

    /// The bins in which the branch's test holds.
    pub fn met(&self, branch: &Branch) -> Met {
        let nan = self.cuts.len() + 1;
        let mut bins: Vec<usize> = match &branch.test {
            // A member is alone in its bin.
            Test::In(members) => members.iter().map(|m| self.of_value(*m).into()).collect(),
            test => return self.met_but_for_sets(branch, test, nan),
        };
        bins.extend(branch.missing.then_some(nan));
        bins.sort_unstable();
        bins.dedup();
        let runs = bins.chunk_by(|bin, next| bin + 1 == *next);
        Met::of(runs.flat_map(|run| [(run[0], true), (run[run.len() - 1] + 1, false)]))
    }

    /// What the test says changes at its own cuts alone.
    fn met_but_for_sets(&self, branch: &Branch, test: &Test, nan: usize) -> Met {
        let mut own = Vec::new();
        cuts(test, &mut own);
        let above = own.iter().map(|cut| usize::from(self.of_value(*cut)) + 1);
        let bins = std::iter::once(0).chain(above).chain([nan]);
        Met::of(bins.map(|bin| (bin, branch.holds(self.value(bin)))))
    }

    /// One number of the bin.
    fn value(&self, bin: usize) -> f32 {
        let above = || self.cuts.last().map_or(0.0, |last| last.next_up());
        match bin {
            bin if bin < self.cuts.len() => self.cuts[bin],
            bin if bin == self.cuts.len() => above(),
            _ => f32::NAN,
        }
    }
}

/// Some bins of one feature: those at which being one of them changes, the first of which is one.
#[derive(Clone, Debug)]
pub struct Met(Rc<[u16]>);

impl Met {
    /// Of bins in order, whether that one and those up to the next are in it.
    fn of(bins: impl Iterator<Item = (usize, bool)>) -> Met {
        let mut last = false;
        let mut changes = Vec::new();
        for (bin, met) in bins {
            // After a set's last bin there may be none.
            if met != last
                && let Ok(bin) = u16::try_from(bin)
            {
                changes.push(bin);
                last = met;
            }
        }
        Met(changes.into())
    }

    pub fn changes(&self) -> &[u16] {
        &self.0
    }

    /// Whether both are one in memory; others may be equal.
    pub fn is_shared_with(&self, other: &Met) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    pub fn has(&self, bin: u16) -> bool {
        self.0.partition_point(|change| *change <= bin) % 2 == 1
    }

    pub fn opposite(&self) -> Met {
        Met(match &*self.0 {
            [0, rest @ ..] => rest.into(),
            all => std::iter::once(0).chain(all.iter().copied()).collect(),
        })
    }

    /// The bins that are in both.
    pub fn and(&self, other: &Met) -> Met {
        let (mut one, mut two) = (&*self.0, &*other.0);
        let (mut in_one, mut in_two, mut last) = (false, false, false);
        let mut changes = Vec::with_capacity(one.len() + two.len());
        while let Some(bin) = one.first().into_iter().chain(two.first()).min().copied() {
            if one.first() == Some(&bin) {
                (in_one, one) = (!in_one, &one[1..]);
            }
            if two.first() == Some(&bin) {
                (in_two, two) = (!in_two, &two[1..]);
            }
            if (in_one && in_two) != last {
                changes.push(bin);
                last = !last;
            }
        }
        Met(changes.into())
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

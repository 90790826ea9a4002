//! Shapley values by their definition: all coalitions, all background rows. Shares nothing with the tables but what a
//! branch does with a number.

use crate::explain::ensemble::{Ensemble, Node};

/// The mean of the background rows, and each feature's contribution to `row`.
pub fn shapley(ensemble: &Ensemble, row: &[f32], background: &[Vec<f32>]) -> (f64, Vec<f64>) {
    let features = row.len();
    let rows = background[0].len();
    let value = |coalition: usize| -> f64 {
        let of = |z: usize| {
            let pick = |i: usize| match coalition >> i & 1 {
                1 => row[i],
                _ => background[i][z],
            };
            margin(ensemble, &(0..features).map(pick).collect::<Vec<_>>())
        };
        (0..rows).map(of).sum::<f64>() / rows as f64
    };
    let values: Vec<f64> = (0..1 << features).map(value).collect();
    let factorial = |n: usize| (1..=n).map(|i| i as f64).product::<f64>();
    let contribution = |i: usize| {
        let without = (0..1_usize << features).filter(|s| s >> i & 1 == 0);
        let weighted = without.map(|s| {
            let size = s.count_ones() as usize;
            let weight = factorial(size) * factorial(features - size - 1) / factorial(features);
            weight * (values[s | 1 << i] - values[s])
        });
        weighted.sum()
    };
    (values[0], (0..features).map(contribution).collect())
}

/// What the trees say of one row.
pub fn margin(ensemble: &Ensemble, row: &[f32]) -> f64 {
    let leaf = |root: &usize| {
        let mut at = *root;
        loop {
            match &ensemble.nodes[at] {
                Node::Leaf(value) => return *value,
                Node::Branch(branch) if branch.holds(row[branch.feature]) => at = branch.yes,
                Node::Branch(branch) => at = branch.no,
            }
        }
    };
    ensemble.base + ensemble.roots.iter().map(leaf).sum::<f64>()
}

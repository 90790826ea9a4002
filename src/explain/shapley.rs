//! Shapley values of one conjunction: the game that a leaf of a tree plays between a row and a background row.
//!
//! Which conditions of a leaf's path a row meets is its pattern, one bit for each feature of the path. A
//! coalition takes its features from the row and the others from the background row; it reaches the leaf
//! when each feature meets its conditions where it comes from. So features that only the row meets must be
//! in, those that only the background row meets must be out, those that both meet do not matter, and one that
//! neither meets makes the leaf unreachable. Of such a game the Shapley values are known: Laberge and Pequignot,
//! *Understanding Interventional TreeSHAP*, 2022, theorem 3.2.

/// What a feature gets that must be in, of a game with `must` such features and `must_not` that must be out.
pub fn gain(must: usize, must_not: usize) -> f64 {
    1.0 / (must as f64 * choose(must + must_not, must))
}

/// What a feature loses that must be out.
pub fn loss(must: usize, must_not: usize) -> f64 {
    1.0 / (must_not as f64 * choose(must + must_not, must))
}

/// How many subsets of `k` there are of `n`; exact up to 64, whose middle one fits 61 bits.
fn choose(n: usize, k: usize) -> f64 {
    let mut product = 1_u128;
    for i in 0..k.min(n - k) {
        product = product * (n - i) as u128 / (i + 1) as u128;
    }
    product as f64
}

/// The patterns of the background rows at one leaf, each with its part of the leaf's value.
#[derive(Clone, Debug)]
pub struct Game {
    /// The pattern that meets everything.
    pub full: u64,
    /// Conditions that no background row meets: a row that misses one of them never reaches the leaf.
    pub required: u64,
    pub patterns: Vec<(u64, f64)>,
}

impl Game {
    /// `patterns` has one pattern for each background row, of `features` bits.
    pub fn new(value: f64, features: usize, mut patterns: Vec<u64>) -> Game {
        let full = if features == 64 {
            u64::MAX
        } else {
            (1 << features) - 1
        };
        let part = value / patterns.len() as f64;
        patterns.sort_unstable();
        let groups = patterns.chunk_by(|a, b| a == b);
        let patterns: Vec<(u64, f64)> = groups
            .map(|group| (group[0], part * group.len() as f64))
            .collect();
        let met = patterns.iter().fold(0, |met, (pattern, _)| met | pattern);
        Game {
            full,
            required: full & !met,
            patterns,
        }
    }

    /// What the background rows get of the leaf by themselves.
    pub fn base(&self) -> f64 {
        let reach = self
            .patterns
            .iter()
            .filter(|(pattern, _)| *pattern == self.full);
        reach.map(|(_, part)| part).sum()
    }

    /// Adds the Shapley values of a row with this pattern to `add`, by the number of the bit.
    pub fn play(&self, row: u64, mut add: impl FnMut(usize, f64)) {
        if self.required & !row != 0 {
            return;
        }
        let out = self.full & !row;
        let mut lost = 0.0;
        for (background, part) in &self.patterns {
            if row | background != self.full {
                continue;
            }
            let only = row & !background;
            let (must, must_not) = (only.count_ones() as usize, out.count_ones() as usize);
            if must > 0 {
                let gain = part * gain(must, must_not);
                each_bit(only, |bit| add(bit, gain));
            }
            if must_not > 0 {
                lost += part * loss(must, must_not);
            }
        }
        if lost != 0.0 {
            each_bit(out, |bit| add(bit, -lost));
        }
    }
}

fn each_bit(mut bits: u64, mut call: impl FnMut(usize)) {
    while bits != 0 {
        call(bits.trailing_zeros() as usize);
        bits &= bits - 1;
    }
}

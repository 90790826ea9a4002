//! Random ensembles, rows and background rows, drawn so that what is rare in the field is frequent here: missing and
//! infinite values, both zeros, numbers equal to thresholds, contradictory paths, features that nothing asks for.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng};

use crate::explain::ensemble::{Branch, Ensemble, Node, Test};

pub struct Draw(ChaCha8Rng);

/// Small enough a set for thresholds and values to meet.
const VALUES: [f32; 16] = [
    f32::NAN,
    f32::NEG_INFINITY,
    f32::INFINITY,
    -0.0,
    0.0,
    1.0,
    -1.0,
    f32::MIN_POSITIVE,
    1e-45,
    -1e-45,
    2.5,
    2.500_000_2,
    -3.75,
    1e30,
    f32::MAX,
    f32::MIN,
];

impl Draw {
    pub fn new(seed: u64) -> Draw {
        Draw(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.0.next_u64() % end as u64) as usize
    }

    pub fn value(&mut self) -> f32 {
        if self.below(4) == 0 {
            self.unit() as f32
        } else {
            VALUES[self.below(VALUES.len())]
        }
    }

    /// From -1 to 1.
    pub fn unit(&mut self) -> f64 {
        self.0.next_u64() as f64 / u64::MAX as f64 * 2.0 - 1.0
    }

    pub fn rows(&mut self, features: usize, rows: usize) -> Vec<Vec<f32>> {
        let mut column = || (0..rows).map(|_| self.value()).collect();
        (0..features).map(|_| column()).collect()
    }

    pub fn ensemble(&mut self, features: usize, trees: usize, leaves: usize) -> Ensemble {
        let mut ensemble = Ensemble {
            nodes: Vec::new(),
            roots: Vec::new(),
            base: self.unit(),
        };
        for _ in 0..trees {
            let leaves = 1 + self.below(leaves);
            let root = self.subtree(features, leaves, &mut ensemble.nodes);
            ensemble.roots.push(root);
        }
        ensemble
    }

    fn subtree(&mut self, features: usize, leaves: usize, nodes: &mut Vec<Node>) -> usize {
        let node = if leaves == 1 {
            Node::Leaf(f64::from(self.unit() as f32))
        } else {
            let left = 1 + self.below(leaves - 1);
            Node::Branch(Branch {
                feature: self.below(features),
                test: self.test(),
                missing: self.below(2) == 0,
                yes: self.subtree(features, left, nodes),
                no: self.subtree(features, leaves - left, nodes),
            })
        };
        nodes.push(node);
        nodes.len() - 1
    }

    fn test(&mut self) -> Test {
        // No threshold is NaN: libraries write none.
        let mut number = || loop {
            let value = self.value();
            if !value.is_nan() {
                return value;
            }
        };
        let (one, two) = (number(), number());
        match self.below(9) {
            0 => Test::Lt(one),
            1 => Test::Ge(one),
            2 => Test::Gt(one),
            3 => Test::Eq(one),
            4 => Test::Ne(one),
            5 => Test::In(vec![one, two]),
            _ => Test::Le(one),
        }
    }
}

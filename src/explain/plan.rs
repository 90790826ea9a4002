//! How a forest is cut into blocks: sets of neighbouring leaves that share one table.
//!
//! A block's table has a cell for every way in which a row can meet the block's leaves. Features are cut into
//! classes for this: bins that no leaf of the block tells apart are one class, and a cell is one class of each
//! feature. Larger blocks mean fewer look-ups for a row and larger tables.

use std::ops::Range;
use std::rc::Rc;

use super::bins::Bins;
use super::ensemble::{Ensemble, Node};

/// A pattern has a bit for each feature of a path.
const PATH_FEATURES_MAX: usize = 64;

/// The tables with the most cells that are tried, and with the fewest. Measured on 200 trees of 31 leaves:
/// `benches/README.md`.
const CELLS_MOST: usize = 1 << 12;
const CELLS_LEAST: usize = 1 << 6;

/// A leaf and what its path asks of each feature.
#[derive(Clone)]
pub struct Leaf {
    pub value: f64,
    /// By rising feature.
    pub conditions: Vec<Condition>,
}

#[derive(Clone)]
pub struct Condition {
    pub feature: usize,
    /// Of each bin, whether it meets the path.
    pub met: Rc<[bool]>,
}

/// Leaves that share a table. Without classes the table would be too large, and there is one leaf: its game is
/// played for each row.
pub struct Block {
    pub leaves: Range<usize>,
    pub classes: Option<Vec<Classes>>,
}

/// A feature's bins as the leaves of one block tell them apart.
pub struct Classes {
    pub feature: usize,
    /// Of each bin.
    pub class: Vec<u16>,
    pub count: usize,
}

pub struct Plan {
    /// Of all trees, neighbours beside each other.
    pub leaves: Vec<Leaf>,
    pub blocks: Vec<Block>,
    /// What the tables take at most.
    pub bytes: usize,
}

impl Plan {
    /// The fastest plan whose tables take at most `max_bytes`.
    ///
    /// # Errors
    /// When there is none, with what the smallest takes, or when a path has too many features.
    pub fn new(
        ensemble: &Ensemble,
        bins: &[Bins],
        background: usize,
        max_bytes: usize,
    ) -> Result<Plan, String> {
        let mut forest = Forest::of(ensemble, bins)?;
        let mut cells_max = CELLS_MOST;
        loop {
            let (blocks, bytes) = forest.cut(cells_max, background);
            if bytes <= max_bytes {
                let leaves = std::mem::take(&mut forest.leaves);
                return Ok(Plan {
                    leaves,
                    blocks,
                    bytes,
                });
            }
            if cells_max == CELLS_LEAST {
                return Err(format!(
                    "the tables for its {} leaves would take {}, and {} are allowed; train fewer or smaller \
                     trees, allow more with explain.memory, or write method = \"permutation\"",
                    forest.leaves.len(),
                    mebibytes(bytes),
                    mebibytes(max_bytes)
                ));
            }
            cells_max /= 8;
        }
    }
}

fn mebibytes(bytes: usize) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// The leaves of a subtree lie beside each other.
struct Subtree {
    leaves: Range<usize>,
    children: Option<Box<[Subtree; 2]>>,
}

struct Forest {
    leaves: Vec<Leaf>,
    trees: Vec<Subtree>,
}

impl Forest {
    fn of(ensemble: &Ensemble, bins: &[Bins]) -> Result<Forest, String> {
        let mut leaves = Vec::new();
        let mut walk = Walk {
            ensemble,
            bins,
            leaves: &mut leaves,
        };
        let trees = ensemble.roots.iter().map(|root| walk.down(*root, &[]));
        let trees = trees.collect::<Result<_, _>>()?;
        Ok(Forest { leaves, trees })
    }

    /// The blocks, and the bytes that their tables take at most.
    fn cut(&self, cells_max: usize, background: usize) -> (Vec<Block>, usize) {
        let mut blocks = Vec::new();
        let mut bytes = 0;
        let mut open: Vec<&Subtree> = self.trees.iter().rev().collect();
        while let Some(subtree) = open.pop() {
            let classes = classes(&self.leaves[subtree.leaves.clone()], cells_max);
            match (&classes, &subtree.children) {
                (None, Some(children)) => {
                    open.extend(children.iter().rev());
                    continue;
                }
                (Some(classes), _) if classes.is_empty() => continue,
                (Some(classes), _) => bytes += table_bytes(classes),
                (None, None) => {
                    let conditions = &self.leaves[subtree.leaves.start].conditions;
                    let bins: usize = conditions.iter().map(|c| c.met.len()).sum();
                    bytes += bins + background * size_of::<(u64, f64)>();
                }
            }
            blocks.push(Block {
                leaves: subtree.leaves.clone(),
                classes,
            });
        }
        (blocks, bytes)
    }
}

fn table_bytes(classes: &[Classes]) -> usize {
    let cells: usize = classes.iter().map(|c| c.count).product();
    // Steps are there twice, and once with the number of the block.
    let steps: usize = classes.iter().map(|c| c.class.len()).sum();
    let slots = classes.len() * (cells * size_of::<f64>() + size_of::<u32>());
    slots + 2 * steps * size_of::<u16>()
}

struct Walk<'a> {
    ensemble: &'a Ensemble,
    bins: &'a [Bins],
    leaves: &'a mut Vec<Leaf>,
}

impl Walk<'_> {
    fn down(&mut self, at: usize, path: &[Condition]) -> Result<Subtree, String> {
        let first = self.leaves.len();
        let children = match &self.ensemble.nodes[at] {
            Node::Leaf(value) => {
                if path.len() > PATH_FEATURES_MAX {
                    return Err(format!(
                        "a path of its trees asks for {} features; at most {PATH_FEATURES_MAX} can be explained",
                        path.len()
                    ));
                }
                self.leaves.push(Leaf {
                    value: *value,
                    conditions: path.to_vec(),
                });
                None
            }
            Node::Branch(branch) => {
                let holds: Vec<bool> = self.bins[branch.feature].holds(branch).collect();
                let fails: Vec<bool> = holds.iter().map(|holds| !holds).collect();
                let yes = self.down(branch.yes, &narrowed(path, branch.feature, &holds))?;
                let no = self.down(branch.no, &narrowed(path, branch.feature, &fails))?;
                Some(Box::new([yes, no]))
            }
        };
        Ok(Subtree {
            leaves: first..self.leaves.len(),
            children,
        })
    }
}

/// The path with one condition more.
fn narrowed(path: &[Condition], feature: usize, met: &[bool]) -> Vec<Condition> {
    let mut path = path.to_vec();
    match path.binary_search_by_key(&feature, |condition| condition.feature) {
        Ok(at) => {
            let both = path[at].met.iter().zip(met).map(|(a, b)| *a && *b);
            path[at].met = both.collect();
        }
        Err(at) => {
            let met = met.into();
            path.insert(at, Condition { feature, met });
        }
    }
    path
}

/// The classes of each feature that the leaves ask for, unless they make more cells than `cells_max`.
fn classes(leaves: &[Leaf], cells_max: usize) -> Option<Vec<Classes>> {
    let mut conditions: Vec<&Condition> = leaves.iter().flat_map(|l| &l.conditions).collect();
    conditions.sort_by_key(|condition| condition.feature);
    let mut cells = 1;
    let mut all = Vec::new();
    for of_one in conditions.chunk_by(|a, b| a.feature == b.feature) {
        let classes = Classes::of(of_one);
        cells *= classes.count;
        if cells > cells_max {
            return None;
        }
        if classes.count > 1 {
            all.push(classes);
        }
    }
    Some(all)
}

impl Classes {
    /// Of the conditions on one feature: bins that meet the same ones are one class.
    fn of(conditions: &[&Condition]) -> Classes {
        let mut class = vec![0_u16; conditions[0].met.len()];
        let mut count = 1;
        let mut last: Option<&Rc<[bool]>> = None;
        for condition in conditions {
            // Neighbours mostly share what their common path asks.
            if last.is_some_and(|last| Rc::ptr_eq(last, &condition.met)) {
                continue;
            }
            last = Some(&condition.met);
            let mut renamed = vec![None; 2 * count];
            count = 0;
            for (class, met) in class.iter_mut().zip(condition.met.iter()) {
                let name = &mut renamed[2 * usize::from(*class) + usize::from(*met)];
                let new = *name.get_or_insert_with(|| {
                    count += 1;
                    count - 1
                });
                *class = u16::try_from(new).expect("no more classes than bins");
            }
        }
        Classes {
            feature: conditions[0].feature,
            class,
            count,
        }
    }
}

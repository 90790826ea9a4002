//! How a forest is cut into blocks: sets of neighbouring leaves that share one table.
//!
//! A block's table has a cell for every way in which a row can meet the block's leaves. Features are cut into
//! classes for this: bins that no leaf of the block tells apart are one class, and a cell is one class of each
//! feature. Larger blocks mean fewer look-ups for a row and larger tables.
//!
//! What the tables take is known before any of them is made, tree by tree, and a plan that takes too much ends at the
//! first tree that is over. A package is planned in the process that decides, so planning itself is limited too.

use std::cell::Cell;
use std::ops::Range;

use super::bins::{Bins, Met};
use super::ensemble::{Ensemble, Node};

/// A pattern has a bit for each feature of a path.
const PATH_FEATURES_MAX: usize = 64;

/// How many cells a table may have at most, by what is tried first. Measured on 200 trees of 31 leaves:
/// `benches/README.md`.
const CELLS: [usize; 3] = [1 << 12, 1 << 9, 1 << 6];
const CELLS_MOST: usize = CELLS[0];

/// What one tree may take while it is planned; a tree of 256 leaves takes 100 KiB.
const TREE_BYTES_MAX: usize = 64 << 20;
/// Comparisons of a condition with a piece of its feature's range; 300 trees of 256 leaves need 2^21.
const WORK_MAX: u64 = 1 << 28;

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
    pub met: Met,
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
    /// Of each class, its first bin.
    pub first: Vec<u16>,
}

impl Classes {
    pub fn count(&self) -> usize {
        self.first.len()
    }
}

pub struct Plan<'a> {
    ensemble: &'a Ensemble,
    bins: &'a [Bins],
    cells_max: usize,
    /// What the tables take at most.
    pub bytes: usize,
}

impl<'a> Plan<'a> {
    /// The fastest plan whose tables take at most `max_bytes`.
    ///
    /// # Errors
    /// When there is none, when a path has too many features, or when planning takes too much itself.
    pub fn new(
        ensemble: &'a Ensemble,
        bins: &'a [Bins],
        background: usize,
        max_bytes: usize,
    ) -> Result<Plan<'a>, String> {
        let mut bytes = [0_usize; CELLS.len()];
        let work = Cell::new(0);
        for (number, root) in ensemble.roots.iter().enumerate() {
            let tree = Tree::of(ensemble, bins, *root, &work)?;
            for (bytes, cells_max) in bytes.iter_mut().zip(CELLS) {
                // Larger ones are of no use any more.
                if *bytes <= max_bytes {
                    *bytes += tree.bytes(cells_max, bins, background);
                }
            }
            if bytes.iter().all(|bytes| *bytes > max_bytes) {
                let (done, all) = (number + 1, ensemble.roots.len());
                let least = bytes.into_iter().min().unwrap_or_default();
                let about = least as f64 * all as f64 / done as f64;
                return Err(format!(
                    "the tables for its {all} trees would take about {}, and {} are allowed; train fewer or smaller \
                     trees, allow more with explain.memory, or write method = \"permutation\"",
                    mebibytes(about),
                    mebibytes(max_bytes as f64)
                ));
            }
        }
        let mut fitting = bytes.into_iter().zip(CELLS);
        let (bytes, cells_max) = fitting
            .find(|(bytes, _)| *bytes <= max_bytes)
            .expect("one of them is not over");
        Ok(Plan {
            ensemble,
            bins,
            cells_max,
            bytes,
        })
    }

    /// The leaves and blocks of each tree, one tree at a time.
    pub fn trees(&self) -> impl Iterator<Item = (Vec<Leaf>, Vec<Block>)> {
        self.ensemble.roots.iter().map(|root| {
            let tree = Tree::of(self.ensemble, self.bins, *root, &Cell::new(0));
            let tree = tree.expect("the tree was planned before");
            let mut blocks = Vec::new();
            tree.whole.each_block(self.cells_max, &mut |subtree| {
                let leaves = &tree.leaves[subtree.leaves.clone()];
                let size = subtree.size.filter(|size| size.cells <= self.cells_max);
                blocks.push(Block {
                    leaves: subtree.leaves.clone(),
                    classes: size.map(|_| classes(leaves, self.bins)),
                });
            });
            (tree.leaves, blocks)
        })
    }
}

fn mebibytes(bytes: f64) -> String {
    format!("{:.1} MiB", bytes / f64::from(1 << 20))
}

/// A tree's leaves that a row can reach.
struct Tree {
    leaves: Vec<Leaf>,
    whole: Subtree,
}

/// The leaves of a subtree lie beside each other.
struct Subtree {
    leaves: Range<usize>,
    /// None: a table for it would have too many cells for any plan.
    size: Option<Size>,
    children: Option<Box<[Subtree; 2]>>,
}

/// Of a table.
#[derive(Clone, Copy)]
struct Size {
    cells: usize,
    bytes: usize,
}

impl Tree {
    fn of(
        ensemble: &Ensemble,
        bins: &[Bins],
        root: usize,
        work: &Cell<u64>,
    ) -> Result<Tree, String> {
        let mut leaves = Vec::new();
        let mut walk = Walk {
            ensemble,
            bins,
            leaves: &mut leaves,
            bytes: 0,
            work,
        };
        let whole = walk.down(root, &[])?;
        Ok(Tree { leaves, whole })
    }

    /// What its tables take at most.
    fn bytes(&self, cells_max: usize, bins: &[Bins], background: usize) -> usize {
        let mut bytes = 0;
        self.whole.each_block(cells_max, &mut |subtree| {
            bytes += match subtree.size.filter(|size| size.cells <= cells_max) {
                Some(size) => size.bytes,
                None => {
                    let conditions = &self.leaves[subtree.leaves.start].conditions;
                    let bins: usize = conditions.iter().map(|c| bins[c.feature].count()).sum();
                    bins + background * size_of::<(u64, f64)>()
                }
            };
        });
        bytes
    }
}

impl Subtree {
    /// The largest subtrees whose tables have no more cells, and leaves for which there is none.
    fn each_block(&self, cells_max: usize, take: &mut impl FnMut(&Subtree)) {
        match (self.size, &self.children) {
            // All rows are alike to it.
            (Some(Size { bytes: 0, .. }), _) => {}
            (Some(size), _) if size.cells <= cells_max => take(self),
            (_, Some(children)) => {
                children[0].each_block(cells_max, take);
                children[1].each_block(cells_max, take);
            }
            (_, None) => take(self),
        }
    }
}

struct Walk<'a> {
    ensemble: &'a Ensemble,
    bins: &'a [Bins],
    leaves: &'a mut Vec<Leaf>,
    /// Held by the leaves.
    bytes: usize,
    work: &'a Cell<u64>,
}

impl Walk<'_> {
    fn down(&mut self, at: usize, path: &[Condition]) -> Result<Subtree, String> {
        let first = self.leaves.len();
        let children = match &self.ensemble.nodes[at] {
            Node::Leaf(value) => {
                self.leaf(*value, path)?;
                None
            }
            Node::Branch(branch) => {
                let feature = branch.feature;
                let holds = self.bins[feature].met(branch);
                let yes = self.narrowed(path, feature, &holds)?;
                let no = self.narrowed(path, feature, &holds.opposite())?;
                match (yes, no) {
                    (Some(yes), Some(no)) => {
                        let yes = self.down(branch.yes, &yes)?;
                        Some(Box::new([yes, self.down(branch.no, &no)?]))
                    }
                    // No row goes the other way.
                    (Some(_), None) => return self.down(branch.yes, path),
                    (None, _) => return self.down(branch.no, path),
                }
            }
        };
        let leaves = first..self.leaves.len();
        let size = match &children {
            // More leaves are never told apart by fewer cells.
            Some(children) if children.iter().any(|child| child.size.is_none()) => None,
            _ => size(&self.leaves[leaves.clone()], self.bins, self.work),
        };
        if self.work.get() > WORK_MAX {
            return Err(
                "its trees are too large, or ask for too many values in sets; train fewer or smaller trees, \
                 or write method = \"permutation\""
                    .to_owned(),
            );
        }
        Ok(Subtree {
            leaves,
            size,
            children,
        })
    }

    fn leaf(&mut self, value: f64, path: &[Condition]) -> Result<(), String> {
        if path.len() > PATH_FEATURES_MAX {
            return Err(format!(
                "a path of its trees asks for {} features; at most {PATH_FEATURES_MAX} can be explained",
                path.len()
            ));
        }
        self.hold(size_of::<Leaf>() + size_of_val(path))?;
        self.leaves.push(Leaf {
            value,
            conditions: path.to_vec(),
        });
        Ok(())
    }

    /// The path with one condition more; none if no bin meets it.
    fn narrowed(
        &mut self,
        path: &[Condition],
        feature: usize,
        met: &Met,
    ) -> Result<Option<Vec<Condition>>, String> {
        let at = path.binary_search_by_key(&feature, |condition| condition.feature);
        let met = match at {
            Ok(at) => path[at].met.and(met),
            Err(_) => met.clone(),
        };
        if met.changes().is_empty() {
            return Ok(None);
        }
        self.hold(size_of_val(met.changes()))?;
        let mut path = path.to_vec();
        match at {
            Ok(at) => path[at].met = met,
            Err(at) => path.insert(at, Condition { feature, met }),
        }
        Ok(Some(path))
    }

    fn hold(&mut self, bytes: usize) -> Result<(), String> {
        self.bytes += bytes;
        if self.bytes > TREE_BYTES_MAX {
            return Err(format!(
                "a tree has so many leaves and conditions that planning takes more than {}; train smaller trees, or \
                 write method = \"permutation\"",
                mebibytes(TREE_BYTES_MAX as f64)
            ));
        }
        Ok(())
    }
}

/// Of the table for these leaves, unless it has too many cells for any plan.
fn size(leaves: &[Leaf], bins: &[Bins], work: &Cell<u64>) -> Option<Size> {
    let mut cells = 1;
    let (mut slots, mut steps) = (0, 0);
    for of_one in by_feature(leaves).chunk_by(|a, b| a.feature == b.feature) {
        let pieces = Pieces::of(of_one, CELLS_MOST / cells, work)?;
        cells *= pieces.count;
        if pieces.count > 1 {
            slots += 1;
            steps += bins[of_one[0].feature].count();
        }
    }
    // Steps are there twice, and once with the number of the block.
    let slots = slots * (cells * size_of::<f64>() + size_of::<u32>());
    let bytes = slots + 2 * steps * size_of::<u16>();
    Some(Size { cells, bytes })
}

/// The classes of each feature that the leaves tell apart. Their table is not too large.
fn classes(leaves: &[Leaf], bins: &[Bins]) -> Vec<Classes> {
    let conditions = by_feature(leaves);
    let of_one = conditions.chunk_by(|a, b| a.feature == b.feature);
    let classes = of_one.filter_map(|of_one| {
        let pieces = Pieces::of(of_one, CELLS_MOST, &Cell::new(0));
        let pieces = pieces.expect("the table is not too large");
        let feature = of_one[0].feature;
        (pieces.count > 1).then(|| pieces.classes(feature, bins[feature].count()))
    });
    classes.collect()
}

fn by_feature(leaves: &[Leaf]) -> Vec<&Condition> {
    let mut conditions: Vec<&Condition> = leaves.iter().flat_map(|l| &l.conditions).collect();
    conditions.sort_by_key(|condition| condition.feature);
    conditions
}

/// The range of a feature, cut where any of some conditions changes.
struct Pieces {
    /// Of each piece, its first bin.
    first: Vec<u16>,
    /// Of each piece: those that meet the same conditions are one class.
    class: Vec<u16>,
    count: usize,
}

impl Pieces {
    /// Of conditions on one feature, unless they make more than `most` classes.
    fn of(conditions: &[&Condition], most: usize, work: &Cell<u64>) -> Option<Pieces> {
        let mut sets: Vec<&Met> = conditions.iter().map(|condition| &condition.met).collect();
        // Neighbours mostly share what their common path asks.
        sets.dedup_by(|a, b| a.is_shared_with(b));
        let changes = sets.iter().flat_map(|met| met.changes().iter().copied());
        let mut first: Vec<u16> = std::iter::once(0).chain(changes).collect();
        first.sort_unstable();
        first.dedup();
        let mut class = vec![0_u16; first.len()];
        let mut count = 1;
        let mut renamed = Vec::new();
        for met in sets {
            work.set(work.get() + first.len() as u64);
            renamed.clear();
            renamed.resize(2 * count, None);
            count = 0;
            let (mut changes, mut is_met) = (met.changes(), false);
            for (class, first) in class.iter_mut().zip(&first) {
                if changes.first() == Some(first) {
                    (is_met, changes) = (!is_met, &changes[1..]);
                }
                let name = &mut renamed[2 * usize::from(*class) + usize::from(is_met)];
                let new = *name.get_or_insert_with(|| {
                    count += 1;
                    count - 1
                });
                *class = u16::try_from(new).expect("no more classes than bins");
            }
            if count > most {
                return None;
            }
        }
        Some(Pieces {
            first,
            class,
            count,
        })
    }

    fn classes(&self, feature: usize, bins: usize) -> Classes {
        let mut class = Vec::with_capacity(bins);
        let mut first = Vec::with_capacity(self.count);
        let ends = self.first[1..].iter().map(|end| usize::from(*end));
        for ((of_piece, start), end) in self.class.iter().zip(&self.first).zip(ends.chain([bins])) {
            // Classes are numbered as they come.
            if usize::from(*of_piece) == first.len() {
                first.push(*start);
            }
            class.resize(end, *of_piece);
        }
        Classes {
            feature,
            class,
            first,
        }
    }
}

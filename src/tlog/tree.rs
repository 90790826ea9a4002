//! The Merkle tree of RFC 6962 §2.1: SHA-256, leaves prefixed with 0, nodes with 1.
//!
//! A proof is a list of hashes. Checking one needs no tree: [`verify_inclusion`] and
//! [`verify_consistency`] take hashes and sizes alone, and refuse a proof with a hash too many.
//!
//! A root does not tell the size of its tree, and a proof may hold for more than one size: believe a size
//! and a root only together, from one signed checkpoint.

use std::ops::Range;

use sha2::Digest as _;

use crate::record::Digest;

/// The hash of a leaf that holds `data`.
#[must_use]
pub fn leaf_hash(data: &[u8]) -> Digest {
    let mut hash = sha2::Sha256::new();
    hash.update([0]);
    hash.update(data);
    Digest(hash.finalize().into())
}

/// The hash of a node.
#[must_use]
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    let mut bytes = [1; 65];
    bytes[1..33].copy_from_slice(&left.0);
    bytes[33..].copy_from_slice(&right.0);
    Digest::of(&bytes)
}

/// The root of a tree without leaves.
#[must_use]
pub fn empty_root() -> Digest {
    Digest::of(b"")
}

/// A tree that grows at its end, kept as the roots of its complete subtrees: one per bit of its size,
/// largest first.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Frontier {
    size: u64,
    subtrees: Vec<Digest>,
}

impl Frontier {
    /// A tree of `size` leaves whose complete subtrees, largest first, have these roots. None if there
    /// are not as many as `size` has bits.
    #[must_use]
    pub fn from_subtrees(size: u64, subtrees: Vec<Digest>) -> Option<Frontier> {
        let fits = subtrees.len() == size.count_ones() as usize;
        fits.then_some(Frontier { size, subtrees })
    }

    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The roots of the complete subtrees, largest first.
    #[must_use]
    pub fn subtrees(&self) -> &[Digest] {
        &self.subtrees
    }

    /// Adds a leaf by its hash.
    pub fn push(&mut self, leaf: Digest) {
        let mut node = leaf;
        let mut size = self.size;
        while size & 1 == 1 {
            let left = self.subtrees.pop().expect("one subtree per bit");
            node = node_hash(&left, &node);
            size >>= 1;
        }
        self.subtrees.push(node);
        self.size += 1;
    }

    #[must_use]
    pub fn root(&self) -> Digest {
        let mut subtrees = self.subtrees.iter().rev();
        let Some(&last) = subtrees.next() else {
            return empty_root();
        };
        subtrees.fold(last, |right, left| node_hash(left, &right))
    }
}

impl Extend<Digest> for Frontier {
    fn extend<T: IntoIterator<Item = Digest>>(&mut self, leaves: T) {
        leaves.into_iter().for_each(|leaf| self.push(leaf));
    }
}

/// The root of the tree over these leaf hashes.
#[must_use]
pub fn root(leaves: &[Digest]) -> Digest {
    let mut frontier = Frontier::default();
    frontier.extend(leaves.iter().copied());
    frontier.root()
}

/// The proof that leaf `index` is in the tree over `leaves`, from the leaf up.
///
/// # Panics
/// When there is no such leaf.
#[must_use]
pub fn inclusion(leaves: &[Digest], index: usize) -> Vec<Digest> {
    roots(leaves, inclusion_ranges(leaves.len() as u64, index as u64))
}

/// The proof that the tree over `leaves` extends the tree over the first `old` of them.
///
/// # Panics
/// When there are fewer.
#[must_use]
pub fn consistency(leaves: &[Digest], old: usize) -> Vec<Digest> {
    roots(leaves, consistency_ranges(leaves.len() as u64, old as u64))
}

fn roots(leaves: &[Digest], ranges: Vec<Range<u64>>) -> Vec<Digest> {
    let subtree = |range: Range<u64>| root(&leaves[range.start as usize..range.end as usize]);
    ranges.into_iter().map(subtree).collect()
}

/// How many leaves the left subtree of a tree of `size` leaves has: the largest power of two below it.
pub(super) fn split(size: u64) -> u64 {
    assert!(size > 1, "a leaf has no subtrees");
    1 << (size - 1).ilog2()
}

/// The leaves of the subtrees whose roots prove that leaf `index` is in a tree of `size` leaves, from the
/// leaf up.
///
/// # Panics
/// When there is no such leaf.
#[must_use]
pub fn inclusion_ranges(size: u64, index: u64) -> Vec<Range<u64>> {
    assert!(index < size, "no such leaf");
    let mut ranges = Vec::new();
    let mut tree = 0..size;
    while tree.end - tree.start > 1 {
        let (left, right) = halves(tree);
        let (sibling, next) = match index < right.start {
            true => (right, left),
            false => (left, right),
        };
        ranges.push(sibling);
        tree = next;
    }
    ranges.reverse();
    ranges
}

/// The leaves of the subtrees whose roots prove that a tree of `size` leaves extends the one of its first
/// `old` leaves, in the order of the proof.
///
/// # Panics
/// When there are fewer.
#[must_use]
pub fn consistency_ranges(size: u64, old: u64) -> Vec<Range<u64>> {
    assert!(old <= size, "the old tree is larger");
    if old == 0 || old == size {
        return Vec::new();
    }
    let mut ranges = Vec::new();
    let mut tree = 0..size;
    while tree.end != old {
        let (left, right) = halves(tree);
        let (sibling, next) = match old <= right.start {
            true => (right, left),
            false => (left, right),
        };
        ranges.push(sibling);
        tree = next;
    }
    // A verifier has the root of the old tree itself.
    if tree.start != 0 {
        ranges.push(tree);
    }
    ranges.reverse();
    ranges
}

/// The leaves of the two subtrees below a node.
fn halves(tree: Range<u64>) -> (Range<u64>, Range<u64>) {
    let middle = tree.start + split(tree.end - tree.start);
    (tree.start..middle, middle..tree.end)
}

/// Whether `path` shows that a leaf with this hash is number `index` of the tree of `size` leaves with
/// this root.
#[must_use]
pub fn verify_inclusion(
    leaf: Digest,
    index: u64,
    size: u64,
    path: &[Digest],
    root: Digest,
) -> bool {
    if index >= size {
        return false;
    }
    let (mut node, mut index, mut last) = (leaf, index, size - 1);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if index & 1 == 1 || index == last {
            node = node_hash(sibling, &node);
            while index & 1 == 0 && index != 0 {
                index >>= 1;
                last >>= 1;
            }
        } else {
            node = node_hash(&node, sibling);
        }
        index >>= 1;
        last >>= 1;
    }
    last == 0 && node == root
}

/// Whether `path` shows that the tree of `new` leaves extends the tree of `old` leaves.
#[must_use]
pub fn verify_consistency(
    (old, old_root): (u64, Digest),
    (new, new_root): (u64, Digest),
    path: &[Digest],
) -> bool {
    if old > new {
        return false;
    }
    if old == new || old == 0 {
        // Every tree extends the empty one, which needs no proof.
        let is_old_root = old != 0 || old_root == empty_root();
        return path.is_empty() && is_old_root && (old != new || old_root == new_root);
    }
    // Where the old tree is one complete subtree, its root begins the path.
    let (first, rest) = match (old.is_power_of_two(), path.split_first()) {
        (true, _) => (old_root, path),
        (false, Some((&first, rest))) => (first, rest),
        (false, None) => return false,
    };
    let (mut index, mut last) = (old - 1, new - 1);
    while index & 1 == 1 {
        index >>= 1;
        last >>= 1;
    }
    let (mut old_node, mut new_node) = (first, first);
    for sibling in rest {
        if last == 0 {
            return false;
        }
        if index & 1 == 1 || index == last {
            old_node = node_hash(sibling, &old_node);
            new_node = node_hash(sibling, &new_node);
            while index & 1 == 0 && index != 0 {
                index >>= 1;
                last >>= 1;
            }
        } else {
            new_node = node_hash(&new_node, sibling);
        }
        index >>= 1;
        last >>= 1;
    }
    last == 0 && old_node == old_root && new_node == new_root
}

#[cfg(test)]
mod tests;

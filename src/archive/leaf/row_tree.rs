//! The Merkle tree over the rows of a segment, and over each of its groups of rows.
//!
//! The tree is that of RFC 6962. All groups but the last are complete subtrees, so the roots of the groups
//! are nodes of the tree: the row root follows from them, and a group can be proven without the others.

use crate::record::Digest;
use crate::tlog::tree::{self, Frontier};

/// Rows of a group, a power of two. Also of a row group, in the files that probity writes.
pub const GROUP_ROWS: u64 = 131_072;

/// A tree that grows row by row. Holds the roots of the groups that are full, and a root per level.
#[derive(Clone, Default, Debug)]
pub struct RowTree {
    full: Vec<Digest>,
    /// The last group: never full.
    open: Frontier,
}

/// What a tree comes to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Roots {
    pub rows: u64,
    pub row_root: Digest,
    pub group_roots: Vec<Digest>,
}

impl RowTree {
    /// Adds a row by its leaf hash.
    pub fn push(&mut self, leaf: Digest) {
        self.open.push(leaf);
        if self.open.size() == GROUP_ROWS {
            self.full.push(self.open.root());
            self.open = Frontier::default();
        }
    }

    #[must_use]
    pub fn rows(&self) -> u64 {
        self.full.len() as u64 * GROUP_ROWS + self.open.size()
    }

    #[must_use]
    pub fn roots(&self) -> Roots {
        let mut group_roots = self.full.clone();
        if self.open.size() > 0 {
            group_roots.push(self.open.root());
        }
        Roots {
            rows: self.rows(),
            row_root: tree::root(&group_roots),
            group_roots,
        }
    }
}

impl Extend<Digest> for RowTree {
    fn extend<T: IntoIterator<Item = Digest>>(&mut self, leaves: T) {
        leaves.into_iter().for_each(|leaf| self.push(leaf));
    }
}

/// The row root of so many rows whose groups have these roots. `None` if there are not as many groups as
/// the rows make.
#[must_use]
pub fn fold(rows: u64, group_roots: &[Digest]) -> Option<Digest> {
    let fits = group_roots.len() as u64 == rows.div_ceil(GROUP_ROWS);
    fits.then(|| tree::root(group_roots))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(row: u64) -> Digest {
        Digest::of(&row.to_be_bytes())
    }

    #[test]
    fn the_roots_of_groups_fold_to_the_root_of_the_rows() {
        let sizes = [0, 1, 3, GROUP_ROWS - 1, GROUP_ROWS, GROUP_ROWS + 1];
        let several = [2 * GROUP_ROWS, 3 * GROUP_ROWS + 77];
        let leaves: Vec<Digest> = (0..4 * GROUP_ROWS).map(leaf).collect();
        for rows in sizes.into_iter().chain(several) {
            let leaves = &leaves[..usize::try_from(rows).unwrap()];
            let mut tree = RowTree::default();
            tree.extend(leaves.iter().copied());
            let roots = tree.roots();
            let groups: Vec<Digest> = leaves
                .chunks(usize::try_from(GROUP_ROWS).unwrap())
                .map(tree::root)
                .collect();
            assert_eq!((tree.rows(), roots.rows), (rows, rows));
            assert_eq!(roots.row_root, tree::root(leaves), "{rows} rows");
            assert_eq!(roots.group_roots, groups, "{rows} rows");
            assert_eq!(fold(rows, &groups), Some(roots.row_root), "{rows} rows");
        }
    }

    #[test]
    fn another_number_of_groups_is_refused() {
        let groups = [leaf(1), leaf(2)];
        assert_eq!(fold(2 * GROUP_ROWS + 1, &groups), None);
        assert_eq!(fold(GROUP_ROWS, &groups), None);
        assert_eq!(fold(0, &groups), None);
        assert!(fold(GROUP_ROWS + 1, &groups).is_some());
        assert_ne!(
            fold(GROUP_ROWS + 1, &groups),
            fold(GROUP_ROWS + 1, &[groups[1], groups[0]])
        );
    }
}

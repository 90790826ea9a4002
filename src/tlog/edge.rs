//! The growing edge of a log: from hashes of new records to the tiles to write.
//!
//! Holds the hashes of the partial tile of each level and no more, so that a log of any size grows without
//! its tiles being read again. The same records give the same tiles, in however many steps they come.

use super::tile::{self, Tile, WIDTH};
use super::tree::{self, Frontier};
use crate::record::Digest;

/// A log as its partial tiles know it.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Edge {
    size: u64,
    /// The hashes of the partial tile of each level, fewer than 256; level 0 first.
    levels: Vec<Vec<Digest>>,
}

impl Edge {
    /// An edge from the hashes of each level's partial tile.
    pub(super) fn new(size: u64, levels: Vec<Vec<Digest>>) -> Edge {
        Edge { size, levels }
    }

    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    #[must_use]
    pub fn root(&self) -> Digest {
        self.frontier().root()
    }

    /// The roots of the complete subtrees.
    #[must_use]
    pub fn frontier(&self) -> Frontier {
        let mut subtrees = Vec::new();
        for hashes in self.levels.iter().rev() {
            let mut rest = hashes.as_slice();
            while !rest.is_empty() {
                let (subtree, after) = rest.split_at(1 << rest.len().ilog2());
                subtrees.push(tree::root(subtree));
                rest = after;
            }
        }
        Frontier::from_subtrees(self.size, subtrees).expect("one subtree per bit of the size")
    }

    /// Adds records by their hashes. Returns the tiles that the grown log must have and did not have
    /// before, with what they hold: those of [`tile::tiles_between`].
    ///
    /// Takes 32 bytes of memory per leaf, and a little.
    #[must_use]
    pub fn grow(&mut self, leaves: impl IntoIterator<Item = Digest>) -> Vec<(Tile, Vec<u8>)> {
        let old = self.size;
        for leaf in leaves {
            self.push(leaf);
        }
        let tiles = tile::tiles_between(old, self.size)
            .into_iter()
            .map(|tile| (tile, self.encode(tile, old)))
            .collect();
        for hashes in &mut self.levels {
            let full = hashes.len() - hashes.len() % WIDTH as usize;
            hashes.drain(..full);
        }
        tiles
    }

    /// Adds a hash, and that of each tile that becomes full by it to the level above. Full tiles stay.
    fn push(&mut self, leaf: Digest) {
        let mut hash = leaf;
        for level in 0.. {
            if level == self.levels.len() {
                self.levels.push(Vec::new());
            }
            let hashes = &mut self.levels[level];
            hashes.push(hash);
            if !hashes.len().is_multiple_of(WIDTH as usize) {
                break;
            }
            hash = tree::root(&hashes[hashes.len() - WIDTH as usize..]);
        }
        self.size += 1;
    }

    /// What a tile holds. Each level begins with the tile that was partial at size `old`.
    fn encode(&self, tile: Tile, old: u64) -> Vec<u8> {
        let hashes = &self.levels[usize::from(tile.level)];
        let first = (old >> (tile::HEIGHT * u32::from(tile.level))) / WIDTH * WIDTH;
        let at = (tile.hashes().start - first) as usize;
        tile.encode(&hashes[at..][..usize::from(tile.width)])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn leaves(count: u64) -> Vec<Digest> {
        let leaf = |n: u64| tree::leaf_hash(&n.to_be_bytes());
        (0..count).map(leaf).collect()
    }

    #[test]
    fn tiles_hold_what_the_specification_says() {
        let leaves = leaves(65_536 + 256 + 3);
        let mut edge = Edge::default();
        let tiles: BTreeMap<_, _> = edge.grow(leaves.iter().copied()).into_iter().collect();
        for (tile, bytes) in &tiles {
            let hashes = tile.decode(bytes).unwrap();
            let leaves_each = 256_usize.pow(tile.level.into());
            let first = tile.hashes().start as usize * leaves_each;
            let mth = leaves[first..].chunks(leaves_each).map(tree::root);
            let mth: Vec<_> = mth.take(tile.width.into()).collect();
            assert_eq!(hashes, mth, "{tile:?}");
        }
        assert_eq!(
            tiles.keys().copied().collect::<Vec<_>>(),
            tile::tiles_between(0, leaves.len() as u64)
        );
        assert_eq!(edge.root(), tree::root(&leaves));
    }

    #[test]
    fn no_record_gives_no_tile() {
        let mut edge = Edge::default();
        assert_eq!(edge.grow([]), []);
        assert_eq!((edge.size(), edge.root()), (0, tree::empty_root()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn growth_in_steps_is_growth_at_once(steps in prop::collection::vec(0_u64..700, 1..6)) {
            let leaves = leaves(steps.iter().sum());
            let mut at_once = Edge::default();
            let all: BTreeMap<_, _> = at_once.grow(leaves.iter().copied()).into_iter().collect();
            let mut edge = Edge::default();
            let mut written = BTreeMap::new();
            let mut frontier = Frontier::default();
            for step in steps {
                let new = &leaves[edge.size() as usize..][..step as usize];
                frontier.extend(new.iter().copied());
                written.extend(edge.grow(new.iter().copied()));
                prop_assert_eq!(&edge.frontier(), &frontier);
            }
            prop_assert_eq!(edge, at_once);
            for (tile, bytes) in all {
                prop_assert_eq!(written.get(&tile), Some(&bytes));
            }
        }
    }
}

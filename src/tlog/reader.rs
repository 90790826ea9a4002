//! Proofs from tiles: reads a few tiles of a log, whose size and root the caller has from a checkpoint.
//!
//! Believes no tile: what it returns was checked against the root first. Knows no store: files come from a
//! function. A full tile stands in for a partial one, which may have been removed since.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;

use super::edge::Edge;
use super::tile::{HEIGHT, Tile, WIDTH};
use super::tree;
use crate::record::Digest;

/// Reads the tiles of a log of one size, each once: `read` gives the file at a path, or None if there is
/// none.
pub struct TileReader<R> {
    size: u64,
    root: Digest,
    read: R,
    /// What was read, by level and index.
    tiles: BTreeMap<(u8, u64), Vec<Digest>>,
}

impl<R, E> TileReader<R>
where
    R: FnMut(&str) -> Result<Option<Bytes>, E>,
{
    /// A reader of the log that has `size` records and this root.
    pub fn new(size: u64, root: Digest, read: R) -> TileReader<R> {
        TileReader {
            size,
            root,
            read,
            tiles: BTreeMap::new(),
        }
    }

    /// The edge of the log, from where it grows. Reads one tile per level.
    ///
    /// # Errors
    /// When a tile cannot be read, is absent or damaged, or when they do not have the root.
    pub fn edge(&mut self) -> Result<Edge, TileError<E>> {
        let mut levels = Vec::new();
        for level in 0.. {
            let hashes = self.size.checked_shr(HEIGHT * level).unwrap_or(0);
            if hashes == 0 {
                break;
            }
            levels.push(match hashes % WIDTH {
                0 => Vec::new(),
                _ => self.hashes(level as u8, hashes / WIDTH)?.to_vec(),
            });
        }
        let edge = Edge::new(self.size, levels);
        self.believe(edge.root() == self.root)?;
        Ok(edge)
    }

    /// The proof that the record with this leaf hash is number `index` of the log. Reads a few tiles per
    /// level.
    ///
    /// # Errors
    /// When there is no such record; when a tile cannot be read, is absent or damaged; or when the proof
    /// does not lead from the record to the root, so that the record or a tile is not the log's.
    pub fn inclusion(&mut self, index: u64, leaf: Digest) -> Result<Vec<Digest>, TileError<E>> {
        if index >= self.size {
            return Err(self.beyond(index));
        }
        let path = self.roots(tree::inclusion_ranges(self.size, index))?;
        self.believe(tree::verify_inclusion(
            leaf, index, self.size, &path, self.root,
        ))?;
        Ok(path)
    }

    /// The proof that the log extends the one that had `old` records and this root. Reads a few tiles per
    /// level.
    ///
    /// # Errors
    /// When the old log is larger; when a tile cannot be read, is absent or damaged; or when the proof does
    /// not lead to both roots, so that there was another log, or a tile is not the log's.
    pub fn consistency(&mut self, old: u64, old_root: Digest) -> Result<Vec<Digest>, TileError<E>> {
        if old > self.size {
            return Err(self.beyond(old));
        }
        let path = self.roots(tree::consistency_ranges(self.size, old))?;
        self.believe(tree::verify_consistency(
            (old, old_root),
            (self.size, self.root),
            &path,
        ))?;
        Ok(path)
    }

    fn beyond(&self, asked: u64) -> TileError<E> {
        let size = self.size;
        TileError::Beyond { asked, size }
    }

    fn believe(&self, proven: bool) -> Result<(), TileError<E>> {
        let size = self.size;
        proven
            .then_some(())
            .ok_or(TileError::Contradiction { size })
    }

    fn roots(&mut self, subtrees: Vec<Range<u64>>) -> Result<Vec<Digest>, TileError<E>> {
        subtrees
            .into_iter()
            .map(|leaves| self.root(leaves))
            .collect()
    }

    /// The root of a subtree, by its leaves.
    fn root(&mut self, leaves: Range<u64>) -> Result<Digest, TileError<E>> {
        let count = leaves.end - leaves.start;
        if count.is_power_of_two() {
            return self.complete(leaves.start, count.ilog2());
        }
        let middle = leaves.start + tree::split(count);
        let left = self.root(leaves.start..middle)?;
        let right = self.root(middle..leaves.end)?;
        Ok(tree::node_hash(&left, &right))
    }

    /// The root of the complete subtree of this height whose leaves begin at `first`. One tile has it, or
    /// all hashes below it.
    fn complete(&mut self, first: u64, height: u32) -> Result<Digest, TileError<E>> {
        let (level, above) = (height / HEIGHT, height % HEIGHT);
        let hash = first >> (level * HEIGHT);
        let hashes = self.hashes(level as u8, hash / WIDTH)?;
        let at = (hash % WIDTH) as usize;
        Ok(tree::root(&hashes[at..][..1 << above]))
    }

    /// The hashes of a tile.
    fn hashes(&mut self, level: u8, index: u64) -> Result<&[Digest], TileError<E>> {
        if !self.tiles.contains_key(&(level, index)) {
            let tile = Tile::of(level, index, self.size).expect("proofs stay within the log");
            let hashes = self.fetch(tile)?;
            self.tiles.insert((level, index), hashes);
        }
        Ok(&self.tiles[&(level, index)])
    }

    fn fetch(&mut self, tile: Tile) -> Result<Vec<Digest>, TileError<E>> {
        if let Some(hashes) = self.fetch_exactly(tile)? {
            return Ok(hashes);
        }
        if !tile.is_full()
            && let Some(mut hashes) = self.fetch_exactly(tile.full())?
        {
            hashes.truncate(tile.width.into());
            return Ok(hashes);
        }
        let path = tile.path();
        Err(TileError::Absent { path })
    }

    fn fetch_exactly(&mut self, tile: Tile) -> Result<Option<Vec<Digest>>, TileError<E>> {
        let path = tile.path();
        let Some(bytes) = (self.read)(&path).map_err(TileError::Read)? else {
            return Ok(None);
        };
        match tile.decode(&bytes) {
            Some(hashes) => Ok(Some(hashes)),
            None => Err(TileError::Length {
                path,
                bytes: bytes.len(),
                width: tile.width,
            }),
        }
    }
}

/// Why tiles give no proof.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TileError<E> {
    /// A tile could not be read.
    Read(E),
    /// Neither the tile is there nor the full one that could stand in for it.
    Absent { path: String },
    /// A tile is longer or shorter than its hashes.
    Length {
        path: String,
        bytes: usize,
        width: u16,
    },
    /// The log is not that large.
    Beyond { asked: u64, size: u64 },
    /// What was asked for and what the tiles hold is not of one log with the root: one of them is false.
    Contradiction { size: u64 },
}

impl<E: fmt::Display> fmt::Display for TileError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TileError::Read(error) => error.fmt(f),
            TileError::Absent { path } => write!(f, "{path} is absent"),
            TileError::Length { path, bytes, width } => {
                write!(
                    f,
                    "{path} has {bytes} bytes and not those of {width} hashes"
                )
            }
            TileError::Beyond { asked, size } => {
                write!(f, "{asked} was asked of a log of {size} records")
            }
            TileError::Contradiction { size } => write!(
                f,
                "the tiles do not prove it under the root of {size} records: it or a tile is not of this log"
            ),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for TileError<E> {}

#[cfg(test)]
mod tests;

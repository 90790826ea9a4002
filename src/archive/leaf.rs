//! The rows of a segment as leaves of a Merkle tree: a row can be proven without its file, and a file
//! that other tools wrote again can be proven to hold the same rows.
//!
//! [`Columns`] is the text that says which columns a row has, in which order and of which kind: a leaf is
//! SHA-256(0 ‖ SHA-256(columns text) ‖ the row's cells). [`Leaves`] hashes rows, [`RowTree`] makes the
//! roots, and [`Columns::decode`] reads cells back. Knows Arrow, but no Parquet, no file and no ledger.
//!
//! Promises that a leaf depends on the values of the row alone: not on the order of the file's columns,
//! on dictionaries, on how wide an integer is stored, nor on how rows are cut into batches.
//!
//! ```text
//! let columns = Columns::parse(text)?;
//! let mut leaves = Leaves::new(&columns, reader.schema())?;
//! let mut tree = RowTree::default();
//! for rows in reader {
//!     tree.extend(leaves.of(&rows?).iter().copied());
//! }
//! let Roots { row_root, group_roots, .. } = tree.roots();
//! ```

mod cells;
mod columns;
mod row_tree;
mod value;

use std::ops::Range;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Schema};
use sha2::{Digest as _, Sha256};

use crate::record::Digest;
use cells::Cells;
pub use columns::{Column, Columns, Kind};
pub use row_tree::{GROUP_ROWS, Roots, RowTree, fold};
pub use value::Value;

/// So many bytes of rows are laid out together, column by column: few enough for the nearest cache.
const BLOCK_BYTES: usize = 32 << 10;

/// Hashes rows that have the same columns.
pub struct Leaves {
    /// The hash after 0 and the digest of the columns text.
    begun: Sha256,
    /// For each column of the text, where the rows have it, and its type there.
    places: Vec<(usize, DataType)>,
    /// What a call works with, kept for its memory: a block of rows, each with room for the longest; where each
    /// of them ends; and the leaves.
    block: Vec<u8>,
    ends: Vec<usize>,
    leaves: Vec<Digest>,
}

/// What follows in each row of a batch.
enum Piece<'a> {
    /// Cells of neighbouring columns whose values are the same in all rows.
    Same(Vec<u8>),
    Each(Box<dyn Cells + 'a>),
}

impl Piece<'_> {
    fn longest(&self) -> usize {
        match self {
            Piece::Same(cells) => cells.len(),
            Piece::Each(cells) => cells.longest(),
        }
    }

    /// As [`Cells::write`].
    fn write(&self, rows: Range<usize>, bytes: &mut [u8], ends: &mut [usize]) {
        match self {
            Piece::Each(cells) => cells.write(rows, bytes, ends),
            Piece::Same(cells) => {
                for end in ends {
                    bytes[*end..*end + cells.len()].copy_from_slice(cells);
                    *end += cells.len();
                }
            }
        }
    }
}

impl Leaves {
    /// For rows of this schema, which may have the columns in another order.
    ///
    /// # Errors
    /// When a column of the text is missing or of another kind, or there is one that the text has not.
    pub fn new(columns: &Columns, schema: &Schema) -> Result<Leaves, String> {
        let places = columns
            .places(schema)?
            .into_iter()
            .map(|place| (place, schema.field(place).data_type().clone()))
            .collect();
        Ok(Leaves {
            begun: begin(columns.digest()),
            places,
            block: Vec::new(),
            ends: Vec::new(),
            leaves: Vec::new(),
        })
    }

    /// The leaf hashes of these rows, in order. Costs an allocation per column, none per row.
    ///
    /// # Panics
    /// When the rows are of another schema.
    pub fn of(&mut self, rows: &RecordBatch) -> &[Digest] {
        self.leaves.clear();
        if rows.num_rows() == 0 {
            return &self.leaves;
        }
        let pieces = pieces(self.columns(rows));
        let begun = self.begun.clone();
        let (begun, pieces) = match pieces.split_first() {
            Some((Piece::Same(cells), rest)) => (begun.chain_update(cells), rest),
            _ => (begun, &pieces[..]),
        };
        let room: usize = pieces.iter().map(Piece::longest).sum();
        let block_rows = (BLOCK_BYTES / room.max(1)).max(1);
        if self.block.len() < block_rows * room {
            self.block = vec![0; block_rows * room];
        }
        for start in (0..rows.num_rows()).step_by(block_rows) {
            let range = start..rows.num_rows().min(start + block_rows);
            self.ends.clear();
            self.ends.extend((0..range.len()).map(|row| row * room));
            for piece in pieces {
                piece.write(range.clone(), &mut self.block, &mut self.ends);
            }
            for (row, end) in self.ends.iter().enumerate() {
                let cells = &self.block[row * room..*end];
                let leaf = begun.clone().chain_update(cells).finalize();
                self.leaves.push(Digest(leaf.into()));
            }
        }
        &self.leaves
    }

    /// The cells of one row, one after the other: what [`Columns::leaf`] hashes and [`Columns::decode`]
    /// reads.
    ///
    /// # Panics
    /// When the rows are of another schema, or there is no such row.
    #[must_use]
    pub fn cells(&self, rows: &RecordBatch, row: usize) -> Vec<u8> {
        assert!(row < rows.num_rows(), "no such row");
        let one = rows.slice(row, 1);
        let columns = self.columns(&one);
        columns.iter().flat_map(|column| column.first()).collect()
    }

    /// The columns of the text, in its order.
    fn columns<'a>(&self, rows: &'a RecordBatch) -> Vec<Box<dyn Cells + 'a>> {
        let column = |(place, kind): &(usize, DataType)| {
            let array: &ArrayRef = rows.column(*place);
            assert_eq!(
                array.data_type(),
                kind,
                "rows have the schema that was checked"
            );
            cells::of(array)
        };
        self.places.iter().map(column).collect()
    }
}

fn begin(columns: Digest) -> Sha256 {
    Sha256::new().chain_update([0]).chain_update(columns.0)
}

/// Many columns say the same of every row: they are laid out once per batch.
fn pieces<'a>(columns: Vec<Box<dyn Cells + 'a>>) -> Vec<Piece<'a>> {
    let mut pieces = Vec::new();
    for column in columns {
        if !column.are_equal() {
            pieces.push(Piece::Each(column));
            continue;
        }
        let mut cell = column.first();
        match pieces.last_mut() {
            Some(Piece::Same(cells)) => cells.append(&mut cell),
            _ => pieces.push(Piece::Same(cell)),
        }
    }
    pieces
}

#[cfg(test)]
mod tests;

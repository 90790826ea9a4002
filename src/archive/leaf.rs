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

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Schema};
use sha2::{Digest as _, Sha256};

use crate::record::Digest;
use cells::Cells;
pub use columns::{Column, Columns, Kind};
pub use row_tree::{GROUP_ROWS, Roots, RowTree, fold};
pub use value::Value;

/// So many rows are laid out together, column by column: few enough to stay in the nearest cache.
const BLOCK_ROWS: usize = 64;

/// Hashes rows that have the same columns.
pub struct Leaves {
    /// The hash after 0 and the digest of the columns text.
    begun: Sha256,
    /// For each column of the text, where the rows have it, and its type there.
    places: Vec<(usize, DataType)>,
    /// The cells of a block's rows. Kept for their memory.
    block: Vec<Vec<u8>>,
    leaves: Vec<Digest>,
}

/// What follows in each row of a batch.
enum Piece<'a> {
    /// Cells of neighbouring columns whose values are the same in all rows.
    Same(Vec<u8>),
    Each(Box<dyn Cells + 'a>),
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
            block: vec![Vec::new(); BLOCK_ROWS],
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
        let mut pieces = pieces(self.columns(rows));
        let mut begun = self.begun.clone();
        if let Some(Piece::Same(cells)) = pieces.first() {
            begun.update(cells);
            pieces.remove(0);
        }
        for start in (0..rows.num_rows()).step_by(BLOCK_ROWS) {
            let range = start..rows.num_rows().min(start + BLOCK_ROWS);
            let block = &mut self.block[..range.len()];
            block.iter_mut().for_each(Vec::clear);
            for piece in &pieces {
                match piece {
                    Piece::Same(cells) => block.iter_mut().for_each(|row| row.extend(cells)),
                    Piece::Each(cells) => cells.append(range.clone(), block),
                }
            }
            let leaf =
                |cells: &Vec<u8>| Digest(begun.clone().chain_update(cells).finalize().into());
            self.leaves.extend(block.iter().map(leaf));
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
        let mut cells = Vec::new();
        for column in self.columns(rows) {
            column.append(row..row + 1, std::slice::from_mut(&mut cells));
        }
        cells
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
        let mut cell = Vec::new();
        column.append(0..1, std::slice::from_mut(&mut cell));
        match pieces.last_mut() {
            Some(Piece::Same(cells)) => cells.append(&mut cell),
            _ => pieces.push(Piece::Same(cell)),
        }
    }
    pieces
}

#[cfg(test)]
mod tests;

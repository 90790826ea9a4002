//! Cells from Arrow: 0 for null, else 1 and the value.
//!
//! A column's type is looked at once per batch; from there on each column runs a loop of its own type
//! over the rows of a block.

use std::ops::Range;

use arrow::array::{Array, ArrayAccessor, ArrayRef, AsArray as _, StringArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType,
};

/// Every NaN has the cell of this one.
pub const NAN_F32: u32 = 0x7fc0_0000;
pub const NAN_F64: u64 = 0x7ff8_0000_0000_0000;

/// The cells of a column.
pub trait Cells {
    /// Appends the cells of these rows, each to its own bytes.
    fn append(&self, rows: Range<usize>, block: &mut [Vec<u8>]);

    /// Whether all rows, of which there is at least one, surely have the same cell.
    fn are_equal(&self) -> bool;
}

/// The cells of a column of any type that has a [`Kind`](super::Kind).
pub fn of(array: &ArrayRef) -> Box<dyn Cells + '_> {
    macro_rules! numbers {
        ($type:ty, $bytes:expr) => {{
            let numbers = array.as_primitive::<$type>().values();
            column(array, move |row| $bytes(numbers[row]))
        }};
    }
    match array.data_type() {
        DataType::Boolean => {
            let bits = array.as_boolean().values();
            column(array, move |row| [u8::from(bits.value(row))])
        }
        DataType::Int8 => numbers!(Int8Type, integer),
        DataType::Int16 => numbers!(Int16Type, integer),
        DataType::Int32 => numbers!(Int32Type, integer),
        DataType::Int64 => numbers!(Int64Type, integer),
        DataType::Date32 => numbers!(Date32Type, integer),
        DataType::Timestamp(..) => numbers!(TimestampMicrosecondType, integer),
        DataType::Float32 => numbers!(Float32Type, float32),
        DataType::Float64 => numbers!(Float64Type, float64),
        DataType::Decimal128(..) => numbers!(Decimal128Type, i128::to_be_bytes),
        DataType::Utf8 => texts(array, array.as_string::<i32>()),
        DataType::LargeUtf8 => texts(array, array.as_string::<i64>()),
        DataType::Utf8View => texts(array, array.as_string_view()),
        DataType::Dictionary(..) => {
            let texts_by_key = array
                .as_dictionary::<Int32Type>()
                .downcast_dict::<StringArray>();
            texts(array, texts_by_key.expect("the columns were checked"))
        }
        DataType::Binary => texts(array, array.as_binary::<i32>()),
        DataType::LargeBinary => texts(array, array.as_binary::<i64>()),
        DataType::BinaryView => texts(array, array.as_binary_view()),
        DataType::FixedSizeBinary(_) => texts(array, array.as_fixed_size_binary()),
        other => unreachable!("the columns were checked, and have no {other}"),
    }
}

fn integer(number: impl Into<i64>) -> [u8; 8] {
    number.into().to_be_bytes()
}

fn float32(number: f32) -> [u8; 4] {
    let bits = if number.is_nan() {
        NAN_F32
    } else {
        number.to_bits()
    };
    bits.to_be_bytes()
}

fn float64(number: f64) -> [u8; 8] {
    let bits = if number.is_nan() {
        NAN_F64
    } else {
        number.to_bits()
    };
    bits.to_be_bytes()
}

fn texts<'a, T: AsRef<[u8]> + ?Sized + 'a>(
    array: &'a ArrayRef,
    values: impl ArrayAccessor<Item = &'a T> + 'a,
) -> Box<dyn Cells + 'a> {
    column(array, move |row| values.value(row).as_ref())
}

fn column<'a, V: Bytes + 'a>(
    array: &'a ArrayRef,
    value: impl Fn(usize) -> V + 'a,
) -> Box<dyn Cells + 'a> {
    // A dictionary may have its nulls among its values.
    let nulls = array.logical_nulls().filter(|nulls| nulls.null_count() > 0);
    let rows = array.len();
    Box::new(Column { rows, nulls, value })
}

struct Column<F> {
    rows: usize,
    /// None where no value is null.
    nulls: Option<NullBuffer>,
    /// The bytes of a value that is not null.
    value: F,
}

impl<V: Bytes, F: Fn(usize) -> V> Cells for Column<F> {
    fn append(&self, rows: Range<usize>, block: &mut [Vec<u8>]) {
        let Some(nulls) = &self.nulls else {
            for (row, cells) in rows.zip(block) {
                (self.value)(row).append(cells);
            }
            return;
        };
        for (row, cells) in rows.zip(block) {
            if nulls.is_null(row) {
                cells.push(0);
            } else {
                (self.value)(row).append(cells);
            }
        }
    }

    fn are_equal(&self) -> bool {
        match &self.nulls {
            Some(nulls) => nulls.null_count() == self.rows,
            None => {
                let first = (self.value)(0);
                (1..self.rows).all(|row| (self.value)(row) == first)
            }
        }
    }
}

/// The bytes of a value.
trait Bytes: Copy + PartialEq {
    /// Appends the cell with this value.
    fn append(self, cells: &mut Vec<u8>);
}

impl<const N: usize> Bytes for [u8; N] {
    fn append(self, cells: &mut Vec<u8>) {
        cells.push(1);
        cells.extend_from_slice(&self);
    }
}

impl Bytes for &[u8] {
    fn append(self, cells: &mut Vec<u8>) {
        let length = u32::try_from(self.len())
            .expect("neither a message nor a value of parquet is that long");
        let [a, b, c, d] = length.to_be_bytes();
        cells.extend_from_slice(&[1, a, b, c, d]);
        cells.extend_from_slice(self);
    }
}

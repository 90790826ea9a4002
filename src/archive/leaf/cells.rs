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
    /// No cell has more bytes.
    fn longest(&self) -> usize;

    /// Whether all rows, of which there is at least one, surely have the same cell.
    fn are_equal(&self) -> bool;

    /// Writes the cells of these rows, each to where its row ends so far. There is room for the longest
    /// one: what lies behind a cell that is shorter may be overwritten too.
    fn write(&self, rows: Range<usize>, bytes: &mut [u8], ends: &mut [usize]);

    /// The cell of the first row.
    fn first(&self) -> Vec<u8> {
        let (mut bytes, mut end) = (vec![0; self.longest()], [0]);
        self.write(0..1, &mut bytes, &mut end);
        bytes.truncate(end[0]);
        bytes
    }
}

/// The cells of a column that has rows, of any type that has a [`Kind`](super::Kind).
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
            let texts_by_key = texts_by_key.expect("the columns were checked");
            let keys = texts_by_key.keys().values();
            let text = move |row| texts_by_key.value(row).as_bytes();
            column_with_keys(array, text, move |row| keys[row])
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
    values: impl ArrayAccessor<Item = &'a T> + Copy + 'a,
) -> Box<dyn Cells + 'a> {
    column(array, move |row| values.value(row).as_ref())
}

fn column<'a, V: Bytes + PartialEq + 'a>(
    array: &'a ArrayRef,
    value: impl Fn(usize) -> V + Copy + 'a,
) -> Box<dyn Cells + 'a> {
    column_with_keys(array, value, value)
}

/// Where keys are equal, so are values.
fn column_with_keys<'a, V: Bytes + 'a, K: PartialEq + 'a>(
    array: &'a ArrayRef,
    value: impl Fn(usize) -> V + 'a,
    key: impl Fn(usize) -> K + 'a,
) -> Box<dyn Cells + 'a> {
    // A dictionary may have its nulls among its values.
    let nulls = array.logical_nulls().filter(|nulls| nulls.null_count() > 0);
    let are_equal = match &nulls {
        Some(nulls) => nulls.null_count() == array.len(),
        None => (1..array.len()).all(|row| key(row) == key(0)),
    };
    let different = if are_equal { 0..1 } else { 0..array.len() };
    Box::new(Column {
        longest: 1 + V::longest(different.map(&value)),
        are_equal,
        nulls,
        value,
    })
}

struct Column<F> {
    longest: usize,
    are_equal: bool,
    /// None where no value is null.
    nulls: Option<NullBuffer>,
    /// The value of a row; anything where that is null.
    value: F,
}

impl<V: Bytes, F: Fn(usize) -> V> Cells for Column<F> {
    fn longest(&self) -> usize {
        self.longest
    }

    fn are_equal(&self) -> bool {
        self.are_equal
    }

    fn write(&self, rows: Range<usize>, bytes: &mut [u8], ends: &mut [usize]) {
        match &self.nulls {
            None => {
                for (row, end) in rows.zip(ends) {
                    *end += cell(&mut bytes[*end..], (self.value)(row), true);
                }
            }
            Some(nulls) => {
                for (row, end) in rows.zip(ends) {
                    *end += cell(&mut bytes[*end..], (self.value)(row), nulls.is_valid(row));
                }
            }
        }
    }
}

/// Writes a cell, and says how long it is. Writes the value even where it is null: to jump over it costs
/// more, as nobody can foresee where the nulls are.
fn cell(bytes: &mut [u8], value: impl Bytes, is_valid: bool) -> usize {
    let length = 1 + value.length();
    let bytes = &mut bytes[..length];
    bytes[0] = u8::from(is_valid);
    value.write(&mut bytes[1..]);
    if is_valid { length } else { 1 }
}

/// The bytes of a value.
trait Bytes: Sized {
    fn length(&self) -> usize;

    /// The length of the longest of these.
    fn longest(values: impl Iterator<Item = Self>) -> usize {
        values.map(|value| value.length()).max().unwrap_or(0)
    }

    /// Fills `bytes`, which are as many as its length.
    fn write(self, bytes: &mut [u8]);
}

impl<const N: usize> Bytes for [u8; N] {
    fn length(&self) -> usize {
        N
    }

    fn longest(_: impl Iterator<Item = Self>) -> usize {
        N
    }

    fn write(self, bytes: &mut [u8]) {
        bytes.copy_from_slice(&self);
    }
}

const PREFIX: usize = size_of::<u32>();

impl Bytes for &[u8] {
    fn length(&self) -> usize {
        PREFIX + self.len()
    }

    fn write(self, bytes: &mut [u8]) {
        let length =
            u32::try_from(self.len()).expect("neither a message nor a parquet value is that long");
        bytes[..PREFIX].copy_from_slice(&length.to_be_bytes());
        bytes[PREFIX..].copy_from_slice(self);
    }
}

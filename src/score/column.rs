//! One column of a table, read as a field of the input schema.
//!
//! Knows no file. Whether a type can be read at all is asked once; after that each value is either
//! held exactly by the field's type or refused with a reason, and never rounded or cut.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray as _, Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow::compute::kernels::cmp::not_distinct;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type, TimeUnit};

use crate::record::Reason;
use crate::schema::{self, Field, FieldType, Symbols};

/// Whether values of the type `found` can be read as `kind`, if they fit.
pub(super) fn is_readable_as(found: &DataType, kind: &FieldType) -> bool {
    match kind {
        FieldType::String | FieldType::Enum(_) => is_text(found),
        FieldType::Int | FieldType::Long => found.is_integer(),
        FieldType::Float => found.is_integer() || *found == DataType::Float32,
        FieldType::Double => {
            found.is_integer() || matches!(found, DataType::Float32 | DataType::Float64)
        }
        FieldType::Boolean => *found == DataType::Boolean,
        FieldType::Timestamp(_) => found.is_integer() || matches!(found, DataType::Timestamp(_, _)),
        FieldType::Date => *found == DataType::Date32,
        FieldType::Decimal(_) => found.is_integer() || found.is_decimal(),
    }
}

fn is_text(found: &DataType) -> bool {
    match found {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

/// The column as `field` has it. Of a row without a reason yet, `reasons` says why its value must be
/// refused, if it must.
///
/// # Panics
/// If the column is not readable as the field.
pub(super) fn read(column: &ArrayRef, field: &Field, reasons: &mut [Option<Reason>]) -> ArrayRef {
    let (values, fits) = match &field.kind {
        FieldType::Timestamp(unit) => timestamps(column, *unit),
        FieldType::String | FieldType::Enum(_) => (cast(column, &DataType::Utf8), None),
        kind => exact(column, &kind.arrow_type()),
    };
    for (row, reason) in reasons.iter_mut().enumerate() {
        let refusal = match (column.is_null(row), values.is_null(row)) {
            (true, _) => (!field.nullable).then_some(Reason::MissingField),
            (false, true) => Some(Reason::OutOfRange),
            (false, false) => refusal(&values, row, &field.kind),
        };
        let is_exact = fits.as_ref().is_none_or(|fits| fits.value(row));
        let refusal = refusal.or((!is_exact).then_some(Reason::OutOfRange));
        *reason = reason.or(refusal);
    }
    match &field.kind {
        FieldType::Enum(symbols) => with_default(&values, symbols),
        _ => values,
    }
}

/// Why a value that the type can hold is refused all the same.
fn refusal(values: &ArrayRef, row: usize, kind: &FieldType) -> Option<Reason> {
    let is_well = match kind {
        FieldType::Enum(symbols) => {
            let symbol = values.as_string::<i32>().value(row);
            let is_known = symbols.contains(symbol) || symbols.default().is_some();
            return (!is_known).then_some(Reason::UnknownSymbol);
        }
        FieldType::Float => values.as_primitive::<Float32Type>().value(row).is_finite(),
        FieldType::Double => values.as_primitive::<Float64Type>().value(row).is_finite(),
        _ => true,
    };
    (!is_well).then_some(Reason::OutOfRange)
}

/// The default in place of each symbol that is not listed.
fn with_default(values: &ArrayRef, symbols: &Symbols) -> ArrayRef {
    let texts = values.as_string::<i32>();
    let known = |text: &'_ str| symbols.contains(text);
    let rows = texts.iter().map(|text| match text {
        Some(text) if !known(text) => symbols.default(),
        text => text,
    });
    Arc::new(rows.collect::<StringArray>())
}

/// The column as another type, and for each row whether the value survived it.
fn exact(column: &ArrayRef, wanted: &DataType) -> (ArrayRef, Option<arrow::array::BooleanArray>) {
    if column.data_type() == wanted {
        return (column.clone(), None);
    }
    let values = cast(column, wanted);
    let back = cast(&values, column.data_type());
    let fits = not_distinct(column, &back).expect("both have the same type and length");
    (values, Some(fits))
}

/// Instants in microseconds. A time without a zone is UTC; an integer has the field's unit.
fn timestamps(
    column: &ArrayRef,
    unit: schema::TimeUnit,
) -> (ArrayRef, Option<arrow::array::BooleanArray>) {
    let (numbers, fits) = exact(column, &DataType::Int64);
    let numbers: &Int64Array = numbers.as_primitive::<Int64Type>();
    let micros = |time: i64| match column.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => time.checked_mul(1_000_000),
        DataType::Timestamp(TimeUnit::Millisecond, _) => time.checked_mul(1000),
        DataType::Timestamp(TimeUnit::Microsecond, _) => Some(time),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => (time % 1000 == 0).then_some(time / 1000),
        _ => unit.to_micros(time),
    };
    let times: TimestampMicrosecondArray = numbers.unary_opt(micros);
    (Arc::new(times.with_timezone("UTC")), fits)
}

/// A value that does not fit becomes null.
fn cast(column: &ArrayRef, wanted: &DataType) -> ArrayRef {
    let options = CastOptions {
        safe: true,
        ..CastOptions::default()
    };
    cast_with_options(column, wanted, &options).expect("the types were found to be readable")
}

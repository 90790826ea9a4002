//! Conversions: a column of an event to the type it has in expressions, CAST, and a result to the type
//! that the model's input wants.
//!
//! Promises what `eval` promises: what does not fit is NULL, no double leaves that is NaN, infinite or
//! minus zero.

use std::fmt::{Display, Write as _};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, Float32Array, Float64Array,
    PrimitiveArray, StringArray, StringBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};

use super::eval::Value;
use super::expr::{Target, Type};
use super::number::{checked_map, finite, map};
use super::time::MICROSECONDS_PER_DAY;

/// A column of an event as expressions see it.
pub(super) fn load(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Int32 => Arc::new(
            column
                .as_primitive::<Int32Type>()
                .unary::<_, Int64Type>(i64::from),
        ),
        DataType::Float32 => {
            let wide = column.as_primitive::<Float32Type>().unary(f64::from);
            Arc::new(map(&wide, |value| value))
        }
        DataType::Float64 => Arc::new(map(column.as_primitive(), |value| value)),
        DataType::Decimal128(_, scale) => {
            let unscaled = column.as_primitive::<Decimal128Type>();
            Arc::new(finite(decimal(unscaled, *scale)))
        }
        DataType::Date32 => {
            let days = column.as_primitive::<Date32Type>();
            let midnight = |day| i64::from(day).checked_mul(MICROSECONDS_PER_DAY);
            Arc::new(checked_map(days, midnight).reinterpret_cast::<TimestampMicrosecondType>())
        }
        DataType::Timestamp(..) => {
            let times: &TimestampMicrosecondArray = column.as_primitive();
            Arc::new(times.clone().with_timezone_opt(None::<Arc<str>>))
        }
        _ => column.clone(),
    }
}

/// The quotient of the unscaled integer and its power of ten, both as doubles.
fn decimal(unscaled: &PrimitiveArray<Decimal128Type>, scale: i8) -> Float64Array {
    let power: f64 = format!("1e{}", scale.unsigned_abs())
        .parse()
        .expect("a power of ten below 1e129 is a double");
    match scale < 0 {
        true => unscaled.unary(|value| value as f64 * power),
        false => unscaled.unary(|value| value as f64 / power),
    }
}

/// CAST(from AS target), where `from` has type `ty`.
pub(super) fn cast(from: &Value, ty: Type, target: Target) -> Value {
    let array = &from.array;
    let array = match ty {
        Type::Boolean => cast_boolean(array.as_boolean(), target),
        Type::Integer => cast_integer(array.as_primitive(), target),
        Type::Double => cast_double(array.as_primitive(), target),
        Type::Text => cast_text(array.as_string(), target),
        Type::Null | Type::Timestamp => unreachable!("the check makes no such cast"),
    };
    Value {
        array,
        one: from.one,
    }
}

fn cast_boolean(array: &BooleanArray, target: Target) -> ArrayRef {
    match target {
        Target::Double | Target::Real => {
            let number = |value| if value { 1.0 } else { 0.0 };
            Arc::new(Float64Array::from_iter(
                array.iter().map(|value| value.map(number)),
            ))
        }
        Target::BigInt | Target::Int => {
            let numbers = array.iter().map(|value| value.map(i64::from));
            Arc::new(PrimitiveArray::<Int64Type>::from_iter(numbers))
        }
        Target::Varchar => Arc::new(written(array.iter())),
        Target::Boolean => Arc::new(array.clone()),
    }
}

fn cast_integer(array: &PrimitiveArray<Int64Type>, target: Target) -> ArrayRef {
    match target {
        Target::Double => Arc::new(array.unary::<_, Float64Type>(|value| value as f64)),
        Target::Real => Arc::new(array.unary::<_, Float64Type>(|value| f64::from(value as f32))),
        Target::BigInt => Arc::new(array.clone()),
        Target::Int => Arc::new(checked_map(array, within_int)),
        Target::Varchar => Arc::new(written(array.iter())),
        Target::Boolean => Arc::new(BooleanArray::from_unary(array, |value| value != 0)),
    }
}

fn cast_double(array: &Float64Array, target: Target) -> ArrayRef {
    match target {
        Target::Double => Arc::new(array.clone()),
        Target::Real => Arc::new(map(array, real)),
        Target::BigInt => Arc::new(checked_map(array, rounded)),
        Target::Int => Arc::new(checked_map(array, |value| {
            rounded(value).and_then(within_int)
        })),
        Target::Varchar | Target::Boolean => unreachable!("the check makes no such cast"),
    }
}

fn cast_text(array: &StringArray, target: Target) -> ArrayRef {
    let doubles = || -> Float64Array {
        array
            .iter()
            .map(|text| text.and_then(|text| text.parse::<f64>().ok()))
            .collect()
    };
    let integers = || -> PrimitiveArray<Int64Type> {
        array
            .iter()
            .map(|text| text.and_then(|text| text.parse().ok()))
            .collect()
    };
    match target {
        Target::Double => Arc::new(map(&doubles(), |value| value)),
        Target::Real => Arc::new(map(&doubles(), real)),
        Target::BigInt => Arc::new(integers()),
        Target::Int => Arc::new(checked_map(&integers(), within_int)),
        Target::Varchar => Arc::new(array.clone()),
        Target::Boolean => unreachable!("the check makes no such cast"),
    }
}

fn real(value: f64) -> f64 {
    f64::from(value as f32)
}

fn within_int(value: i64) -> Option<i64> {
    i32::try_from(value).ok().map(i64::from)
}

/// The nearest integer, halves away from zero.
fn rounded(value: f64) -> Option<i64> {
    // 2^63, the first double above the integers; the last one below them is -2^63 itself.
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    let value = value.round();
    (-LIMIT..LIMIT).contains(&value).then_some(value as i64)
}

fn written<T: Display>(values: impl Iterator<Item = Option<T>>) -> StringArray {
    let mut texts = StringBuilder::new();
    for value in values {
        match value {
            Some(value) => {
                write!(texts, "{value}").expect("writing to memory does not fail");
                texts.append_value("");
            }
            None => texts.append_null(),
        }
    }
    texts.finish()
}

/// A number as a model's float: the nearest one, NULL where that is infinite.
pub(super) fn single(array: &ArrayRef) -> Float32Array {
    // Adding zero makes a plain zero of a minus zero that a tiny negative double was rounded to.
    let single: Float32Array = match array.data_type() {
        DataType::Int64 => array
            .as_primitive::<Int64Type>()
            .unary(|value| value as f32),
        _ => array
            .as_primitive::<Float64Type>()
            .unary(|value| value as f32 + 0.0),
    };
    if single
        .values()
        .iter()
        .fold(true, |all, value| all & value.is_finite())
    {
        return single;
    }
    single
        .iter()
        .map(|value| value.filter(|value| value.is_finite()))
        .collect()
}

/// Whole numbers below 2^53 as integers, which they are to the bit.
pub(super) fn whole(array: &Float64Array) -> PrimitiveArray<Int64Type> {
    array.unary(|value| value as i64)
}

/// `array` with `value` in the place of each NULL.
pub(super) fn filled<T: ArrowPrimitiveType>(
    array: &PrimitiveArray<T>,
    value: T::Native,
) -> PrimitiveArray<T> {
    match array.null_count() {
        0 => array.clone(),
        _ => array
            .iter()
            .map(|found| Some(found.unwrap_or(value)))
            .collect(),
    }
}

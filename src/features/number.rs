//! Numbers, column by column: arithmetic and functions.
//!
//! Knows the rules of overflow: a result that does not fit is NULL, never an error and never
//! wrapped. Adding, multiplying, dividing, the root, rounding and the remainder are exact or correctly
//! rounded wherever the program runs; `ln`, `exp` and `pow` come from `libm`, whose bits do not depend
//! on the C library.

use std::cell::Cell;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, Float64Array, Int64Array, PrimitiveArray,
};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::binary;
use arrow::datatypes::{Float64Type, Int64Type};

use super::eval::{ALIKE, Value};
use super::expr::{Operator, Type, Unary};

pub(super) fn arithmetic(operator: Operator, left: &Value, right: &Value) -> Value {
    let one = left.one && right.one;
    match left.array.data_type() == &Type::Integer.arrow() {
        true => Value::of(integer_arithmetic(operator, left, right), one),
        false => Value::of(double_arithmetic(operator, left, right), one),
    }
}

fn integer_arithmetic(operator: Operator, left: &Value, right: &Value) -> Int64Array {
    match operator {
        Operator::Add => checked::<Int64Type>(left, right, i64::checked_add),
        Operator::Subtract => checked::<Int64Type>(left, right, i64::checked_sub),
        Operator::Multiply => checked::<Int64Type>(left, right, i64::checked_mul),
        Operator::Remainder => {
            let remainder = |l: i64, r: i64| {
                if r == 0 {
                    None
                } else {
                    Some(l.wrapping_rem(r))
                }
            };
            checked::<Int64Type>(left, right, remainder)
        }
        Operator::Divide | Operator::Power => unreachable!("the check makes these doubles"),
    }
}

fn double_arithmetic(operator: Operator, left: &Value, right: &Value) -> Float64Array {
    match operator {
        Operator::Add => doubles(left, right, |l, r| l + r),
        Operator::Subtract => doubles(left, right, |l, r| l - r),
        Operator::Multiply => doubles(left, right, |l, r| l * r),
        Operator::Divide => doubles(left, right, |l, r| l / r),
        Operator::Remainder => doubles(left, right, libm::fmod),
        Operator::Power => doubles(left, right, libm::pow),
    }
}

/// The functions of one number.
pub(super) fn function(function: Unary, array: &ArrayRef) -> ArrayRef {
    if array.data_type() == &Type::Integer.arrow() {
        let integers = array.as_primitive::<Int64Type>();
        return match function {
            Unary::Negate => Arc::new(checked_map(integers, i64::checked_neg)),
            Unary::Abs => Arc::new(checked_map(integers, i64::checked_abs)),
            Unary::Floor | Unary::Round => array.clone(),
            other => unreachable!("the check gives {} doubles", other.name()),
        };
    }
    let array = array.as_primitive();
    let result = match function {
        Unary::Negate => map(array, |v| -v),
        Unary::Abs => map(array, f64::abs),
        Unary::Ln => map(array, libm::log),
        Unary::Exp => map(array, libm::exp),
        Unary::Sqrt => map(array, f64::sqrt),
        Unary::Floor => map(array, f64::floor),
        Unary::Round => map(array, f64::round),
        other => unreachable!("{} is no function of numbers", other.name()),
    };
    Arc::new(result)
}

/// `op` of each pair of values.
fn combine<I: ArrowPrimitiveType, O: ArrowPrimitiveType>(
    left: &Value,
    right: &Value,
    op: impl Fn(I::Native, I::Native) -> O::Native,
) -> PrimitiveArray<O> {
    let (l, r) = (
        left.array.as_primitive::<I>(),
        right.array.as_primitive::<I>(),
    );
    match (left.one, right.one) {
        (true, false) if l.is_null(0) => PrimitiveArray::new_null(r.len()),
        (false, true) if r.is_null(0) => PrimitiveArray::new_null(l.len()),
        (true, false) => {
            let l = l.value(0);
            r.unary(|r| op(l, r))
        }
        (false, true) => {
            let r = r.value(0);
            l.unary(|l| op(l, r))
        }
        _ => binary(l, r, op).expect(ALIKE),
    }
}

fn doubles(left: &Value, right: &Value, op: impl Fn(f64, f64) -> f64) -> Float64Array {
    finite(combine::<Float64Type, Float64Type>(left, right, |l, r| {
        op(l, r) + 0.0
    }))
}

/// `op` of each double.
pub(super) fn map(array: &Float64Array, op: impl Fn(f64) -> f64) -> Float64Array {
    finite(array.unary(|value| op(value) + 0.0))
}

/// What is not finite becomes NULL. Adding zero, which makes a plain zero of minus zero, is left to
/// the loop that made the values.
pub(super) fn finite(array: Float64Array) -> Float64Array {
    if array
        .values()
        .iter()
        .fold(true, |all, value| all & value.is_finite())
    {
        return array;
    }
    let values = array.values();
    let fits = BooleanBuffer::collect_bool(array.len(), |row| values[row].is_finite());
    // The bits of a NaN differ between processors; none may hide under a NULL.
    let array = array.unary(|value| if value.is_finite() { value } else { 0.0 });
    null_unless(fits, array)
}

/// `op` of each pair of values, NULL where it is `None`.
pub(super) fn checked<I: ArrowPrimitiveType>(
    left: &Value,
    right: &Value,
    op: impl Fn(I::Native, I::Native) -> Option<i64>,
) -> Int64Array {
    let overflow = Cell::new(false);
    let result: Int64Array = combine::<I, Int64Type>(left, right, |l, r| {
        op(l, r).unwrap_or_else(|| {
            overflow.set(true);
            0
        })
    });
    if !overflow.get() {
        return result;
    }
    let at = |side: &Value, row| side.array.as_primitive::<I>().value(side.index(row));
    let fits = |row| op(at(left, row), at(right, row)).is_some();
    null_unless(BooleanBuffer::collect_bool(result.len(), fits), result)
}

/// `op` of each value, NULL where it is `None`.
pub(super) fn checked_map<I: ArrowPrimitiveType>(
    array: &PrimitiveArray<I>,
    op: impl Fn(I::Native) -> Option<i64>,
) -> Int64Array {
    let overflow = Cell::new(false);
    let result: Int64Array = array.unary(|value| {
        op(value).unwrap_or_else(|| {
            overflow.set(true);
            0
        })
    });
    if !overflow.get() {
        return result;
    }
    let fits = |row| op(array.value(row)).is_some();
    null_unless(BooleanBuffer::collect_bool(result.len(), fits), result)
}

fn null_unless<T: ArrowPrimitiveType>(
    fits: BooleanBuffer,
    array: PrimitiveArray<T>,
) -> PrimitiveArray<T> {
    let (_, values, nulls) = array.into_parts();
    let nulls = NullBuffer::union(nulls.as_ref(), Some(&NullBuffer::new(fits)));
    PrimitiveArray::new(values, nulls)
}

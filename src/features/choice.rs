//! What picks among values: CASE, COALESCE, LEAST, GREATEST, NULLIF and IN.
//!
//! Every branch is evaluated for every row, which is safe because nothing fails and nothing has an
//! effect; these functions then pick row by row.

use std::cmp::Ordering;

use arrow::array::{Array, AsArray, BooleanArray};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::nullif;
use arrow::datatypes::{Float64Type, Int64Type};

use super::eval::{ALIKE, Value, compare, gather};
use super::expr::{Comparison, Set, SetValues};

/// Of `results`, the one whose condition is the first to be true, or the last one, which has none.
pub(super) fn case(conditions: &[Value], results: &[Value], rows: usize) -> Value {
    let mut choice = vec![conditions.len(); rows];
    for (branch, condition) in conditions.iter().enumerate().rev() {
        let met = is_true(condition.array.as_boolean());
        match condition.one {
            true if met.value(0) => choice.fill(branch),
            true => {}
            false => met.set_indices().for_each(|row| choice[row] = branch),
        }
    }
    pick(results, &choice)
}

/// The first of `values` that is not NULL.
pub(super) fn coalesce(values: Vec<Value>, rows: usize) -> Value {
    let next_where_null = |found: Value, next: Value| {
        if found.array.null_count() == 0 {
            return found;
        }
        let choice: Vec<usize> = (0..rows)
            .map(|row| usize::from(found.is_null(row)))
            .collect();
        pick(&[found, next], &choice)
    };
    values
        .into_iter()
        .reduce(next_where_null)
        .expect("the check wants a value")
}

/// The least (`Ordering::Less`) or the greatest of `values` that are not NULL.
pub(super) fn extreme(wanted: Ordering, values: Vec<Value>, rows: usize) -> Value {
    let comparison = match wanted {
        Ordering::Less => Comparison::Less,
        _ => Comparison::Greater,
    };
    let next_where_better = |found: Value, next: Value| {
        let better = compare(comparison, &next, &found).into_rows(rows);
        let better = is_true(better.as_boolean());
        let choose_next = |row| usize::from(better.value(row) || found.is_null(row));
        let choice: Vec<usize> = (0..rows).map(choose_next).collect();
        pick(&[found, next], &choice)
    };
    values
        .into_iter()
        .reduce(next_where_better)
        .expect("the check wants a value")
}

/// `value`, NULL where it equals `null`.
pub(super) fn null_if(value: Value, null: &Value, rows: usize) -> Value {
    let equal = compare(Comparison::Equal, &value, null).into_rows(rows);
    let array = nullif(&value.into_rows(rows), equal.as_boolean()).expect(ALIKE);
    Value { array, one: false }
}

/// Whether `value` is in `set`: unknown where it is NULL, or not found beside a NULL.
pub(super) fn contains(set: &Set, value: &Value) -> Value {
    let array = &value.array;
    let found = match &set.values {
        SetValues::Integer(set) => {
            let values = array.as_primitive::<Int64Type>().values();
            BooleanBuffer::collect_bool(array.len(), |row| set.binary_search(&values[row]).is_ok())
        }
        SetValues::Double(set) => {
            let values = array.as_primitive::<Float64Type>().values();
            let find = |row: usize| set.binary_search_by(|member| member.total_cmp(&values[row]));
            BooleanBuffer::collect_bool(array.len(), |row| find(row).is_ok())
        }
        SetValues::Text(set) => {
            let values = array.as_string::<i32>();
            let find = |row| set.binary_search_by(|member| member.as_str().cmp(values.value(row)));
            BooleanBuffer::collect_bool(array.len(), |row| find(row).is_ok())
        }
    };
    let nulls = match set.has_null {
        true => NullBuffer::union(array.nulls(), Some(&NullBuffer::new(found.clone()))),
        false => array.nulls().cloned(),
    };
    Value::of(BooleanArray::new(found, nulls), value.one)
}

/// The rows where `condition` is true, neither false nor unknown.
fn is_true(condition: &BooleanArray) -> BooleanBuffer {
    match condition.nulls() {
        Some(nulls) => condition.values() & nulls.inner(),
        None => condition.values().clone(),
    }
}

/// In each row the value of `values[choice[row]]`.
fn pick(values: &[Value], choice: &[usize]) -> Value {
    let arrays: Vec<&dyn Array> = values.iter().map(|value| value.array.as_ref()).collect();
    let from = choice
        .iter()
        .enumerate()
        .map(|(row, &from)| (from, values[from].index(row)));
    Value {
        array: gather(&arrays, &from.collect::<Vec<_>>()),
        one: false,
    }
}

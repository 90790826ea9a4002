//! Evaluates a typed tree over a batch, one column at a time.
//!
//! Knows the tree and no SQL text; what each operation does to a column is in `number`, `time` and
//! `choice`. Promises: row `i` of a result depends on row `i` of the batch alone; no double is NaN,
//! infinite or minus zero (the first two become NULL, the last plain zero), which is also why Arrow's
//! comparisons, a total order of bits, agree with SQL's; nothing fails.
//!
//! A value that is the same for all rows is kept as one row until the end, so that a literal costs
//! nothing per row.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Datum};
use arrow::compute::kernels::cmp;
use arrow::compute::{and_kleene, interleave, is_not_null, is_null, not, or_kleene};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::error::ArrowError;

use super::expr::{Comparison, Kind, Node, Unary};
use super::{cast, choice, number, text, time};

/// The columns of a batch that expressions use, in the types that expressions have.
pub(super) struct Inputs {
    pub columns: Vec<ArrayRef>,
    pub rows: usize,
}

/// One value for each row, or one row for all of them.
#[derive(Clone, Debug)]
pub(super) struct Value {
    pub array: ArrayRef,
    pub one: bool,
}

impl Datum for Value {
    fn get(&self) -> (&dyn Array, bool) {
        (&self.array, self.one)
    }
}

impl Value {
    pub fn of(array: impl Array + 'static, one: bool) -> Value {
        Value {
            array: Arc::new(array),
            one,
        }
    }

    /// Where the value of `row` stands in the array.
    pub fn index(&self, row: usize) -> usize {
        if self.one { 0 } else { row }
    }

    pub fn is_null(&self, row: usize) -> bool {
        self.array.is_null(self.index(row))
    }

    /// The array with one value for each of `rows`.
    pub fn into_rows(self, rows: usize) -> ArrayRef {
        match self.one {
            true => gather(&[&self.array], &vec![(0, 0); rows]),
            false => self.array,
        }
    }
}

/// For each `(array, row)` that value.
pub(super) fn gather(arrays: &[&dyn Array], from: &[(usize, usize)]) -> ArrayRef {
    interleave(arrays, from).expect("the arrays have one type, and a batch below 2 GiB of text")
}

/// Why a kernel of Arrow does not fail here.
pub(super) const ALIKE: &str = "the check gave both sides one type, and a batch gives one length";

pub(super) fn evaluate(node: &Node, inputs: &Inputs) -> Value {
    let value = |node: &Node| evaluate(node, inputs);
    let values = |nodes: &[Node]| nodes.iter().map(value).collect::<Vec<Value>>();
    match &node.kind {
        Kind::Literal(array) => Value {
            array: array.clone(),
            one: true,
        },
        Kind::Column { slot, .. } => Value {
            array: inputs.columns[*slot].clone(),
            one: false,
        },
        Kind::Cast(from, target) => cast::cast(&value(from), from.ty, *target),
        Kind::Unary(operation, operand) => unary(*operation, &value(operand)),
        Kind::Arithmetic(operator, left, right) => {
            number::arithmetic(*operator, &value(left), &value(right))
        }
        Kind::Elapsed(left, right) => time::elapsed(&value(left), &value(right)),
        Kind::Compare(comparison, left, right) => compare(*comparison, &value(left), &value(right)),
        Kind::And(left, right) => logic(and_kleene, value(left), value(right), inputs.rows),
        Kind::Or(left, right) => logic(or_kleene, value(left), value(right), inputs.rows),
        Kind::Between(operand, low, high) => {
            let operand = value(operand);
            let from = compare(Comparison::GreaterOrEqual, &operand, &value(low));
            let to = compare(Comparison::LessOrEqual, &operand, &value(high));
            logic(and_kleene, from, to, inputs.rows)
        }
        Kind::In(operand, set) => choice::contains(set, &value(operand)),
        Kind::Case {
            operand,
            branches,
            otherwise,
        } => {
            let operand = operand.as_deref().map(value);
            let conditions = branches.iter().map(|(condition, _)| match &operand {
                Some(operand) => compare(Comparison::Equal, operand, &value(condition)),
                None => value(condition),
            });
            let conditions: Vec<Value> = conditions.collect();
            let results = branches
                .iter()
                .map(|(_, result)| result)
                .chain([&**otherwise]);
            let results: Vec<Value> = results.map(value).collect();
            choice::case(&conditions, &results, inputs.rows)
        }
        Kind::Coalesce(nodes) => choice::coalesce(values(nodes), inputs.rows),
        Kind::Least(nodes) => choice::extreme(Ordering::Less, values(nodes), inputs.rows),
        Kind::Greatest(nodes) => choice::extreme(Ordering::Greater, values(nodes), inputs.rows),
        Kind::NullIf(operand, null) => choice::null_if(value(operand), &value(null), inputs.rows),
        Kind::Extract(part, operand) => {
            let operand = value(operand);
            let times = operand.array.as_primitive::<TimestampMicrosecondType>();
            Value {
                array: time::extract(*part, times),
                one: operand.one,
            }
        }
    }
}

fn unary(operation: Unary, operand: &Value) -> Value {
    let array = &operand.array;
    let boolean = |result: Result<BooleanArray, ArrowError>| -> ArrayRef {
        Arc::new(result.expect("this kernel takes every boolean array"))
    };
    let result = match operation {
        Unary::Not => boolean(not(array.as_boolean())),
        Unary::IsNull => boolean(is_null(array)),
        Unary::IsNotNull => boolean(is_not_null(array)),
        Unary::Length => Arc::new(text::length(array.as_string())),
        Unary::Lower => Arc::new(text::lower(array.as_string())),
        Unary::Negate
        | Unary::Abs
        | Unary::Ln
        | Unary::Exp
        | Unary::Sqrt
        | Unary::Floor
        | Unary::Round => number::function(operation, array),
    };
    Value {
        array: result,
        one: operand.one,
    }
}

pub(super) fn compare(comparison: Comparison, left: &Value, right: &Value) -> Value {
    let kernel = match comparison {
        Comparison::Equal => cmp::eq,
        Comparison::NotEqual => cmp::neq,
        Comparison::Less => cmp::lt,
        Comparison::LessOrEqual => cmp::lt_eq,
        Comparison::Greater => cmp::gt,
        Comparison::GreaterOrEqual => cmp::gt_eq,
    };
    Value::of(kernel(left, right).expect(ALIKE), left.one && right.one)
}

fn logic(
    kernel: fn(&BooleanArray, &BooleanArray) -> Result<BooleanArray, ArrowError>,
    left: Value,
    right: Value,
    rows: usize,
) -> Value {
    let (left, right) = (left.into_rows(rows), right.into_rows(rows));
    Value::of(
        kernel(left.as_boolean(), right.as_boolean()).expect(ALIKE),
        false,
    )
}

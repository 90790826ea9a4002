//! A second implementation of the expressions, row by row and without Arrow, and random expressions
//! on which both must agree to the bit.
//!
//! Shares with the first only `libm`: it does not parse, has its own tree and its own calendar.

mod random;

use std::cmp::Ordering;

use arrow::array::ArrowPrimitiveType;
use arrow::datatypes::TimestampMicrosecondType;
use proptest::prelude::*;

use super::*;
use random::{rows, trees};

/// A value with its type; `None` is NULL.
#[derive(Clone, PartialEq, Debug)]
enum Value {
    Boolean(Option<bool>),
    Integer(Option<i64>),
    Double(Option<f64>),
    Text(Option<String>),
    Time(Option<i64>),
}
use Value::{Boolean, Double, Integer, Text, Time};

/// The column of each name, in the order of the fields of a row.
const COLUMNS: [&str; 12] = ["i", "k", "j", "x", "y", "f", "s", "r", "b", "c", "t", "d"];

#[derive(Clone, Debug)]
enum Tree {
    Literal(Value),
    Column(&'static str),
    Prefix(&'static str, Box<Tree>),
    Infix(&'static str, Box<Tree>, Box<Tree>),
    Call(&'static str, Vec<Tree>),
    Cast(Box<Tree>, &'static str),
    Extract(&'static str, Box<Tree>),
    IsNull(Box<Tree>, bool),
    Between(Box<Tree>, Box<Tree>, Box<Tree>, bool),
    In(Box<Tree>, Vec<Tree>, bool),
    Case(Option<Box<Tree>>, Vec<(Tree, Tree)>, Option<Box<Tree>>),
}

impl Tree {
    fn sql(&self) -> String {
        let not = |negated: &bool| if *negated { "NOT " } else { "" };
        match self {
            Tree::Literal(value) => literal(value),
            Tree::Column(name) => (*name).to_owned(),
            Tree::Prefix(operator, value) => format!("({operator} {})", value.sql()),
            Tree::Infix(operator, l, r) => format!("({} {operator} {})", l.sql(), r.sql()),
            Tree::Call(name, values) => format!("{name}({})", list(values)),
            Tree::Cast(value, target) => format!("CAST({} AS {target})", value.sql()),
            Tree::Extract(part, value) => format!("EXTRACT({part} FROM {})", value.sql()),
            Tree::IsNull(value, negated) => format!("({} IS {}NULL)", value.sql(), not(negated)),
            Tree::Between(value, low, high, negated) => {
                let (value, low, high) = (value.sql(), low.sql(), high.sql());
                format!("({value} {}BETWEEN {low} AND {high})", not(negated))
            }
            Tree::In(value, values, negated) => {
                format!("({} {}IN ({}))", value.sql(), not(negated), list(values))
            }
            Tree::Case(operand, branches, otherwise) => {
                let operand = operand
                    .as_ref()
                    .map_or(String::new(), |operand| operand.sql());
                let branches = branches
                    .iter()
                    .map(|(when, then)| format!("WHEN {} THEN {} ", when.sql(), then.sql()));
                let branches: String = branches.collect();
                let otherwise = otherwise
                    .as_ref()
                    .map_or(String::new(), |value| format!("ELSE {}", value.sql()));
                format!("CASE {operand} {branches}{otherwise} END")
            }
        }
    }

    fn value(&self, row: &[Value]) -> Value {
        let of = |tree: &Tree| tree.value(row);
        match self {
            Tree::Literal(value) => value.clone(),
            Tree::Column(name) => {
                let value = row[COLUMNS.iter().position(|column| column == name).unwrap()].clone();
                if let Double(value) = value {
                    double(value)
                } else {
                    value
                }
            }
            Tree::Prefix(operator, value) => prefix(operator, of(value)),
            Tree::Infix(operator, left, right) => infix(operator, of(left), of(right)),
            Tree::Call(name, values) => call(name, values.iter().map(of).collect()),
            Tree::Cast(value, target) => cast(of(value), target),
            Tree::Extract(part, value) => extract(part, of(value)),
            Tree::IsNull(value, negated) => Boolean(Some(is_null(&of(value)) != *negated)),
            Tree::Between(value, low, high, negated) => {
                let values = alike(&[of(value), of(low), of(high)]);
                let from = infix(">=", values[0].clone(), values[1].clone());
                let to = infix("<=", values[0].clone(), values[2].clone());
                let between = infix("AND", from, to);
                if *negated {
                    prefix("NOT", between)
                } else {
                    between
                }
            }
            Tree::In(value, values, negated) => {
                let equal = values
                    .iter()
                    .map(|member| infix("=", of(value), of(member)));
                let any = equal.reduce(|any, one| infix("OR", any, one)).unwrap();
                if *negated { prefix("NOT", any) } else { any }
            }
            Tree::Case(operand, branches, otherwise) => {
                let results = branches.iter().map(|(_, then)| of(then));
                let results = results.chain(otherwise.as_ref().map(|tree| of(tree)));
                let any_double = results.clone().any(|result| matches!(result, Double(_)));
                let nothing = null_like(&results.clone().next().unwrap());
                let mut whens: Vec<Value> = branches.iter().map(|(when, _)| of(when)).collect();
                if let Some(operand) = operand {
                    whens.insert(0, of(operand));
                    whens = alike(&whens);
                    let operand = whens.remove(0);
                    whens
                        .iter_mut()
                        .for_each(|when| *when = infix("=", operand.clone(), when.clone()));
                }
                let chosen = whens.iter().position(|when| *when == Boolean(Some(true)));
                let chosen = chosen
                    .map(|index| &branches[index].1)
                    .or(otherwise.as_deref());
                let result = chosen.map_or(nothing, of);
                if any_double {
                    Double(number(&result))
                } else {
                    result
                }
            }
        }
    }
}

fn list(values: &[Tree]) -> String {
    values.iter().map(Tree::sql).collect::<Vec<_>>().join(", ")
}

fn literal(value: &Value) -> String {
    match value {
        Boolean(None) => "CAST(NULL AS BOOLEAN)".to_owned(),
        Integer(None) => "CAST(NULL AS BIGINT)".to_owned(),
        Double(None) => "CAST(NULL AS DOUBLE)".to_owned(),
        Text(None) => "CAST(NULL AS VARCHAR)".to_owned(),
        Boolean(Some(value)) => value.to_string(),
        Integer(Some(value)) => value.to_string(),
        Double(Some(value)) => format!("{value:?}"),
        Text(Some(value)) => format!("'{}'", value.replace('\'', "''")),
        Time(_) => unreachable!("there is no such literal"),
    }
}

fn double(value: Option<f64>) -> Value {
    Double(
        value
            .filter(|value| value.is_finite())
            .map(|value| if value == 0.0 { 0.0 } else { value }),
    )
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Integer(value) => value.map(|value| value as f64),
        Double(value) => *value,
        other => panic!("{other:?} is no number"),
    }
}

fn is_null(value: &Value) -> bool {
    *value == null_like(value)
}

fn null_like(value: &Value) -> Value {
    match value {
        Boolean(_) => Boolean(None),
        Integer(_) => Integer(None),
        Double(_) => Double(None),
        Text(_) => Text(None),
        Time(_) => Time(None),
    }
}

fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Boolean(l), Boolean(r)) => Some((*l)?.cmp(&(*r)?)),
        (Integer(l), Integer(r)) | (Time(l), Time(r)) => Some((*l)?.cmp(&(*r)?)),
        (Text(l), Text(r)) => Some(l.as_ref()?.cmp(r.as_ref()?)),
        _ => number(left)?.partial_cmp(&number(right)?),
    }
}

fn prefix(operator: &str, value: Value) -> Value {
    match (operator, value) {
        ("NOT", Boolean(value)) => Boolean(value.map(|value| !value)),
        ("-", Integer(value)) => Integer(value.and_then(i64::checked_neg)),
        ("-", Double(value)) => double(value.map(|value| -value)),
        (operator, value) => panic!("{operator} {value:?}"),
    }
}

fn infix(operator: &str, left: Value, right: Value) -> Value {
    let compared = |test: fn(Ordering) -> bool| Boolean(order(&left, &right).map(test));
    match (operator, &left, &right) {
        ("=", ..) => compared(Ordering::is_eq),
        ("<>", ..) => compared(Ordering::is_ne),
        ("<", ..) => compared(Ordering::is_lt),
        ("<=", ..) => compared(Ordering::is_le),
        (">", ..) => compared(Ordering::is_gt),
        (">=", ..) => compared(Ordering::is_ge),
        ("AND", Boolean(l), Boolean(r)) => Boolean(match (l, r) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        }),
        ("OR", Boolean(l), Boolean(r)) => Boolean(match (l, r) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            _ => None,
        }),
        ("-", Time(l), Time(r)) => {
            let microseconds = l.zip(*r).map(|(l, r)| i128::from(l) - i128::from(r));
            Double(microseconds.map(|microseconds| microseconds as f64 / 1e6))
        }
        ("/", ..) => doubles(&left, &right, |l, r| l / r),
        ("+" | "-" | "*" | "%", Integer(l), Integer(r)) => {
            let exact = l.zip(*r).and_then(|(l, r)| {
                let (l, r) = (i128::from(l), i128::from(r));
                match operator {
                    "+" => Some(l + r),
                    "-" => Some(l - r),
                    "*" => Some(l * r),
                    _ => l.checked_rem(r),
                }
            });
            Integer(exact.and_then(|exact| i64::try_from(exact).ok()))
        }
        ("+", ..) => doubles(&left, &right, |l, r| l + r),
        ("-", ..) => doubles(&left, &right, |l, r| l - r),
        ("*", ..) => doubles(&left, &right, |l, r| l * r),
        ("%", ..) => doubles(&left, &right, |l, r| l % r),
        _ => panic!("{left:?} {operator} {right:?}"),
    }
}

fn doubles(left: &Value, right: &Value, op: fn(f64, f64) -> f64) -> Value {
    double(
        number(left)
            .zip(number(right))
            .map(|(left, right)| op(left, right)),
    )
}

fn call(name: &str, values: Vec<Value>) -> Value {
    let of_double = |op: fn(f64) -> f64| double(number(&values[0]).map(op));
    match (name, values.as_slice()) {
        ("LN", _) => of_double(libm::log),
        ("EXP", _) => of_double(libm::exp),
        ("SQRT", _) => of_double(f64::sqrt),
        ("POWER", [base, exponent]) => doubles(base, exponent, libm::pow),
        ("ABS", [Integer(value)]) => Integer(value.and_then(i64::checked_abs)),
        ("FLOOR" | "ROUND", [Integer(value)]) => Integer(*value),
        ("ABS", [Double(value)]) => double(value.map(f64::abs)),
        ("FLOOR", [Double(value)]) => double(value.map(f64::floor)),
        ("ROUND", [Double(value)]) => double(value.map(half_away)),
        ("LENGTH", [Text(value)]) => {
            Integer(value.as_ref().map(|text| text.chars().count() as i64))
        }
        ("LOWER", [Text(value)]) => Text(value.as_ref().map(|text| text.to_lowercase())),
        ("NULLIF", [value, null]) => {
            let value_alike = alike(&values).remove(0);
            let equal = order(value, null).is_some_and(Ordering::is_eq);
            if equal {
                null_like(&value_alike)
            } else {
                value_alike
            }
        }
        ("COALESCE", _) => {
            let values = alike(&values);
            values
                .iter()
                .find(|value| !is_null(value))
                .unwrap_or(&values[0])
                .clone()
        }
        ("LEAST" | "GREATEST", _) => {
            let values = alike(&values);
            let present = values.iter().filter(|value| !is_null(value));
            let by_order = |l: &&Value, r: &&Value| order(l, r).unwrap();
            let found = match name {
                "LEAST" => present.min_by(by_order),
                _ => present.max_by(by_order),
            };
            found.unwrap_or(&values[0]).clone()
        }
        _ => panic!("{name}({values:?})"),
    }
}

/// Integers become doubles where one of the values is a double.
fn alike(values: &[Value]) -> Vec<Value> {
    match values.iter().any(|value| matches!(value, Double(_))) {
        true => values.iter().map(|value| Double(number(value))).collect(),
        false => values.to_vec(),
    }
}

fn half_away(value: f64) -> f64 {
    let whole = value.trunc();
    if (value - whole).abs() >= 0.5 {
        whole + 1f64.copysign(value)
    } else {
        whole
    }
}

fn cast(value: Value, target: &str) -> Value {
    let fits = |value: i128| match target {
        "INT" => i32::try_from(value).ok().map(i64::from),
        _ => i64::try_from(value).ok(),
    };
    match (target, value) {
        ("DOUBLE", Text(text)) => double(text.and_then(|text| text.parse().ok())),
        ("DOUBLE", Boolean(value)) => Double(value.map(|value| f64::from(u8::from(value)))),
        ("DOUBLE", value) => Double(number(&value)),
        ("REAL", Integer(value)) => double(value.map(|value| f64::from(value as f32))),
        ("REAL", Double(value)) => double(value.map(|value| f64::from(value as f32))),
        ("INT" | "BIGINT", Boolean(value)) => Integer(value.map(i64::from)),
        ("INT" | "BIGINT", Integer(value)) => Integer(value.and_then(|value| fits(value.into()))),
        // `as` saturates, far outside of 64 bits.
        ("INT" | "BIGINT", Double(value)) => {
            Integer(value.and_then(|value| fits(half_away(value) as i128)))
        }
        ("INT" | "BIGINT", Text(text)) => {
            Integer(text.and_then(|text| text.parse().ok()).and_then(fits))
        }
        ("VARCHAR", Integer(value)) => Text(value.map(|value| value.to_string())),
        ("VARCHAR", Boolean(value)) => Text(value.map(|value| value.to_string())),
        ("BOOLEAN", Integer(value)) => Boolean(value.map(|value| value != 0)),
        (target, value) => panic!("CAST({value:?} AS {target})"),
    }
}

fn extract(part: &str, value: Value) -> Value {
    let Time(time) = value else {
        panic!("EXTRACT({part} FROM {value:?})")
    };
    if part == "EPOCH" {
        return Double(time.map(|time| time as f64 / 1e6));
    }
    Integer(time.map(|time| {
        let days = time.div_euclid(86_400_000_000);
        let minutes = time.rem_euclid(86_400_000_000) / 60_000_000;
        let (year, month, day) = date(days);
        match part {
            "YEAR" => year,
            "MONTH" => month,
            "DAY" => day,
            "DOW" => (days + 4).rem_euclid(7),
            "HOUR" => minutes / 60,
            "MINUTE" => minutes % 60,
            _ => panic!("{part}"),
        }
    }))
}

/// The date `days` after 1970-01-01, by counting.
fn date(mut days: i64) -> (i64, i64, i64) {
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let in_year = |year| if leap(year) { 366 } else { 365 };
    let mut year = 1970;
    while days < 0 {
        year -= 1;
        days += in_year(year);
    }
    while days >= in_year(year) {
        days -= in_year(year);
        year += 1;
    }
    let february = if leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

fn batch(rows: &[Vec<Value>]) -> RecordBatch {
    fn column<T>(rows: &[Vec<Value>], index: usize, of: fn(&Value) -> Option<T>) -> Vec<Option<T>> {
        rows.iter().map(|row| of(&row[index])).collect()
    }
    let integer = |value: &Value| {
        if let Integer(value) = value {
            *value
        } else {
            None
        }
    };
    let double = |value: &Value| {
        if let Double(value) = value {
            *value
        } else {
            None
        }
    };
    let boolean = |value: &Value| {
        if let Boolean(value) = value {
            *value
        } else {
            None
        }
    };
    let text = |value: &Value| {
        if let Text(value) = value {
            value.clone()
        } else {
            None
        }
    };
    let time = |value: &Value| {
        if let Time(value) = value {
            *value
        } else {
            None
        }
    };
    let column_of = |index: usize, name: &str| -> ArrayRef {
        match name {
            "i" | "k" => Arc::new(Int64Array::from(column(rows, index, integer))),
            "j" => {
                let wide = column(rows, index, integer).into_iter();
                Arc::new(
                    wide.map(|value| value.map(|value| value as i32))
                        .collect::<Int32Array>(),
                )
            }
            "x" | "y" => Arc::new(Float64Array::from(column(rows, index, double))),
            "f" => {
                let wide = column(rows, index, double).into_iter();
                Arc::new(
                    wide.map(|value| value.map(|value| value as f32))
                        .collect::<Float32Array>(),
                )
            }
            "s" | "r" => Arc::new(StringArray::from(column(rows, index, text))),
            "b" | "c" => Arc::new(BooleanArray::from(column(rows, index, boolean))),
            "t" => {
                let times = TimestampMicrosecondArray::from(column(rows, index, time));
                Arc::new(times.with_timezone("UTC"))
            }
            _ => {
                let times = column(rows, index, time).into_iter();
                let days = times.map(|time| time.map(|time| (time / 86_400_000_000) as i32));
                Arc::new(days.collect::<Date32Array>())
            }
        }
    };
    let columns = COLUMNS
        .iter()
        .enumerate()
        .map(|(index, name)| (*name, column_of(index, name), true));
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

/// The values of `sql`, row by row.
fn evaluated(sql: &str, batch: &RecordBatch) -> Vec<Value> {
    fn of<T: ArrowPrimitiveType>(array: &ArrayRef) -> Vec<Option<T::Native>> {
        array.as_primitive::<T>().iter().collect()
    }
    let mut columns = Vec::new();
    let node = check::compile(sql, &batch.schema(), &mut columns)
        .unwrap_or_else(|fault| panic!("{}", fault.into_error("test", sql)));
    let inputs = Columns::new(&batch.schema(), columns).load(batch);
    let array = evaluate(&node, &inputs).into_rows(batch.num_rows());
    match node.ty {
        Type::Boolean => array.as_boolean().iter().map(Boolean).collect(),
        Type::Integer => of::<Int64Type>(&array).into_iter().map(Integer).collect(),
        Type::Double => of::<Float64Type>(&array).into_iter().map(Double).collect(),
        Type::Text => array
            .as_string::<i32>()
            .iter()
            .map(|text| Text(text.map(str::to_owned)))
            .collect(),
        Type::Timestamp => of::<TimestampMicrosecondType>(&array)
            .into_iter()
            .map(Time)
            .collect(),
        Type::Null => panic!("every literal has a type here"),
    }
}

/// Equal to the bit: no `-0.0 == 0.0`.
fn same(left: &[Value], right: &[Value]) -> bool {
    let bits = |value: &Value| match value {
        Double(Some(value)) => Integer(Some(value.to_bits() as i64)),
        other => other.clone(),
    };
    left.iter().map(bits).eq(right.iter().map(bits))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn columns_agree_with_rows(tree in trees(), rows in rows()) {
        let sql = tree.sql();
        let expected: Vec<Value> = rows.iter().map(|row| tree.value(row)).collect();
        let found = evaluated(&sql, &batch(&rows));
        prop_assert!(same(&found, &expected), "{sql}: {found:?}, and by rows {expected:?}");
    }

    #[test]
    fn a_row_does_not_depend_on_the_batch_it_is_in(
        tree in trees(),
        rows in rows(),
        cut in any::<proptest::sample::Index>(),
    ) {
        let sql = tree.sql();
        let whole = batch(&rows);
        let cut = cut.index(rows.len() + 1);
        let together = evaluated(&sql, &whole);
        let mut apart = evaluated(&sql, &whole.slice(0, cut));
        apart.extend(evaluated(&sql, &whole.slice(cut, rows.len() - cut)));
        prop_assert!(same(&together, &apart), "{sql}: {together:?}, and cut {apart:?}");
        let alone = rows.iter().flat_map(|row| evaluated(&sql, &batch(std::slice::from_ref(row))));
        prop_assert!(same(&together, &alone.collect::<Vec<_>>()), "{sql}");
    }
}

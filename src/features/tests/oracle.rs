//! A second implementation of the expressions, row by row and without Arrow, and random expressions
//! on which both must agree to the bit.
//!
//! Shares with the first only `libm`: it does not parse, has its own tree and its own calendar.

use std::cmp::Ordering;

use arrow::array::ArrowPrimitiveType;
use arrow::datatypes::TimestampMicrosecondType;
use proptest::prelude::*;
use proptest::strategy::Union;

use super::*;

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

// Random expressions, by type.

fn leaf<T: std::fmt::Debug + 'static>(
    values: impl Strategy<Value = T> + 'static,
    value: fn(Option<T>) -> Value,
    columns: &'static [&'static str],
) -> BoxedStrategy<Tree> {
    prop_oneof![
        3 => proptest::sample::select(columns).prop_map(Tree::Column),
        1 => proptest::option::weighted(0.9, values)
            .prop_map(move |found| Tree::Literal(value(found))),
    ]
    .boxed()
}

fn integers() -> impl Strategy<Value = i64> {
    prop_oneof![-4..5i64, any::<i64>(), Just(i64::MAX), Just(i64::MIN)]
}

fn finite_doubles() -> impl Strategy<Value = f64> {
    let halves = (-9..9i32).prop_map(|value| f64::from(value) / 2.0);
    let others = any::<f64>().prop_filter("finite", |value| value.is_finite());
    // A literal has one zero.
    prop_oneof![halves, others].prop_map(|value| value + 0.0)
}

fn texts() -> impl Strategy<Value = String> {
    proptest::sample::select(vec![
        "", "a", "A", "Ä", "ß'", "12", "-7", "1.5", "1e400", "ΑΣ",
    ])
    .prop_map(str::to_owned)
}

fn pair(
    operators: &'static [&'static str],
    sides: impl Strategy<Value = (Tree, Tree)> + 'static,
) -> BoxedStrategy<Tree> {
    (proptest::sample::select(operators), sides)
        .prop_map(|(operator, (l, r))| Tree::Infix(operator, l.into(), r.into()))
        .boxed()
}

fn calls(
    names: &'static [&'static str],
    values: impl Strategy<Value = Vec<Tree>> + 'static,
) -> BoxedStrategy<Tree> {
    (proptest::sample::select(names), values)
        .prop_map(|(name, values)| Tree::Call(name, values))
        .boxed()
}

fn casts(targets: &'static [&'static str], value: BoxedStrategy<Tree>) -> BoxedStrategy<Tree> {
    (value, proptest::sample::select(targets))
        .prop_map(|(value, target)| Tree::Cast(value.into(), target))
        .boxed()
}

/// What every type has: CASE, COALESCE and NULLIF.
fn choices(same: BoxedStrategy<Tree>, depth: u32) -> BoxedStrategy<Tree> {
    let otherwise = proptest::option::of(same.clone().prop_map(Box::new));
    let searched = proptest::collection::vec((booleans(depth), same.clone()), 1..4);
    let simple = proptest::collection::vec((numbers(depth), same.clone()), 1..3);
    prop_oneof![
        (searched, otherwise.clone())
            .prop_map(|(branches, otherwise)| Tree::Case(None, branches, otherwise)),
        (numbers(depth), simple, otherwise).prop_map(|(operand, branches, otherwise)| {
            Tree::Case(Some(operand.into()), branches, otherwise)
        }),
        calls(&["COALESCE"], proptest::collection::vec(same.clone(), 1..4)),
        calls(&["NULLIF"], proptest::collection::vec(same, 2)),
    ]
    .boxed()
}

fn integer_trees(depth: u32) -> BoxedStrategy<Tree> {
    let leaf = leaf(integers(), Integer, &["i", "k", "j"]);
    let Some(below) = depth.checked_sub(1) else {
        return leaf;
    };
    let inner = integer_trees(below);
    let parts = &["YEAR", "MONTH", "DAY", "DOW", "HOUR", "MINUTE"][..];
    prop_oneof![
        leaf,
        pair(&["+", "-", "*", "%"], (inner.clone(), inner.clone())),
        inner
            .clone()
            .prop_map(|value| Tree::Prefix("-", value.into())),
        calls(
            &["ABS", "FLOOR", "ROUND"],
            proptest::collection::vec(inner.clone(), 1)
        ),
        calls(&["LENGTH"], proptest::collection::vec(text_trees(below), 1)),
        calls(
            &["LEAST", "GREATEST"],
            proptest::collection::vec(inner.clone(), 1..4)
        ),
        (proptest::sample::select(parts), time_trees())
            .prop_map(|(part, time)| Tree::Extract(part, time.into())),
        casts(&["INT", "BIGINT"], any_number_or_text(below)),
        choices(inner, below),
    ]
    .boxed()
}

fn double_trees(depth: u32) -> BoxedStrategy<Tree> {
    let leaf = leaf(finite_doubles(), Double, &["x", "y", "f"]);
    let Some(below) = depth.checked_sub(1) else {
        return leaf;
    };
    let inner = double_trees(below);
    prop_oneof![
        leaf,
        pair(&["+", "-", "*", "/", "%"], (inner.clone(), numbers(below))),
        pair(&["/"], (integer_trees(below), numbers(below))),
        pair(&["-"], (time_trees(), time_trees())),
        inner
            .clone()
            .prop_map(|value| Tree::Prefix("-", value.into())),
        calls(
            &["ABS", "FLOOR", "ROUND"],
            proptest::collection::vec(inner.clone(), 1)
        ),
        calls(
            &["LN", "EXP", "SQRT"],
            proptest::collection::vec(numbers(below), 1)
        ),
        calls(&["POWER"], proptest::collection::vec(numbers(below), 2)),
        calls(
            &["LEAST", "GREATEST"],
            (inner.clone(), numbers(below)).prop_map(|(l, r)| vec![l, r])
        ),
        time_trees().prop_map(|time| Tree::Extract("EPOCH", time.into())),
        casts(&["DOUBLE"], any_number_or_text(below)),
        casts(&["REAL"], numbers(below)),
        choices(inner, below),
    ]
    .boxed()
}

fn numbers(depth: u32) -> BoxedStrategy<Tree> {
    prop_oneof![integer_trees(depth), double_trees(depth)].boxed()
}

fn any_number_or_text(depth: u32) -> BoxedStrategy<Tree> {
    prop_oneof![numbers(depth), booleans(depth), text_trees(depth)].boxed()
}

fn text_trees(depth: u32) -> BoxedStrategy<Tree> {
    let leaf = leaf(texts(), Text, &["s", "r"]);
    let Some(below) = depth.checked_sub(1) else {
        return leaf;
    };
    let inner = text_trees(below);
    prop_oneof![
        leaf,
        calls(&["LOWER"], proptest::collection::vec(inner.clone(), 1)),
        calls(
            &["LEAST", "GREATEST"],
            proptest::collection::vec(inner.clone(), 1..3)
        ),
        casts(
            &["VARCHAR"],
            prop_oneof![integer_trees(below), booleans(below)].boxed()
        ),
        choices(inner, below),
    ]
    .boxed()
}

fn time_trees() -> BoxedStrategy<Tree> {
    let column = || proptest::sample::select(&["t", "d"][..]).prop_map(Tree::Column);
    prop_oneof![
        3 => column(),
        1 => calls(&["LEAST", "GREATEST", "COALESCE"], proptest::collection::vec(column(), 1..3)),
    ]
    .boxed()
}

fn booleans(depth: u32) -> BoxedStrategy<Tree> {
    let leaf = leaf(any::<bool>(), Boolean, &["b", "c"]);
    let Some(below) = depth.checked_sub(1) else {
        return leaf;
    };
    let inner = booleans(below);
    let comparisons = &["=", "<>", "<", "<=", ">", ">="][..];
    let same: [BoxedStrategy<Tree>; 3] = [numbers(below), text_trees(below), time_trees()];
    let between = same.clone().map(|side| {
        (side.clone(), side.clone(), side, any::<bool>())
            .prop_map(|(v, l, h, not)| Tree::Between(v.into(), l.into(), h.into(), not))
            .boxed()
    });
    let compare = same
        .clone()
        .map(|side| pair(comparisons, (side.clone(), side)));
    let nulls = same.map(|side| {
        (side, any::<bool>())
            .prop_map(|(value, not)| Tree::IsNull(value.into(), not))
            .boxed()
    });
    prop_oneof![
        leaf,
        pair(&["AND", "OR"], (inner.clone(), inner.clone())),
        pair(&["=", "<>"], (inner.clone(), inner.clone())),
        inner
            .clone()
            .prop_map(|value| Tree::Prefix("NOT", value.into())),
        casts(&["BOOLEAN"], integer_trees(below)),
        Union::new(compare),
        Union::new(between),
        Union::new(nulls),
        in_list(integer_trees(below), integers().prop_map(Some), Integer),
        in_list(double_trees(below), finite_doubles().prop_map(Some), Double),
        in_list(
            text_trees(below),
            proptest::option::weighted(0.8, texts()),
            Text
        ),
        choices(inner, below),
    ]
    .boxed()
}

fn in_list<T: std::fmt::Debug + 'static>(
    operand: BoxedStrategy<Tree>,
    members: impl Strategy<Value = Option<T>> + 'static,
    value: fn(Option<T>) -> Value,
) -> BoxedStrategy<Tree> {
    let members = members.prop_map(move |member| Tree::Literal(value(member)));
    (
        operand,
        proptest::collection::vec(members, 1..5),
        any::<bool>(),
    )
        .prop_map(|(operand, members, not)| Tree::In(operand.into(), members, not))
        .boxed()
}

// Random rows.

fn rows() -> impl Strategy<Value = Vec<Vec<Value>>> {
    let integer = || proptest::option::weighted(0.8, integers()).prop_map(Integer);
    let small = proptest::option::weighted(0.8, any::<i32>());
    let small = small.prop_map(|value| Integer(value.map(i64::from)));
    // A column may hold what no result may: NaN, infinities and minus zero.
    let any_double = prop_oneof![finite_doubles(), any::<f64>()];
    let any_double = proptest::option::weighted(0.8, any_double)
        .prop_map(Double)
        .boxed();
    let single = proptest::option::weighted(0.8, any::<f32>());
    let single = single.prop_map(|value| Double(value.map(f64::from)));
    let text = || proptest::option::weighted(0.8, texts()).prop_map(Text);
    let boolean = || proptest::option::weighted(0.8, any::<bool>()).prop_map(Boolean);
    let century = 36_525 * 86_400_000_000i64;
    let time = proptest::option::weighted(0.8, -century..century).prop_map(Time);
    let day = proptest::option::weighted(0.8, -36_525..36_525i64);
    let day = day.prop_map(|day| Time(day.map(|day| day * 86_400_000_000)));
    let row = (
        (
            integer(),
            integer(),
            small,
            any_double.clone(),
            any_double,
            single,
        ),
        (text(), text(), boolean(), boolean(), time, day),
    );
    let row = row.prop_map(|((i, k, j, x, y, f), (s, r, b, c, t, d))| {
        vec![i, k, j, x, y, f, s, r, b, c, t, d]
    });
    proptest::collection::vec(row, 0..12)
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

fn trees() -> impl Strategy<Value = Tree> {
    prop_oneof![
        integer_trees(3),
        double_trees(3),
        booleans(3),
        text_trees(3)
    ]
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
        let alone = rows.iter().flat_map(|row| evaluated(&sql, &batch(&[row.clone()])));
        prop_assert!(same(&together, &alone.collect::<Vec<_>>()), "{sql}");
    }
}

//! Random expressions, by type, and random rows to evaluate them on.

use proptest::prelude::*;
use proptest::strategy::Union;

use super::Value::{Boolean, Double, Integer, Text, Time};
use super::{Tree, Value};

/// An expression of any type that a feature can have.
pub(super) fn trees() -> impl Strategy<Value = Tree> {
    prop_oneof![
        integer_trees(3),
        double_trees(3),
        booleans(3),
        text_trees(3)
    ]
}

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

pub(super) fn rows() -> impl Strategy<Value = Vec<Vec<Value>>> {
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

//! What expressions mean, and what is said of those that are wrong.

mod categories;
mod errors;
mod oracle;

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Decimal128Array, Float32Array,
    Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type, Schema};

use super::{Condition, Definition, FeatureSet, FeatureType, check};
use crate::features::eval::evaluate;
use crate::features::{Columns, Type};

const EXPRESSIONS: &str = include_str!("expressions.txt");
/// 2024-02-29 13:45:30.250 UTC.
const AT: i64 = 1_709_214_330_250_000;

/// The row that `expressions.txt` describes.
fn row() -> RecordBatch {
    let time = |value: Option<i64>| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from(vec![value]).with_timezone("UTC"))
    };
    let integer = |value: Option<i64>| -> ArrayRef { Arc::new(Int64Array::from(vec![value])) };
    let double = |value: Option<f64>| -> ArrayRef { Arc::new(Float64Array::from(vec![value])) };
    let text = |value: Option<&str>| -> ArrayRef { Arc::new(StringArray::from(vec![value])) };
    let boolean = |value: Option<bool>| -> ArrayRef { Arc::new(BooleanArray::from(vec![value])) };
    let decimal = |unscaled: i128, scale: i8| -> ArrayRef {
        let array = Decimal128Array::from(vec![unscaled]);
        Arc::new(array.with_precision_and_scale(12, scale).unwrap())
    };
    let columns: [(&str, ArrayRef); 27] = [
        ("i", integer(Some(7))),
        ("j", Arc::new(Int32Array::from(vec![-3]))),
        ("zero", integer(Some(0))),
        ("n", integer(None)),
        ("big", integer(Some(i64::MAX))),
        ("small", integer(Some(i64::MIN))),
        ("x", double(Some(2.5))),
        ("f", Arc::new(Float32Array::from(vec![0.1]))),
        ("minus_zero", double(Some(-0.0))),
        ("nan", double(Some(f64::NAN))),
        ("infinite", double(Some(f64::INFINITY))),
        ("m", double(None)),
        ("money", decimal(12_345, 2)),
        ("tenths", decimal(3, 1)),
        ("thousands", decimal(7, -3)),
        ("s", text(Some("Café"))),
        ("digits", text(Some("12"))),
        ("u", text(None)),
        ("yes", boolean(Some(true))),
        ("no", boolean(Some(false))),
        ("unknown", boolean(None)),
        ("at", time(Some(AT))),
        ("later", time(Some(AT + 90_500_000))),
        ("early", time(Some(-1))),
        ("never", time(None)),
        ("day", Arc::new(Date32Array::from(vec![19_785]))),
        ("a b", integer(Some(1))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true)))
        .unwrap()
}

/// `sql` of the first row of `batch`, written as in `expressions.txt`.
fn value_of(sql: &str, batch: &RecordBatch) -> String {
    let mut columns = Vec::new();
    let node = check::compile(sql, &batch.schema(), &mut columns)
        .unwrap_or_else(|fault| panic!("{}", fault.into_error("test", sql)));
    let columns = Columns::new(&batch.schema(), columns);
    let array = evaluate(&node, &columns.load(batch)).into_rows(batch.num_rows());
    assert_eq!(array.data_type(), &node.ty.arrow(), "{sql}");
    written(&array, node.ty)
}

fn written(array: &ArrayRef, ty: Type) -> String {
    if array.is_null(0) {
        return "NULL".to_owned();
    }
    match ty {
        Type::Boolean if array.as_boolean().value(0) => "TRUE".to_owned(),
        Type::Boolean => "FALSE".to_owned(),
        Type::Integer => array.as_primitive::<Int64Type>().value(0).to_string(),
        Type::Double => format!("{:?}", array.as_primitive::<Float64Type>().value(0)),
        Type::Text => format!(
            "'{}'",
            array.as_string::<i32>().value(0).replace('\'', "''")
        ),
        Type::Null | Type::Timestamp => panic!("no case of the list gives one"),
    }
}

/// The cases of `expressions.txt`.
fn cases() -> impl Iterator<Item = (&'static str, &'static str)> {
    let mut sql_starts = 0;
    let mut position = 0;
    EXPRESSIONS.split_inclusive('\n').filter_map(move |line| {
        let start = position;
        position += line.len();
        if line.starts_with('#') || line.trim().is_empty() {
            sql_starts = position;
            return None;
        }
        let arrow = line.rfind("=>")?;
        let case = (
            EXPRESSIONS[sql_starts..start + arrow].trim(),
            line[arrow + 2..].trim(),
        );
        sql_starts = position;
        Some(case)
    })
}

#[test]
fn expressions_have_their_values() {
    let row = row();
    let wrong: Vec<String> = cases()
        .map(|(sql, expected)| (sql, expected, value_of(sql, &row)))
        .filter(|(_, expected, found)| expected != found)
        .map(|(sql, expected, found)| format!("{sql} => {found}, not {expected}"))
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(cases().count() > 250, "the whole list was read");
}

/// The canonical text is SQL, means the same, and is its own canonical text.
#[test]
fn canonical_text_is_a_fixed_point() {
    let row = row();
    for (sql, expected) in cases() {
        let canonical = |sql: &str| {
            check::compile(sql, &row.schema(), &mut Vec::new())
                .unwrap()
                .to_string()
        };
        let once = canonical(sql);
        assert_eq!(canonical(&once), once, "{sql}");
        assert_eq!(value_of(&once, &row), expected, "{sql} as {once}");
    }
}

fn feature(name: &str, sql: &str, feature_type: FeatureType) -> (Definition, FeatureType) {
    impute(name, sql, feature_type, None)
}

fn impute(
    name: &str,
    sql: &str,
    feature_type: FeatureType,
    impute: Option<f64>,
) -> (Definition, FeatureType) {
    (
        Definition {
            name: name.to_owned(),
            sql: sql.to_owned(),
            impute,
            categories: None,
        },
        feature_type,
    )
}

fn one_feature(sql: &str, feature_type: FeatureType, value: Option<f64>) -> ArrayRef {
    let row = row();
    let definitions = [impute("it", sql, feature_type, value)];
    let set = FeatureSet::compile(&definitions, &row.schema()).unwrap();
    set.evaluate(&row).remove(0)
}

#[test]
fn features_have_the_types_of_the_model() {
    let single = |sql| {
        let array = one_feature(sql, FeatureType::Float32, None);
        let array = array.as_primitive::<Float32Type>().clone();
        array.is_valid(0).then(|| array.value(0).to_bits())
    };
    assert_eq!(single("0.1"), Some(0.1f32.to_bits()));
    assert_eq!(single("yes"), Some(1f32.to_bits()));
    assert_eq!(single("unknown"), None);
    assert_eq!(single("1e39"), None);
    assert_eq!(single("-1e-300"), Some(0));
    // Rounded once: through a double this would be 9007199254740992.
    assert_eq!(
        single("9007199791611905"),
        Some(9_007_200_328_482_816f32.to_bits())
    );

    let double = one_feature("i", FeatureType::Float64, None);
    assert_eq!(double.as_primitive::<Float64Type>().value(0), 7.0);
    let double = one_feature("yes", FeatureType::Float64, None);
    assert_eq!(double.as_primitive::<Float64Type>().value(0), 1.0);
    let integer = one_feature("no", FeatureType::Int64, None);
    assert_eq!(integer.as_primitive::<Int64Type>().value(0), 0);
    assert_eq!(
        one_feature("s", FeatureType::Utf8, None)
            .as_string::<i32>()
            .value(0),
        "Café"
    );
    assert!(
        one_feature("yes", FeatureType::Boolean, None)
            .as_boolean()
            .value(0)
    );
    for (feature_type, arrow) in [
        (FeatureType::Float32, DataType::Float32),
        (FeatureType::Float64, DataType::Float64),
        (FeatureType::Int64, DataType::Int64),
        (FeatureType::Utf8, DataType::Utf8),
        (FeatureType::Boolean, DataType::Boolean),
    ] {
        let null = one_feature("NULL", feature_type, None);
        assert!(null.data_type() == &arrow && null.is_null(0) && null.len() == 1);
    }
}

#[test]
fn null_is_imputed_where_the_package_says_so() {
    let single = one_feature("LN(0)", FeatureType::Float32, Some(-1.5));
    assert_eq!(single.as_primitive::<Float32Type>().value(0), -1.5);
    let double = one_feature("m", FeatureType::Float64, Some(0.1));
    assert_eq!(double.as_primitive::<Float64Type>().value(0), 0.1);
    let integer = one_feature("n", FeatureType::Int64, Some(-1.0));
    assert_eq!(integer.as_primitive::<Int64Type>().value(0), -1);
    let zero = one_feature("m", FeatureType::Float64, Some(-0.0));
    assert_eq!(zero.as_primitive::<Float64Type>().value(0).to_bits(), 0);
    for (sql, impute, wanted) in [
        ("n > 0", 0.0, false),
        ("n > 0", 1.0, true),
        ("i > 0", 0.0, true),
    ] {
        let flag = one_feature(sql, FeatureType::Boolean, Some(impute));
        assert!(flag.is_valid(0));
        assert_eq!(flag.as_boolean().value(0), wanted, "{sql}, {impute}");
    }
    let present = one_feature("i", FeatureType::Int64, Some(-1.0));
    assert_eq!(present.as_primitive::<Int64Type>().value(0), 7);
}

#[test]
fn the_digest_follows_meaning_and_not_spelling() {
    let digest = |definitions: &[(Definition, FeatureType)]| {
        FeatureSet::compile(definitions, &row().schema())
            .unwrap()
            .digest()
    };
    let single = FeatureType::Float32;
    let written = digest(&[feature("a", "ln( (i+1) ) -- why", single)]);
    assert_eq!(written, digest(&[feature("a", "LN(i + 1)", single)]));
    let others = [
        digest(&[feature("b", "LN(i + 1)", single)]),
        digest(&[feature("a", "LN(i + 2)", single)]),
        digest(&[feature("a", "LN(i + 1.0)", single)]),
        digest(&[feature("a", "LN(i + 1)", FeatureType::Float64)]),
        digest(&[impute("a", "LN(i + 1)", single, Some(0.0))]),
        digest(&[feature("a", "LN(i + 1)", single), feature("b", "i", single)]),
        digest(&[]),
    ];
    for (index, other) in others.iter().enumerate() {
        assert!(
            *other != written && !others[..index].contains(other),
            "{index}"
        );
    }
    // Changes only with the version in its first line: archives name it.
    assert_eq!(
        written.to_string(),
        "d89508c8179969ed4393119c15104b490d2db806c501d4e78a340e662687ba89"
    );
}

#[test]
fn a_set_knows_its_names_and_keeps_their_order() {
    let definitions = [
        feature("b", "i", FeatureType::Int64),
        feature("a", "x", FeatureType::Float32),
    ];
    let set = FeatureSet::compile(&definitions, &row().schema()).unwrap();
    assert_eq!(set.names().collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!(
        set.types().collect::<Vec<_>>(),
        [FeatureType::Int64, FeatureType::Float32]
    );
    assert!(
        FeatureSet::compile(&[], &Schema::empty())
            .unwrap()
            .names()
            .len()
            == 0
    );
}

#[test]
fn features_have_one_value_for_each_row() {
    let definitions = [
        feature("constant", "1 + 1", FeatureType::Float32),
        feature("condition", "TRUE AND yes", FeatureType::Boolean),
        feature(
            "branch",
            "CASE WHEN TRUE THEN 1 ELSE 2 END",
            FeatureType::Int64,
        ),
        feature("null", "NULL", FeatureType::Utf8),
    ];
    let row = row();
    let set = FeatureSet::compile(&definitions, &row.schema()).unwrap();
    let three = arrow::compute::concat_batches(&row.schema(), [&row, &row, &row]).unwrap();
    for (batch, rows) in [(row.slice(0, 0), 0), (row, 1), (three, 3)] {
        assert!(set.evaluate(&batch).iter().all(|array| array.len() == rows));
    }
}

#[test]
fn a_row_is_known_in_which_anything_was_imputed() {
    let numbers: [(&str, ArrayRef); 2] = [
        (
            "a",
            Arc::new(Int64Array::from(vec![Some(1), None, Some(3), None])),
        ),
        (
            "b",
            Arc::new(Float64Array::from(vec![
                Some(1.0),
                Some(2.0),
                Some(1e300),
                None,
            ])),
        ),
    ];
    let batch = RecordBatch::try_from_iter(numbers).unwrap();
    let imputed = |definitions: &[(Definition, FeatureType)]| {
        let set = FeatureSet::compile(definitions, &batch.schema()).unwrap();
        let evaluated = set.complete(&batch);
        (0..4)
            .map(|row| evaluated.is_imputed(row))
            .collect::<Vec<_>>()
    };
    let integers = impute("a", "a", FeatureType::Int64, Some(0.0));
    // The third number is too large for a float, which is as good as none.
    let floats = impute("b", "b", FeatureType::Float32, Some(0.0));
    let nothing = impute("c", "a", FeatureType::Int64, None);
    assert_eq!(
        imputed(std::slice::from_ref(&integers)),
        [false, true, false, true]
    );
    assert_eq!(
        imputed(&[integers.clone(), floats]),
        [false, true, true, true]
    );
    assert_eq!(imputed(std::slice::from_ref(&nothing)), [false; 4]);

    let definitions = [integers, nothing];
    let set = FeatureSet::compile(&definitions, &batch.schema()).unwrap();
    let evaluated = set.complete(&batch);
    for feature in 0..2 {
        // Imputed or missing, it is not known.
        let known = evaluated.known(feature).unwrap();
        assert_eq!(
            (0..4).map(|row| known.is_valid(row)).collect::<Vec<_>>(),
            [true, false, true, false]
        );
    }
}

#[test]
fn a_condition_is_met_or_not_or_unknown() {
    let row = row();
    let met = |sql| {
        let result = Condition::compile(sql, &row.schema())
            .unwrap()
            .evaluate(&row);
        assert_eq!(result.len(), 1);
        result.is_valid(0).then(|| result.value(0))
    };
    assert_eq!(met("x >= 2.5 AND s = 'Café'"), Some(true));
    assert_eq!(met("i < 0"), Some(false));
    assert_eq!(met("n < 0"), None);
    assert_eq!(met("NULL"), None);
    let condition = Condition::compile("x>=2 and not yes", &row.schema()).unwrap();
    assert_eq!(condition.canonical(), "((\"x\" >= 2.0) AND (NOT \"yes\"))");
}

#[test]
#[should_panic(expected = "column 0 is as it was compiled for")]
fn a_batch_of_another_schema_is_a_bug() {
    let row = row();
    let set = FeatureSet::compile(&[feature("a", "i", FeatureType::Int64)], &row.schema()).unwrap();
    let other =
        RecordBatch::try_from_iter([("i", Arc::new(Int32Array::from(vec![7])) as ArrayRef)]);
    let _ = set.evaluate(&other.unwrap());
}

//! Texts as the numbers that a model was fitted on.

use std::collections::BTreeMap;

use super::*;
use crate::features::Categories;

fn codes(codes: &[(&str, f64)], unknown: f64) -> Option<Categories> {
    let codes: BTreeMap<String, f64> = codes
        .iter()
        .map(|(text, code)| ((*text).to_owned(), *code))
        .collect();
    Some(Categories::new(codes, unknown))
}

fn with(
    sql: &str,
    feature_type: FeatureType,
    impute: Option<f64>,
    categories: Option<Categories>,
) -> (Definition, FeatureType) {
    let definition = Definition {
        name: "it".to_owned(),
        sql: sql.to_owned(),
        impute,
        categories,
    };
    (definition, feature_type)
}

fn channels() -> RecordBatch {
    let texts = StringArray::from(vec![Some("pos"), Some("web"), None, Some("POS"), Some("")]);
    RecordBatch::try_from_iter([("channel", Arc::new(texts) as ArrayRef)]).unwrap()
}

fn evaluated(definition: (Definition, FeatureType)) -> ArrayRef {
    let events = channels();
    let set = FeatureSet::compile(&[definition], &events.schema()).unwrap();
    set.evaluate(&events).remove(0)
}

#[test]
fn a_listed_text_has_its_code_and_any_other_the_unknown_one() {
    let known = || codes(&[("web", 2.0), ("pos", 0.0), ("shop", 0.0)], -1.0);
    let singles = evaluated(with("channel", FeatureType::Float32, None, known()));
    let wanted = [Some(0.0), Some(2.0), None, Some(-1.0), Some(-1.0)];
    assert_eq!(
        singles
            .as_primitive::<Float32Type>()
            .iter()
            .collect::<Vec<_>>(),
        wanted.map(|code| code.map(|code| code as f32))
    );
    let doubles = evaluated(with("channel", FeatureType::Float64, None, known()));
    assert_eq!(
        doubles
            .as_primitive::<Float64Type>()
            .iter()
            .collect::<Vec<_>>(),
        wanted
    );
    let integers = evaluated(with(
        "LOWER(channel)",
        FeatureType::Int64,
        Some(-9.0),
        known(),
    ));
    let integers = integers.as_primitive::<Int64Type>();
    assert_eq!(integers.values().to_vec(), [0, 2, -9, 0, -1]);
    assert_eq!(integers.null_count(), 0);
}

#[test]
fn a_text_that_is_missing_is_imputed_and_an_unknown_one_is_not() {
    let events = channels();
    let definition = with(
        "channel",
        FeatureType::Float32,
        Some(5.0),
        codes(&[("pos", 1.0)], 0.0),
    );
    let set = FeatureSet::compile(&[definition], &events.schema()).unwrap();
    let complete = set.complete(&events);
    let imputed: Vec<bool> = (0..5).map(|row| complete.is_imputed(row)).collect();
    assert_eq!(imputed, [false, false, true, false, false]);
    assert_eq!(
        complete.columns[0]
            .as_primitive::<Float32Type>()
            .values()
            .to_vec(),
        [1.0, 0.0, 5.0, 0.0, 0.0]
    );
}

#[test]
fn categories_of_what_is_no_text_are_refused_under_the_expression() {
    let refusal = |sql: &str| {
        let definition = with(sql, FeatureType::Float32, None, codes(&[("a", 1.0)], 0.0));
        let errors = FeatureSet::compile(&[definition], &row().schema()).unwrap_err();
        errors[0].to_string()
    };
    assert_eq!(
        refusal("i + 1"),
        "feature `it`: categories are texts, and this is an integer\n  1 | i + 1\n    | ^^^^^\n  write CAST(… AS \
         VARCHAR), or leave `categories` and `unknown` out"
    );
    assert!(refusal("at").contains("categories are texts, and this is a timestamp"));
    assert!(refusal("x").ends_with("leave `categories` and `unknown` out"));
}

#[test]
fn a_code_that_the_type_does_not_hold_to_the_bit_is_refused() {
    let compile = |feature_type, code, impute| {
        let definition = with("s", feature_type, impute, codes(&[("a", code)], 7.0));
        FeatureSet::compile(&[definition], &row().schema()).map_err(|errors| errors[0].to_string())
    };
    assert!(compile(FeatureType::Float32, 0.5, None).is_ok());
    assert!(compile(FeatureType::Float64, 0.1, None).is_ok());
    for (feature_type, code) in [
        (FeatureType::Float32, 0.1),
        (FeatureType::Float32, f64::INFINITY),
        (FeatureType::Float64, f64::NAN),
        (FeatureType::Int64, 0.5),
        (FeatureType::Int64, 9_007_199_254_740_992.0),
    ] {
        let refusal = compile(feature_type, code, Some(0.0)).unwrap_err();
        let wanted = format!(
            "the category's code {code:?} is no value of type {}",
            feature_type.as_str()
        );
        assert!(refusal.contains(&wanted), "{refusal}");
    }
    for feature_type in [FeatureType::Utf8, FeatureType::Boolean] {
        assert!(compile(feature_type, 1.0, None).is_err());
    }
}

#[test]
fn the_digest_knows_codes_and_not_the_order_in_which_they_were_written() {
    let digest = |categories| {
        let definition = with("s", FeatureType::Float32, None, categories);
        FeatureSet::compile(&[definition], &row().schema())
            .unwrap()
            .digest()
    };
    let one = digest(codes(&[("a", 1.0), ("b", 2.0)], 0.0));
    assert_eq!(one, digest(codes(&[("b", 2.0), ("a", 1.0)], -0.0)));
    for other in [
        codes(&[("a", 1.0), ("b", 3.0)], 0.0),
        codes(&[("a", 1.0), ("c", 2.0)], 0.0),
        codes(&[("a", 1.0), ("b", 2.0)], -1.0),
    ] {
        assert_ne!(one, digest(other));
    }
}

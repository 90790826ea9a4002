//! What scored records and evidence say of decisions, and of which.

use std::sync::Arc;

use arrow::array::{Array as _, AsArray as _, Float32Array};
use arrow::datatypes::Float32Type;
use serde_json::Value;

use crate::config::{Config, Environment, ExplainedRows};
use crate::error::Fatal;
use crate::explain::live::{Narrator, Rows};
use crate::infer::testing::{fixture, runtime};
use crate::infer::{Model, Provider};
use crate::package::{Method, Package, Reasons};
use crate::record::{Decision, Offset};
use crate::setup::Setup;

const AMPLE: usize = 1 << 28;

fn open(package: &Package, language: Option<&str>) -> Result<(Narrator, Model), String> {
    let runtime = runtime("explain::live").expect("the test asked for it");
    let mut model = Model::open(package, runtime, &[Provider::Cpu]).unwrap();
    let narrator = Narrator::open(package, &mut model, Rows::All, language, AMPLE)
        .map_err(|e| e.to_string())?;
    Ok((narrator.expect("the package has reasons"), model))
}

#[test]
fn what_is_not_approved_is_explained_and_a_fixed_sample_of_the_rest() {
    let hold = |rows: Rows, decision, offset| rows.hold(decision, 3, Offset(offset));
    let some = Rows::NotApproved { one_in: 100 };
    for decision in [Decision::Review, Decision::Decline] {
        assert!((0..1000).all(|offset| hold(some, decision, offset)));
        assert!(!hold(Rows::None, decision, 0));
    }
    let approve = Decision::Approve;
    assert!((0..1000).all(|offset| hold(Rows::All, approve, offset)));
    assert!(!(0..1000).any(|offset| hold(Rows::NotApproved { one_in: 0 }, approve, offset)));
    let sample = |partition| -> Vec<i64> {
        let held = |offset: &i64| some.hold(approve, partition, Offset(*offset));
        (0..100_000).filter(held).collect()
    };
    // One in a hundred, within four standard deviations.
    assert!(
        (875..=1125).contains(&sample(0).len()),
        "{}",
        sample(0).len()
    );
    assert_eq!(sample(0), sample(0));
    assert_ne!(sample(0), sample(1));
    // Not every hundredth, nor neighbours.
    assert!(
        sample(0)
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .any(|step| step > 300)
    );
}

#[test]
fn record_and_evidence_say_the_same_and_it_adds_up() {
    let name = "explain::record_and_evidence_say_the_same_and_it_adds_up";
    if runtime(name).is_none() {
        return;
    }
    let package = fixture("reasons-lightgbm");
    let groups = &package.reasons.as_ref().unwrap().groups;
    let features = &package.golden.as_ref().unwrap().columns;
    let (narrator, mut model) = open(&package, None).unwrap();
    let (german, _) = open(&package, Some("de")).unwrap();
    let margins = model.run(features).unwrap().margin.unwrap();
    let rows: Vec<usize> = (0..features[0].len()).filter(|row| row % 3 != 1).collect();
    let told = narrator
        .explain(&mut model, features, Some(&margins), &rows)
        .unwrap();
    assert_eq!(told.count(), rows.len());
    let column = narrator.column(&told, |row| row == 3);
    assert_eq!(column.len(), features[0].len());
    let mut texts = std::collections::BTreeSet::new();
    for (row, margin) in margins.iter().enumerate() {
        let mut record = Vec::new();
        assert_eq!(
            narrator.write_reasons(&mut record, &told, features, row),
            row % 3 != 1
        );
        assert_eq!(column.is_valid(row), row % 3 != 1 && row != 3);
        if column.is_null(row) {
            continue;
        }
        let record: Value = serde_json::from_slice(&record).unwrap();
        let evidence: Value = serde_json::from_str(column.as_string::<i32>().value(row)).unwrap();
        for key in ["method", "base", "residual", "evaluations"] {
            assert_eq!(record[key], evidence[key], "{key}");
        }
        let number = |value: &Value| value.as_f64().unwrap();
        let contribution =
            |feature: usize| number(&evidence["contributions"][&package.features[feature].name]);
        let base = number(&evidence["base"]);
        let whole: f64 = (0..package.features.len()).map(contribution).sum();
        let whole = base + whole + number(&evidence["residual"]);
        assert!((whole - f64::from(*margin)).abs() < 1e-9, "row {row}");
        let reasons = record["reasons"].as_array().unwrap();
        let listed: f64 = reasons
            .iter()
            .map(|reason| number(&reason["contribution"]))
            .sum();
        assert!(
            (base + listed + number(&record["residual"]) - whole).abs() < 1e-9,
            "row {row}"
        );
        let shares: f64 = reasons.iter().map(|reason| number(&reason["share"])).sum();
        assert!((shares - 1.0).abs() < 1e-9);
        let codes: Vec<String> = reasons
            .iter()
            .map(|reason| {
                let sign = if reason["direction"] == "raises" {
                    "+"
                } else {
                    "-"
                };
                format!("{sign}{}", reason["code"].as_str().unwrap())
            })
            .collect();
        assert_eq!(serde_json::json!(codes), evidence["reasons"]);
        for reason in reasons {
            texts.insert(reason["text"].as_str().unwrap().to_owned());
            if let Some(group) = groups.iter().find(|group| reason["code"] == group.code) {
                let sum: f64 = group
                    .features
                    .iter()
                    .map(|feature| contribution(*feature))
                    .sum();
                assert!((sum - number(&reason["contribution"])).abs() < 1e-12);
                assert_eq!(sum > 0.0, reason["direction"] == "raises");
            }
        }
        let mut record = Vec::new();
        german.write_reasons(&mut record, &told, features, row);
        let record: Value = serde_json::from_slice(&record).unwrap();
        assert_eq!(record["reasons"][0]["code"], reasons[0]["code"]);
        assert_ne!(record["reasons"][0]["text"], reasons[0]["text"]);
    }
    assert!(texts.contains("Other features"));
    // Values are put into texts, and a dash where there is none.
    let velocity = " payments with this card within an hour";
    let values: Vec<&str> = texts
        .iter()
        .filter_map(|text| text.strip_suffix(velocity))
        .collect();
    assert!(
        values.iter().any(|value| value.parse::<f32>().is_ok()),
        "{values:?}"
    );
    assert!(values.contains(&"–"), "{values:?}");
}

#[test]
fn a_language_that_the_package_lacks_is_refused() {
    if runtime("explain::a_language_that_the_package_lacks_is_refused").is_none() {
        return;
    }
    let why = open(&fixture("reasons-lightgbm"), Some("fr"))
        .err()
        .unwrap();
    assert!(
        why.contains("has no texts in \"fr\"; write one of de, en"),
        "{why}"
    );
}

/// What is wrong with explanations while payments flow is counted: nobody reads residuals.
#[test]
fn what_is_missing_or_does_not_add_up_is_counted() {
    let name = "explain::what_is_missing_or_does_not_add_up_is_counted";
    if runtime(name).is_none() {
        return;
    }
    let package = fixture("reasons-lightgbm");
    let features = &package.golden.as_ref().unwrap().columns;
    let (narrator, mut model) = open(&package, None).unwrap();
    let mut margins = model.run(features).unwrap().margin.unwrap();
    let mut counts = |margins: &[f32]| {
        let told = narrator.explain(&mut model, features, Some(margins), &[0, 1, 2, 3]);
        let told = told.unwrap();
        (told.count(), told.unexplained(), told.inexact())
    };
    assert_eq!(counts(&margins), (4, 0, 0));
    margins[1] += 1e-4 * margins[1].abs().max(1.0);
    margins[3] = f32::NAN;
    assert_eq!(counts(&margins), (4, 0, 2));

    // A model that cannot be run between the background and a row of endless numbers.
    let mut package = fixture("reasons-linear");
    package.golden = None;
    let reasons = package.reasons.as_mut().unwrap();
    (reasons.method, reasons.permutations) = (Method::Permutation, 1);
    let mut features = reasons.background.columns.clone();
    let endless = features[7].as_primitive::<Float32Type>().values().iter();
    let endless = endless.enumerate().map(|(row, value)| match row {
        2 => f32::INFINITY,
        _ => *value,
    });
    features[7] = Arc::new(Float32Array::from_iter_values(endless));
    let (narrator, mut model) = open(&package, None).unwrap();
    let margins = vec![0.0; features[0].len()];
    let told = narrator.explain(&mut model, &features, Some(&margins), &[1, 2]);
    let told = told.unwrap();
    assert_eq!((told.count(), told.unexplained()), (1, 1));
}

/// Nobody waits for tables, or pays for them, from which nothing is looked up.
#[test]
fn where_nothing_is_explained_no_tables_are_made() {
    if runtime("explain::where_nothing_is_explained_no_tables_are_made").is_none() {
        return;
    }
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config/probity.toml");
    let mut config = Config::load(Some(&file), &[], &Environment::default()).unwrap();
    config.explain.memory_bytes = 1;
    let too_large = |loaded: Result<Setup, Fatal>| {
        let why = loaded.err().map(|why| why.to_string());
        why.is_some_and(|why| why.contains("allow more with explain.memory"))
    };
    assert!(too_large(Setup::load(&config)));
    config.explain.rows = ExplainedRows::None;
    let setup = Setup::load(&config).unwrap();
    let narrator = setup.narrator().expect("the package has reasons");
    assert!(narrator.explainer().is_none());
    assert!(
        setup
            .describe_reasons()
            .contains("explain.rows is \"none\"")
    );
    // The column stays: evidence does not change its shape with what is explained.
    let columns = setup.stages().unwrap();
    let columns = columns.evidence_columns(&setup.schema).unwrap();
    assert!(columns.field_with_name("explanation").is_ok());
    // Whoever checks a package wants to know whether it can be explained.
    assert!(too_large(Setup::load_telling(&config, &mut |_| ())));
    config.explain.language = Some("fr".to_owned());
    let why = Setup::load(&config).err().unwrap().to_string();
    assert!(why.contains("has no texts in \"fr\""), "{why}");
}

/// The package's own words for everything that is in no listed group; languages without any have ours, or the code.
#[test]
fn what_is_in_no_listed_reason_has_words_in_any_language() {
    let mut reasons = fixture("reasons-lightgbm").reasons.unwrap();
    let said = |reasons: &Reasons, language: &str| crate::explain::live::other(reasons, language);
    assert_eq!(said(&reasons, "de"), "Andere Merkmale");
    assert_eq!(said(&reasons, "en-GB"), "Other features");
    assert_eq!(said(&reasons, "fr"), "OTHER");
    let package = super::fixtures::changed("reasons-lightgbm", |folder| {
        let path = folder.join("model.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        let other = "[reasons]\nother = { de = \"Alles {{andere}}\" }";
        std::fs::write(&path, text.replace("[reasons]", other)).unwrap();
    });
    reasons.other = package.reasons.unwrap().other;
    assert_eq!(said(&reasons, "de"), "Alles {andere}");
    assert_eq!(said(&reasons, "en"), "Other features");
}

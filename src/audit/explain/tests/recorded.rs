//! What a row says of its explanation, and how it is compared.

use super::super::Comparison;
use super::super::recorded::{Allowed, Recorded, codes};
use crate::archive::leaf::Value;
use crate::infer::testing::fixture;
use crate::package::Package;

const TEXT: &str = "{\"method\":\"tree-interventional\",\"base\":-0.1,\"residual\":2.5e-324,\"evaluations\":0,\
    \"contributions\":{\"amount_log\":0.30000000000000004,\"hour\":-0.0,\"card_count_1h\":1e300,\
    \"card_amount_ratio\":0.1,\"terminal_risk\":0.2,\"distance_km\":-1.5,\"age_days\":0.0,\"is_online\":0.0},\
    \"reasons\":[\"+VELOCITY\",\"-PLACE\"]}";

fn package() -> Package {
    fixture("reasons-lightgbm")
}

fn read(value: Value) -> Result<Option<Recorded>, String> {
    let cells = [
        ("score".to_owned(), Value::F32(0.5)),
        ("explanation".to_owned(), value),
    ];
    Recorded::read(&cells, &package())
}

#[test]
fn numbers_are_read_to_the_bit() {
    let recorded = read(Value::Text(TEXT.to_owned())).unwrap().unwrap();
    let contributions = [0.1 + 0.2, -0.0, 1e300, 0.1, 0.2, -1.5, 0.0, 0.0];
    let bits = |numbers: &[f64]| numbers.iter().map(|n| n.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&recorded.contributions), bits(&contributions));
    assert_eq!(recorded.base.to_bits(), (-0.1_f64).to_bits());
    assert_eq!(recorded.residual, Some(5e-324));
    assert_eq!(recorded.reasons, "+VELOCITY -PLACE");
    assert_eq!(
        (&*recorded.method, recorded.evaluations),
        ("tree-interventional", 0)
    );
    let without = TEXT.replace("2.5e-324", "null");
    let recorded = read(Value::Text(without)).unwrap().unwrap();
    assert_eq!(recorded.residual, None);
}

#[test]
fn a_row_without_an_explanation_has_none_and_a_wrong_one_is_refused() {
    assert_eq!(read(Value::Null), Ok(None));
    assert_eq!(Recorded::read(&[], &package()), Ok(None));
    let text = |from: &str, to: &str| {
        assert!(TEXT.contains(from), "{from}");
        Value::Text(TEXT.replacen(from, to, 1))
    };
    for (value, says) in [
        (Value::Int(1), "is no text"),
        (text("}", ""), "is no explanation"),
        (text("\"base\":-0.1,", ""), "is no explanation"),
        (
            text("\"method\"", "\"more\":1,\"method\""),
            "is no explanation",
        ),
        (text("-0.1", "null"), "has no number for `base`"),
        (text("-1.5", "\"-1.5\""), "has no number for `distance_km`"),
        (text("\"hour\"", "\"minute\""), "lacks `hour`"),
        (text("\"hour\":-0.0,", ""), "is of other features"),
        // Of two, readers take one or the other.
        (
            text("\"hour\":-0.0", "\"hour\":1.5,\"hour\":-0.0"),
            "is no explanation",
        ),
        (
            text("\"base\":-0.1", "\"base\":1.5,\"base\":-0.1"),
            "is no explanation",
        ),
    ] {
        let why = read(value).unwrap_err();
        assert!(why.contains(says), "{says}: {why}");
        assert!(!why.contains("1.5"), "{why}");
    }
}

#[test]
fn another_runtime_may_differ_within_the_tolerance_and_the_same_not_at_all() {
    let package = package();
    let mut ours = read(Value::Text(TEXT.replace("1e300", "3.0")))
        .unwrap()
        .unwrap();
    ours.reasons = codes(&package, &ours.contributions);
    let compare = |change: f64, allowed: Allowed| {
        let mut other = ours.clone();
        other.contributions[5] += change;
        other.compare(&ours, &package, allowed)
    };
    let near = |on_device, largest| Allowed::Relative { on_device, largest };
    let cpu = near(false, 1.0);
    assert_eq!(compare(0.0, Allowed::Nothing), Ok(Comparison::Same));
    assert_eq!(compare(1e-7, cpu), Ok(Comparison::WithinTolerance));
    assert_eq!(compare(1e-7, Allowed::Nothing).unwrap_err().len(), 1);
    assert_eq!(compare(1e-5, cpu).unwrap_err().len(), 1);
    assert_eq!(compare(f64::NAN, cpu).unwrap_err().len(), 2);
    // Differences of large margins, and those of a device, are less sure.
    assert_eq!(
        compare(1e-5, near(false, 20.0)),
        Ok(Comparison::WithinTolerance)
    );
    assert_eq!(
        compare(1e-5, near(true, 1.0)),
        Ok(Comparison::WithinTolerance)
    );
    assert_eq!(compare(1e-4, near(true, 1.0)).unwrap_err().len(), 1);
    // What was recorded does not widen what is allowed.
    assert_eq!(compare(1e300, near(true, 1.0)).unwrap_err().len(), 2);
}

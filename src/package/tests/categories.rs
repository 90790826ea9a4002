//! Features that are texts to an event and numbers to a model.

use super::*;

/// [`MANIFEST_TEXT`] with a feature more, which has these lines.
fn manifest(kind: &str, lines: &str) -> String {
    let golden = MANIFEST_TEXT.replace(
        "chunk_rows = 64",
        "chunk_rows = 64\ngolden = \"golden.json\"",
    );
    format!(
        "{golden}\n[[feature]]\nname = \"channel\"\nsql = \"channel\"\ntype = \"{kind}\"\n{lines}\n"
    )
}

fn features(kind: &str, lines: &str) -> Result<Vec<FeatureSpec>> {
    Package::load_features(folder(&manifest(kind, lines)).path())
}

/// The package whose golden rows have these codes, as they are written.
fn with_golden(kind: &str, lines: &str, codes: &str) -> Result<Package> {
    let folder = folder(&manifest(kind, lines));
    let json = format!(
        r#"{{"onnxruntime": "1.32.0", "chunk_rows": 64, "score": {{"float32": "3f0000003f000000"}}, "columns": {{
            "amount": {{"float32": "3f8000003f800000"}}, "count": {{"int64": [7, 8]}}, "channel": {codes}}}}}"#
    );
    std::fs::write(folder.path().join("golden.json"), json).unwrap();
    Package::load(folder.path())
}

const CODES: &str = "categories = { pos = 0, ecommerce = 1, shop = 0 }\nunknown = -1";

#[test]
fn a_feature_knows_the_codes_of_its_texts() {
    let read = features("float32", CODES).unwrap();
    let categories = read[2].categories.as_ref().unwrap();
    // By text: ecommerce, pos, shop, and any other.
    assert_eq!(
        categories.codes().collect::<Vec<_>>(),
        [1.0, 0.0, 0.0, -1.0]
    );
    assert_eq!(categories.unknown(), -1.0);
    assert!(read[0].categories.is_none());
    assert!(features("float64", "categories = { a = 0.1 }\nunknown = 1").is_ok());
    assert!(features("int64", &format!("{CODES}\nimpute = -2")).is_ok());
}

#[test]
fn codes_that_cannot_be_are_refused_with_the_fix() {
    for (kind, lines, says) in [
        (
            "float32",
            "categories = { a = 1 }",
            ":33: `categories` of feature `channel` without `unknown`; write",
        ),
        (
            "float32",
            "unknown = -1",
            ":33: `unknown` of feature `channel` without `categories`; write",
        ),
        (
            "float32",
            "categories = {}\nunknown = -1",
            ":33: `categories` of feature `channel` is empty",
        ),
        (
            "float32",
            "categories = { a = 1 }\nunknown = 1",
            ":34: `unknown` of feature `channel` is the code of \"a\" as well",
        ),
        (
            "float32",
            "categories = { a = 0 }\nunknown = -0.0",
            ":34: `unknown` of feature `channel` is the code of \"a\" as well",
        ),
        (
            "float32",
            "categories = { a = 0.1 }\nunknown = 1",
            ":33: `categories` of feature `channel`: the code of \"a\" is 0.1, which is no float32; write a number that",
        ),
        (
            "float32",
            "categories = { a = inf }\nunknown = 1",
            "which is no float32",
        ),
        (
            "float64",
            "categories = { a = nan }\nunknown = 1",
            "which is no float64; write a finite number",
        ),
        (
            "float64",
            "categories = { a = 1 }\nunknown = nan",
            ":34: `unknown` of feature `channel` is NaN",
        ),
        (
            "int64",
            "categories = { a = 0.5 }\nunknown = 1\nimpute = 0",
            "which is no int64; write a whole number",
        ),
        (
            "string",
            "categories = { a = 1 }\nunknown = 0",
            "a string has no codes; write type =",
        ),
        (
            "boolean",
            "categories = { a = 1 }\nunknown = 0\nimpute = 0",
            "a boolean has no codes",
        ),
        (
            "float32",
            "categories = { a = \"1\" }\nunknown = 0",
            ":33: feature 3: `categories.a` is a text; write a number",
        ),
    ] {
        let text = features(kind, lines).unwrap_err().to_string();
        assert!(text.contains(says), "{lines}: wanted {says}: {text}");
    }
}

#[test]
fn golden_rows_with_an_unknown_category_code_are_refused() {
    // -1, and NaN for what is missing.
    assert!(with_golden("float32", CODES, r#"{"float32": "bf8000007fc00000"}"#).is_ok());
    let imputed = format!("{CODES}\nimpute = 7");
    assert!(with_golden("int64", &imputed, r#"{"int64": [7, 1]}"#).is_ok());
    for (kind, lines, codes) in [
        ("float32", CODES, r#"{"float32": "3f80000040e00000"}"#),
        (
            "float64",
            CODES,
            r#"{"float64": "3ff0000000000000401c000000000000"}"#,
        ),
        ("int64", imputed.as_str(), r#"{"int64": [1, 8]}"#),
    ] {
        let refusal = with_golden(kind, lines, codes).unwrap_err();
        assert_eq!(refusal.exit, Exit::Usage);
        let text = refusal.to_string();
        let says =
            "golden.json: column `channel`: row 1 (counted from 0) has an unknown category code";
        assert!(text.contains(says), "{text}");
    }
}

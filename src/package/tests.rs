use std::path::PathBuf;

use super::*;
use crate::error::Exit;

mod about;
mod categories;
mod policy;
mod reasons;
mod reference;
mod schema;
mod signature;
mod template;
mod wrong;

const MANIFEST_TEXT: &str = r#"name = "card-risk"
version = "1.2.0"

[model]
file = "model.onnx"
chunk_rows = 64

[output]
probability = { name = "probabilities", column = 1 }

[policy]
version = "2026-11-01"
review = 0.5
decline = 0.9

[[feature]]
name = "amount"
sql = "amount_minor / 100.0"
type = "float32"
impute = 0.0

[[feature]]
name = "count"
sql = "card_count_1h"
type = "int64"
impute = 0
"#;

/// A folder with this `model.toml` and an ONNX file that holds no model.
fn folder(manifest: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.toml"), manifest).unwrap();
    std::fs::write(folder.path().join("model.onnx"), b"not read here").unwrap();
    folder
}

/// What is said of the manifest after replacing `from`, which must be there.
fn refusal(from: &str, to: &str) -> String {
    assert!(MANIFEST_TEXT.contains(from), "{from} is not in the text");
    let folder = folder(&MANIFEST_TEXT.replacen(from, to, 1));
    let error = Package::load(folder.path()).unwrap_err();
    assert_eq!(error.exit, Exit::Usage);
    let text = error.to_string();
    text.strip_prefix(&folder.path().display().to_string())
        .unwrap_or(&text)
        .to_owned()
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/models")
        .join(name)
}

#[test]
fn a_package_says_what_its_manifest_says() {
    let folder = folder(MANIFEST_TEXT);
    let package = Package::load(folder.path()).unwrap();
    assert_eq!(package.title(), "card-risk 1.2.0");
    assert_eq!(package.chunk_rows, [64]);
    assert_eq!(package.inputs, Inputs::Columns);
    assert_eq!(
        package.probability,
        Output {
            name: "probabilities".into(),
            pick: Pick::Column(1)
        }
    );
    assert_eq!(package.margin, None);
    assert_eq!(package.policy, Policy::new("2026-11-01", 0.5, 0.9).unwrap());
    let amount = &package.features[0];
    assert_eq!(
        (amount.name.as_str(), amount.kind, amount.impute),
        ("amount", FeatureType::Float32, Some(0.0))
    );
    assert_eq!(package.features[1].kind, FeatureType::Int64);
}

#[test]
fn every_fixture_loads() {
    for name in [
        "lightgbm",
        "lightgbm-zipmap",
        "xgboost",
        "mlp",
        "pipeline",
        "kinds",
    ] {
        let package = Package::load(&fixture(name)).unwrap();
        assert_eq!(package.name, format!("fixture-{name}"));
    }
    let pipeline = Package::load(&fixture("pipeline")).unwrap();
    assert_eq!(
        pipeline.probability.pick,
        Pick::Class(Class::Text("fraud".into()))
    );
    let zipmap = Package::load(&fixture("lightgbm-zipmap")).unwrap();
    assert_eq!(zipmap.probability.pick, Pick::Class(Class::Number(1)));
}

#[test]
fn what_is_written_of_rows_is_what_was_read() {
    // Of all types of features, with and without a margin, contributions and a background.
    for name in ["kinds", "pipeline", "lightgbm-zipmap", "reasons-catboost"] {
        let package = Package::load(&fixture(name)).unwrap();
        let (features, golden) = (&package.features, package.golden.as_ref().unwrap());
        let text = golden.to_json(features, "1.32.0", 64);
        let given = golden::Given {
            margin: package.margin.is_some(),
            method: package.reasons.as_ref().map(|reasons| reasons.method),
        };
        let read = golden::read(Path::new("golden.json"), text.as_bytes(), features, given);
        let written: serde_json::Value = serde_json::from_str(&text).unwrap();
        let original = package.golden_file.as_ref().unwrap();
        let original: serde_json::Value = serde_json::from_slice(&original.bytes).unwrap();
        for key in ["columns", "score", "margin", "base", "contributions"] {
            assert_eq!(written.get(key), original.get(key), "{name}: {key}");
        }
        assert_eq!(read.unwrap().to_json(features, "1.32.0", 64), text);
        let Some(reasons) = &package.reasons else {
            continue;
        };
        let text = reasons.background.to_json(features);
        let written: serde_json::Value = serde_json::from_str(&text).unwrap();
        let original = package.background_file.as_ref().unwrap();
        let original: serde_json::Value = serde_json::from_slice(&original.bytes).unwrap();
        assert_eq!(written, original, "{name}");
    }
}

#[test]
fn the_digest_is_what_sha256sum_prints() {
    let folder = folder(MANIFEST_TEXT);
    let package = Package::load(folder.path()).unwrap();
    assert_eq!(package.model.digest, Digest::of(b"not read here"));
    let lines = format!(
        "{}  model.onnx\n{}  model.toml\n",
        Digest::of(b"not read here"),
        Digest::of(MANIFEST_TEXT.as_bytes())
    );
    assert_eq!(package.digest(), Digest::of(lines.as_bytes()));
}

#[test]
fn the_policy_has_one_digest_however_it_is_written() {
    let one = Package::load(folder(MANIFEST_TEXT).path()).unwrap();
    let other = MANIFEST_TEXT
        .replace("review = 0.5", "review = 5e-1")
        .replace("0.9", "0.90");
    let other = Package::load(folder(&other).path()).unwrap();
    assert_eq!(one.policy.digest(), other.policy.digest());
    assert_ne!(one.digest(), other.digest());
}

#[test]
fn unknown_and_missing_keys_are_named_with_their_line() {
    let text = refusal("impute = 0.0", "imputed = 0.0");
    assert!(
        text.starts_with(
            "/model.toml:20: feature 1: `imputed` is unknown; write one of `name`, `sql`"
        ),
        "{text}"
    );
    let text = refusal("chunk_rows = 64", "");
    assert!(text.contains("model has no `chunk_rows`"), "{text}");
    let text = refusal("review = 0.5", "review = \"high\"");
    assert!(text.starts_with("/model.toml:13: "), "{text}");
    let text = refusal("[policy]", "[polizy]");
    assert!(text.contains("`polizy` is unknown"), "{text}");
}

#[test]
fn thresholds_out_of_order_are_refused() {
    let text = refusal("decline = 0.9", "decline = 0.4");
    assert_eq!(
        text,
        "/model.toml:14: `policy.decline`: 0.4 is below `review` = 0.5; exchange the two"
    );
    let text = refusal("review = 0.5", "review = nan");
    assert!(
        text.starts_with("/model.toml:13: `policy.review`: NaN is no probability"),
        "{text}"
    );
}

#[test]
fn values_that_cannot_be_are_refused_with_the_fix() {
    for (from, to, says) in [
        (
            "\"card-risk\"",
            "\"card risk\"",
            ":1: `name` is \"card risk\"; write 1 to 64",
        ),
        ("\"1.2.0\"", "\"\"", ":2: `version` is \"\""),
        ("\"2026-11-01\"", "\"1\\n2\"", ":12: `policy.version`"),
        ("\"model.onnx\"", "\"../model.onnx\"", ":5: `model.file`"),
        ("\"model.onnx\"", "\"..\"", ":5: `model.file`"),
        ("\"model.onnx\"", "\"model.toml\"", ":5: `model.file`"),
        (
            "chunk_rows = 64",
            "chunk_rows = 0",
            ":6: `model.chunk_rows` is [0]; write a number from 1 to 4096",
        ),
        (
            "column = 1",
            "column = 1, class = 1",
            ":9: `output.probability` has both",
        ),
        (
            "chunk_rows = 64",
            "chunk_rows = 64\nmatrix = \"input\"",
            "feature `count` is int64, but a matrix holds float32",
        ),
        (
            "\"count\"",
            "\"amount\"",
            ":23: a second feature has the name `amount`",
        ),
        (
            "\"count\"",
            "\"card count\"",
            ":23: feature name \"card count\"",
        ),
        (
            "\"card_count_1h\"",
            "\" \"",
            ":24: feature `count` has no expression",
        ),
        (
            "\"int64\"",
            "\"int32\"",
            ":25: feature `count` has the unknown type \"int32\"; write one of float32",
        ),
        (
            "impute = 0\n",
            "impute = 0.5\n",
            ":26: `impute` of feature `count`: an integer cannot be missing",
        ),
        (
            "impute = 0\n",
            "",
            ":23: `impute` of feature `count`: an integer cannot be missing",
        ),
        (
            "impute = 0.0",
            "impute = 1e39",
            ":20: `impute` of feature `amount`: not a finite number",
        ),
        (
            "\"float32\"\nimpute = 0.0",
            "\"string\"\nimpute = 0.0",
            ":20: `impute` of feature `amount`: a text cannot",
        ),
        (
            "\"int64\"\nimpute = 0",
            "\"boolean\"\nimpute = 2",
            ":26: `impute` of feature `count`: a boolean",
        ),
    ] {
        let text = refusal(from, to);
        assert!(text.contains(says), "{to}: {text}");
    }
}

#[test]
fn a_package_without_features_is_refused() {
    let cut = MANIFEST_TEXT.find("[[feature]]").unwrap();
    let none = format!("feature = []\n{}", &MANIFEST_TEXT[..cut]);
    let error = Package::load(folder(&none).path()).unwrap_err().to_string();
    assert!(
        error.contains("0 features; write 1 to 4096 tables [[feature]]"),
        "{error}"
    );
}

#[test]
fn several_chunk_sizes_are_written_in_rising_order() {
    let text = MANIFEST_TEXT.replace("chunk_rows = 64", "chunk_rows = [1, 8, 64]");
    assert_eq!(
        Package::load(folder(&text).path()).unwrap().chunk_rows,
        [1, 8, 64]
    );
    for bad in ["[]", "[64, 8]", "[8, 8]", "[0, 8]", "[8, 4097]"] {
        let text = refusal("chunk_rows = 64", &format!("chunk_rows = {bad}"));
        assert!(
            text.starts_with("/model.toml:6: `model.chunk_rows` is ["),
            "{text}"
        );
    }
}

/// What is said of golden rows for the two features of [`MANIFEST_TEXT`].
fn golden(columns: &str, score: &str) -> Result<Package> {
    let text = MANIFEST_TEXT.replace(
        "chunk_rows = 64",
        "chunk_rows = 64\ngolden = \"golden.json\"",
    );
    let folder = folder(&text);
    let json = format!(
        r#"{{"onnxruntime": "1.32.0", "chunk_rows": 64, "columns": {columns}, "score": {score}}}"#
    );
    std::fs::write(folder.path().join("golden.json"), json).unwrap();
    Package::load(folder.path())
}

#[test]
fn golden_rows_are_read_by_their_bits_and_belong_to_the_digest() {
    let columns = r#"{"count": {"int64": [7, 8]}, "amount": {"float32": "3f8000007fc00000"}}"#;
    let package = golden(columns, r#"{"float32": "3f00000000000000"}"#).unwrap();
    let rows = package.golden.as_ref().unwrap();
    assert_eq!(rows.score, [0.5, 0.0]);
    assert_eq!((rows.columns[0].len(), rows.columns[1].len()), (2, 2));
    let names: Vec<_> = package
        .files()
        .iter()
        .map(|part| part.file.clone())
        .collect();
    assert_eq!(names, ["golden.json", "model.onnx", "model.toml"]);
    let other = golden(columns, r#"{"float32": "3f00000000000001"}"#).unwrap();
    assert_ne!(package.digest(), other.digest());
}

#[test]
fn golden_rows_that_do_not_fit_are_refused() {
    let count = r#""count": {"int64": [7]}"#;
    let amount = r#""amount": {"float32": "3f800000"}"#;
    let score = r#"{"float32": "3f000000"}"#;
    let other = r#""other": {"int64": [7]}"#;
    for (columns, score, says) in [
        (format!("{{{count}}}"), score, "no column `amount`"),
        (
            format!("{{{count}, {amount}, {other}}}"),
            score,
            "column `other` is no feature",
        ),
        (
            format!("{{{count}, {amount}}}"),
            r#"{"float32": "3f0000"}"#,
            "`score`: write 8 hexadecimal digits",
        ),
        (
            format!("{{{count}, {amount}}}"),
            r#"{"float32": "+f000000"}"#,
            "`score`: write 8 hexadecimal digits",
        ),
        (
            format!("{{{count}, {amount}}}"),
            r#"{"int64": [1]}"#,
            "`score`: write {\"float32\"",
        ),
        (
            format!("{{{count}, {amount}}}"),
            r#"{"float32": ""}"#,
            "the same number of rows",
        ),
        (
            format!("{{{count}, {amount}}}"),
            r#"{"float32": "3f0000003f000000"}"#,
            "the same number of rows",
        ),
        (
            format!("{{{count}, {}}}", amount.replace("float32", "float64")),
            score,
            "column `amount`: the feature is float32",
        ),
        (
            "[]".to_owned(),
            score,
            "golden.json: it is not the JSON of golden rows at line 1, column ",
        ),
        (
            "{,}".to_owned(),
            score,
            "golden.json: it is no JSON at line 1, column ",
        ),
        (
            "{\"count\"".to_owned(),
            "",
            "golden.json: it is no JSON at line 1, column ",
        ),
    ] {
        let error = golden(&columns, score).unwrap_err();
        assert_eq!(error.exit, Exit::Usage);
        assert!(error.to_string().contains(says), "wanted {says}: {error}");
    }
}

/// What is said of the golden rows of a fixture after `change`.
fn changed_golden(fixture_name: &str, change: impl Fn(&mut serde_json::Value)) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixture(fixture_name)).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    let path = folder.path().join("golden.json");
    let mut golden = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut golden);
    std::fs::write(&path, golden.to_string()).unwrap();
    let error = Package::load(folder.path()).err()?;
    assert_eq!(error.exit, Exit::Usage);
    Some(error.to_string())
}

#[test]
fn golden_rows_have_everything_that_the_model_gives() {
    let without = |fixture: &str, keys: &'static [&str]| {
        let text = changed_golden(fixture, |golden| {
            for key in keys {
                golden.as_object_mut().unwrap().remove(*key).unwrap();
            }
        });
        text.unwrap_or_default()
    };
    let text = without("reasons-lightgbm", &["margin", "base", "contributions"]);
    assert!(text.contains("no `margin`, and model.toml names"), "{text}");
    let text = without("kinds", &["margin"]);
    assert!(text.contains("no `margin`, and model.toml names"), "{text}");
    let text = without("reasons-lightgbm", &["base", "contributions"]);
    let says = "no `base` and `contributions`, and the method of [reasons] is exact";
    assert!(text.contains(says), "{text}");
    let text = changed_golden("lightgbm", |golden| {
        golden["margin"] = golden["score"].clone();
    });
    let text = text.unwrap();
    assert!(text.contains("`margin` would never be checked"), "{text}");
}

#[test]
fn most_golden_rows_have_a_number_for_an_answer() {
    let rows = 203;
    let nan = |key: &'static str, count: usize| {
        move |golden: &mut serde_json::Value| {
            let values = golden[key]["float32"].as_str().unwrap();
            let values = "7fc00000".repeat(count) + &values[8 * count..];
            golden[key]["float32"] = values.into();
        }
    };
    let text = changed_golden("lightgbm", nan("score", rows / 2 + 1)).unwrap();
    let says = "`score` is no number in 102 of 203 rows; write rows of which the model scores at least half";
    assert!(text.contains(says), "{text}");
    assert_eq!(changed_golden("lightgbm", nan("score", rows / 2)), None);
    let text = changed_golden("kinds", nan("margin", 1)).unwrap();
    let says = "row 0 (counted from 0) has a `score` and no `margin` that is a number";
    assert!(text.contains(says), "{text}");
}

#[test]
fn a_file_that_ends_too_early_says_where() {
    let folder = folder(&MANIFEST_TEXT.replace(
        "chunk_rows = 64",
        "chunk_rows = 64\ngolden = \"golden.json\"",
    ));
    std::fs::write(folder.path().join("golden.json"), "{\n\"score\": ").unwrap();
    let text = Package::load(folder.path()).unwrap_err().to_string();
    let says = "golden.json: it ends at line 2, column 9, in the middle of the JSON of golden rows";
    assert!(text.contains(says), "{text}");
}

#[test]
fn a_card_belongs_to_the_package() {
    let text = MANIFEST_TEXT.replace("chunk_rows = 64", "chunk_rows = 64\ncard = \"CARD.md\"");
    let folder = folder(&text);
    let missing = Package::load(folder.path()).unwrap_err().to_string();
    assert!(missing.contains("CARD.md cannot be read"), "{missing}");
    let digest = |card: &str| {
        std::fs::write(folder.path().join("CARD.md"), card).unwrap();
        let package = Package::load(folder.path()).unwrap();
        assert_eq!(package.files()[0].bytes, card.as_bytes());
        package.digest()
    };
    assert_ne!(digest("# For cards"), digest("# For transfers"));
    let taken = text.replace("CARD.md", "model.onnx");
    std::fs::write(folder.path().join("model.toml"), taken).unwrap();
    let error = Package::load(folder.path()).unwrap_err().to_string();
    assert!(
        error.contains("`model.card` is \"model.onnx\"; write the name of another"),
        "{error}"
    );
}

#[test]
fn missing_files_are_named() {
    let empty = tempfile::tempdir().unwrap();
    let error = Package::load(empty.path()).unwrap_err();
    assert_eq!(error.exit, Exit::Usage);
    assert!(
        error.to_string().contains("model.toml cannot be read"),
        "{error}"
    );

    let folder = folder(MANIFEST_TEXT);
    std::fs::remove_file(folder.path().join("model.onnx")).unwrap();
    let error = Package::load(folder.path()).unwrap_err().to_string();
    assert!(error.contains("model.onnx cannot be read"), "{error}");
    std::fs::create_dir(folder.path().join("model.onnx")).unwrap();
    let error = Package::load(folder.path()).unwrap_err().to_string();
    assert!(error.contains("model.onnx is not a file"), "{error}");
}

#[test]
fn a_manifest_too_large_is_not_parsed() {
    let long = format!("{MANIFEST_TEXT}# {}", "x".repeat(1 << 20));
    let error = Package::load(folder(&long).path()).unwrap_err().to_string();
    assert!(error.contains("more than the 1048576 bytes"), "{error}");
}

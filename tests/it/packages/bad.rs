//! Bad packages, each refused with its exit code and its reason, by what a start asks of them.
//!
//! Each is a good package with one change, and the good ones are accepted first. More of each kind is in
//! `src/infer/tests/refused.rs` (models that are not what `model.toml` says), `src/package/tests/` (`model.toml` and
//! signatures) and `src/explain/tests/` (contributions).

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::onnx::{DOUBLE, INT64, Onnx, cast, external, node};
use super::{check, copied, edited, events, fixture, set};
use crate::kit::{self, pipeline::root};

/// The configuration or the package is wrong.
const USAGE: i32 = 2;
const INTEGRITY: i32 = 4;

/// A package in the test's folder, and what is set for it.
struct Case {
    package: PathBuf,
    sets: Vec<String>,
}

impl Case {
    fn of(package: PathBuf) -> Case {
        let sets = vec![events()];
        Case { package, sets }
    }

    fn with(mut self, key: &str, value: impl std::fmt::Display) -> Case {
        self.sets.push(set(key, value));
        self
    }
}

/// What makes a package bad, how its refusal ends, and what that says.
type Row = (&'static str, Box<dyn Fn(&Path) -> Case>, i32, &'static str);

fn row(
    what: &'static str,
    case: impl Fn(&Path) -> Case + 'static,
    exit: i32,
    says: &'static str,
) -> Row {
    (what, Box::new(case), exit, says)
}

/// A package around a model of one feature.
fn around(folder: &Path, model: &Onnx) -> Case {
    let manifest = "name = 'hand-made'\nversion = '1'\n\
        [model]\nfile = 'model.onnx'\nchunk_rows = 8\nmatrix = 'input'\n\
        [output]\nprobability = { name = 'score' }\n\
        [policy]\nversion = '1'\nreview = 0.5\ndecline = 0.9\n\
        [[feature]]\nname = 'risk'\nsql = 'terminal_risk'\nimpute = 0\n";
    std::fs::create_dir(folder).unwrap();
    std::fs::write(folder.join("model.toml"), manifest).unwrap();
    std::fs::write(folder.join("model.onnx"), model.bytes()).unwrap();
    Case::of(folder.to_owned())
}

fn made(model: impl Fn() -> Onnx + 'static) -> impl Fn(&Path) -> Case {
    move |folder| around(folder, &model())
}

fn with_nodes(nodes: Vec<Vec<u8>>) -> Onnx {
    Onnx {
        nodes,
        ..Onnx::default()
    }
}

/// A fixture with one file changed; `from` must be there.
fn changed(
    name: &'static str,
    file: &'static str,
    from: &'static str,
    to: &'static str,
) -> impl Fn(&Path) -> Case {
    move |folder| {
        copied(&fixture(name), folder);
        edited(&folder.join(file), from, to);
        Case::of(folder.to_owned())
    }
}

fn cut(name: &'static str, file: &'static str) -> impl Fn(&Path) -> Case {
    move |folder| {
        copied(&fixture(name), folder);
        let path = folder.join(file);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        Case::of(folder.to_owned())
    }
}

/// What the signed package takes its features from.
const SIGNED_EVENT: &str = r#"{"type": "record", "name": "event", "fields": [
    {"name": "transaction_id", "type": "string"},
    {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    {"name": "digits", "type": "string"},
    {"name": "ratio", "type": "double"},
    {"name": "balance", "type": "double"},
    {"name": "transfers", "type": "long"},
    {"name": "online", "type": "boolean"}]}"#;

/// The signed package after `change`, and this trusted key.
fn signed(key: &'static str, change: impl Fn(&Path)) -> impl Fn(&Path) -> Case {
    move |folder| {
        let data = root().join("tests/data/model-signing");
        copied(&data.join("package"), folder);
        change(folder);
        let schema = folder.with_file_name("event.avsc");
        std::fs::write(&schema, SIGNED_EVENT).unwrap();
        let case = Case::of(folder.to_owned()).with("input.schema", schema.display());
        case.with("model.trust_key", data.join(key).display())
    }
}

fn appended(file: &'static str) -> impl Fn(&Path) {
    move |folder| {
        let path = folder.join(file);
        let bytes = std::fs::read(&path).unwrap_or_default();
        std::fs::write(path, [&bytes[..], b"\n"].concat()).unwrap();
    }
}

/// The reference package, whose trees are many.
fn large(memory: &'static str) -> impl Fn(&Path) -> Case {
    move |folder| {
        copied(&root().join("config/models/card-risk"), folder);
        let schema = root().join("schemas/payment.avsc");
        let case = Case::of(folder.to_owned()).with("input.schema", schema.display());
        case.with("explain.memory", memory)
    }
}

const KEY: &str = "key.pub.pem";

fn good() -> Vec<Row> {
    let unchanged = |name: &'static str| {
        move |folder: &Path| {
            copied(&fixture(name), folder);
            Case::of(folder.to_owned())
        }
    };
    vec![
        row(
            "hand-made",
            made(Onnx::default),
            0,
            "nothing says what the model should give",
        ),
        row("lightgbm", unchanged("lightgbm"), 0, "203 golden rows"),
        row(
            "reasons-lightgbm",
            unchanged("reasons-lightgbm"),
            0,
            "tree-interventional",
        ),
        row("signed", signed(KEY, |_| ()), 0, "signed by"),
    ]
}

fn bad() -> Vec<Row> {
    vec![
        row(
            "a truncated ONNX file",
            cut("lightgbm", "model.onnx"),
            USAGE,
            "it must be a whole ONNX model in one file",
        ),
        row(
            "an input of another type",
            made(|| Onnx {
                input: ("input", INT64),
                nodes: vec![
                    cast("input", "floats", 1),
                    node("Sigmoid", "", &["floats"], "score"),
                ],
                ..Onnx::default()
            }),
            USAGE,
            "is no matrix of 32-bit floats",
        ),
        row(
            "an output of another type",
            made(|| Onnx {
                output: DOUBLE,
                nodes: vec![
                    node("Sigmoid", "", &["input"], "float"),
                    cast("float", "score", DOUBLE),
                ],
                ..Onnx::default()
            }),
            USAGE,
            "probity reads 32-bit floats only",
        ),
        row(
            "a feature of another type",
            |folder| {
                copied(&fixture("pipeline"), folder);
                let manifest = folder.join("model.toml");
                edited(&manifest, "golden = \"golden.json\"\n", "");
                edited(
                    &manifest,
                    "type = \"int64\"\nimpute = 0",
                    "type = \"float32\"",
                );
                Case::of(folder.to_owned())
            },
            USAGE,
            "write type = \"int64\"",
        ),
        row(
            "a renamed input",
            made(|| Onnx {
                input: ("features", 1),
                nodes: vec![node("Sigmoid", "", &["features"], "score")],
                ..Onnx::default()
            }),
            USAGE,
            "write matrix = \"features\"",
        ),
        row(
            "an output that is never a number",
            made(|| {
                with_nodes(vec![
                    node("Sub", "", &["input", "input"], "zero"),
                    node("Div", "", &["zero", "zero"], "score"),
                ])
            }),
            USAGE,
            "none of 96 sample rows gets a score that is a finite number",
        ),
        row(
            "external data that escapes the folder",
            |folder| {
                std::fs::write(folder.with_file_name("secret.bin"), 1.0_f32.to_le_bytes()).unwrap();
                let model = Onnx {
                    constants: vec![external("weight", "../secret.bin")],
                    nodes: vec![node("Mul", "", &["input", "weight"], "score")],
                    ..Onnx::default()
                };
                around(folder, &model)
            },
            USAGE,
            "it must be a whole ONNX model in one file",
        ),
        row(
            "an operator of nobody",
            made(|| with_nodes(vec![node("Mystery", "com.example", &["input"], "score")])),
            USAGE,
            "of operators that ONNX Runtime has",
        ),
        row(
            "a signature by another key",
            signed("other.pub.pem", |_| ()),
            INTEGRITY,
            "was signed with another key than the trusted one",
        ),
        row(
            "a damaged signature",
            signed(KEY, |folder| {
                edited(
                    &folder.join("model.sig"),
                    "\"payload\":\"ewog",
                    "\"payload\":\"ewoh",
                )
            }),
            INTEGRITY,
            "is not signed by the trusted key, or was altered afterwards",
        ),
        row(
            "a tampered file",
            signed(KEY, appended("model.onnx")),
            INTEGRITY,
            "model.onnx differs",
        ),
        row(
            "a file more than was signed",
            signed(KEY, appended("extra.txt")),
            INTEGRITY,
            "extra.txt is not signed",
        ),
        row(
            "a file less than was signed",
            signed(KEY, |folder| {
                std::fs::remove_file(folder.join("golden.json")).unwrap()
            }),
            INTEGRITY,
            "golden.json is signed and not there",
        ),
        row(
            "no signature",
            |folder| {
                let key = root().join("tests/data/model-signing").join(KEY);
                copied(&fixture("kinds"), folder);
                Case::of(folder.to_owned()).with("model.trust_key", key.display())
            },
            INTEGRITY,
            "has no model.sig",
        ),
        row(
            "a golden row with another score",
            |folder| {
                copied(&fixture("lightgbm"), folder);
                let path = folder.join("golden.json");
                let text = std::fs::read_to_string(&path).unwrap();
                let mut golden: Value = serde_json::from_str(&text).unwrap();
                let scores = golden["score"]["float32"].as_str().unwrap();
                // One half: no row of this model has it.
                golden["score"]["float32"] = format!("3f000000{}", &scores[8..]).into();
                std::fs::write(path, golden.to_string()).unwrap();
                Case::of(folder.to_owned())
            },
            USAGE,
            "golden row 0 has the score",
        ),
        row(
            "golden rows without the contributions that are exact",
            |folder| {
                copied(&fixture("reasons-lightgbm"), folder);
                let path = folder.join("golden.json");
                let text = std::fs::read_to_string(&path).unwrap();
                let mut golden: Value = serde_json::from_str(&text).unwrap();
                for key in ["base", "contributions"] {
                    golden.as_object_mut().unwrap().remove(key).unwrap();
                }
                std::fs::write(path, golden.to_string()).unwrap();
                Case::of(folder.to_owned())
            },
            USAGE,
            "golden.json: no `base` and `contributions`",
        ),
        row(
            "a feature that leads to a person",
            changed(
                "lightgbm",
                "model.toml",
                "sql = \"terminal_risk\"",
                "sql = \"terminal_risk\"\npersonal = \"personal\"",
            ),
            USAGE,
            "features are archived in clear",
        ),
        row(
            "a threshold that is no number",
            changed("lightgbm", "model.toml", "review = 0.5", "review = \"x\""),
            USAGE,
            "`policy.review` is a text; write a number from 0 to 1",
        ),
        row(
            "golden rows that are not there",
            |folder| {
                copied(&fixture("lightgbm"), folder);
                std::fs::remove_file(folder.join("golden.json")).unwrap();
                Case::of(folder.to_owned())
            },
            USAGE,
            "golden.json cannot be read",
        ),
        row(
            "a feature of a field that is not there",
            changed(
                "lightgbm",
                "model.toml",
                "sql = \"terminal_risk\"",
                "sql = \"nobody\"",
            ),
            USAGE,
            "nobody",
        ),
        row(
            "a feature that adds a text to a number",
            changed(
                "lightgbm",
                "model.toml",
                "sql = \"terminal_risk\"",
                "sql = \"terminal_risk + channel\"",
            ),
            USAGE,
            "channel",
        ),
        row(
            "a method that does not fit the model",
            changed(
                "reasons-lightgbm",
                "model.toml",
                "method = \"tree\"",
                "method = \"linear\"",
            ),
            USAGE,
            "write method = \"tree\"",
        ),
        row(
            "tables that are too large",
            large("1MiB"),
            USAGE,
            "allow more with explain.memory",
        ),
        row(
            "a golden row with a category code that nobody has",
            |folder| {
                let case = around(folder, &Onnx::default());
                let manifest = folder.join("model.toml");
                let feature = "sql = 'terminal_risk'\nimpute = 0\n";
                let coded =
                    "sql = 'channel'\ncategories = { chip = 0, online = 1 }\nunknown = -1\n";
                edited(&manifest, feature, coded);
                edited(&manifest, "[output]", "golden = 'golden.json'\n[output]");
                // 7, and a half.
                let golden = r#"{"onnxruntime": "1.32.0", "chunk_rows": 8,
                    "columns": {"risk": {"float32": "40e00000"}}, "score": {"float32": "3f000000"}}"#;
                std::fs::write(folder.join("golden.json"), golden).unwrap();
                case
            },
            USAGE,
            "row 0 (counted from 0) has an unknown category code",
        ),
        row(
            "a rule that does not type-check",
            |folder| {
                let case = around(folder, &Onnx::default());
                let rule = "\n[[policy.rule]]\nname = 'far'\nwhen = \"distance_km > 'far'\"\ndecision = 'review'\n";
                let path = folder.join("model.toml");
                let text = std::fs::read_to_string(&path).unwrap();
                std::fs::write(path, text + rule).unwrap();
                case
            },
            USAGE,
            "rule `far`: ",
        ),
    ]
}

fn assert_ends_as_it_says(rows: Vec<Row>, folder: &Path) {
    for (number, (what, case, exit, says)) in rows.into_iter().enumerate() {
        let place = folder.join(number.to_string());
        std::fs::create_dir_all(&place).unwrap();
        let case = case(&place.join("package"));
        let ended = check(&case.package, &case.sets);
        assert_eq!(ended.code, exit, "{what}: {ended}");
        assert!(
            ended.stdout.contains(says),
            "{what}: wanted {says}: {ended}"
        );
        let is_refused = ended
            .stdout
            .lines()
            .filter(|line| line.starts_with('✘'))
            .count();
        assert_eq!(is_refused, usize::from(exit != 0), "{what}: {ended}");
    }
}

#[test]
fn a_good_package_is_accepted() {
    let Some(()) = kit::runtime() else { return };
    assert_ends_as_it_says(good(), &kit::folder("packages-good"));
}

#[test]
fn a_bad_package_is_refused_with_its_reason() {
    let Some(()) = kit::runtime() else { return };
    assert_ends_as_it_says(bad(), &kit::folder("packages-bad"));
}

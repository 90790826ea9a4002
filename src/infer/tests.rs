//! Against the real library: bits equal to Python's, and packages that must be refused.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{BooleanArray, Float32Array, Float64Array, Int64Array, StringArray};
use serde_json::Value as Json;

use super::testing::{fixture, runtime};
use super::*;
use crate::error::Exit;

const FIXTURES: [&str; 6] = [
    "lightgbm",
    "lightgbm-zipmap",
    "xgboost",
    "mlp",
    "pipeline",
    "kinds",
];
const FAILED: Option<Rejection> = Some(Rejection {
    stage: Stage::Infer,
    reason: Reason::InferenceFailed,
});
const NOT_FINITE: Option<Rejection> = Some(Rejection {
    stage: Stage::Infer,
    reason: Reason::ScoreNotFinite,
});

/// Input rows with the bits that Python's onnxruntime gives for them; see `tests/models/make.py`.
struct Golden {
    columns: Vec<ArrayRef>,
    score: Vec<u32>,
    margin: Option<Vec<u32>>,
}

impl Golden {
    fn of(package: &Package) -> Golden {
        let text = std::fs::read(package.folder.join("golden.json")).unwrap();
        let json: Json = serde_json::from_slice(&text).unwrap();
        assert_eq!(json["chunk_rows"], package.chunk_rows);
        let columns = package
            .features
            .iter()
            .map(|feature| column(&json["columns"][&feature.name]));
        let bits_of = |numbers: &Json| -> Vec<u32> {
            let digits = numbers["float32"].as_str().unwrap();
            pieces(digits, 8)
                .map(|piece| u32::from_str_radix(piece, 16).unwrap())
                .collect()
        };
        Golden {
            columns: columns.collect(),
            score: bits_of(&json["score"]),
            margin: json.get("margin").map(bits_of),
        }
    }
}

fn pieces(digits: &str, length: usize) -> impl Iterator<Item = &str> {
    (0..digits.len())
        .step_by(length)
        .map(move |at| &digits[at..at + length])
}

fn column(json: &Json) -> ArrayRef {
    let (kind, values) = json.as_object().unwrap().iter().next().unwrap();
    let list = || values.as_array().unwrap().iter();
    let digits = || values.as_str().unwrap();
    match kind.as_str() {
        "float32" => Arc::new(Float32Array::from_iter_values(
            pieces(digits(), 8)
                .map(|piece| f32::from_bits(u32::from_str_radix(piece, 16).unwrap())),
        )),
        "float64" => Arc::new(Float64Array::from_iter_values(
            pieces(digits(), 16)
                .map(|piece| f64::from_bits(u64::from_str_radix(piece, 16).unwrap())),
        )),
        "int64" => Arc::new(Int64Array::from_iter_values(
            list().map(|value| value.as_i64().unwrap()),
        )),
        "boolean" => Arc::new(BooleanArray::from_iter(list().map(Json::as_bool))),
        "string" => Arc::new(StringArray::from_iter(list().map(Json::as_str))),
        other => panic!("{other}"),
    }
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|number| number.to_bits()).collect()
}

fn open(package: &Package, runtime: &Runtime) -> Model {
    Model::open(package, runtime, &[Provider::Cpu]).unwrap()
}

/// The fixture's columns, but with `column` in place of that of the feature.
fn with(package: &Package, columns: &[ArrayRef], name: &str, column: ArrayRef) -> Vec<ArrayRef> {
    let at = package
        .features
        .iter()
        .position(|feature| feature.name == name)
        .unwrap();
    let mut columns = columns.to_vec();
    columns[at] = column;
    columns
}

#[test]
fn scores_equal_pythons_to_the_bit() {
    let Some(runtime) = runtime("infer::scores_equal_pythons_to_the_bit") else {
        return;
    };
    for name in FIXTURES {
        let package = fixture(name);
        let golden = Golden::of(&package);
        assert!(golden.score.len() > 200);
        let mut model = open(&package, runtime);
        assert_eq!(model.provider(), "cpu");
        let scored = model.run(&golden.columns).unwrap();
        assert!(scored.rejected.iter().all(Option::is_none), "{name}");
        assert_eq!(bits(&scored.score), golden.score, "{name}");
        assert_eq!(scored.margin.as_deref().map(bits), golden.margin, "{name}");
    }
}

#[test]
fn neither_padding_nor_neighbours_change_the_bits() {
    let Some(runtime) = runtime("infer::neither_padding_nor_neighbours_change_the_bits") else {
        return;
    };
    for name in FIXTURES {
        let package = fixture(name);
        let golden = Golden::of(&package);
        let mut model = open(&package, runtime);
        assert_eq!(
            model.probe(&golden.columns).unwrap(),
            Admission::Deterministic,
            "{name}"
        );
        for (first, rows) in [(0, 1), (17, 64), (100, 65), (202, 1), (5, 0)] {
            let slice: Vec<ArrayRef> = golden
                .columns
                .iter()
                .map(|column| column.slice(first, rows))
                .collect();
            let scored = model.run(&slice).unwrap();
            assert_eq!(
                bits(&scored.score),
                golden.score[first..first + rows],
                "{name} {first} {rows}"
            );
        }
    }
}

#[test]
fn a_null_float_is_missing_for_the_model() {
    let Some(runtime) = runtime("infer::a_null_float_is_missing_for_the_model") else {
        return;
    };
    let package = fixture("lightgbm");
    let golden = Golden::of(&package);
    let mut model = open(&package, runtime);
    let nan: ArrayRef = Arc::new(Float32Array::from(vec![f32::from_bits(0xffc0_0001); 203]));
    let null: ArrayRef = Arc::new(Float32Array::from(vec![None; 203]));
    let nan = model
        .run(&with(&package, &golden.columns, "terminal_risk", nan))
        .unwrap();
    let null = model
        .run(&with(&package, &golden.columns, "terminal_risk", null))
        .unwrap();
    assert_eq!(bits(&nan.score), bits(&null.score));
    assert_ne!(bits(&null.score), golden.score);
}

#[test]
fn a_score_that_is_not_finite_rejects_its_row_only() {
    let Some(runtime) = runtime("infer::a_score_that_is_not_finite_rejects_its_row_only") else {
        return;
    };
    let package = fixture("mlp");
    let golden = Golden::of(&package);
    let hours = golden.columns[1].clone();
    let hours: Float32Array = arrow::array::AsArray::as_primitive(&*hours).clone();
    let hours = Float32Array::from_iter(
        hours
            .iter()
            .enumerate()
            .map(|(row, hour)| if row == 70 { None } else { hour }),
    );
    let mut model = open(&package, runtime);
    let scored = model
        .run(&with(&package, &golden.columns, "hour", Arc::new(hours)))
        .unwrap();
    for row in 0..203 {
        if row == 70 {
            assert_eq!(scored.rejected[row], NOT_FINITE);
            assert!(scored.score[row].is_nan() && scored.margin.as_ref().unwrap()[row].is_nan());
        } else {
            assert_eq!(
                (scored.rejected[row], scored.score[row].to_bits()),
                (None, golden.score[row])
            );
        }
    }
}

#[test]
fn a_poison_row_is_rejected_alone_and_the_others_keep_their_bits() {
    let Some(runtime) =
        runtime("infer::a_poison_row_is_rejected_alone_and_the_others_keep_their_bits")
    else {
        return;
    };
    // A channel that the encoder does not know, a text that is no number, and a text that no tensor can hold.
    for (name, feature, poison) in [
        ("pipeline", "channel", "?"),
        ("kinds", "digits", "x"),
        ("pipeline", "country", "D\0E"),
    ] {
        let package = fixture(name);
        let golden = Golden::of(&package);
        let at = package
            .features
            .iter()
            .position(|f| f.name == feature)
            .unwrap();
        let guilty = [3, 64, 65, 127, 202];
        let texts: StringArray =
            arrow::array::AsArray::as_string::<i32>(&*golden.columns[at]).clone();
        let texts = texts.iter().enumerate().map(|(row, text)| {
            if guilty.contains(&row) {
                Some(poison)
            } else {
                text
            }
        });
        let columns = with(
            &package,
            &golden.columns,
            feature,
            Arc::new(StringArray::from_iter(texts)),
        );
        let scored = open(&package, runtime).run(&columns).unwrap();
        for row in 0..203 {
            if guilty.contains(&row) {
                assert_eq!(scored.rejected[row], FAILED, "{name} {row}");
                assert!(scored.score[row].is_nan());
            } else {
                assert_eq!(
                    (scored.rejected[row], scored.score[row].to_bits()),
                    (None, golden.score[row]),
                    "{name} {row}"
                );
            }
        }
    }
}

#[test]
fn rows_are_not_blamed_for_a_model_that_never_worked() {
    let Some(runtime) = runtime("infer::rows_are_not_blamed_for_a_model_that_never_worked") else {
        return;
    };
    let package = fixture("pipeline");
    let golden = Golden::of(&package);
    let unknown: ArrayRef = Arc::new(StringArray::from(vec!["?"; 203]));
    let unknown = with(&package, &golden.columns, "channel", unknown);
    let mut model = open(&package, runtime);
    let error = model.run(&unknown).unwrap_err();
    assert_eq!(error.exit, Exit::Unreachable);
    assert!(
        error.to_string().contains("has failed on every row so far"),
        "{error}"
    );
    // Once it has accepted a row, it is believed when it fails on others.
    model.run(&golden.columns).unwrap();
    assert!(
        model
            .run(&unknown)
            .unwrap()
            .rejected
            .iter()
            .all(|rejected| *rejected == FAILED)
    );
    assert_eq!(
        bits(&model.run(&golden.columns).unwrap().score),
        golden.score
    );
}

/// A copy of a fixture with its `model.toml` changed; `from` must be there.
fn changed(name: &str, from: &str, to: &str) -> tempfile::TempDir {
    let source = fixture(name).folder;
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(source.join("model.toml")).unwrap();
    assert!(text.contains(from), "{from} is not in {name}");
    std::fs::write(folder.path().join("model.toml"), text.replacen(from, to, 1)).unwrap();
    std::fs::copy(source.join("model.onnx"), folder.path().join("model.onnx")).unwrap();
    folder
}

fn refusal(folder: &Path, runtime: &Runtime, providers: &[Provider]) -> Fatal {
    let package = Package::load(folder).unwrap();
    Model::open(&package, runtime, providers)
        .err()
        .expect("the package is refused")
}

#[test]
fn a_model_that_is_not_what_the_package_says_is_refused_with_the_fix() {
    let Some(runtime) =
        runtime("infer::a_model_that_is_not_what_the_package_says_is_refused_with_the_fix")
    else {
        return;
    };
    let last_feature = "[[feature]]\nname = \"is_online\"\nsql = \"case when channel = 'online' then 1 else 0 end\"\ntype = \"float32\"\n";
    for (name, from, to, says) in [
        (
            "lightgbm",
            "\"input\"",
            "\"features\"",
            "but the model has `input` Tensor<f32>",
        ),
        ("lightgbm", last_feature, "", "but 7 features are written"),
        (
            "lightgbm",
            "matrix = \"input\"\n",
            "",
            "the model has no input for feature `amount_log`",
        ),
        (
            "lightgbm",
            "column = 1",
            "column = 2",
            "it has no column 2; write one from 0 to 1",
        ),
        (
            "lightgbm",
            ", column = 1",
            "",
            "write which of its 2 columns: column = 1",
        ),
        (
            "lightgbm",
            "column = 1",
            "class = 1",
            "write `column` instead of `class`",
        ),
        (
            "lightgbm",
            "\"probabilities\"",
            "\"proba\"",
            "but the model has `label`",
        ),
        (
            "lightgbm",
            "\"probabilities\", column = 1",
            "\"label\"",
            "probity reads 32-bit floats only",
        ),
        (
            "lightgbm-zipmap",
            "class = 1",
            "column = 1",
            "a number, such as class = 1",
        ),
        (
            "lightgbm-zipmap",
            "class = 1",
            "class = \"1\"",
            "a number, such as class = 1",
        ),
        (
            "lightgbm-zipmap",
            "class = 1",
            "class = 7",
            "the model has no class 7; it has 0, 1",
        ),
        (
            "pipeline",
            "class = \"fraud\"",
            "class = 1",
            "a text, such as class = \"1\"",
        ),
        (
            "pipeline",
            "[model]\n",
            "[model]\nmatrix = \"amount\"\n",
            "feature `card_count_1h` is int64",
        ),
        (
            "pipeline",
            "\"int64\"\nimpute = 0",
            "\"float32\"",
            "but the model takes `card_count_1h` Tensor<i64>",
        ),
        (
            "pipeline",
            "\"int64\"\nimpute = 0",
            "\"float32\"",
            "write type = \"int64\"",
        ),
        (
            "pipeline",
            "name = \"channel\"",
            "name = \"channels\"",
            "the model has no input for feature `channels`",
        ),
        (
            "pipeline",
            "\n[[feature]]\nname = \"channel\"\nsql = \"channel\"\ntype = \"string\"\n",
            "",
            "input `channel`",
        ),
        (
            "kinds",
            "{ name = \"score\" }",
            "{ name = \"score\", column = 0 }",
            "leave `column` out",
        ),
        (
            "mlp",
            "margin = { name = \"margin\" }",
            "margin = { name = \"logit\" }",
            "`output.margin` is \"logit\"",
        ),
    ] {
        let folder = changed(name, from, to);
        let error = match Package::load(folder.path()) {
            Ok(package) => Model::open(&package, runtime, &[Provider::Cpu])
                .err()
                .expect(says),
            Err(error) => error,
        };
        assert_eq!(error.exit, Exit::Usage, "{error}");
        assert!(error.to_string().contains(says), "wanted {says}: {error}");
        let names_the_file = error.to_string().contains("model.toml");
        assert!(names_the_file, "{error}");
    }
}

#[test]
fn an_output_that_is_no_probability_is_found_by_the_probe() {
    let Some(runtime) = runtime("infer::an_output_that_is_no_probability_is_found_by_the_probe")
    else {
        return;
    };
    let folder = changed("mlp", "\"probabilities\", column = 1", "\"margin\"");
    let package = Package::load(folder.path()).unwrap();
    let golden = Golden::of(&fixture("mlp"));
    let error = open(&package, runtime).probe(&golden.columns).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("name the output that is a probability"),
        "{error}"
    );
}

#[test]
fn a_truncated_model_is_refused() {
    let Some(runtime) = runtime("infer::a_truncated_model_is_refused") else {
        return;
    };
    let folder = changed("lightgbm", "1.0.0", "1.0.1");
    let model = folder.path().join("model.onnx");
    let whole = std::fs::read(&model).unwrap();
    for length in [0, 1, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&model, &whole[..length]).unwrap();
        let error = refusal(folder.path(), runtime, &[Provider::Cpu]);
        assert_eq!(error.exit, Exit::Usage);
        assert!(
            error
                .to_string()
                .contains("it must be a whole ONNX model in one file"),
            "{length}: {error}"
        );
    }
}

#[test]
fn weights_outside_of_the_model_file_are_refused() {
    let Some(runtime) = runtime("infer::weights_outside_of_the_model_file_are_refused") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let external = fixture("mlp").folder.with_file_name("external.onnx");
    std::fs::copy(external, folder.path().join("model.onnx")).unwrap();
    // They lie where a converter puts them, but they were not hashed.
    std::fs::write(folder.path().join("weights.bin"), 1.0f32.to_le_bytes()).unwrap();
    let manifest = "name = 'x'\nversion = '1'\n\
        [model]\nfile = 'model.onnx'\nchunk_rows = 8\nmatrix = 'input'\n\
        [output]\nprobability = { name = 'score' }\n\
        [policy]\nversion = '1'\nreview = 0.5\ndecline = 0.9\n\
        [[feature]]\nname = 'a'\nsql = 'a'\ntype = 'float32'\n";
    std::fs::write(folder.path().join("model.toml"), manifest).unwrap();
    let error = refusal(folder.path(), runtime, &[Provider::Cpu]);
    assert!(
        error.to_string().contains("whole ONNX model in one file"),
        "{error}"
    );
}

#[test]
fn a_provider_that_the_library_lacks_is_never_replaced_by_another() {
    let Some(runtime) =
        runtime("infer::a_provider_that_the_library_lacks_is_never_replaced_by_another")
    else {
        return;
    };
    for (provider, name) in [(Provider::Cuda, "cuda"), (Provider::TensorRt, "tensorrt")] {
        if has(provider) {
            continue;
        }
        for list in [vec![provider], vec![provider, Provider::Cpu]] {
            let error = refusal(&fixture("mlp").folder, runtime, &list);
            assert_eq!(error.exit, Exit::Unreachable);
            let text = error.to_string();
            assert!(
                text.contains(&format!("the execution provider {name} is asked for")),
                "{text}"
            );
            assert!(text.contains("model.providers"), "{text}");
        }
    }
}

/// Whether the loaded library was built with the provider.
fn has(provider: Provider) -> bool {
    use ort::ep::{CUDA, ExecutionProvider, TensorRT};
    let available = match provider {
        Provider::Cpu => Ok(true),
        Provider::Cuda => CUDA::is_available(),
        Provider::TensorRt => TensorRT::is_available(),
    };
    available.unwrap()
}

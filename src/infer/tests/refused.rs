//! Packages, models and providers that must be refused, each with the words that say what to do.

use std::path::Path;

use super::open;
use crate::error::{Exit, Fatal};
use crate::infer::testing::{fixture, runtime};
use crate::infer::{Gpu, Model, Provider, Runtime};
use crate::package::Package;

/// A copy of a fixture without its golden rows, its `model.toml` changed; `from` must be there.
pub(super) fn changed(name: &str, from: &str, to: &str) -> tempfile::TempDir {
    let source = fixture(name).folder;
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(source.join("model.toml")).unwrap();
    assert!(text.contains(from), "{from} is not in {name}");
    let text = text
        .replacen("golden = \"golden.json\"\n", "", 1)
        .replacen(from, to, 1);
    std::fs::write(folder.path().join("model.toml"), text).unwrap();
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
            "but the model has `input` float32[N, 8]; write",
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
            "but the model takes `card_count_1h` int64[N, 1]",
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
    let golden = fixture("mlp").golden.unwrap();
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
    let gpu = Gpu::default();
    for provider in [Provider::Cuda(gpu), Provider::TensorRt(gpu)] {
        let name = provider.as_str();
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
        Provider::Cuda(_) => CUDA::is_available(),
        Provider::TensorRt(_) => TensorRT::is_available(),
    };
    available.unwrap()
}

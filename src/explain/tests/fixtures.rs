//! Models of three libraries, with contributions that Python calculated by the definition of Shapley values from each
//! library's own predictions (`tests/models/reasons.py`).

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, Float32Array};
use arrow::datatypes::Float32Type;
use prost::Message as _;

use crate::explain::onnx;
use crate::explain::{Explainer, Kind};
use crate::infer::testing::{fixture, runtime};
use crate::infer::{Model, Provider};
use crate::package::{Method, Package};

const TREES: [&str; 3] = ["reasons-lightgbm", "reasons-xgboost", "reasons-catboost"];
/// One matrix of features, and an input for each.
const LINEAR: [&str; 2] = ["reasons-linear", "reasons-linear-columns"];
pub const AMPLE: usize = 1 << 28;

/// What is said of the package: the explainer, or why there is none.
fn explainer(package: &Package, max_bytes: usize) -> Result<Explainer, String> {
    let runtime = runtime("explain").expect("the test asked for it");
    let mut model = Model::open(package, runtime, &[Provider::Cpu]).map_err(|e| e.to_string())?;
    let explainer = Explainer::open(package, &mut model, max_bytes).map_err(|e| e.to_string())?;
    Ok(explainer.expect("the package has reasons"))
}

/// A copy of the fixture, changed.
pub fn changed(name: &str, change: impl FnOnce(&Path)) -> Package {
    let source = fixture(name).folder;
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(source).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    change(folder.path());
    Package::load(folder.path()).expect("the change leaves a package")
}

/// The fixture without the last row of its background.
fn with_another_background(name: &str) -> Package {
    let mut package = fixture(name);
    let background = &mut package.reasons.as_mut().unwrap().background;
    background.rows -= 1;
    for column in &mut background.columns {
        *column = column.slice(0, background.rows);
    }
    package
}

/// With the trees of the ONNX file changed, and without the scores that would give the change away first.
fn with_other_trees(name: &str, change: impl FnOnce(&mut onnx::Node)) -> Package {
    with_other_graph(name, |graph| {
        let nodes = &mut graph.node;
        let trees = nodes
            .iter_mut()
            .find(|n| n.op_type.starts_with("TreeEnsemble"));
        change(trees.unwrap());
    })
}

fn with_other_graph(name: &str, change: impl FnOnce(&mut onnx::Graph)) -> Package {
    let mut package = changed(name, |folder| rewrite(folder, change));
    let runtime = runtime("explain").expect("the test asked for it");
    let golden = package.golden.take().unwrap();
    let mut model = Model::open(&package, runtime, &[Provider::Cpu]).unwrap();
    let scored = model.run(&golden.columns).unwrap();
    package.golden = Some(crate::package::Golden {
        score: scored.score,
        margin: scored.margin,
        ..golden
    });
    package
}

fn rewrite(folder: &Path, change: impl FnOnce(&mut onnx::Graph)) {
    let path = folder.join("model.onnx");
    let mut model = onnx::Model::decode(&*fs::read(&path).unwrap()).unwrap();
    change(model.graph.as_mut().unwrap());
    fs::write(&path, model.encode_to_vec()).unwrap();
}

fn ints<'a>(node: &'a mut onnx::Node, name: &str) -> &'a mut Vec<i64> {
    let attribute = node.attribute.iter_mut().find(|a| a.name == name);
    &mut attribute.unwrap().ints
}

#[test]
fn contributions_are_those_that_python_calculates() {
    if runtime("explain::contributions_are_those_that_python_calculates").is_none() {
        return;
    }
    for name in TREES {
        let package = fixture(name);
        let golden = package.golden.as_ref().unwrap();
        assert!(
            golden.base.is_some() && golden.contributions.is_some(),
            "{name}"
        );
        let explainer = explainer(&package, AMPLE).unwrap();
        assert!(matches!(explainer.kind, Kind::Trees(_)), "{name}");
        assert_eq!(explainer.method(), "tree-interventional");
        assert_eq!(explainer.evaluations(), 0);
    }
    for name in LINEAR {
        let package = fixture(name);
        let golden = package.golden.as_ref().unwrap();
        assert!(
            golden.base.is_some() && golden.contributions.is_some(),
            "{name}"
        );
        let explainer = explainer(&package, 0).unwrap();
        assert!(matches!(explainer.kind, Kind::Linear(..)), "{name}");
        assert_eq!(explainer.method(), "linear");
        assert_eq!(explainer.evaluations(), 0);
    }
}

/// Of a linear model the weights are what can be changed, and the background.
#[test]
fn a_linear_model_that_is_not_the_golden_one_is_refused() {
    if runtime("explain::a_linear_model_that_is_not_the_golden_one_is_refused").is_none() {
        return;
    }
    let weights = |graph: &mut onnx::Graph| {
        let node = graph
            .node
            .iter_mut()
            .find(|n| n.op_type == "LinearClassifier");
        match node {
            Some(node) => {
                let mut attributes = node.attribute.iter_mut();
                let weights = attributes.find(|a| a.name == "coefficients");
                // Those of the class whose margin is explained.
                weights.unwrap().floats[8] += 0.25;
            }
            None => {
                let matrix = graph.initializer.iter_mut().find(|t| *t.dims == [8, 1]);
                let raw = matrix.unwrap().raw_data.as_mut().unwrap();
                let weight = f32::from_le_bytes(raw[..4].try_into().unwrap());
                raw[..4].copy_from_slice(&(weight + 0.25).to_le_bytes());
            }
        }
    };
    for name in LINEAR {
        let heavier = with_other_graph(name, weights);
        let other_background = with_another_background(name);
        for (what, package) in [
            ("another weight", &heavier),
            ("another background", &other_background),
        ] {
            let why = explainer(package, AMPLE)
                .err()
                .unwrap_or_else(|| panic!("{name}: {what}"));
            assert!(why.contains("golden.json: "), "{name}, {what}: {why}");
        }
        let mut trees = fixture(name);
        trees.reasons.as_mut().unwrap().method = Method::Tree;
        let why = explainer(&trees, AMPLE).err().unwrap();
        assert!(why.contains("write method = \"linear\""), "{why}");
    }
}

#[test]
fn a_model_that_is_not_the_golden_one_is_refused() {
    if runtime("explain::a_model_that_is_not_the_golden_one_is_refused").is_none() {
        return;
    }
    for name in TREES {
        let swapped = with_other_trees(name, |node| {
            let yes = ints(node, "nodes_truenodeids")[0];
            let no = std::mem::replace(&mut ints(node, "nodes_falsenodeids")[0], yes);
            ints(node, "nodes_truenodeids")[0] = no;
        });
        let moved = with_other_trees(name, |node| {
            let values = node.attribute.iter_mut().find(|a| a.name == "nodes_values");
            values.unwrap().floats[0] += 0.75;
        });
        let other_background = with_another_background(name);
        for (what, package) in [
            ("swapped children", &swapped),
            ("another threshold", &moved),
            ("another background", &other_background),
        ] {
            let why = explainer(package, AMPLE)
                .err()
                .unwrap_or_else(|| panic!("{name}: {what}"));
            assert!(
                why.contains("make the golden rows again from this model.onnx"),
                "{name}, {what}: {why}"
            );
        }
    }
}

#[test]
fn tables_that_are_too_large_are_refused() {
    if runtime("explain::tables_that_are_too_large_are_refused").is_none() {
        return;
    }
    for name in TREES {
        let why = explainer(&fixture(name), 1000)
            .err()
            .expect("1000 bytes are too few");
        assert!(
            why.contains("model.toml: [reasons]: the tables for its"),
            "{why}"
        );
        assert!(why.contains("explain.memory"), "{why}");
    }
}

/// Trees that were exported as usual give a probability and no margin: their own sum is the margin.
#[test]
fn a_classifier_that_gives_probabilities_alone_is_explained_by_its_trees() {
    let name = "explain::a_classifier_that_gives_probabilities_alone_is_explained_by_its_trees";
    let Some(runtime) = runtime(name) else {
        return;
    };
    for name in ["lightgbm", "lightgbm-zipmap", "xgboost"] {
        let mut package = fixture(name);
        let reasons = fixture("reasons-lightgbm").reasons;
        package.reasons = reasons;
        let explainer = explainer(&package, AMPLE).unwrap_or_else(|why| panic!("{name}: {why}"));
        let mut model = Model::open(&package, runtime, &[Provider::Cpu]).unwrap();
        let golden = package.golden.as_ref().unwrap();
        let found = explainer
            .explain(&mut model, &golden.columns, None, &[0, 5])
            .unwrap();
        for (at, row) in [0, 5].into_iter().enumerate() {
            let probability = crate::explain::logistic(found.sum(at));
            assert!(
                (probability - f64::from(golden.score[row])).abs() < 1e-6,
                "{name}"
            );
        }
    }
}

/// Each method says of which other one a model is.
#[test]
fn a_model_of_another_kind_is_refused_with_the_method_to_write() {
    let name = "explain::a_model_of_another_kind_is_refused_with_the_method_to_write";
    if runtime(name).is_none() {
        return;
    }
    let mut trees = fixture("reasons-lightgbm");
    trees.reasons.as_mut().unwrap().method = Method::Linear;
    let mut network = fixture("mlp");
    let mut reasons = fixture("reasons-lightgbm").reasons.unwrap();
    let filled = |column: &arrow::array::ArrayRef| -> arrow::array::ArrayRef {
        let zeros = arrow::array::Float32Array::from(vec![0.0; column.len()]);
        std::sync::Arc::new(zeros)
    };
    reasons.background.columns = reasons.background.columns.iter().map(filled).collect();
    network.reasons = Some(reasons.clone());
    let mut mixed = fixture("kinds");
    let columns = mixed.golden.as_ref().unwrap().columns.iter();
    reasons.background.columns = columns.map(|c| c.slice(0, 3)).collect();
    reasons.background.rows = 3;
    mixed.reasons = Some(reasons);
    for (package, says) in [
        (
            &trees,
            "the margin is a sum over trees; write method = \"tree\"",
        ),
        (
            &network,
            "output `margin` comes from Identity, and is neither",
        ),
        (&network, "write method = \"permutation\" for such a model"),
        (
            &mixed,
            "feature `digits` is string, and exact methods need float32",
        ),
    ] {
        let why = explainer(package, AMPLE).err().expect("it is refused");
        assert!(why.contains(says), "{why}");
    }
}

/// Approximate, but whole: base and contributions are the margin, whatever the types of the features.
#[test]
fn permutations_add_up_to_the_margin_and_are_repeatable() {
    let name = "explain::permutations_add_up_to_the_margin_and_are_repeatable";
    let Some(runtime) = runtime(name) else {
        return;
    };
    for name in ["mlp", "kinds", "reasons-lightgbm"] {
        let mut package = fixture(name);
        let mut golden = package.golden.take().unwrap();
        let mut reasons = fixture("reasons-lightgbm").reasons.unwrap();
        reasons.method = Method::Permutation;
        reasons.permutations = 3;
        reasons.background.columns = golden.columns.iter().map(|c| c.slice(0, 4)).collect();
        reasons.background.rows = 4;
        golden.base = None;
        golden.contributions = None;
        package.reasons = Some(reasons);
        let explainer = explainer(&package, AMPLE).unwrap_or_else(|why| panic!("{name}: {why}"));
        let width = u32::try_from(package.features.len()).unwrap();
        assert_eq!(explainer.evaluations(), 4 * 3 * 2 * (width - 1), "{name}");
        let mut model = Model::open(&package, runtime, &[Provider::Cpu]).unwrap();
        let margins = model.run(&golden.columns).unwrap().margin.unwrap();
        let rows: Vec<usize> = (10..20).collect();
        let mut explain = |rows: &[usize]| {
            explainer
                .explain(&mut model, &golden.columns, Some(&margins), rows)
                .unwrap()
        };
        let together = explain(&rows);
        assert_eq!(together.rows, rows);
        for (at, row) in rows.iter().enumerate() {
            let margin = f64::from(margins[*row]);
            assert!(
                (together.sum(at) - margin).abs() <= 1e-9,
                "{name}, row {row}"
            );
            let alone = explain(&[*row]);
            for (together, alone) in together.contributions.iter().zip(&alone.contributions) {
                assert_eq!(
                    together[at].to_bits(),
                    alone[0].to_bits(),
                    "{name}, row {row}"
                );
            }
        }
    }
}

/// Explanations share the model's batches, and nothing else.
#[test]
fn a_row_that_the_model_rejects_on_the_way_has_no_explanation_and_its_neighbours_have_theirs() {
    let name = "explain::a_row_that_the_model_rejects_on_the_way_has_no_explanation_and_its_neighbours_have_theirs";
    let Some(runtime) = runtime(name) else {
        return;
    };
    let mut package = fixture("mlp");
    let golden = package.golden.take().unwrap();
    let mut reasons = fixture("reasons-lightgbm").reasons.unwrap();
    (reasons.method, reasons.permutations) = (Method::Permutation, 3);
    reasons.background.columns = golden.columns.iter().map(|c| c.slice(0, 4)).collect();
    reasons.background.rows = 4;
    package.reasons = Some(reasons);
    let explainer = explainer(&package, AMPLE).unwrap();
    let mut model = Model::open(&package, runtime, &[Provider::Cpu]).unwrap();
    let margins = model.run(&golden.columns).unwrap().margin.unwrap();
    let mut features = golden.columns.clone();
    let last = features.len() - 1;
    let mut values = features[last]
        .as_primitive::<Float32Type>()
        .values()
        .to_vec();
    values[11] = f32::INFINITY;
    features[last] = Arc::new(Float32Array::from(values));
    let mut explain = |features: &[ArrayRef], rows: &[usize]| {
        let found = explainer.explain(&mut model, features, Some(&margins), rows);
        found.unwrap()
    };
    let found = explain(&features, &[10, 11, 12]);
    assert_eq!(found.rows, [10, 12]);
    for (at, row) in [10, 12].into_iter().enumerate() {
        assert_eq!(found.of(at), explain(&golden.columns, &[row]).of(0));
    }
}

/// With every permutation tried often, the approximation comes close to the exact values.
#[test]
fn permutations_come_close_to_the_exact_values() {
    let name = "explain::permutations_come_close_to_the_exact_values";
    let Some(runtime) = runtime(name) else {
        return;
    };
    let exact = fixture("reasons-lightgbm");
    let mut approximate = exact.clone();
    approximate.golden = None;
    let reasons = approximate.reasons.as_mut().unwrap();
    (reasons.method, reasons.permutations) = (Method::Permutation, 40);
    let golden = exact.golden.as_ref().unwrap();
    let mut model = Model::open(&exact, runtime, &[Provider::Cpu]).unwrap();
    let margins = model.run(&golden.columns).unwrap().margin.unwrap();
    let mut explain = |package: &Package| {
        let explainer = explainer(package, AMPLE).unwrap();
        explainer
            .explain(&mut model, &golden.columns, Some(&margins), &[0, 1, 2])
            .unwrap()
    };
    let (exact, near) = (explain(&exact), explain(&approximate));
    assert!((exact.base - near.base).abs() < 1e-5);
    let largest = |a: &crate::explain::Attributions| {
        a.contributions
            .iter()
            .flatten()
            .fold(0.0_f64, |most, value| most.max(value.abs()))
    };
    let differences = exact
        .contributions
        .iter()
        .flatten()
        .zip(near.contributions.iter().flatten());
    for (exact_value, near_value) in differences {
        assert!(
            (exact_value - near_value).abs() < 0.05 * largest(&exact),
            "{exact_value} {near_value}"
        );
    }
}

/// As skl2onnx exports a logistic regression by default: a probability of each class, and no margin.
#[test]
fn a_linear_classifier_that_gives_probabilities_alone_is_explained_by_its_weights() {
    let name =
        "explain::a_linear_classifier_that_gives_probabilities_alone_is_explained_by_its_weights";
    if runtime(name).is_none() {
        return;
    }
    let with = |after: &str| {
        let change = |graph: &mut onnx::Graph| {
            graph.node.retain(|node| node.op_type != "Sigmoid");
            graph.output.retain(|output| output.name == "score");
            let classifier = graph.node.last_mut().unwrap();
            classifier.output[1] = "scores".to_owned();
            let mut attributes = classifier.attribute.iter_mut();
            let transform = attributes.find(|a| a.name == "post_transform").unwrap();
            transform.s = Some(after.into());
            let mut normalizer = node("Normalizer", &["scores"], "score");
            normalizer.domain = "ai.onnx.ml".to_owned();
            normalizer.attribute.push(onnx::Attribute {
                name: "norm".to_owned(),
                s: Some("L1".into()),
                kind: 3,
                ..Default::default()
            });
            graph.node.push(normalizer);
        };
        changed("reasons-linear-columns", |folder| {
            rewrite(folder, change);
            let path = folder.join("model.toml");
            let text = fs::read_to_string(&path).unwrap();
            let margin = "margin = { name = \"margin\", column = 1 }\n";
            assert!(text.contains(margin));
            let text = text
                .replace(margin, "")
                .replace("golden = \"golden.json\"\n", "");
            fs::write(&path, text).unwrap();
        })
    };
    let explainer = explainer(&with("LOGISTIC"), AMPLE).unwrap();
    assert_eq!(explainer.method(), "linear");
    let known = fixture("reasons-linear-columns").golden.unwrap();
    assert!((explainer.base() - known.base.unwrap()).abs() < 1e-6);
    // Probabilities by another way are no logistic function of a weighted sum.
    let why = self::explainer(&with("SOFTMAX"), AMPLE).err().unwrap();
    assert!(why.contains("post_transform NONE or LOGISTIC"), "{why}");
}

fn node(op_type: &str, input: &[&str], output: &str) -> onnx::Node {
    onnx::Node {
        op_type: op_type.to_owned(),
        input: input.iter().map(|&name| name.to_owned()).collect(),
        output: vec![output.to_owned()],
        ..Default::default()
    }
}

/// Where features play together two by two, one pair of walks is not an approximation: there and back, each of two
/// features comes before the other once.
#[test]
fn one_pair_of_walks_is_exact_where_features_play_in_pairs() {
    let name = "explain::one_pair_of_walks_is_exact_where_features_play_in_pairs";
    let Some(runtime) = runtime(name) else {
        return;
    };
    // The first feature times the second, plus the third.
    let product = |graph: &mut onnx::Graph| {
        graph.node.clear();
        graph.initializer.clear();
        for at in 0..3_i64 {
            graph.initializer.push(onnx::Tensor {
                dims: vec![1],
                data_type: 7,
                int64_data: vec![at],
                name: format!("at{at}"),
                ..Default::default()
            });
            let axis = onnx::Attribute {
                name: "axis".to_owned(),
                i: Some(1),
                kind: 2,
                ..Default::default()
            };
            let inputs = ["input", &format!("at{at}")];
            let mut gather = node("Gather", &inputs, &format!("x{at}"));
            gather.attribute.push(axis);
            graph.node.push(gather);
        }
        graph.node.push(node("Mul", &["x0", "x1"], "product"));
        graph.node.push(node("Add", &["product", "x2"], "margin"));
        graph.node.push(node("Sigmoid", &["margin"], "score"));
    };
    let mut package = with_other_graph("reasons-linear", product);
    package.golden = None;
    let reasons = package.reasons.as_mut().unwrap();
    (reasons.method, reasons.permutations) = (Method::Permutation, 1);
    let column = |values: [f32; 3]| Arc::new(Float32Array::from(values.to_vec())) as ArrayRef;
    let mut background = vec![column([0.0; 3]); 8];
    let z = [[1.0, -2.0, 0.5], [3.0, 0.25, -1.0], [0.0, 4.0, 2.0]];
    for (column_of, values) in background.iter_mut().zip(z) {
        *column_of = column(values);
    }
    reasons.background.columns = background;
    reasons.background.rows = 3;
    let explainer = explainer(&package, AMPLE).unwrap();
    let mut rows = vec![column([0.0; 3]); 8];
    let x = [[2.0, -1.0, 5.0], [-3.0, 2.5, 4.0], [1.0, 1.5, -2.0]];
    for (column_of, values) in rows.iter_mut().zip(x) {
        *column_of = column(values);
    }
    let mut model = Model::open(&package, runtime, &[Provider::Cpu]).unwrap();
    let margins = model.run(&rows).unwrap().margin.unwrap();
    let found = explainer
        .explain(&mut model, &rows, Some(&margins), &[0, 1, 2])
        .unwrap();
    for row in 0..3 {
        let mean = |of: &dyn Fn(usize) -> f32| f64::from((0..3).map(of).sum::<f32>()) / 3.0;
        let [x0, x1, x2] = x.map(|values| values[row]);
        let expected = [
            mean(&|b| (x0 - z[0][b]) * (x1 + z[1][b]) / 2.0),
            mean(&|b| (x1 - z[1][b]) * (x0 + z[0][b]) / 2.0),
            mean(&|b| x2 - z[2][b]),
        ];
        for (feature, contribution) in found.of(row).into_iter().enumerate() {
            let expected = expected.get(feature).copied().unwrap_or(0.0);
            assert!(
                (contribution - expected).abs() < 1e-5,
                "row {row}, feature {feature}: {contribution} instead of {expected}"
            );
        }
    }
}

//! The three ways in which ONNX writes trees, as ONNX Runtime reads them: every kind of branch, on rows with what is
//! rare in the field.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array};
use prost::Message as _;

use super::brute;
use super::fixtures::{AMPLE, changed};
use super::random::Draw;
use crate::explain::Explainer;
use crate::explain::ensemble::{Branch, Ensemble, Node, Test};
use crate::explain::onnx;
use crate::infer::testing::{fixture, runtime};
use crate::infer::{Model, Provider};
use crate::package::{Golden, Package};

const SEED: u64 = 40;
const ENSEMBLES: u64 = 12;
const ROWS: usize = 256;

/// How trees are written.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Format {
    Regressor,
    Classifier,
    Fifth,
}

impl Format {
    /// The fixture whose trees are exchanged for others.
    fn host(self) -> &'static str {
        match self {
            Format::Regressor | Format::Fifth => "reasons-lightgbm",
            Format::Classifier => "lightgbm",
        }
    }

    /// `class`: which of two classes the votes are for.
    fn attributes(self, ensemble: &Ensemble, class: i64) -> Vec<onnx::Attribute> {
        match self {
            Format::Regressor => [
                flat(ensemble, "target", 0),
                vec![
                    ints("n_targets", [1].into(), INT),
                    text("post_transform", "NONE"),
                ],
            ]
            .concat(),
            Format::Classifier => [
                flat(ensemble, "class", class),
                vec![
                    ints("classlabels_int64s", vec![0, 1], INTS),
                    text("post_transform", "LOGISTIC"),
                ],
            ]
            .concat(),
            Format::Fifth => fifth(ensemble),
        }
    }
}

const INT: i32 = 2;
const STRING: i32 = 3;
const TENSOR: i32 = 4;
const FLOATS: i32 = 6;
const INTS: i32 = 7;
const STRINGS: i32 = 8;

fn ints(name: &str, ints: Vec<i64>, kind: i32) -> onnx::Attribute {
    onnx::Attribute {
        name: name.to_owned(),
        i: (kind == INT).then(|| ints[0]),
        ints: if kind == INTS { ints } else { Vec::new() },
        kind,
        ..Default::default()
    }
}

fn floats(name: &str, floats: Vec<f32>) -> onnx::Attribute {
    onnx::Attribute {
        name: name.to_owned(),
        floats,
        kind: FLOATS,
        ..Default::default()
    }
}

fn text(name: &str, text: &str) -> onnx::Attribute {
    onnx::Attribute {
        name: name.to_owned(),
        s: Some(text.into()),
        kind: STRING,
        ..Default::default()
    }
}

fn tensor(name: &str, len: usize, tensor: onnx::Tensor) -> onnx::Attribute {
    let dims = vec![len as i64];
    onnx::Attribute {
        name: name.to_owned(),
        t: Some(onnx::Tensor { dims, ..tensor }),
        kind: TENSOR,
        ..Default::default()
    }
}

fn tensor_of_floats(name: &str, values: Vec<f32>) -> onnx::Attribute {
    let len = values.len();
    let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let values = onnx::Tensor {
        data_type: onnx::FLOAT,
        raw_data: Some(raw),
        ..Default::default()
    };
    tensor(name, len, values)
}

/// The mode as version 5 numbers it, its name before that, and what is compared with.
fn mode(test: &Test) -> (u8, &'static str, f32) {
    match test {
        Test::Le(t) => (0, "BRANCH_LEQ", *t),
        Test::Lt(t) => (1, "BRANCH_LT", *t),
        Test::Ge(t) => (2, "BRANCH_GTE", *t),
        Test::Gt(t) => (3, "BRANCH_GT", *t),
        Test::Eq(t) => (4, "BRANCH_EQ", *t),
        Test::Ne(t) => (5, "BRANCH_NEQ", *t),
        Test::In(_) => (6, "none before version 5", 0.0),
    }
}

/// Versions 1 to 4: all nodes are one tree's or another's, and leaves are nodes that vote.
fn flat(ensemble: &Ensemble, votes: &str, class: i64) -> Vec<onnx::Attribute> {
    let mut tree_of = vec![0; ensemble.nodes.len()];
    let mut order = Vec::new();
    for (tree, root) in ensemble.roots.iter().enumerate() {
        let mut open = vec![*root];
        while let Some(at) = open.pop() {
            tree_of[at] = tree as i64;
            order.push(at);
            if let Node::Branch(branch) = &ensemble.nodes[at] {
                open.extend([branch.no, branch.yes]);
            }
        }
    }
    let branch = |at: &usize| match &ensemble.nodes[*at] {
        Node::Leaf(_) => None,
        Node::Branch(branch) => Some(branch),
    };
    let of = |number: &dyn Fn(&Branch) -> i64| -> Vec<i64> {
        let number = |at| branch(at).map_or(0, number);
        order.iter().map(number).collect()
    };
    let modes = order
        .iter()
        .map(|at| branch(at).map_or("LEAF", |b| mode(&b.test).1));
    let values = order
        .iter()
        .map(|at| branch(at).map_or(0.0, |b| mode(&b.test).2));
    let leaves: Vec<(usize, f32)> = order
        .iter()
        .filter_map(|at| match ensemble.nodes[*at] {
            Node::Leaf(value) => Some((*at, value as f32)),
            Node::Branch(_) => None,
        })
        .collect();
    let trees = |at: &usize| tree_of[*at];
    let of_leaves = |number: &dyn Fn(usize) -> i64| -> Vec<i64> {
        leaves.iter().map(|(at, _)| number(*at)).collect()
    };
    vec![
        ints("nodes_treeids", order.iter().map(trees).collect(), INTS),
        ints(
            "nodes_nodeids",
            order.iter().map(|at| *at as i64).collect(),
            INTS,
        ),
        ints("nodes_featureids", of(&|b| b.feature as i64), INTS),
        onnx::Attribute {
            name: "nodes_modes".to_owned(),
            strings: modes.map(|mode| mode.as_bytes().to_vec()).collect(),
            kind: STRINGS,
            ..Default::default()
        },
        floats("nodes_values", values.collect()),
        ints("nodes_truenodeids", of(&|b| b.yes as i64), INTS),
        ints("nodes_falsenodeids", of(&|b| b.no as i64), INTS),
        ints(
            "nodes_missing_value_tracks_true",
            of(&|b| b.missing.into()),
            INTS,
        ),
        ints(
            &format!("{votes}_treeids"),
            of_leaves(&|at| tree_of[at]),
            INTS,
        ),
        ints(
            &format!("{votes}_nodeids"),
            of_leaves(&|at| at as i64),
            INTS,
        ),
        ints(&format!("{votes}_ids"), of_leaves(&|_| class), INTS),
        floats(
            &format!("{votes}_weights"),
            leaves.iter().map(|(_, value)| *value).collect(),
        ),
        floats("base_values", vec![ensemble.base as f32]),
    ]
}

/// Version 5: branches and leaves are numbered apart, and members of sets are listed one set after another.
fn fifth(ensemble: &Ensemble) -> Vec<onnx::Attribute> {
    let (mut branches, mut leaves) = (Vec::new(), Vec::new());
    let mut number = vec![0; ensemble.nodes.len()];
    // A tree that is one leaf is a branch both of whose ways lead there.
    let single = |root: &usize| matches!(ensemble.nodes[*root], Node::Leaf(_));
    let one = |leaf: &usize| Branch {
        feature: 0,
        test: Test::Le(0.0),
        missing: false,
        yes: *leaf,
        no: *leaf,
    };
    let mut roots = Vec::new();
    // The runtime takes the sets in the order in which it walks: trees in order, a branch before its children, and
    // what lies where the test holds first.
    for root in &ensemble.roots {
        roots.push(branches.len() as i64);
        if single(root) {
            number[*root] = leaves.len() as i64;
            leaves.push(*root);
            branches.push(one(root));
            continue;
        }
        let mut open = vec![*root];
        while let Some(at) = open.pop() {
            match &ensemble.nodes[at] {
                Node::Leaf(_) => {
                    number[at] = leaves.len() as i64;
                    leaves.push(at);
                }
                Node::Branch(branch) => {
                    number[at] = branches.len() as i64;
                    branches.push(branch.clone());
                    open.extend([branch.no, branch.yes]);
                }
            }
        }
    }
    let of = |of: &dyn Fn(&Branch) -> i64| -> Vec<i64> { branches.iter().map(of).collect() };
    let is_leaf = |at: usize| i64::from(matches!(ensemble.nodes[at], Node::Leaf(_)));
    let modes: Vec<u8> = branches.iter().map(|b| mode(&b.test).0).collect();
    let splits = branches.iter().map(|b| mode(&b.test).2).collect();
    let sets = branches.iter().filter_map(|b| match &b.test {
        Test::In(members) => Some(members.iter().copied().chain([f32::NAN])),
        _ => None,
    });
    let members: Vec<f32> = sets.flatten().collect();
    let value = |at: &usize| match ensemble.nodes[*at] {
        Node::Leaf(value) => value as f32,
        Node::Branch(_) => unreachable!("only leaves are listed"),
    };
    let mut attributes = vec![
        ints("n_targets", vec![1], INT),
        ints("aggregate_function", vec![1], INT),
        ints("post_transform", vec![0], INT),
        ints("tree_roots", roots, INTS),
        ints("nodes_featureids", of(&|b| b.feature as i64), INTS),
        tensor(
            "nodes_modes",
            modes.len(),
            onnx::Tensor {
                data_type: onnx::UINT8,
                raw_data: Some(modes),
                ..Default::default()
            },
        ),
        tensor_of_floats("nodes_splits", splits),
        ints("nodes_truenodeids", of(&|b| number[b.yes]), INTS),
        ints("nodes_trueleafs", of(&|b| is_leaf(b.yes)), INTS),
        ints("nodes_falsenodeids", of(&|b| number[b.no]), INTS),
        ints("nodes_falseleafs", of(&|b| is_leaf(b.no)), INTS),
        ints(
            "nodes_missing_value_tracks_true",
            of(&|b| b.missing.into()),
            INTS,
        ),
        ints("leaf_targetids", vec![0; leaves.len()], INTS),
        tensor_of_floats("leaf_weights", leaves.iter().map(value).collect()),
    ];
    if !members.is_empty() {
        attributes.push(tensor_of_floats("membership_values", members));
    }
    attributes
}

/// An ensemble that this format can write, of eight features.
fn ensemble(draw: &mut Draw, format: Format) -> Ensemble {
    let mut ensemble = draw.ensemble(8, 6, 12);
    ensemble.base = f64::from(ensemble.base as f32);
    if format == Format::Fifth {
        ensemble.base = 0.0;
    }
    for node in &mut ensemble.nodes {
        if let Node::Branch(Branch { test, .. }) = node
            && let Test::In(members) = test
        {
            *test = match format {
                // The runtime takes sets of whole numbers only.
                Format::Fifth => Test::In([0; 3].map(|_| draw.below(70) as f32 - 1.0).into()),
                _ => Test::Eq(members[0]),
            };
        }
    }
    ensemble
}

fn columns(rows: &[Vec<f32>]) -> Vec<ArrayRef> {
    let column = |values: &Vec<f32>| Arc::new(Float32Array::from(values.clone())) as ArrayRef;
    rows.iter().map(column).collect()
}

/// A package whose model is these trees, with these rows as golden and background ones.
fn package(format: Format, ensemble: &Ensemble, class: i64, rows: &[Vec<f32>]) -> Package {
    let exchange = |folder: &Path| {
        let path = folder.join("model.onnx");
        let mut model = onnx::Model::decode(&*fs::read(&path).unwrap()).unwrap();
        for opset in &mut model.opset_import {
            if opset.domain == "ai.onnx.ml" && format == Format::Fifth {
                opset.version = 5;
            }
        }
        let nodes = &mut model.graph.as_mut().unwrap().node;
        let trees = nodes
            .iter_mut()
            .find(|n| n.op_type.starts_with("TreeEnsemble"));
        let trees = trees.unwrap();
        if format == Format::Fifth {
            trees.op_type = "TreeEnsemble".to_owned();
        }
        trees.attribute = format.attributes(ensemble, class);
        fs::write(&path, model.encode_to_vec()).unwrap();
    };
    let mut package = changed(format.host(), exchange);
    let mut reasons = fixture("reasons-lightgbm").reasons.unwrap();
    reasons.background.columns = columns(rows).iter().map(|c| c.slice(0, 20)).collect();
    reasons.background.rows = 20;
    package.reasons = Some(reasons);
    package.golden = None;
    let runtime = runtime("explain").expect("the test asked for it");
    let mut model = Model::open(&package, runtime, &[Provider::Cpu]).unwrap();
    let columns = columns(rows);
    let scored = model.run(&columns).unwrap();
    assert_eq!(scored.rejected, vec![None; ROWS]);
    package.golden = Some(Golden {
        score: scored.score,
        margin: scored.margin,
        base: None,
        contributions: None,
        ..fixture(format.host())
            .golden
            .map(|golden| Golden { columns, ..golden })
            .unwrap()
    });
    package
}

/// A wrong reading of a branch would give another sum than the runtime's margin, and the package would be refused.
#[test]
fn the_runtime_goes_where_we_go_in_every_format() {
    let name = "explain::the_runtime_goes_where_we_go_in_every_format";
    let Some(runtime) = runtime(name) else {
        return;
    };
    for format in [Format::Regressor, Format::Classifier, Format::Fifth] {
        for seed in SEED..SEED + ENSEMBLES {
            let mut draw = Draw::new(seed);
            let mut ensemble = ensemble(&mut draw, format);
            let mut rows = draw.rows(8, ROWS);
            for value in rows.iter_mut().flatten().step_by(7) {
                *value = draw.below(70) as f32 - 1.0;
            }
            if format == Format::Fifth {
                // ONNX Runtime 1.32 takes 2.5 for 2 where a set has a member above 32: categories are whole numbers.
                rows.iter_mut()
                    .flatten()
                    .for_each(|value| *value = value.trunc());
            }
            let class = (seed % 2) as i64;
            let package = package(format, &ensemble, class, &rows);
            if (format, class) == (Format::Classifier, 1) {
                // The runtime passes over it.
                ensemble.base = 0.0;
            }
            let mut model = Model::open(&package, runtime, &[Provider::Cpu]).unwrap();
            let explainer = Explainer::open(&package, &mut model, AMPLE)
                .unwrap_or_else(|why| panic!("{format:?}, seed {seed}: {why}"))
                .unwrap();
            let all: Vec<usize> = (0..ROWS).collect();
            let found = explainer
                .explain(&mut model, &columns(&rows), None, &all)
                .unwrap();
            for row in all {
                let values: Vec<f32> = rows.iter().map(|values| values[row]).collect();
                let margin = brute::margin(&ensemble, &values);
                let sum = found.sum(row);
                assert!(
                    (sum - margin).abs() < 1e-9,
                    "{format:?}, seed {seed}, row {row}: {sum} is not {margin}"
                );
            }
        }
    }
}

//! Tree ensembles as ONNX writes them: `TreeEnsembleRegressor`, `TreeEnsembleClassifier`, and `TreeEnsemble` of
//! ai.onnx.ml 5.
//!
//! Knows what a branch does with each number, NaN and the infinities included, as ONNX Runtime does. Refuses, with
//! the reason, what is no forest of whole trees or whose output is no sum over them.

use std::collections::HashMap;

use super::onnx;

/// No tree may be deeper: what walks a tree does so by recursion.
const DEPTH_MAX: usize = 512;

/// A sum over trees: one number for each row of features.
#[derive(Clone, Debug)]
pub struct Ensemble {
    /// Of all trees. A child follows nothing: order means nothing.
    pub nodes: Vec<Node>,
    pub roots: Vec<usize>,
    /// Added to what the trees say.
    pub base: f64,
}

#[derive(Clone, PartialEq, Debug)]
pub enum Node {
    Leaf(f64),
    Branch(Branch),
}

#[derive(Clone, PartialEq, Debug)]
pub struct Branch {
    pub feature: usize,
    pub test: Test,
    /// NaN goes where the test holds.
    pub missing: bool,
    /// Where a row goes for which the test holds, and where the others go.
    pub yes: usize,
    pub no: usize,
}

/// What a branch asks of its feature.
#[derive(Clone, PartialEq, Debug)]
pub enum Test {
    Le(f32),
    Lt(f32),
    Ge(f32),
    Gt(f32),
    Eq(f32),
    Ne(f32),
    /// Whole numbers. What ONNX Runtime does with others depends on the set: 1.32 may take 2.5 for 2.
    In(Vec<f32>),
}

/// What the trees' sum is passed through on its way out of the node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Link {
    /// The sum itself.
    Identity,
    /// Its logistic function, the probability of the second class.
    Logistic,
}

impl Branch {
    /// Whether `value` goes to `yes`.
    pub fn holds(&self, value: f32) -> bool {
        let holds = match &self.test {
            Test::Le(t) => value <= *t,
            Test::Lt(t) => value < *t,
            Test::Ge(t) => value >= *t,
            Test::Gt(t) => value > *t,
            Test::Eq(t) => value == *t,
            Test::Ne(t) => value != *t,
            Test::In(members) => members.contains(&value),
        };
        holds || (self.missing && value.is_nan())
    }
}

impl Ensemble {
    /// One more than the largest feature that a branch asks for.
    pub fn width(&self) -> usize {
        let features = self.nodes.iter().map(|node| match node {
            Node::Leaf(_) => 0,
            Node::Branch(branch) => branch.feature + 1,
        });
        features.max().unwrap_or(0)
    }

    /// Reads a node of the graph.
    ///
    /// # Errors
    /// Why its trees cannot be explained.
    pub fn read(node: &onnx::Node) -> Result<(Ensemble, Link), String> {
        let (ensemble, link) = match node.op_type.as_str() {
            "TreeEnsemble" => (fifth(node)?, Link::Identity),
            "TreeEnsembleRegressor" => (regressor(node)?, Link::Identity),
            "TreeEnsembleClassifier" => (classifier(node)?, Link::Logistic),
            other => return Err(format!("{other} is no tree ensemble")),
        };
        ensemble.check()?;
        Ok((ensemble, link))
    }

    /// Each node is on one path from one root, numbers are finite, and no path is too long.
    fn check(&self) -> Result<(), String> {
        let mut seen = vec![false; self.nodes.len()];
        for (tree, root) in self.roots.iter().enumerate() {
            let mut open = vec![(*root, 0)];
            while let Some((at, depth)) = open.pop() {
                let node = self
                    .nodes
                    .get(at)
                    .ok_or_else(|| format!("tree {tree} names a node that is not there"))?;
                if std::mem::replace(&mut seen[at], true) {
                    return Err(format!("tree {tree} has a node with two parents"));
                }
                match node {
                    Node::Leaf(value) if !value.is_finite() => {
                        return Err(format!("tree {tree} has a leaf that is not finite"));
                    }
                    Node::Leaf(_) => {}
                    Node::Branch(_) if depth == DEPTH_MAX => {
                        return Err(format!("tree {tree} is deeper than {DEPTH_MAX}"));
                    }
                    Node::Branch(branch) => {
                        open.extend([(branch.yes, depth + 1), (branch.no, depth + 1)]);
                    }
                }
            }
        }
        if self.base.is_finite() {
            Ok(())
        } else {
            Err("the base value is not finite".to_owned())
        }
    }
}

/// Attributes that may be written as floats or, for doubles, as a tensor.
fn numbers(node: &onnx::Node, name: &str) -> Result<Vec<f64>, String> {
    if node.attribute(&format!("{name}_as_tensor")).is_some() {
        return Err(format!(
            "{name}_as_tensor: thresholds of 64 bits are not compared as probity's features, which have 32"
        ));
    }
    Ok(node.floats(name).iter().copied().map(f64::from).collect())
}

fn regressor(node: &onnx::Node) -> Result<Ensemble, String> {
    let targets = node.int("n_targets").unwrap_or(1);
    if targets != 1 {
        return Err(format!(
            "{targets} targets; a score has one, so write n_targets = 1"
        ));
    }
    none_after(node)?;
    let average = match node.text("aggregate_function").unwrap_or(b"SUM") {
        b"SUM" => false,
        b"AVERAGE" => true,
        other => {
            let name = String::from_utf8_lossy(other);
            return Err(format!("{name} over the trees is no sum"));
        }
    };
    let mut ensemble = flat(node, "target", |_| Ok(()))?;
    if average {
        ensemble.divide_by_trees();
    }
    ensemble.base = base(node)?;
    Ok(ensemble)
}

/// What a regressor says must be the sum itself.
fn none_after(node: &onnx::Node) -> Result<(), String> {
    match node.text("post_transform").unwrap_or(b"NONE") {
        b"NONE" => Ok(()),
        other => {
            let name = String::from_utf8_lossy(other);
            Err(format!(
                "post_transform {name} hides the sum of the trees; export with NONE"
            ))
        }
    }
}

/// Of two classes, with votes for one: then ONNX Runtime takes the sum as the margin of the second.
fn classifier(node: &onnx::Node) -> Result<Ensemble, String> {
    let labels = node
        .ints("classlabels_int64s")
        .len()
        .max(node.strings("classlabels_strings").len());
    if labels != 2 {
        return Err(format!("{labels} classes; a score tells two apart"));
    }
    if node.text("post_transform") != Some(b"LOGISTIC") {
        return Err(
            "the votes of its trees are no log-odds: post_transform is not LOGISTIC".to_owned(),
        );
    }
    let first = node.ints("class_ids").first().copied();
    let one = |class: i64| {
        if Some(class) == first {
            Ok(())
        } else {
            Err("its trees vote for both classes".to_owned())
        }
    };
    let mut ensemble = flat(node, "class", one)?;
    // ONNX Runtime takes one base value as the first class's: where the votes are for the second, it passes over it.
    let base = base(node)?;
    if first == Some(0) {
        ensemble.base = base;
    }
    Ok(ensemble)
}

fn base(node: &onnx::Node) -> Result<f64, String> {
    match *numbers(node, "base_values")?.as_slice() {
        [] => Ok(0.0),
        [base] => Ok(base),
        ref several => Err(format!("{} base values for one sum", several.len())),
    }
}

/// The attributes of versions 1 to 4, in which a node is named by its tree and its number there.
fn flat(
    node: &onnx::Node,
    votes: &str,
    allowed: impl Fn(i64) -> Result<(), String>,
) -> Result<Ensemble, String> {
    let (trees, ids) = (node.ints("nodes_treeids"), node.ints("nodes_nodeids"));
    let (yes, no) = (
        node.ints("nodes_truenodeids"),
        node.ints("nodes_falsenodeids"),
    );
    let (features, modes) = (node.ints("nodes_featureids"), node.strings("nodes_modes"));
    let values = numbers(node, "nodes_values")?;
    let missing = node.ints("nodes_missing_value_tracks_true");
    let count = ids.len();
    let lengths = [
        trees.len(),
        yes.len(),
        no.len(),
        features.len(),
        modes.len(),
        values.len(),
    ];
    if count == 0
        || lengths.iter().any(|length| *length != count)
        || ![0, count].contains(&missing.len())
    {
        return Err("its attributes nodes_… are not of one length".to_owned());
    }
    let mut at = HashMap::with_capacity(count);
    for (index, (tree, id)) in trees.iter().zip(ids).enumerate() {
        if at.insert((*tree, *id), index).is_some() {
            return Err(format!("tree {tree} has node {id} twice"));
        }
    }
    let find = |tree: i64, id: i64| {
        at.get(&(tree, id))
            .copied()
            .ok_or_else(|| format!("tree {tree} has no node {id}"))
    };
    let mut nodes = Vec::with_capacity(count);
    let mut is_root = vec![true; count];
    for index in 0..count {
        if modes[index] == b"LEAF" {
            nodes.push(Node::Leaf(0.0));
            continue;
        }
        let branch = Branch {
            feature: feature(features[index])?,
            test: test(&modes[index], values[index] as f32)?,
            missing: missing.get(index).is_some_and(|tracks| *tracks != 0),
            yes: find(trees[index], yes[index])?,
            no: find(trees[index], no[index])?,
        };
        for child in [branch.yes, branch.no] {
            is_root[child] = false;
        }
        nodes.push(Node::Branch(branch));
    }
    let part = |name: &str| node.ints(&format!("{votes}_{name}"));
    let weights = numbers(node, &format!("{votes}_weights"))?;
    let (treeids, nodeids, targets) = (part("treeids"), part("nodeids"), part("ids"));
    if [treeids.len(), nodeids.len(), targets.len()] != [weights.len(); 3] {
        return Err(format!("its attributes {votes}_… are not of one length"));
    }
    for (vote, weight) in weights.into_iter().enumerate() {
        allowed(targets[vote])?;
        match &mut nodes[find(treeids[vote], nodeids[vote])?] {
            Node::Leaf(value) => *value += weight,
            Node::Branch(_) => return Err("a node that is no leaf has a vote".to_owned()),
        }
    }
    let roots = (0..count).filter(|index| is_root[*index]).collect();
    Ok(Ensemble {
        nodes,
        roots,
        base: 0.0,
    })
}

fn feature(id: i64) -> Result<usize, String> {
    usize::try_from(id).map_err(|_| format!("{id} is no feature"))
}

fn test(mode: &[u8], threshold: f32) -> Result<Test, String> {
    Ok(match mode {
        b"BRANCH_LEQ" => Test::Le(threshold),
        b"BRANCH_LT" => Test::Lt(threshold),
        b"BRANCH_GTE" => Test::Ge(threshold),
        b"BRANCH_GT" => Test::Gt(threshold),
        b"BRANCH_EQ" => Test::Eq(threshold),
        b"BRANCH_NEQ" => Test::Ne(threshold),
        other => {
            let name = String::from_utf8_lossy(other);
            return Err(format!("{name} is no known mode of a node"));
        }
    })
}

/// `TreeEnsemble` of version 5: branches and leaves are numbered apart.
fn fifth(node: &onnx::Node) -> Result<Ensemble, String> {
    if node.int("n_targets").unwrap_or(1) != 1 {
        return Err("more than one target; a score has one".to_owned());
    }
    if node.int("post_transform").unwrap_or(0) != 0 {
        return Err("post_transform hides the sum of the trees; export with NONE".to_owned());
    }
    let tensor = |name: &str| {
        node.attribute(name)
            .and_then(|attribute| attribute.t.as_ref())
    };
    let floats = |name: &str| {
        let tensor = tensor(name).ok_or_else(|| format!("it has no {name}"))?;
        tensor
            .floats()
            .ok_or_else(|| format!("{name} is no tensor of 32-bit floats"))
    };
    let modes = tensor("nodes_modes").and_then(onnx::Tensor::bytes);
    let modes = modes.ok_or("nodes_modes is no tensor of bytes")?;
    let (splits, weights) = (floats("nodes_splits")?, floats("leaf_weights")?);
    let mut members = match tensor("membership_values") {
        Some(_) => floats("membership_values")?,
        None => Vec::new(),
    }
    .into_iter();
    let features = node.ints("nodes_featureids");
    let missing = node.ints("nodes_missing_value_tracks_true");
    let (yes, no) = (
        node.ints("nodes_truenodeids"),
        node.ints("nodes_falsenodeids"),
    );
    let (yes_leaf, no_leaf) = (node.ints("nodes_trueleafs"), node.ints("nodes_falseleafs"));
    let count = features.len();
    let lengths = [
        modes.len(),
        splits.len(),
        yes.len(),
        no.len(),
        yes_leaf.len(),
        no_leaf.len(),
    ];
    if count == 0
        || lengths.iter().any(|length| *length != count)
        || ![0, count].contains(&missing.len())
    {
        return Err("its attributes nodes_… are not of one length".to_owned());
    }
    let child = |id: i64, leaf: i64| {
        let (first, after) = match leaf {
            0 => (0, count),
            _ => (count, weights.len()),
        };
        match usize::try_from(id) {
            Ok(id) if id < after => Ok(first + id),
            _ => Err(format!("a node has the child {id}, which is not there")),
        }
    };
    let mut nodes = Vec::with_capacity(count + weights.len());
    // A tree that is one leaf has a branch whose two children are that leaf.
    let mut single = vec![None; count];
    for index in 0..count {
        let test = match modes[index] {
            0 => Test::Le(splits[index]),
            1 => Test::Lt(splits[index]),
            2 => Test::Ge(splits[index]),
            3 => Test::Gt(splits[index]),
            4 => Test::Eq(splits[index]),
            5 => Test::Ne(splits[index]),
            6 => {
                let set = members.by_ref().take_while(|value| !value.is_nan());
                let mut set: Vec<f32> = set.collect();
                set.sort_unstable_by(f32::total_cmp);
                set.dedup();
                Test::In(set)
            }
            other => return Err(format!("{other} is no known mode of a node")),
        };
        let branch = Branch {
            feature: feature(features[index])?,
            test,
            missing: missing.get(index).is_some_and(|tracks| *tracks != 0),
            yes: child(yes[index], yes_leaf[index])?,
            no: child(no[index], no_leaf[index])?,
        };
        single[index] = (branch.yes == branch.no && yes_leaf[index] != 0).then_some(branch.yes);
        nodes.push(Node::Branch(branch));
    }
    nodes.extend(weights.into_iter().map(|weight| Node::Leaf(weight.into())));
    let root = |id: &i64| match usize::try_from(*id) {
        Ok(id) if id < count => Ok(single[id].unwrap_or(id)),
        _ => Err(format!("tree_roots names {id}, which is not there")),
    };
    let roots: Vec<usize> = node
        .ints("tree_roots")
        .iter()
        .map(root)
        .collect::<Result<_, _>>()?;
    let mut ensemble = Ensemble {
        nodes,
        roots,
        base: 0.0,
    };
    match node.int("aggregate_function").unwrap_or(1) {
        0 => ensemble.divide_by_trees(),
        1 => {}
        _ => return Err("the smallest or largest of the trees is no sum".to_owned()),
    }
    Ok(ensemble)
}

impl Ensemble {
    fn divide_by_trees(&mut self) {
        let trees = self.roots.len() as f64;
        for node in &mut self.nodes {
            if let Node::Leaf(value) = node {
                *value /= trees;
            }
        }
    }
}

//! What the margin of a model is made of, read from the graph of its ONNX file.
//!
//! Follows numbers that are sums of features times constants, and sums over trees, through the nodes that keep them
//! so. Everything else is opaque, and a margin that comes from there has no exact explanation here.

use std::collections::HashMap;

use prost::Message as _;

use super::ensemble::{Ensemble, Link, Node};
use super::onnx::{self, Tensor};

/// A margin that can be explained exactly. Features are numbered as the package does.
#[derive(Debug)]
pub enum Margin {
    Trees(Ensemble),
    Linear(Linear),
}

/// `bias` and for each feature its `weight` times the feature.
#[derive(Clone, PartialEq, Debug)]
pub struct Linear {
    pub weights: Vec<f64>,
    pub bias: f64,
}

impl Linear {
    /// What it says of these features.
    pub fn of(&self, features: &[f64]) -> f64 {
        let terms = self.weights.iter().zip(features);
        // A feature without weight adds nothing, whatever it is.
        let terms = terms.filter(|(weight, _)| **weight != 0.0);
        terms.fold(self.bias, |sum, (weight, value)| sum + weight * value)
    }
}

/// Where the graph gets the features.
pub enum Inputs<'a> {
    /// All as the columns of one input.
    Matrix(&'a str),
    /// Each as an input of its name.
    Columns(Vec<&'a str>),
}

/// What a classifier tells apart, where its score is one number.
const CLASSES: usize = 2;

/// The outputs of the graph that matter.
#[derive(Clone, Copy)]
pub struct Outputs<'a> {
    /// The column of each, 0 where there is but one. A class's number, where it has a name, is not known here.
    pub margin: Option<(&'a str, usize)>,
    pub probability: (&'a str, usize),
}

/// Numbers of a row, as far as they are understood.
#[derive(Clone)]
enum Value {
    /// One sum for each column.
    Sums(Vec<Sum>),
    /// What this node's trees say, times a factor and plus a number.
    Trees(usize, f64, f64),
    /// Of a value of one column: its logistic function.
    Logistic(Box<Value>),
}

/// Features with weights, and a number.
#[derive(Clone, Default)]
struct Sum {
    terms: Vec<(usize, f64)>,
    bias: f64,
}

/// Reads what the margin of the model is made of.
///
/// # Errors
/// Why it cannot be explained exactly.
pub fn read(
    bytes: &[u8],
    features: usize,
    inputs: &Inputs<'_>,
    outputs: Outputs<'_>,
) -> Result<Margin, String> {
    let model = onnx::Model::decode(bytes).map_err(|error| format!("not an ONNX file: {error}"))?;
    let graph = model.graph.unwrap_or_default();
    let mut reader = Reader {
        constants: constants(&graph),
        values: HashMap::new(),
        makers: HashMap::new(),
        ensembles: Vec::new(),
        refused: HashMap::new(),
    };
    match inputs {
        Inputs::Matrix(name) => {
            let sums = (0..features).map(Sum::of_feature).collect();
            reader.values.insert((*name).to_owned(), Value::Sums(sums));
        }
        Inputs::Columns(names) => {
            for (feature, name) in names.iter().enumerate() {
                let sums = vec![Sum::of_feature(feature)];
                reader.values.insert((*name).to_owned(), Value::Sums(sums));
            }
        }
    }
    for node in &graph.node {
        reader.follow(node);
    }
    reader.margin(features, outputs)
}

fn constants(graph: &onnx::Graph) -> HashMap<String, Tensor> {
    let initializers = graph
        .initializer
        .iter()
        .map(|t| (t.name.clone(), t.clone()));
    let nodes = graph.node.iter().filter(|node| node.op_type == "Constant");
    let nodes = nodes.filter_map(|node| {
        let tensor = node.attribute("value")?.t.clone()?;
        Some((node.output.first()?.clone(), tensor))
    });
    initializers.chain(nodes).collect()
}

struct Reader {
    constants: HashMap<String, Tensor>,
    values: HashMap<String, Value>,
    /// By which operator each value was made, to say what hides the margin.
    makers: HashMap<String, String>,
    ensembles: Vec<Ensemble>,
    /// Why trees could not be read, by the value they give.
    refused: HashMap<String, String>,
}

impl Reader {
    fn follow(&mut self, node: &onnx::Node) {
        let Some(output) = node.output.first() else {
            return;
        };
        for output in &node.output {
            self.makers.insert(output.clone(), node.op_type.clone());
        }
        if node.op_type.starts_with("TreeEnsemble") {
            self.trees(node);
        } else if node.op_type == "LinearClassifier" {
            self.classifier(node);
        } else if let Some(value) = self.value(node) {
            self.values.insert(output.clone(), value);
        } else if let Some(why) = node.input.iter().find_map(|i| self.refused.get(i)) {
            let why = why.clone();
            self.refused.insert(output.clone(), why);
        }
    }

    fn trees(&mut self, node: &onnx::Node) {
        // A classifier gives labels, then scores.
        let Some(output) = node.output.last().cloned() else {
            return;
        };
        let read = Ensemble::read(node).and_then(|(ensemble, link)| {
            let input = node.input.first().and_then(|name| self.values.get(name));
            let Some(Value::Sums(columns)) = input else {
                return Err("its trees do not read the features as they are".to_owned());
            };
            Ok((renamed(ensemble, columns)?, link))
        });
        match read {
            Ok((ensemble, link)) => {
                let trees = Value::Trees(self.ensembles.len(), 1.0, 0.0);
                self.ensembles.push(ensemble);
                let value = match link {
                    Link::Identity => trees,
                    Link::Logistic => Value::Logistic(Box::new(trees)),
                };
                self.values.insert(output, value);
            }
            Err(why) => {
                self.refused.insert(output, why);
            }
        }
    }

    /// Of two classes, each with its coefficients. Gives labels, then a number for each class.
    fn classifier(&mut self, node: &onnx::Node) {
        let Some(output) = node.output.last().cloned() else {
            return;
        };
        let input = node.input.first().and_then(|name| self.values.get(name));
        let margins = input
            .cloned()
            .and_then(|columns| columns.weighed(node, CLASSES));
        let value = margins.and_then(|margins| match node.text("post_transform") {
            None | Some(b"NONE") => Some(margins),
            Some(b"LOGISTIC") => Some(Value::Logistic(Box::new(margins))),
            _ => None,
        });
        match value {
            Some(value) => {
                self.values.insert(output, value);
            }
            None => {
                let why = "a LinearClassifier is a weighted sum of the features only with coefficients for each of two \
                           classes, and post_transform NONE or LOGISTIC";
                self.refused.insert(output, why.to_owned());
            }
        }
    }

    /// What the node's first output is, if it is understood.
    fn value(&self, node: &onnx::Node) -> Option<Value> {
        let input = |at: usize| self.values.get(node.input.get(at)?).cloned();
        let constant = |at: usize| self.constants.get(node.input.get(at)?);
        match node.op_type.as_str() {
            "Identity" => input(0),
            "Cast" if node.int("to") == Some(onnx::FLOAT.into()) => input(0),
            "Reshape" | "Squeeze" | "Unsqueeze" | "Flatten" => {
                input(0).filter(|value| value.columns() == 1)
            }
            "ZipMap" => input(0),
            "Neg" => input(0)?.scaled(&[-1.0]),
            "Add" => match constant(1) {
                Some(number) => input(0)?.shifted(&number.numbers()?),
                None => input(1)?.shifted(&constant(0)?.numbers()?),
            },
            "Sub" => match constant(1) {
                Some(number) => input(0)?.shifted(&negated(number.numbers()?)),
                None => input(1)?.scaled(&[-1.0])?.shifted(&constant(0)?.numbers()?),
            },
            "Mul" => match constant(1) {
                Some(number) => input(0)?.scaled(&number.numbers()?),
                None => input(1)?.scaled(&constant(0)?.numbers()?),
            },
            "Div" => {
                let by = constant(1)?.numbers()?;
                input(0)?.scaled(&by.iter().map(|by| 1.0 / by).collect::<Vec<_>>())
            }
            "Scaler" => {
                let wide = |values: &[f32]| values.iter().copied().map(f64::from).collect();
                let (offset, scale) = (wide(node.floats("offset")), wide(node.floats("scale")));
                input(0)?.shifted(&negated(offset))?.scaled(&scale)
            }
            "Sigmoid" => Some(Value::Logistic(Box::new(input(0)?))),
            // Two opposite classes, whose probabilities add up to one as they are.
            "Normalizer" if node.text("norm") == Some(b"L1") => {
                input(0).filter(|value| match value {
                    Value::Logistic(inner) => inner.is_opposite(),
                    _ => false,
                })
            }
            "Concat" if node.int("axis") == Some(1) => {
                let parts = (0..node.input.len()).map(|at| match input(at) {
                    Some(Value::Sums(sums)) => Some(sums),
                    _ => None,
                });
                Some(Value::Sums(parts.collect::<Option<Vec<_>>>()?.concat()))
            }
            "MatMul" => input(0)?.times(constant(1)?, false),
            "Gemm" if node.int("transA").unwrap_or(0) == 0 => self.gemm(node),
            "LinearRegressor" => {
                let is_plain = matches!(node.text("post_transform"), None | Some(b"NONE"))
                    && node.int("targets").unwrap_or(1) == 1;
                input(0).filter(|_| is_plain)?.weighed(node, 1)
            }
            _ => None,
        }
    }

    fn gemm(&self, node: &onnx::Node) -> Option<Value> {
        let factor = f64::from(node.float("alpha").unwrap_or(1.0));
        let matrix = self.constants.get(node.input.get(1)?)?;
        let is_transposed = node.int("transB").unwrap_or(0) != 0;
        let value = self.values.get(node.input.first()?)?;
        let product = value
            .clone()
            .times(matrix, is_transposed)?
            .scaled(&[factor])?;
        let Some(bias) = node.input.get(2).filter(|name| !name.is_empty()) else {
            return Some(product);
        };
        let beta = f64::from(node.float("beta").unwrap_or(1.0));
        let bias = self.constants.get(bias)?.numbers()?;
        product.shifted(&bias.into_iter().map(|b| b * beta).collect::<Vec<_>>())
    }

    fn margin(mut self, features: usize, outputs: Outputs<'_>) -> Result<Margin, String> {
        let (name, mut column) = outputs.margin.unwrap_or(outputs.probability);
        let mut value = self.values.remove(name);
        if outputs.margin.is_none() {
            value = match value {
                Some(Value::Logistic(inner)) => Some(*inner),
                _ => None,
            };
        }
        if outputs.margin.is_none() && matches!(value, Some(Value::Trees(..))) {
            // One sum gives the probabilities of both classes.
            column = 0;
        }
        match value {
            Some(Value::Trees(at, scale, shift)) if column == 0 => {
                Ok(Margin::Trees(stretched(self.ensembles.swap_remove(at), scale, shift)))
            }
            Some(Value::Sums(sums)) if column < sums.len() => {
                let mut weights = vec![0.0; features];
                for (feature, weight) in &sums[column].terms {
                    weights[*feature] += weight;
                }
                let bias = sums[column].bias;
                Ok(Margin::Linear(Linear { weights, bias }))
            }
            _ => Err(self.refused.remove(name).unwrap_or_else(|| {
                let maker = self.makers.get(name).map_or("nothing", String::as_str);
                format!(
                    "output `{name}` comes from {maker}, and is neither a sum over trees nor a weighted sum of the \
                     features"
                )
            })),
        }
    }
}

/// The trees with the package's numbers of the features that their input's columns hold.
fn renamed(mut ensemble: Ensemble, columns: &[Sum]) -> Result<Ensemble, String> {
    if ensemble.width() > columns.len() {
        let (asked, there) = (ensemble.width(), columns.len());
        return Err(format!(
            "its trees ask for {asked} features, but their input has {there}"
        ));
    }
    let changed = || "its trees read features that were changed before".to_owned();
    for node in &mut ensemble.nodes {
        if let Node::Branch(branch) = node {
            branch.feature = columns[branch.feature].plain().ok_or_else(changed)?;
        }
    }
    Ok(ensemble)
}

fn stretched(mut ensemble: Ensemble, scale: f64, shift: f64) -> Ensemble {
    for node in &mut ensemble.nodes {
        if let Node::Leaf(value) = node {
            *value *= scale;
        }
    }
    ensemble.base = ensemble.base * scale + shift;
    ensemble
}

fn negated(mut numbers: Vec<f64>) -> Vec<f64> {
    numbers.iter_mut().for_each(|number| *number = -*number);
    numbers
}

fn dot(columns: &[Sum], weights: impl ExactSizeIterator<Item = f64>) -> Option<Sum> {
    if columns.len() != weights.len() {
        return None;
    }
    let mut sum = Sum::default();
    for (column, weight) in columns.iter().zip(weights) {
        sum.bias += column.bias * weight;
        let terms = column
            .terms
            .iter()
            .map(|(feature, w)| (*feature, w * weight));
        sum.terms.extend(terms);
    }
    sum.terms.sort_by_key(|(feature, _)| *feature);
    sum.terms.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        kept.1 += if same { next.1 } else { 0.0 };
        same
    });
    Some(sum)
}

impl Sum {
    fn of_feature(feature: usize) -> Sum {
        let terms = vec![(feature, 1.0)];
        Sum { terms, bias: 0.0 }
    }

    /// The feature that it is, unchanged.
    fn plain(&self) -> Option<usize> {
        match *self.terms.as_slice() {
            [(feature, weight)] if weight == 1.0 && self.bias == 0.0 => Some(feature),
            _ => None,
        }
    }
}

impl Value {
    fn columns(&self) -> usize {
        match self {
            Value::Sums(sums) => sums.len(),
            Value::Trees(..) => 1,
            Value::Logistic(inner) => inner.columns(),
        }
    }

    /// Whether the second of two columns is the first one's negative.
    fn is_opposite(&self) -> bool {
        let Value::Sums(sums) = self else {
            return false;
        };
        let [one, two] = &**sums else {
            return false;
        };
        let negated = two
            .terms
            .iter()
            .map(|(feature, weight)| (*feature, -weight));
        one.bias == -two.bias && one.terms.iter().copied().eq(negated)
    }

    /// Times one number, or one for each column.
    fn scaled(self, by: &[f64]) -> Option<Value> {
        self.each(by, |sum, by| {
            sum.bias *= by;
            sum.terms.iter_mut().for_each(|(_, weight)| *weight *= by);
        })
        .or_else(|value| match value {
            Value::Trees(at, scale, shift) if by.len() == 1 => {
                Some(Value::Trees(at, scale * by[0], shift * by[0]))
            }
            // LightGBM's exporter multiplies by one.
            Value::Logistic(_) if by == [1.0] => Some(value),
            _ => None,
        })
    }

    /// Plus one number, or one for each column.
    fn shifted(self, by: &[f64]) -> Option<Value> {
        self.each(by, |sum, by| sum.bias += by)
            .or_else(|value| match value {
                Value::Trees(at, scale, shift) if by.len() == 1 => {
                    Some(Value::Trees(at, scale, shift + by[0]))
                }
                _ => None,
            })
    }

    /// Changes each sum with its number.
    fn each(self, by: &[f64], change: impl Fn(&mut Sum, f64)) -> Changed {
        match self {
            Value::Sums(mut sums) if by.len() == 1 || by.len() == sums.len() => {
                for (sum, by) in sums.iter_mut().zip(by.iter().cycle()) {
                    change(sum, *by);
                }
                Changed::Yes(Value::Sums(sums))
            }
            other => Changed::No(other),
        }
    }

    /// The attributes `coefficients` and `intercepts` of an operator that gives so many numbers.
    fn weighed(self, node: &onnx::Node, targets: usize) -> Option<Value> {
        let Value::Sums(columns) = self else {
            return None;
        };
        let (weights, biases) = (node.floats("coefficients"), node.floats("intercepts"));
        if weights.len() != targets * columns.len() || ![0, targets].contains(&biases.len()) {
            return None;
        }
        let sums = weights.chunks_exact(columns.len()).enumerate();
        let sums = sums.map(|(target, weights)| {
            let mut sum = dot(&columns, weights.iter().map(|w| f64::from(*w)))?;
            sum.bias += f64::from(biases.get(target).copied().unwrap_or(0.0));
            Some(sum)
        });
        Some(Value::Sums(sums.collect::<Option<_>>()?))
    }

    /// Times a matrix, or its transpose.
    fn times(self, matrix: &Tensor, is_transposed: bool) -> Option<Value> {
        let Value::Sums(columns) = self else {
            return None;
        };
        let (numbers, [rows, width]) =
            (matrix.numbers()?, <[i64; 2]>::try_from(&*matrix.dims).ok()?);
        let (rows, width) = (usize::try_from(rows).ok()?, usize::try_from(width).ok()?);
        let sums = if is_transposed {
            let row = |i: usize| dot(&columns, numbers[i * width..][..width].iter().copied());
            (0..rows).map(row).collect::<Option<_>>()?
        } else {
            let column = |j: usize| dot(&columns, (0..rows).map(|i| numbers[i * width + j]));
            (0..width).map(column).collect::<Option<_>>()?
        };
        Some(Value::Sums(sums))
    }
}

/// Whether a value was sums that could be changed.
enum Changed {
    Yes(Value),
    No(Value),
}

impl Changed {
    fn or_else(self, other: impl FnOnce(Value) -> Option<Value>) -> Option<Value> {
        match self {
            Changed::Yes(value) => Some(value),
            Changed::No(value) => other(value),
        }
    }
}

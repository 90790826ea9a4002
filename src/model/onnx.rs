//! What an ONNX file says of itself: inputs, outputs, operators, who made it.
//!
//! Reads declarations and counts nodes; it runs nothing and needs no library. Of the metadata only the keys are shown,
//! because exporters write paths and parameters there.

use std::collections::BTreeMap;

use prost::Message as _;
use serde::Serialize;

use crate::explain::onnx;

/// The domain of ONNX's own operators is written as nothing in the file.
const OWN_DOMAIN: &str = "ai.onnx";

/// An ONNX file, for people.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct OnnxFile {
    pub ir_version: i64,
    /// By domain.
    pub opsets: BTreeMap<String, i64>,
    /// Name and version of what wrote the file; empty where it does not say.
    pub producer: String,
    pub inputs: Vec<Slot>,
    pub outputs: Vec<Slot>,
    /// How many nodes there are of each operator, in inner graphs too. Those that are not ONNX's own have their domain.
    pub operators: BTreeMap<String, u64>,
    pub metadata_keys: Vec<String>,
}

/// An input or output.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Slot {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
}

impl OnnxFile {
    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// What is wrong with it, if it is no ONNX file.
    pub fn read(bytes: &[u8]) -> Result<OnnxFile, String> {
        let model = onnx::Model::decode(bytes)
            .map_err(|error| format!("is no whole ONNX file: {error}"))?;
        let graph = model.graph.ok_or("is no ONNX file: it has no graph")?;
        let mut operators = BTreeMap::new();
        count(&graph.node, &mut operators);
        for function in &model.functions {
            count(&function.node, &mut operators);
        }
        // Old exporters list constants among the inputs.
        let is_constant = |input: &&onnx::ValueInfo| {
            graph
                .initializer
                .iter()
                .any(|constant| constant.name == input.name)
        };
        let inputs = graph.input.iter().filter(|input| !is_constant(input));
        let opsets = model.opset_import.iter();
        let keys = model.metadata_props.into_iter().map(|entry| entry.key);
        let producer = format!("{} {}", model.producer_name, model.producer_version);
        Ok(OnnxFile {
            ir_version: model.ir_version,
            opsets: opsets
                .map(|set| (domain(&set.domain), set.version))
                .collect(),
            producer: producer.trim().to_owned(),
            inputs: inputs.map(slot).collect(),
            outputs: graph.output.iter().map(slot).collect(),
            operators,
            metadata_keys: keys.collect(),
        })
    }
}

fn domain(name: &str) -> String {
    match name {
        "" => OWN_DOMAIN.to_owned(),
        name => name.to_owned(),
    }
}

fn count(nodes: &[onnx::Node], operators: &mut BTreeMap<String, u64>) {
    for node in nodes {
        let name = match node.domain.as_str() {
            "" | OWN_DOMAIN => node.op_type.clone(),
            domain => format!("{domain}.{}", node.op_type),
        };
        *operators.entry(name).or_default() += 1;
        for attribute in &node.attribute {
            for graph in attribute.g.iter().chain(&attribute.graphs) {
                count(&graph.node, operators);
            }
        }
    }
}

fn slot(value: &onnx::ValueInfo) -> Slot {
    Slot {
        name: value.name.clone(),
        kind: value.r#type.as_ref().map_or_else(unknown, type_of),
    }
}

fn unknown() -> String {
    "unknown".to_owned()
}

fn type_of(kind: &onnx::Type) -> String {
    let inner = |kind: &Option<onnx::Type>| kind.as_ref().map_or_else(unknown, type_of);
    if let Some(tensor) = &kind.tensor {
        let element = element(tensor.elem_type);
        return match &tensor.shape {
            Some(shape) => {
                let sizes: Vec<String> = shape.dim.iter().map(size).collect();
                format!("{element}[{}]", sizes.join(", "))
            }
            None => format!("{element}[…]"),
        };
    }
    if let Some(sequence) = &kind.sequence {
        return format!("sequence of {}", inner(&sequence.elem_type));
    }
    match &kind.map {
        Some(map) => format!(
            "map from {} to {}",
            element(map.key_type),
            inner(&map.value_type)
        ),
        None => unknown(),
    }
}

/// A number, the name of a free dimension, or `N`.
fn size(dimension: &onnx::Dimension) -> String {
    match (dimension.value, dimension.param.as_deref()) {
        (Some(size), _) => size.to_string(),
        (None, None | Some("")) => "N".to_owned(),
        (None, Some(name)) => name.to_owned(),
    }
}

/// As `TensorProto.DataType` numbers them, by the names that `model.toml` has for them.
fn element(number: i32) -> &'static str {
    match number {
        1 => "float32",
        2 => "uint8",
        3 => "int8",
        4 => "uint16",
        5 => "int16",
        6 => "int32",
        7 => "int64",
        8 => "string",
        9 => "boolean",
        10 => "float16",
        11 => "float64",
        12 => "uint32",
        13 => "uint64",
        16 => "bfloat16",
        _ => "another type",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(name: &str) -> OnnxFile {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models");
        let bytes = std::fs::read(folder.join(name).join("model.onnx")).unwrap();
        OnnxFile::read(&bytes).unwrap()
    }

    fn slots(slots: &[Slot]) -> Vec<String> {
        let text = |slot: &Slot| format!("{} {}", slot.name, slot.kind);
        slots.iter().map(text).collect()
    }

    #[test]
    fn a_file_says_what_it_takes_and_gives() {
        let file = fixture("lightgbm");
        assert_eq!(slots(&file.inputs), ["input float32[N, 8]"]);
        assert_eq!(
            slots(&file.outputs),
            ["label int64[1]", "probabilities float32[N, 2]"]
        );
        assert_eq!(file.operators["ai.onnx.ml.TreeEnsembleClassifier"], 1);
        let zipmap = fixture("lightgbm-zipmap");
        assert_eq!(
            slots(&zipmap.outputs)[1],
            "probabilities sequence of map from int64 to float32[…]"
        );
        assert_eq!(zipmap.opsets["ai.onnx.ml"], 1);
    }

    #[test]
    fn a_node_of_an_inner_graph_is_counted_with_its_domain() {
        let inner = onnx::Node {
            op_type: "Mystery".to_owned(),
            domain: "com.example".to_owned(),
            ..onnx::Node::default()
        };
        let branch = onnx::Attribute {
            g: Some(onnx::Graph {
                node: vec![inner],
                ..onnx::Graph::default()
            }),
            ..onnx::Attribute::default()
        };
        let outer = onnx::Node {
            op_type: "If".to_owned(),
            attribute: vec![branch],
            ..onnx::Node::default()
        };
        let mut operators = BTreeMap::new();
        count(&[outer.clone(), outer], &mut operators);
        assert_eq!(operators["If"], 2);
        assert_eq!(operators["com.example.Mystery"], 2);
    }

    #[test]
    fn half_a_file_is_none() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models");
        let bytes = std::fs::read(folder.join("mlp/model.onnx")).unwrap();
        let refused = OnnxFile::read(&bytes[..bytes.len() / 2]).unwrap_err();
        assert!(refused.contains("no whole ONNX file"), "{refused}");
        assert!(OnnxFile::read(b"").unwrap_err().contains("no graph"));
    }
}

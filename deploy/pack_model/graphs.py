"""ONNX graphs with one float32 matrix `input`, and the outputs `margin` (log-odds) and `score`, both [N, 1].

Written node by node: no ZipMap, no label, no metadata, nothing that differs from run to run. Old operator sets,
so that an old runtime reads them too.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .trees import Leaf, Trees

OPSET = 15
OPSET_ML = 1
IR_VERSION = 8

# A forest's probability may be exactly 0 or 1, whose log-odds are infinite: they end here, at -9.2 and 9.2.
CLIP = 1e-4


class Graph:
    """Nodes in a row, each fed with the one before."""

    def __init__(self, width):
        self.width, self.nodes, self.constants = width, [], []

    def constant(self, values):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, np.float32), name))
        return name

    def add(self, operator, inputs, output=None, **attributes):
        output = output or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def model(self):
        """Declares the outputs `margin` and `score`, which must have been made."""
        outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in ("margin", "score")]
        inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, [None, self.width])]
        graph = helper.make_graph(self.nodes, "model", inputs, outputs, self.constants)
        domains = {"": OPSET}
        if any(node.domain == "ai.onnx.ml" for node in self.nodes):
            domains["ai.onnx.ml"] = OPSET_ML
        sets = [helper.make_opsetid(domain, version) for domain, version in sorted(domains.items())]
        model = helper.make_model(graph, opset_imports=sets, ir_version=IR_VERSION)
        onnx.checker.check_model(model, full_check=True)
        return model


def tree_attributes(trees: Trees):
    nodes = list(trees.nodes())
    # A node's children are found by the order in which `nodes` lists them.
    numbers = {id(node): number for _, number, node in nodes}
    leaves = [(tree, number, node) for tree, number, node in nodes if isinstance(node, Leaf)]

    def of(split, leaf):
        return [leaf if isinstance(node, Leaf) else split(node) for _, _, node in nodes]

    return {
        "nodes_treeids": [tree for tree, _, _ in nodes],
        "nodes_nodeids": [number for _, number, _ in nodes],
        "nodes_featureids": of(lambda node: node.feature, 0),
        "nodes_modes": of(lambda node: trees.mode, "LEAF"),
        "nodes_values": of(lambda node: float(np.float32(node.threshold)), 0.0),
        "nodes_truenodeids": of(lambda node: numbers[id(node.true)], 0),
        "nodes_falsenodeids": of(lambda node: numbers[id(node.false)], 0),
        "nodes_missing_value_tracks_true": of(lambda node: int(node.missing_is_true), 0),
        "target_treeids": [tree for tree, _, _ in leaves],
        "target_nodeids": [number for _, number, _ in leaves],
        "target_ids": [0] * len(leaves),
        "target_weights": [float(np.float32(node.value)) for _, _, node in leaves],
        "base_values": [float(np.float32(trees.base))],
        "n_targets": 1,
        "aggregate_function": "SUM",
        "post_transform": "NONE",
    }


def of_trees(trees: Trees, width):
    """The shape that exact reasons need: one ensemble gives the margin."""
    graph = Graph(width)
    graph.add("TreeEnsembleRegressor", ["input"], "margin", domain="ai.onnx.ml", **tree_attributes(trees))
    graph.add("Sigmoid", ["margin"], "score")
    return graph.model()


def of_forest(trees: Trees, width):
    """`score` is the forest's probability; `margin` its log-odds, within CLIP."""
    graph = Graph(width)
    graph.add("TreeEnsembleRegressor", ["input"], "score", domain="ai.onnx.ml", **tree_attributes(trees))
    clipped = graph.add("Clip", ["score", graph.constant(CLIP), graph.constant(1.0 - CLIP)])
    rest = graph.add("Sub", [graph.constant(1.0), clipped])
    graph.add("Log", [graph.add("Div", [clipped, rest])], "margin")
    return graph.model()


def of_layers(width, centre, scale, layers, activation):
    """A network: (input - centre) / scale, then of each layer (weights, bias), with an activation in between.

    Without hidden layers it is a linear model. Centre and scale may be None.
    """
    graph, at = Graph(width), "input"
    if centre is not None:
        at = graph.add("Sub", [at, graph.constant(np.reshape(centre, (1, -1)))])
    if scale is not None:
        at = graph.add("Div", [at, graph.constant(np.reshape(scale, (1, -1)))])
    for number, (weights, bias) in enumerate(layers):
        last = number == len(layers) - 1
        at = graph.add("MatMul", [at, graph.constant(weights)])
        at = graph.add("Add", [at, graph.constant(np.reshape(bias, (1, -1)))], "margin" if last else None)
        if not last and activation is not None:
            at = graph.add(activation, [at])
    graph.add("Sigmoid", ["margin"], "score")
    return graph.model()

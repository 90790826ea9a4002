#!/usr/bin/env python3
"""Trains the reference models: card-risk (LightGBM) and card-risk-mlp.

Reads the matrix that probity itself computed, so there is no second implementation of a feature:

    probity generate --seed 1 --cards 20000 --events 1600000 --truth truth.csv > payments.ndjson
    probity score --package config/models/card-risk --features features.parquet payments.ndjson
    python=$(deploy/setup/python.sh tests/python/oracles.lock)
    $python config/models/train.py --features features.parquet --truth truth.csv

Writes into both packages: model.onnx, golden.json, background.json, reference.json, the thresholds in model.toml,
and MODEL_CARD.md. Texts of reasons stand in the first package's model.toml; see reasons.py for the rest of them.
The other package's model.toml is the first one's under another name. Payments are
split by time: models are fitted on the first 80 %, thresholds chosen on the next 10 %, and the card
reports the last 10 %, which nothing else has seen. Seeded and single-threaded: the same matrix gives
the same files.

The ONNX graphs are built here and not by a converter, for two reasons. Margin (log-odds) and
probability both leave the graph, the second computed from the first. And LightGBM compares doubles
where ONNX compares floats: rounding each threshold down to the next float keeps every row of
floats in the leaf that LightGBM chose.
"""

import argparse
import json
import os
import re
import tomllib
import warnings
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"  # before NumPy loads its BLAS

import lightgbm
import numpy
import onnx
import onnxruntime
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet
import reasons
import reference
from onnx import TensorProto, helper, numpy_helper
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import average_precision_score
from sklearn.neural_network import MLPClassifier

SEED = 1
HERE = Path(__file__).resolve().parent
# The package whose model.toml is written by hand.
BASE = "card-risk"
# What the thresholds are chosen for.
DECLINE_PRECISION = 0.90
REVIEW_ALERT_RATE = 0.005
# The largest chunk that the packages allow.
GOLDEN_ROWS = 256
OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--features", required=True, type=Path, help="Parquet matrix")
    arguments.add_argument("--truth", required=True, type=Path, help="CSV of probity generate")
    arguments.add_argument("--out", default=HERE, type=Path, help="folder of both packages")
    arguments = arguments.parse_args()

    package = tomllib.loads((HERE / BASE / "model.toml").read_text())
    names = [feature["name"] for feature in package["feature"]]
    rows, fraud, scenario = read(arguments.features, arguments.truth, names)
    parts = Parts(names, rows, fraud, scenario)
    print(f"{len(rows)} payments, {int(fraud.sum())} frauds, {len(names)} features")

    trees = fit_trees(parts, names)
    expected = trees.predict(parts.report[0], num_threads=1)
    background = reasons.background(parts)
    known = lambda rows: reasons.contributions(trees, missing_goes_left, background, rows)
    graph = trees_graph(trees, len(names))
    finish(arguments.out, "card-risk", graph, expected, parts, background, known)
    network, graph = fit_network(parts)
    expected = network(parts.report[0])
    background = reasons.background_of_network(background, run(graph, background)[1])
    finish(arguments.out, "card-risk-mlp", graph, expected, parts, background, None)


def read(features, truth, names):
    """Rows in the order of the stream, which is that of time; truth joined by transaction id."""
    table = pyarrow.parquet.read_table(features, columns=["transaction_id", *names])
    truth = pyarrow.csv.read_csv(
        truth, convert_options=pyarrow.csv.ConvertOptions(strings_can_be_null=True)
    )
    place = pyarrow.compute.index_in(table["transaction_id"], truth["transaction_id"])
    if place.null_count:
        raise SystemExit(f"{place.null_count} payments of the matrix are not in the truth file")
    truth = truth.take(place)
    columns = [table[name].to_numpy().astype(numpy.float32) for name in names]
    rows = numpy.column_stack(columns)
    return rows, truth["fraud"].to_numpy().astype(bool), truth["scenario"].to_numpy()


class Parts:
    def __init__(self, names, rows, fraud, scenario):
        self.names = names
        fit, choose = int(len(rows) * 0.8), int(len(rows) * 0.9)
        self.fit = (rows[:fit], fraud[:fit])
        self.choose = (rows[fit:choose], fraud[fit:choose])
        self.report = (rows[choose:], fraud[choose:])
        self.report_scenario = scenario[choose:]


# Trees


def fit_trees(parts, names):
    settings = {
        "objective": "binary",
        "num_leaves": 31,
        "max_depth": 8,
        "learning_rate": 0.05,
        "min_data_in_leaf": 100,
        "min_sum_hessian_in_leaf": 1.0,
        "lambda_l2": 5.0,
        "feature_fraction": 0.7,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "seed": SEED,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbose": -1,
    }
    data = lightgbm.Dataset(*parts.fit, feature_name=names)
    return lightgbm.train(settings, data, num_boost_round=200)


def trees_graph(booster, width):
    """One TreeEnsembleRegressor for the margin. Hit rates hold the training rows of each node."""
    nodes = {key: [] for key in NODE_KEYS}
    leaves = {key: [] for key in ("treeids", "nodeids", "ids", "weights")}
    for number, tree in enumerate(booster.dump_model()["tree_info"]):
        add_node(tree["tree_structure"], number, nodes, leaves, [0])
    ensemble = helper.make_node(
        "TreeEnsembleRegressor",
        ["features"],
        ["margin"],
        domain="ai.onnx.ml",
        n_targets=1,
        aggregate_function="SUM",
        post_transform="NONE",
        **{f"nodes_{key}": values for key, values in nodes.items()},
        **{f"target_{key}": values for key, values in leaves.items()},
    )
    return with_probability([ensemble], [], width)


NODE_KEYS = (
    "treeids nodeids featureids modes values truenodeids falsenodeids hitrates "
    "missing_value_tracks_true"
).split()


def add_node(node, tree, nodes, leaves, counter):
    """Adds a node and all below it; returns its number within the tree."""
    number = counter[0]
    counter[0] += 1
    place = len(nodes["nodeids"])
    leaf = "leaf_value" in node
    row = {
        "treeids": tree,
        "nodeids": number,
        "featureids": 0 if leaf else node["split_feature"],
        "modes": "LEAF" if leaf else "BRANCH_LEQ",
        "values": 0.0 if leaf else float_below(node["threshold"]),
        "truenodeids": 0,
        "falsenodeids": 0,
        "hitrates": float(node.get("leaf_count", node.get("internal_count", 0))),
        "missing_value_tracks_true": 0 if leaf else int(missing_goes_left(node)),
    }
    for key, value in row.items():
        nodes[key].append(value)
    if leaf:
        for key, value in zip(leaves, (tree, number, 0, node["leaf_value"])):
            leaves[key].append(value)
        return number
    nodes["truenodeids"][place] = add_node(node["left_child"], tree, nodes, leaves, counter)
    nodes["falsenodeids"][place] = add_node(node["right_child"], tree, nodes, leaves, counter)
    return number


def float_below(threshold):
    """The largest float that is not above a double: x <= either is the same for every float x."""
    with numpy.errstate(over="ignore"):  # the greatest double stands for "all that is there"
        rounded = numpy.float32(threshold)
    if float(rounded) > threshold:
        rounded = numpy.nextafter(rounded, numpy.float32(-numpy.inf))
    return float(rounded)


def missing_goes_left(node):
    """LightGBM takes a missing value for zero where it saw none in training."""
    if node["decision_type"] != "<=":
        raise SystemExit(f"splits by {node['decision_type']} are not supported")
    if node["missing_type"] == "NaN":
        return node["default_left"]
    if node["missing_type"] == "None":
        return 0.0 <= node["threshold"]
    raise SystemExit(f"missing values of type {node['missing_type']} are not supported")


# Network


def fit_network(parts):
    """Rows are standardised and missing values become the mean, inside the graph."""
    rows, fraud = parts.fit
    mean = numpy.nanmean(rows, axis=0, dtype=numpy.float64).astype(numpy.float32)
    deviation = numpy.nanstd(rows, axis=0, dtype=numpy.float64).astype(numpy.float32)
    deviation[deviation == 0] = 1

    def prepared(rows):
        filled = numpy.where(numpy.isnan(rows), mean, rows)
        return numpy.clip((filled - mean) / deviation, -CLIP, CLIP)

    network = MLPClassifier(
        hidden_layer_sizes=(256, 128),
        alpha=1e-4,
        batch_size=1024,
        learning_rate_init=5e-4,
        max_iter=12,  # few on purpose: rare frauds are soon learnt by heart
        random_state=SEED,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        network.fit(prepared(rows), fraud)
    probability = lambda rows: network.predict_proba(prepared(rows))[:, 1]
    return probability, network_graph(network, mean, deviation)


CLIP = 6.0


def network_graph(network, mean, deviation):
    constants = {"mean": mean, "deviation": deviation, "low": -CLIP, "high": CLIP}
    nodes = [
        helper.make_node("IsNaN", ["features"], ["missing"]),
        helper.make_node("Where", ["missing", "mean", "features"], ["filled"]),
        helper.make_node("Sub", ["filled", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "deviation"], ["scaled"]),
        helper.make_node("Clip", ["scaled", "low", "high"], ["layer_0"]),
    ]
    last = len(network.coefs_)
    for layer, (weights, bias) in enumerate(zip(network.coefs_, network.intercepts_), 1):
        constants |= {f"weights_{layer}": weights, f"bias_{layer}": bias}
        inputs = [f"layer_{layer - 1}", f"weights_{layer}", f"bias_{layer}"]
        if layer == last:
            nodes.append(helper.make_node("Gemm", inputs, ["margin"]))
        else:
            nodes.append(helper.make_node("Gemm", inputs, [f"sum_{layer}"]))
            nodes.append(helper.make_node("Relu", [f"sum_{layer}"], [f"layer_{layer}"]))
    tensors = [
        numpy_helper.from_array(numpy.asarray(value, dtype=numpy.float32), name)
        for name, value in constants.items()
    ]
    return with_probability(nodes, tensors, len(mean))


# Both


def with_probability(nodes, tensors, width):
    output = [TensorProto.FLOAT, ["rows", 1]]
    graph = helper.make_graph(
        [*nodes, helper.make_node("Sigmoid", ["margin"], ["probability"])],
        "card-risk",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["rows", width])],
        [helper.make_tensor_value_info(name, *output) for name in ("margin", "probability")],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=OPSETS, producer_name="probity", ir_version=8)
    onnx.checker.check_model(model)
    return model


def run(model, rows):
    """Probability and margin of each row."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers)
    return [output[:, 0] for output in session.run(["probability", "margin"], {"features": rows})]


def scores(model, rows):
    return run(model, rows)[0]


def golden(model, parts, known):
    """Known answers: half of the rows spread over the last part, half frauds of it, one chunk. `known`
    gives the base and the contributions of rows, where they are exact."""
    rows, fraud = parts.report
    spread = reasons.spread(len(rows), GOLDEN_ROWS // 2)
    caught = numpy.flatnonzero(fraud)
    caught = caught[reasons.spread(len(caught), GOLDEN_ROWS // 2)]
    rows = rows[numpy.concatenate([spread, caught])]
    score, margin = run(model, rows)
    lines = [
        f'"onnxruntime": "{onnxruntime.__version__}"',
        f'"chunk_rows": {len(rows)}',
        f'"columns": {{\n{reasons.table(parts.names, rows)}\n}}',
        f'"score": {json.dumps(reasons.bits(score))}',
        f'"margin": {json.dumps(reasons.bits(margin))}',
    ]
    if known:
        lines += reasons.golden_lines(parts.names, *known(rows))
    return "{\n" + ",\n".join(lines) + "\n}\n"


def finish(out, name, model, expected, parts, background, known):
    """Chooses thresholds, measures, and writes the package. `expected` is what the library that
    fitted the model says of the last part."""
    reported = scores(model, parts.report[0])
    difference = float(numpy.abs(reported - expected).max())
    if difference > 1e-5:
        raise SystemExit(f"{name}: the graph differs from the fitted model by {difference}")
    review, decline = thresholds(scores(model, parts.choose[0]), parts.choose[1])
    folder = out / name
    folder.mkdir(exist_ok=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    (folder / "golden.json").write_text(golden(model, parts, known))
    (folder / "background.json").write_text(reasons.background_file(parts.names, background))
    (folder / "reference.json").write_text(reference.reference(folder, parts.names, parts.fit[0]))
    text = (HERE / BASE / "model.toml").read_text()
    if name != BASE:
        text = derived(text, name)
    text = re.sub(r"(?m)^review = .*$", f"review = {review:.3f}", text)
    text = re.sub(r"(?m)^decline = .*$", f"decline = {decline:.3f}", text)
    (folder / "model.toml").write_text(text)
    figures = measure(reported, parts, review, decline)
    text = card(name, model, review, decline, figures, parts, len(background))
    (folder / "MODEL_CARD.md").write_text(text)
    print(f"{name}: {figures}, differs from its library by {difference:.1e}")


def derived(text, name):
    """The same features, outputs and words under another name, explained by another method."""
    text = reasons.of_network(text.replace(f'name = "{BASE}"', f'name = "{name}"', 1))
    head = "# The reference model as a network. Written by train.py from ../card-risk/model.toml.\n"
    return head + text[text.index("\nname = ") :]


def is_trees(model):
    return any(node.op_type == "TreeEnsembleRegressor" for node in model.graph.node)


def thresholds(score, fraud):
    """Review: the highest scores, REVIEW_ALERT_RATE of all payments. Decline: the lowest score
    from which on DECLINE_PRECISION of the payments are fraud. Both with three decimals."""
    order = numpy.argsort(-score, kind="stable")
    precision = numpy.cumsum(fraud[order]) / numpy.arange(1, len(order) + 1)
    precise = numpy.flatnonzero(precision >= DECLINE_PRECISION)
    if not len(precise):
        raise SystemExit(f"no threshold reaches a precision of {DECLINE_PRECISION}")
    decline = numpy.ceil(score[order][precise[-1]] * 1000) / 1000
    review = numpy.ceil(score[order][int(len(order) * REVIEW_ALERT_RATE)] * 1000) / 1000
    return min(review, decline), decline


def measure(score, parts, review, decline):
    fraud = parts.report[1]
    stopped, declined = score >= review, score >= decline
    caught = {
        name: float(stopped[parts.report_scenario == name].mean())
        for name in sorted({text for text in parts.report_scenario if text})
    }
    return {
        "average_precision": float(average_precision_score(fraud, score)),
        "alert_rate": float(stopped.mean()),
        "alert_precision": float(fraud[stopped].mean()),
        "recall": float(stopped[fraud].mean()),
        "decline_rate": float(declined.mean()),
        "decline_precision": float(fraud[declined].mean()) if declined.any() else 0.0,
        "decline_recall": float(declined[fraud].mean()),
        "recall_by_scenario": caught,
    }


def card(name, model, review, decline, figures, parts, background):
    kind, method = (
        ("LightGBM, 200 trees of at most 31 leaves", "Exact Shapley values")
        if is_trees(model)
        else ("network, layers of 256 and 128", "Approximate Shapley values (permutations)")
    )
    important = (
        "contribute most to the log-odds of the golden rows"
        if is_trees(model)
        else "change the log-odds most when their values are shuffled"
    )
    caught = "\n".join(
        f"| {scenario.replace('_', ' ')} | {share:.0%} |"
        for scenario, share in figures["recall_by_scenario"].items()
    )
    return f"""# {name}

{kind[0].upper()}{kind[1:]}, on the features of `model.toml`. Written by `train.py`.

**What for.** Demonstration, tests and benchmarks of probity. **Not for** decisions about people: it
was trained on generated payments only (`probity generate`), has seen no real one, and how it does
on real ones is unknown. Its author also wrote the fraud it looks for, so its figures are better
than any it would reach in the field. No check for unfair treatment of groups was made; the
generated people have no such attributes.

**Data.** {len(parts.fit[1]):,} payments to fit, {len(parts.choose[1]):,} later ones to choose thresholds, and
{len(parts.report[1]):,} last ones, {int(parts.report[1].sum())} of them fraud, for the figures below. Truth is complete and
immediate, which real labels never are.

| on the last tenth | |
|---|---|
| average precision | {figures["average_precision"]:.3f} |
| stopped (review or decline, score ≥ {review:.3f}) | {figures["alert_rate"]:.2%} of payments, {figures["alert_precision"]:.0%} of them fraud, {figures["recall"]:.0%} of all fraud |
| of those declined (score ≥ {decline:.3f}) | {figures["decline_rate"]:.2%} of payments, {figures["decline_precision"]:.0%} of them fraud, {figures["decline_recall"]:.0%} of all fraud |

Thresholds were chosen on the tenth before: review for an alert rate of {REVIEW_ALERT_RATE:.1%}, decline for a
precision of {DECLINE_PRECISION:.0%}.

| fraud | stopped |
|---|---|
{caught}

**Reasons.** {method} of the log-odds, compared with {background} generated payments that are no fraud. They say
what the model looked at, not what caused a fraud.

**Reference.** Drift is measured from the {len(parts.fit[1]):,} payments to fit: the score, and the ten features that
{important}. The scores are of payments that the model has seen.

**Limits.** Windows of thirty days are short at the head of a stream: expect more false alerts there.
The rate of two payments a card and day is part of what was learnt.
"""


if __name__ == "__main__":
    main()

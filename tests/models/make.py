#!/usr/bin/env python3
"""Makes the ONNX fixtures of this folder: <name>/model.onnx and <name>/golden.json.

The golden file holds input rows and what Python's onnxruntime makes of them with one thread, in chunks of
`chunk_rows` rows, the last one padded. probity must give the same bits with the same library. The file
model.toml beside them is written by hand.

    make.py            train, export and write everything
    make.py --check    run the committed models again: bits must equal the golden ones;
                       train and export again: scores must agree within 1e-4

Nothing here reads a clock or the network; every generator is seeded.
"""

import argparse
import json
import pathlib
import sys
import warnings

import lightgbm
import numpy as np
import onnx
import onnxruntime
import xgboost
from onnx import TensorProto, helper
from onnxmltools import convert_lightgbm, convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType as ToolsFloat
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

HERE = pathlib.Path(__file__).resolve().parent
SEED = 20261101
CHUNK_ROWS = 64
GOLDEN_ROWS = 203  # no multiple of the chunk, so that the last chunk is padded
OPSET = 15
OPSET_ML = 1

MATRIX_FEATURES = [
    "amount_log", "hour", "card_count_1h", "card_amount_ratio", "terminal_risk", "distance_km", "age_days", "is_online",
]


def payments(rows, seed, missing):
    """A matrix of made-up payments with the columns MATRIX_FEATURES, and whether each is a fraud."""
    random = np.random.default_rng(seed)
    matrix = np.column_stack([
        random.normal(3.5, 1.2, rows),
        random.integers(0, 24, rows),
        random.poisson(1.5, rows),
        random.gamma(2.0, 0.5, rows),
        random.beta(1.0, 20.0, rows),
        random.exponential(30.0, rows),
        random.exponential(400.0, rows),
        random.integers(0, 2, rows),
    ]).astype(np.float32)
    margin = 0.9 * matrix[:, 2] + 0.8 * matrix[:, 3] + 25.0 * matrix[:, 4] + 0.4 * matrix[:, 7] - 6.0
    fraud = random.random(rows) < 1.0 / (1.0 + np.exp(-margin))
    if missing:
        matrix[random.random(matrix.shape) < 0.05] = np.nan
    return matrix, fraud.astype(np.int64)


def golden_matrix(missing):
    """Golden rows of a model with one matrix input."""
    matrix, _ = payments(GOLDEN_ROWS, SEED + 1, missing)
    return {name: matrix[:, i].copy() for i, name in enumerate(MATRIX_FEATURES)}


def lightgbm_model(trees, leaves, zipmap):
    matrix, fraud = payments(4000, SEED, missing=True)
    model = lightgbm.LGBMClassifier(
        n_estimators=trees, num_leaves=leaves, random_state=SEED, n_jobs=1, deterministic=True, force_row_wise=True, verbose=-1
    ).fit(matrix, fraud)
    kind = ToolsFloat([None, matrix.shape[1]])
    return convert_lightgbm(model, initial_types=[("input", kind)], target_opset=OPSET, zipmap=zipmap)


def make_lightgbm():
    return lightgbm_model(30, 15, zipmap=False), golden_matrix(missing=True)


def make_lightgbm_zipmap():
    return lightgbm_model(3, 7, zipmap=True), golden_matrix(missing=True)


def make_xgboost():
    matrix, fraud = payments(4000, SEED, missing=True)
    model = xgboost.XGBClassifier(n_estimators=30, max_depth=4, random_state=SEED, n_jobs=1, tree_method="hist").fit(matrix, fraud)
    kind = ToolsFloat([None, matrix.shape[1]])
    return convert_xgboost(model, initial_types=[("input", kind)], target_opset=OPSET), golden_matrix(missing=True)


def make_mlp():
    matrix, fraud = payments(4000, SEED, missing=False)
    model = Pipeline([
        ("scale", StandardScaler()),
        ("net", MLPClassifier((32, 16), max_iter=40, random_state=SEED)),
    ])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it need not converge
        model.fit(matrix, fraud)
    kind = FloatTensorType([None, matrix.shape[1]])
    graph = convert_sklearn(
        model, initial_types=[("input", kind)], target_opset={"": OPSET, "ai.onnx.ml": OPSET_ML}, options={"zipmap": False}
    )
    expose_margin(graph)
    return graph, golden_matrix(missing=False)


def expose_margin(model):
    """Gives the model a third output: what goes into its sigmoid."""
    (sigmoid,) = [node for node in model.graph.node if node.op_type == "Sigmoid"]
    model.graph.node.append(helper.make_node("Identity", [sigmoid.input[0]], ["margin"]))
    model.graph.output.append(helper.make_tensor_value_info("margin", TensorProto.FLOAT, [None, 1]))


COUNTRIES = ["DE", "FR", "NL", "PL", "US"]
CHANNELS = ["chip", "online", "swipe"]


def mixed(rows, seed):
    """Columns of several types, as a scikit-learn pipeline takes them, and whether each row is a fraud."""
    random = np.random.default_rng(seed)
    columns = {
        "amount": random.gamma(2.0, 40.0, rows).astype(np.float32),
        "balance": random.normal(500.0, 200.0, rows).astype(np.float32),
        "card_count_1h": random.poisson(1.5, rows).astype(np.int64),
        "country": random.choice(COUNTRIES, rows).astype(object),
        "channel": random.choice(CHANNELS, rows).astype(object),
    }
    margin = 0.01 * columns["amount"] + columns["card_count_1h"] + 1.5 * (columns["channel"] == "online") - 4.0
    return columns, np.where(random.random(rows) < 1.0 / (1.0 + np.exp(-margin)), "fraud", "genuine")


def make_pipeline():
    """Named inputs, strings among them, and the ZipMap that scikit-learn pipelines are exported with by default.

    An unknown country is ignored; an unknown channel makes the model fail, as handle_unknown="error" asks for.
    """
    columns, fraud = mixed(2000, SEED)
    names = list(columns)
    table = np.column_stack([columns[name].astype(object) for name in names])
    model = Pipeline([
        ("columns", ColumnTransformer([
            ("numbers", StandardScaler(), [0, 1, 2]),
            ("country", OneHotEncoder(handle_unknown="ignore"), [3]),
            ("channel", OneHotEncoder(handle_unknown="error"), [4]),
        ])),
        ("classify", LogisticRegression(max_iter=500)),
    ]).fit(table, fraud)
    types = [
        ("amount", FloatTensorType([None, 1])),
        ("balance", FloatTensorType([None, 1])),
        ("card_count_1h", Int64TensorType([None, 1])),
        ("country", StringTensorType([None, 1])),
        ("channel", StringTensorType([None, 1])),
    ]
    graph = convert_sklearn(model, initial_types=types, target_opset={"": OPSET, "ai.onnx.ml": OPSET_ML})
    golden, _ = mixed(GOLDEN_ROWS, SEED + 1)
    golden["country"][::17] = "AQ"
    golden["country"][5] = ""
    return graph, golden


def make_kinds():
    """Written by hand: one input of every type, a score without a second dimension. A text that is no number fails."""
    names = {"ratio": TensorProto.FLOAT, "balance": TensorProto.DOUBLE, "count": TensorProto.INT64, "online": TensorProto.BOOL,
             "digits": TensorProto.STRING}
    inputs = [helper.make_tensor_value_info(name, kind, [None, 1]) for name, kind in names.items()]
    casts = [helper.make_node("Cast", [name], [f"{name}_f"], to=TensorProto.FLOAT) for name in names]
    nodes = casts + [
        helper.make_node("Sum", [f"{name}_f" for name in names], ["total"]),
        helper.make_node("Squeeze", ["total", "axis"], ["margin"]),
        helper.make_node("Sigmoid", ["margin"], ["score"]),
    ]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None]) for name in ("score", "margin")]
    axis = helper.make_tensor("axis", TensorProto.INT64, [1], [1])
    graph = helper.make_graph(nodes, "kinds", inputs, outputs, [axis])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    random = np.random.default_rng(SEED)
    return model, {
        "ratio": random.normal(0.0, 1.0, GOLDEN_ROWS).astype(np.float32),
        "balance": random.normal(0.0, 1.0, GOLDEN_ROWS),
        "count": random.integers(-3, 3, GOLDEN_ROWS),
        "online": random.random(GOLDEN_ROWS) < 0.5,
        "digits": np.array([str(n) for n in random.integers(-9, 9, GOLDEN_ROWS)], dtype=object),
    }


def make_neighbours():
    """Written by hand: a score that depends a little on the other rows of the chunk, as no model's should."""
    kind = TensorProto.FLOAT
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Mul", ["mean", "little"], ["shift"]),
        helper.make_node("Add", ["input", "shift"], ["total"]),
        helper.make_node("Sigmoid", ["total"], ["score"]),
    ]
    graph = helper.make_graph(
        nodes, "neighbours",
        [helper.make_tensor_value_info("input", kind, [None, 1])],
        [helper.make_tensor_value_info("score", kind, [None, 1])],
        [helper.make_tensor("little", kind, [1], [1e-6])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    return model, {"amount_log": np.random.default_rng(SEED).normal(0.0, 1.0, GOLDEN_ROWS).astype(np.float32)}


# name: (maker, how the score is taken from the output `probability`, name of the margin output)
FIXTURES = {
    "lightgbm": (make_lightgbm, ("probabilities", 1), None),
    "lightgbm-zipmap": (make_lightgbm_zipmap, ("probabilities", 1), None),
    "xgboost": (make_xgboost, ("probabilities", 1), None),
    "mlp": (make_mlp, ("probabilities", 1), "margin"),
    "pipeline": (make_pipeline, ("output_probability", "fraud"), None),
    "kinds": (make_kinds, ("score", None), "margin"),
    "neighbours": (make_neighbours, ("score", 0), None),
}


def export(name, make):
    """The model's bytes, and golden rows. Converters name the graph at random and list the operator sets in any order."""
    model, columns = make()
    model.graph.name = name
    operator_sets = sorted(model.opset_import, key=lambda operators: operators.domain)
    del model.opset_import[:]
    model.opset_import.extend(operator_sets)
    return model.SerializeToString(deterministic=True), columns


def external():
    """A model that keeps its weights in another file: probity refuses it, because nobody hashed that file."""
    weights = helper.make_tensor("weights", TensorProto.FLOAT, [1, 1], b"\0\0\x80\x3f", raw=True)
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="weights.bin")
    inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, [None, 1])]
    outputs = [helper.make_tensor_value_info("score", TensorProto.FLOAT, [None, 1])]
    graph = helper.make_graph([helper.make_node("MatMul", ["input", "weights"], ["score"])], "external", inputs, outputs, [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    return model.SerializeToString(deterministic=True)


def session(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def chunks(columns):
    """The rows in chunks of CHUNK_ROWS; the last one is padded with its first row."""
    rows = len(next(iter(columns.values())))
    for start in range(0, rows, CHUNK_ROWS):
        taken = np.arange(start, min(start + CHUNK_ROWS, rows))
        padded = np.concatenate([taken, np.full(CHUNK_ROWS - len(taken), start)])
        yield len(taken), {name: column[padded] for name, column in columns.items()}


def run(model, columns, probability, margin):
    """Score and margin of every row, as float32."""
    runner = session(model)
    inputs = [i.name for i in runner.get_inputs()]
    name, column = probability
    scores, margins = [], []
    for rows, chunk in chunks(columns):
        if inputs == ["input"]:
            feed = {"input": np.column_stack(list(chunk.values()))}
        else:
            feed = {key: values.reshape(-1, 1) for key, values in chunk.items()}
        outputs = runner.run([name] + ([margin] if margin else []), feed)
        scores.extend(pick(outputs[0], column)[:rows])
        if margin:
            margins.extend(outputs[1].reshape(-1)[:rows])
    return np.array(scores, np.float32), np.array(margins, np.float32) if margin else None


def pick(output, column):
    if isinstance(output, list):
        return [row[column] for row in output]
    return output if column is None else output[:, column]


def encode(values):
    """Floats as the hexadecimal digits of their bits, 8 or 16 a value; the rest as JSON."""
    if values.dtype in (np.float32, np.float64):
        return {values.dtype.name: values.astype(values.dtype.newbyteorder(">")).tobytes().hex()}
    return {{"int64": "int64", "bool": "boolean", "object": "string"}[values.dtype.name]: values.tolist()}


def decode(column):
    ((kind, values),) = column.items()
    if kind in ("float32", "float64"):
        return np.frombuffer(bytes.fromhex(values), np.dtype(kind).newbyteorder(">")).astype(kind)
    return np.array(values, {"int64": np.int64, "boolean": bool, "string": object}[kind])


def golden(columns, score, margin):
    lines = [f'"onnxruntime": "{onnxruntime.__version__}"', f'"chunk_rows": {CHUNK_ROWS}']
    entries = ",\n".join(f"{json.dumps(name)}: {json.dumps(encode(values))}" for name, values in columns.items())
    lines.append('"columns": {\n' + entries + "\n}")
    lines.append(f'"score": {json.dumps(encode(score))}')
    if margin is not None:
        lines.append(f'"margin": {json.dumps(encode(margin))}')
    return "{\n" + ",\n".join(lines) + "\n}\n"


def write():
    for name, (make, probability, margin) in FIXTURES.items():
        data, columns = export(name, make)
        folder = HERE / name
        folder.mkdir(exist_ok=True)
        (folder / "model.onnx").write_bytes(data)
        (folder / "golden.json").write_text(golden(columns, *run(data, columns, probability, margin)))
        print(f"{name}: {len(data)} bytes")
    (HERE / "external.onnx").write_bytes(external())


def check():
    bad = 0
    for name, (make, probability, margin) in FIXTURES.items():
        committed = (HERE / name / "model.onnx").read_bytes()
        stored = json.loads((HERE / name / "golden.json").read_text())
        columns = {key: decode(values) for key, values in stored["columns"].items()}
        wanted = decode(stored["score"])
        score, _ = run(committed, columns, probability, margin)
        same_bits = score.tobytes() == wanted.tobytes()
        remade = export(name, make)[0]
        difference = float(np.max(np.abs(run(remade, columns, probability, margin)[0] - wanted)))
        passed = same_bits and difference <= 1e-4
        bad += not passed
        again = "same file" if remade == committed else f"other file, scores within {difference:.1e}"
        print(f"{'ok' if passed else 'BAD'} {name}: golden bits {'equal' if same_bits else 'differ'}; made again: {again}")
    return bad


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare instead of write")
    if parser.parse_args().check:
        sys.exit(1 if check() else 0)
    write()


if __name__ == "__main__":
    main()

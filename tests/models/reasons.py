#!/usr/bin/env python3
"""Makes the fixtures of exact reasons, reasons-*/: model.onnx, background.json and golden.json.

The golden contributions are Shapley values by their definition, over all 2^8 coalitions, of what the library that
trained the model says itself: neither the ONNX file nor an algorithm for trees has a part in them.
Python's shap must agree with them. The file model.toml beside them is written by hand.

    reasons.py            train, export and write everything
    reasons.py --check    run the committed models again: scores and margins must equal the golden ones to the bit,
                          and shap and the definition must give the golden contributions
"""

import argparse
import json
import pathlib
import sys

import catboost
import lightgbm
import make
import numpy as np
import onnx
import onnxruntime
import shap
import xgboost
from onnx import TensorProto, helper
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "deploy"))
from pack_model import exact, graphs, trees  # noqa: E402

BACKGROUND_ROWS = 50  # shap takes 100 of more than 100, and says nothing
RANDOM_ROWS = 60
WIDTH = len(make.MATRIX_FEATURES)

# Of shap, whose leaves and sums are of 32 bits in places; relative to the margin where that is above 1.
SHAP_TOLERANCE = 1e-6
# Of the definition computed again from a model that is the same to the byte.
AGAIN_TOLERANCE = 1e-9
# Where another machine trains another model.
OTHER_TOLERANCE = 1e-4


def train():
    return make.payments(4000, make.SEED, missing=True)


def train_lightgbm():
    model = lightgbm.LGBMClassifier(
        n_estimators=30, num_leaves=15, random_state=make.SEED, n_jobs=1, deterministic=True, force_row_wise=True, verbose=-1
    ).fit(*train())
    read, _ = trees.of_lightgbm(model.booster_)
    return model, read, lambda matrix: model.booster_.predict(matrix, raw_score=True, num_threads=2)


def train_xgboost():
    model = xgboost.XGBClassifier(n_estimators=30, max_depth=4, random_state=make.SEED, n_jobs=1, tree_method="hist").fit(*train())
    booster = model.get_booster()
    read, base, leaves = trees.of_xgboost(booster)

    def raw(matrix):
        """XGBoost finds the leaves; its sum of them is of 32 bits, so they are summed here.

        It takes no infinite value: the largest finite one is on the same side of every threshold.
        """
        matrix = np.clip(matrix, -np.finfo(np.float32).max, np.finfo(np.float32).max)
        reached = booster.predict(xgboost.DMatrix(matrix), pred_leaf=True).astype(int)
        return base + sum(values[reached[:, tree]] for tree, values in enumerate(leaves))

    return model, read, raw


def train_catboost():
    model = catboost.CatBoostClassifier(
        iterations=40, depth=4, random_seed=make.SEED, thread_count=1, verbose=False, allow_writing_files=False
    ).fit(*train())
    return model, trees.of_catboost(model), lambda matrix: model.predict(matrix, prediction_type="RawFormulaVal", thread_count=2)


class Linear:
    """A pipeline that scales and weighs, as its ONNX file has it: with numbers of 32 bits."""

    def __init__(self, pipeline):
        scaler, classifier = pipeline[0], pipeline[1]
        # The library keeps predicting, with the numbers that the file will have.
        for owner, name in ((scaler, "mean_"), (scaler, "scale_"), (classifier, "coef_"), (classifier, "intercept_")):
            setattr(owner, name, np.float64(np.float32(getattr(owner, name))))
        self.centre, self.scale = scaler.mean_, scaler.scale_
        self.weights, self.bias = np.ravel(classifier.coef_), float(classifier.intercept_[0])

    def thresholds(self):
        return []

    def margin(self, rows):
        return (rows.astype(np.float64) - self.centre) / self.scale @ self.weights + self.bias

    def shap_errs(self, rows):
        return np.zeros(len(rows), bool)

    def matrix(self):
        """Node by node, as deploy/pack_model.py writes linear models."""
        layer = self.weights.reshape(-1, 1), np.array([self.bias])
        return graphs.of_layers(WIDTH, self.centre, self.scale, [layer], None)

    def columns(self):
        """With the operators of ai.onnx.ml, as skl2onnx writes logistic regressions with raw scores: one input for each
        column, and a margin for each class."""
        names = list(make.MATRIX_FEATURES)
        nodes = [
            helper.make_node("Concat", names, ["row"], axis=1),
            helper.make_node(
                "Scaler", ["row"], ["scaled"], domain="ai.onnx.ml", offset=self.centre.tolist(), scale=(1.0 / self.scale).tolist()
            ),
            helper.make_node(
                "LinearClassifier",
                ["scaled"],
                ["label", "margin"],
                domain="ai.onnx.ml",
                classlabels_ints=[0, 1],
                coefficients=[*(-self.weights), *self.weights],
                intercepts=[-self.bias, self.bias],
                multi_class=1,
                post_transform="NONE",
            ),
            helper.make_node("Sigmoid", ["margin"], ["score"]),
        ]
        inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in names]
        outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 2]) for name in ("margin", "score")]
        sets = [helper.make_opsetid("", graphs.OPSET), helper.make_opsetid("ai.onnx.ml", graphs.OPSET_ML)]
        graph = helper.make_graph(nodes, "model", inputs, outputs)
        model = helper.make_model(graph, opset_imports=sets, ir_version=graphs.IR_VERSION)
        onnx.checker.check_model(model, full_check=True)
        return model


def train_linear():
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(*make.payments(4000, make.SEED, missing=False))
    read = Linear(pipeline)
    return pipeline, read, lambda matrix: pipeline.decision_function(matrix.astype(np.float64))


FIXTURES = {
    "reasons-lightgbm": train_lightgbm,
    "reasons-xgboost": train_xgboost,
    "reasons-catboost": train_catboost,
    "reasons-linear": train_linear,
    "reasons-linear-columns": train_linear,
}


def exported(name, read):
    if not isinstance(read, Linear):
        graph = graphs.of_trees(read, WIDTH)
    elif name.endswith("-columns"):
        graph = read.columns()
    else:
        graph = read.matrix()
    return graph.SerializeToString(deterministic=True)


def background(read):
    return make.payments(BACKGROUND_ROWS, make.SEED + 2, missing=not isinstance(read, Linear))[0]


def golden_matrix(read):
    """Ordinary rows, and those where trees are easily wrong: missing, endless, zero, and exactly at a threshold."""
    ordinary, _ = make.payments(RANDOM_ROWS, make.SEED + 3, missing=not isinstance(read, Linear))
    extremes = [np.nan, np.inf, -np.inf, 0.0, -0.0, np.finfo(np.float32).max, np.finfo(np.float32).tiny]
    uniform = [np.full(WIDTH, value, np.float32) for value in extremes]
    single = []
    for feature in range(WIDTH):
        for value in (np.nan, np.inf, -np.inf):
            single.append(ordinary[feature].copy())
            single[-1][feature] = value
    at_thresholds = []
    wanted = read.thresholds()
    for number, (feature, threshold) in enumerate(wanted[:: max(1, len(wanted) // 16)]):
        for value in (trees.next_float(threshold, -np.inf), threshold, trees.next_float(threshold, np.inf)):
            at_thresholds.append(ordinary[number].copy())
            at_thresholds[-1][feature] = value
    rows = np.array([*ordinary, *uniform, *single, *at_thresholds], np.float32)
    if isinstance(read, Linear):  # which says nothing of a row without a number
        rows = rows[np.all(np.abs(rows) < 1e6, axis=1)]
    return rows


def columns_of(matrix):
    return {name: matrix[:, i].copy() for i, name in enumerate(make.MATRIX_FEATURES)}


def matrix_of(columns):
    return np.column_stack([make.decode(columns[name]) for name in make.MATRIX_FEATURES])


def table(columns):
    return "{\n" + ",\n".join(f"{json.dumps(name)}: {json.dumps(make.encode(values))}" for name, values in columns.items()) + "\n}"


def run(model, matrix, name):
    columns = columns_of(matrix)
    if name.endswith("-columns"):
        return tuple(make.run(model, columns, (output, 1), None)[0] for output in ("score", "margin"))
    return make.run(model, columns, ("score", None), "margin")


def by_shap(model, read, rows):
    if isinstance(read, Linear):
        weights = read.weights / read.scale
        masker = shap.maskers.Independent(background(read).astype(np.float64), max_samples=BACKGROUND_ROWS)
        explainer = shap.LinearExplainer((weights, read.bias - weights @ read.centre), masker)
    else:
        explainer = shap.TreeExplainer(model, data=background(read), feature_perturbation="interventional", model_output="raw")
    return float(np.ravel(explainer.expected_value)[0]), np.asarray(explainer.shap_values(rows), np.float64)


def apart(ours, theirs, margin):
    """The largest difference of base or contribution, relative to the margin where that is above 1."""
    unit = np.maximum(1.0, np.abs(margin))
    contributions = np.max(np.abs(ours[1] - theirs[1]) / unit[:, None])
    return float(max(contributions, np.max(abs(ours[0] - theirs[0]) / unit)))


def write():
    for name, make_model in FIXTURES.items():
        _, read, raw = make_model()
        data = exported(name, read)
        rows = golden_matrix(read)
        score, margin = run(data, rows, name)
        base, contributions = exact.brute_force(raw, background(read), rows)
        folder = make.HERE / name
        folder.mkdir(exist_ok=True)
        (folder / "model.onnx").write_bytes(data)
        (folder / "background.json").write_text('{\n"columns": ' + table(columns_of(background(read))) + "\n}\n")
        lines = [
            f'"onnxruntime": "{onnxruntime.__version__}"',
            f'"chunk_rows": {make.CHUNK_ROWS}',
            f'"columns": {table(columns_of(rows))}',
            f'"score": {json.dumps(make.encode(score))}',
            f'"margin": {json.dumps(make.encode(margin))}',
            f'"base": {json.dumps(make.encode(np.array([base])))}',
            f'"contributions": {table(columns_of(contributions))}',
        ]
        (folder / "golden.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
        print(f"{name}: {len(data)} bytes, {len(rows)} golden rows")


def check():
    bad = 0
    for name, make_model in FIXTURES.items():
        committed = (make.HERE / name / "model.onnx").read_bytes()
        stored = json.loads((make.HERE / name / "golden.json").read_text())
        rows = matrix_of(stored["columns"])
        known = float(make.decode(stored["base"])[0]), matrix_of(stored["contributions"])
        score, margin = run(committed, rows, name)
        model, read, raw = make_model()
        same_bits = [each.tobytes() for each in (score, margin)] == [make.decode(stored[key]).tobytes() for key in ("score", "margin")]
        same_rows = matrix_of(json.loads((make.HERE / name / "background.json").read_text())["columns"]).tobytes() == background(read).tobytes()
        adds_up = np.max(np.abs(known[0] + known[1].sum(axis=1) - margin) / np.maximum(1.0, np.abs(margin)))

        same_file = exported(name, read) == committed
        anew = exact.brute_force(raw, background(read), rows)
        again = apart(anew, known, margin)
        from_leaves = apart(exact.brute_force(read.margin, background(read), rows), anew, margin)
        fair = ~read.shap_errs(rows)
        shap_apart = apart(by_shap(model, read, rows[fair]), (anew[0], anew[1][fair]), margin[fair])
        passed = same_bits and same_rows and adds_up <= 2e-5 and max(shap_apart, from_leaves) <= SHAP_TOLERANCE
        passed = passed and again <= (AGAIN_TOLERANCE if same_file else OTHER_TOLERANCE)
        bad += not passed
        print(
            f"{'ok' if passed else 'BAD'} {name}: golden bits {'equal' if same_bits else 'differ'}; contributions add up to the margin"
            f" within {adds_up:.1e}; made again: {'same' if same_file else 'other'} file, contributions within {again:.1e},"
            f" from 32-bit leaves {from_leaves:.1e}, by shap {shap_apart:.1e} ({fair.sum()} of {len(rows)} rows)"
        )
    return bad


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare instead of write")
    if parser.parse_args().check:
        sys.exit(1 if check() else 0)
    write()


if __name__ == "__main__":
    main()

"""Trains LightGBM on the early part of the set, and writes a model package.

The graph, the thresholds and the golden rows are made by config/models/train.py, which makes the reference
models. Seeded and single-threaded.
"""

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "config/models"))

import choose
import dataset
import lightgbm
import numpy
import train
from sklearn.metrics import average_precision_score

# One event in six hundred is fraud. A leaf of a few frauds says little, but loudly: the least hessian of a
# leaf and the penalty keep that in check.
GRID = [
    {"num_leaves": leaves, "min_sum_hessian_in_leaf": hessian, "lambda_l2": penalty}
    for leaves in (7, 31)
    for hessian in (0.1, 1.0)
    for penalty in (1.0, 10.0)
]
ROUNDS = [100, 200, 300, 400]
FIXED = {
    "objective": "binary",
    "max_depth": 8,
    "learning_rate": 0.05,
    "min_data_in_leaf": 20,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "seed": 1,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "verbose": -1,
}


@dataclass
class Fitted:
    package: Path
    booster: lightgbm.Booster
    choice: choose.Choice

    def expected(self, rows: numpy.ndarray) -> numpy.ndarray:
        """What LightGBM itself says, without ONNX."""
        return self.booster.predict(rows, num_threads=1)


def make(transactions: dataset.Transactions, package: Path) -> Fitted:
    """Writes the package. Nothing after `early` is looked at."""
    early = transactions.early()
    rows, fraud = transactions.features()[early], transactions.fraud[early]
    choice = choose.choose(rows, fraud, GRID, ROUNDS, fit, average_precision_score)
    booster = boost(rows, fraud, choice.settings, choice.rounds)
    later = choose.choosing_part(len(rows))
    # Scores of a model that has not seen what it is asked, as it will be later.
    review, decline = train.thresholds(choice.scores, fraud[later])
    graph = train.trees_graph(booster, len(dataset.FEATURES))
    known = SimpleNamespace(names=dataset.FEATURES, report=(rows[later], fraud[later]))
    package.mkdir(parents=True)
    (package / "model.onnx").write_bytes(graph.SerializeToString())
    (package / "golden.json").write_text(train.golden(graph, known, known=None))
    (package / "model.toml").write_text(manifest(review, decline))
    return Fitted(package, booster, choice)


def fit(rows, fraud, settings, rounds):
    booster = boost(rows, fraud, settings, rounds)
    return lambda asked, count: booster.predict(asked, num_iteration=count, num_threads=1)


def boost(rows, fraud, settings, rounds) -> lightgbm.Booster:
    data = lightgbm.Dataset(rows, fraud, feature_name=dataset.FEATURES)
    return lightgbm.train(FIXED | settings, data, num_boost_round=rounds)


def manifest(review: float, decline: float) -> str:
    text = Path(__file__).with_name("model.toml").read_text()
    text = re.sub(r"(?m)^review = .*$", f"review = {review:.3f}", text)
    return re.sub(r"(?m)^decline = .*$", f"decline = {decline:.3f}", text)


def describe(choice: choose.Choice) -> str:
    settings = json.dumps(choice.settings).strip("{}").replace('"', "")
    return f"{choice.rounds} rounds, {settings}; best of {choice.tried}, chosen with {choice.measured:.4f}"

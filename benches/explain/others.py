"""Trains the model of the bench, packs it for probity, and times what LightGBM and shap say of it.

    python others.py FOLDER ROWS SLOW_ROWS

Reads matrix.f32, fraud.u8 and names.txt, writes model.txt, package/, others.json and the values to compare with.
The last ROWS rows are not learnt from; the first SLOW_ROWS of these are explained. Costs are CPU time of one thread,
the best of several rounds.
"""

import json
import os
import sys
import time
import tomllib
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"  # before NumPy loads its BLAS

import lightgbm
import numpy as np
import shap

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deploy"))
from pack_model import pack  # noqa: E402

ROUNDS = 3
# The shape of the reference model. shap takes 100 of more than 100 background rows, and says nothing.
SETTINGS = {
    "objective": "binary", "num_leaves": 31, "max_depth": 8, "learning_rate": 0.05, "min_data_in_leaf": 20,
    "feature_fraction": 0.7, "bagging_fraction": 0.8, "bagging_freq": 1, "seed": 1, "deterministic": True,
    "force_row_wise": True, "num_threads": 1, "verbose": -1,
}
TREES = 200
BACKGROUND_ROWS = 100


def best(explain, rows):
    """µs per row, and what was found."""
    costs = []
    for _ in range(ROUNDS):
        start = time.thread_time()
        found = explain(rows)
        costs.append((time.thread_time() - start) * 1e6 / len(rows))
    return min(costs), found


def decoded(path):
    """The background as the package has it."""
    columns = json.loads(path.read_text())["columns"].values()
    column = lambda each: np.frombuffer(bytes.fromhex(each["float32"]), ">f4")
    return np.column_stack([column(each) for each in columns]).astype(np.float64)


def main():
    folder, rows, slow = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    names = (folder / "names.txt").read_text().split("\n")
    matrix = np.fromfile(folder / "matrix.f32", "<f4").reshape(-1, len(names))
    fraud = np.fromfile(folder / "fraud.u8", np.uint8)
    learnt, label = matrix[:-rows], fraud[:-rows]
    data = lightgbm.Dataset(learnt, label, feature_name=names)
    booster = lightgbm.train(SETTINGS, data, num_boost_round=TREES)
    booster.save_model(folder / "model.txt")
    sample = {name: learnt[:2000, place] for place, name in enumerate(names)}
    pack(booster, sample, folder / "package", "bench", "1.0.0", background_rows=BACKGROUND_ROWS)
    manifest = tomllib.loads((folder / "package/model.toml").read_text())
    assert [feature["name"] for feature in manifest["feature"]] == names
    background = decoded(folder / "package/background.json")
    background.astype("<f8").tofile(folder / "background.f64")

    explained = matrix[-rows:][:slow].astype(np.float64)
    explainer = shap.TreeExplainer(booster, data=background, feature_perturbation="interventional", model_output="raw")
    shap_cost, found = best(lambda rows: explainer.shap_values(rows, check_additivity=False), explained)
    np.asarray(found, "<f8").tofile(folder / "interventional.f64")
    path_cost, found = best(lambda rows: booster.predict(rows, pred_contrib=True, num_threads=1), explained)
    np.ascontiguousarray(found[:, :-1], "<f8").tofile(folder / "path_dependent.f64")

    leaves = sum(tree["num_leaves"] for tree in booster.dump_model()["tree_info"])
    report = {
        "model": f"LightGBM, {booster.num_trees()} trees, {leaves} leaves, {len(names)} features, {len(background)} background rows",
        "shap": {"name": f"shap {shap.__version__}", "cost": shap_cost},
        "lightgbm": {"name": f"LightGBM {lightgbm.__version__} pred_contrib", "cost": path_cost},
    }
    (folder / "others.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main()

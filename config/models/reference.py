#!/usr/bin/env python3
"""Writes reference.json of the reference packages: what drift is measured from. train.py does the same.

    probity generate --seed 1 --cards 20000 --events 1280000 > payments.ndjson
    probity score --package config/models/card-risk --features features.parquet payments.ndjson
    python=$(deploy/setup/python.sh tests/python/requirements.lock)
    $python config/models/reference.py --features features.parquet

The payments are those that the models were fitted on: the first 80 % of the 1,600,000 of train.py. The models are
the packages' own, and nothing else is written.
"""

import argparse
import json
import sys
import tomllib
from pathlib import Path

import numpy
import onnxruntime
import pyarrow.parquet

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "deploy"))
from pack_model import distributions  # noqa: E402

PACKAGES = ("card-risk", "card-risk-mlp")
SEED = 1
# Rows that features are shuffled in, where contributions are not known.
SHUFFLED_ROWS = 20_000
# Rows that the model is run on at once; it only bounds the memory.
CHUNK_ROWS = 1 << 14


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--features", required=True, type=Path, help="Parquet matrix of the payments the models were fitted on")
    arguments = arguments.parse_args()
    for name in PACKAGES:
        folder = HERE / name
        names = [feature["name"] for feature in tomllib.loads((folder / "model.toml").read_text())["feature"]]
        table = pyarrow.parquet.read_table(arguments.features, columns=names)
        rows = numpy.column_stack([table[each].to_numpy().astype(numpy.float32) for each in names])
        (folder / "reference.json").write_text(reference(folder, names, rows))
        print(f"{name}: {len(rows)} payments")


def reference(folder, names, rows):
    """The text of reference.json for the package in `folder`, of the rows that its model was fitted on."""
    model = (folder / "model.onnx").read_bytes()
    golden = json.loads((folder / "golden.json").read_text())
    score = run(model, rows)[0]
    if "contributions" in golden:
        known = [numpy.frombuffer(bytes.fromhex(golden["contributions"][name]["float64"]), ">f8") for name in names]
        important = distributions.by_contribution(names, numpy.column_stack(known))
    else:
        some = rows[numpy.linspace(0, len(rows) - 1, min(SHUFFLED_ROWS, len(rows))).astype(int)]
        important = distributions.by_shuffling(names, lambda rows: run(model, rows)[1], some, SEED)
    columns = {name: rows[:, number] for number, name in enumerate(names)}
    return distributions.reference(score, columns, important)


def run(model, rows):
    """Probability and margin of each row, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    chunks = [rows[start : start + CHUNK_ROWS] for start in range(0, len(rows), CHUNK_ROWS)]
    found = [session.run(["probability", "margin"], {"features": chunk}) for chunk in chunks]
    return [numpy.concatenate([outputs[place][:, 0] for outputs in found]) for place in (0, 1)]


if __name__ == "__main__":
    main()

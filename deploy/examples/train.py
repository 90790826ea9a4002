"""Trains a LightGBM model on what `probity score --features` wrote: the example of README's walk-through.

    python train.py matrix.parquet truth.csv model.txt

The truth is a CSV with the columns transaction_id and fraud, one line for each row of the matrix and in its order, as
`probity generate --truth` writes it. The first four fifths are trained on; the rest says what the model is worth.
"""

import csv
import sys

import lightgbm
import numpy as np
import pyarrow.parquet as parquet

matrix, truth, out = sys.argv[1:]
table = parquet.read_table(matrix)
with open(truth, newline="", encoding="utf-8") as file:
    lines = list(csv.DictReader(file))
assert [line["transaction_id"] for line in lines] == table["transaction_id"].to_pylist(), "other rows than the matrix has"
fraud = np.array([int(line["fraud"]) for line in lines])
names = [name for name in table.column_names if name != "transaction_id"]
rows = np.column_stack([table[name].to_numpy() for name in names])
cut = len(rows) * 4 // 5

settings = {
    "objective": "binary", "num_leaves": 31, "learning_rate": 0.05, "min_data_in_leaf": 50,
    "seed": 1, "deterministic": True, "force_row_wise": True, "num_threads": 1, "verbosity": -1,
}
model = lightgbm.train(settings, lightgbm.Dataset(rows[:cut], fraud[:cut], feature_name=names), num_boost_round=100)
model.save_model(out)

score = model.predict(rows[cut:])
order = np.argsort(-score, kind="stable")
hits = np.cumsum(fraud[cut:][order])
precision = hits / np.arange(1, len(hits) + 1)
average = (precision * fraud[cut:][order]).sum() / max(1, fraud[cut:].sum())
print(f"trained on {cut} payments, {fraud[:cut].sum()} of them fraud; average precision on the rest: {average:.3f}")

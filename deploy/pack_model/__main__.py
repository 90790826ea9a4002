"""Turns a trained model's file into a package folder for probity.

    python deploy/pack_model --model model.txt --data sample.csv --out FOLDER --name card-risk --version 1.0.0

--features names a file in the form of model.toml: [[feature]] tables with name, sql and impute, in the model's order,
[[reason]] tables, and a table [card] of facts for MODEL_CARD.md. Without it every column of the sample is a feature.
"""

import argparse
import csv
import os
import sys
import tomllib
from pathlib import Path

if not __package__:  # run as a folder
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pack_model import Refused, models, pack  # noqa: E402


def read_sample(path):
    """{column: values} of a CSV or Parquet file."""
    if path.endswith(".parquet"):
        import pyarrow.parquet

        return pyarrow.parquet.read_table(path).to_pydict()
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    return {name: [row[number] for row in rows[1:]] for number, name in enumerate(rows[0])}


def arguments():
    parser = argparse.ArgumentParser(prog="pack_model", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help=".txt (LightGBM), .json (XGBoost), .cbm (CatBoost), .joblib, or .pt (TorchScript)")
    parser.add_argument("--data", required=True, help="a sample of the model's input, .csv or .parquet; it is not copied into the package")
    parser.add_argument("--out", required=True, help="the folder to write; must not exist")
    parser.add_argument("--name", required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--features", help="a TOML file of features, reasons and facts")
    parser.add_argument("--drop", action="append", default=[], metavar="COLUMN", help="a column of the sample that is no feature")
    parser.add_argument("--review", type=float, default=0.5)
    parser.add_argument("--decline", type=float, default=0.9)
    parser.add_argument("--policy-version", default="1")
    parser.add_argument("--language", default="en")
    parser.add_argument("--background-rows", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--trust-pickle", action="store_true", help="read the model although that runs code that is in the file")
    return parser.parse_args()


def main():
    given = arguments()
    try:
        for option, file in (("--model", given.model), ("--data", given.data), ("--features", given.features)):
            if file and not os.access(file, os.R_OK):
                raise Refused(f"{option} {file}: there is no such file that can be read")
        data = {name: values for name, values in read_sample(given.data).items() if name not in given.drop}
        extra = tomllib.loads(Path(given.features).read_text()) if given.features else {}
        measured = pack(
            models.load(given.model, given.trust_pickle), data, given.out, given.name, given.version, features=extra.get("feature"),
            reasons=extra.get("reason"), facts=extra.get("card"), language=given.language, review=given.review, decline=given.decline,
            policy_version=given.policy_version, background_rows=given.background_rows, seed=given.seed,
        )
    except Refused as reason:
        sys.exit(f"pack_model: {reason}")
    print(f"packed {given.out}; compared with the library's own predictions, of the difference that is allowed:")
    for key in ("sample", "background", "golden"):
        print(f"  {measured[key]:6.1%} at most, {key} rows")
    print(f"golden contributions: {measured['contributions']}")
    print(f"made-up rows that are rows of the sample: {measured['copies']}")


if __name__ == "__main__":
    main()

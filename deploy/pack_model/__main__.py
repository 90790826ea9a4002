"""Turns a trained model's file into a package folder for probity.

    python deploy/pack_model --model model.txt --data sample.csv --out FOLDER --name card-risk --version 1.0.0

--features names a file in the form of model.toml, such as an older package's: [[feature]] tables in the model's order,
[[reason]] and [[policy.rule]] tables, and a table [card] of facts for MODEL_CARD.md. Thresholds, the policy's version and
the reasons' language are the file's where no option gives them; what of it is not used is said. Without it every column
of the sample is a feature.

The package is compared with the library that trained the model, and shown to `probity model check` where probity is found.
"""

import argparse
import csv
import os
import shutil
import sys
from pathlib import Path

if not __package__:  # run as a folder
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pack_model import Refused, given, models, pack  # noqa: E402


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
    parser.add_argument("--features", metavar="FILE", help="a TOML file of features, reasons, rules and facts")
    parser.add_argument("--drop", action="append", default=[], metavar="COLUMN", help="a column of the sample that is no feature")
    parser.add_argument("--review", type=float, help="a score of at least this is reviewed; 0.5 if the file does not say either")
    parser.add_argument("--decline", type=float, help="of at least this, declined; 0.9")
    parser.add_argument("--policy-version", help="names thresholds and rules; 1")
    parser.add_argument("--language", help="of the reasons' texts where nobody asks for another; en")
    parser.add_argument("--background-rows", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--probity", metavar="PROGRAM", default=os.environ.get("PROBITY") or shutil.which("probity"),
                        help="checks the package; otherwise $PROBITY, or the one on PATH. PROBITY_CONFIG names its configuration")
    parser.add_argument("--no-check", action="store_true", help="do not ask probity")
    parser.add_argument("--trust-pickle", action="store_true", help="read the model although that runs code that is in the file")
    return parser.parse_args()


def main():
    asked = arguments()
    try:
        for option, file in (("--model", asked.model), ("--data", asked.data), ("--features", asked.features)):
            if file and not os.access(file, os.R_OK):
                raise Refused(f"{option} {file}: there is no such file that can be read")
        options = {"review": asked.review, "decline": asked.decline, "policy_version": asked.policy_version, "language": asked.language}
        told, made, replaced = given.arguments(given.read(asked.features) if asked.features else {}, options)
        for keys, why in ((made, "made here"), (replaced, "given by options")):
            if keys:
                print(f"pack_model: not from {asked.features}, but {why}: {', '.join(keys)}", file=sys.stderr)
        data = {name: values for name, values in read_sample(asked.data).items() if name not in asked.drop}
        program = None if asked.no_check else asked.probity
        measured = pack(
            models.load(asked.model, asked.trust_pickle), data, asked.out, asked.name, asked.version,
            background_rows=asked.background_rows, seed=asked.seed, probity=program, **told,
        )
    except Refused as reason:
        sys.exit(f"pack_model: {reason}")
    print(f"packed {asked.out}; compared with the library's own predictions, of the difference that is allowed:")
    for key in ("sample", "background", "golden"):
        print(f"  {measured[key]:6.1%} at most, {key} rows")
    print(f"golden contributions: {measured['contributions']}")
    print(f"made-up rows that are rows of the sample: {measured['copies']}")
    said, looked = measured["check"] or ("", False)
    if said:
        print(f"{program} model check:\n{said}")
    if not looked:
        print(f"not checked by probity yet: probity model check {asked.out}")


if __name__ == "__main__":
    main()

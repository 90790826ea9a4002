"""Scores archived features once more, with Python's ONNX Runtime, and compares the bits.

    python reference.py --bootstrap HOST:PORT --prefix TOPIC --archive FOLDER --package FOLDER

The model is the one that the archive keeps; `--package` holds the `model.toml` that names its outputs.
Each row is run alone in a chunk of the recorded size, filled up with copies of itself, on one thread.
Its score and margin must have the bits that the archive and the scored topic have; a row that was
rejected for its score must have none. Exit code 0 or a traceback.
"""

import argparse
import hashlib
import json
import tomllib
from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow.dataset
from contracts import records

KINDS = {"float32": np.float32, "float64": np.float64, "int64": np.int64, "string": object, "boolean": bool}
BAD_SCORES = ("score_not_finite", "inference_failed")


def session(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class Reference:
    def __init__(self, model: bytes, package: dict) -> None:
        self.session = session(model)
        self.features = package["feature"]
        self.is_matrix = "matrix" in package["model"]
        self.outputs = [package["output"][name] for name in ("probability", "margin") if name in package["output"]]

    def run(self, row: dict, chunk_rows: int) -> tuple[bytes, bytes | None] | str:
        """The bits of score and margin, or why there are none."""
        columns = {
            feature["name"]: np.full((chunk_rows, 1), self.value(row, feature), KINDS[feature["type"]])
            for feature in self.features
        }
        feed = {"input": np.hstack(list(columns.values()))} if self.is_matrix else columns
        try:
            answers = self.session.run([output["name"] for output in self.outputs], feed)
        except Exception:  # Whatever its type: the model fails on this row.
            return "inference_failed"
        numbers = [pick(answer, output) for answer, output in zip(answers, self.outputs, strict=True)]
        if not all(map(np.isfinite, numbers)):
            return "score_not_finite"
        score, margin = [number.tobytes() for number in numbers] + [None] * (2 - len(numbers))
        return score, margin

    @staticmethod
    def value(row: dict, feature: dict) -> object:
        value = row[f"feature_{feature['name']}"]
        if value is None:
            return {"float32": np.nan, "float64": np.nan, "string": ""}[feature["type"]]
        return value


def pick(answer: object, output: dict) -> np.float32:
    """The first row's number."""
    if "class" in output:
        return np.float32(answer[0][output["class"]])
    row = np.asarray(answer)[0]
    return np.float32(row[output.get("column", 0)] if row.ndim else row)


def bits(number: float | None) -> bytes | None:
    return None if number is None else np.float32(number).tobytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("bootstrap", "prefix"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("archive", "package"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    asked = parser.parse_args()
    scored = {}
    for message in records(asked.bootstrap, f"{asked.prefix}.scored"):
        record = json.loads(message.value())
        scored[record["input"]["partition"], record["input"]["offset"]] = record
    rows = pyarrow.dataset.dataset(asked.archive / "segments", partitioning="hive").to_table().to_pylist()
    (digest,) = {row["model_sha256"] for row in rows}
    model = (asked.archive / "models" / digest).read_bytes()
    assert hashlib.sha256(model).hexdigest() == digest
    package = tomllib.loads((asked.package / "model.toml").read_text())
    reference = Reference(model, package)
    largest = np.max(package["model"]["chunk_rows"])
    counts: Counter[str] = Counter()
    for row in rows:
        answer = reference.run(row, row["chunk_rows"] or largest)
        if row["kind"] == "scored":
            record = scored.pop((row["partition"], row["offset"]))
            assert answer == (bits(row["score"]), bits(row["margin"])), row
            assert answer == (bits(record["score"]), bits(record["margin"])), record
        else:
            assert row["reject_reason"] in BAD_SCORES and answer == row["reject_reason"], row
        counts[row["reject_reason"] or f"chunks of {row['chunk_rows']}"] += 1
    assert not scored, "scored, and not in the archive"
    print(json.dumps(counts))


if __name__ == "__main__":
    main()

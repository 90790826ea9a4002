"""The golden contributions of the models with exact reasons, against their definition, with ONNX Runtime as the model."""

import json
import sys
import unittest
from pathlib import Path

import numpy as np
import onnxruntime

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS.parent / "deploy"))
from pack_model import exact  # noqa: E402

FIXTURES = sorted((TESTS / "models").glob("reasons-*"))

# ONNX Runtime sums in 32 bits.
TOLERANCE = 2e-5


def floats(column):
    ((kind, digits),) = column.items()
    return np.frombuffer(bytes.fromhex(digits), np.dtype(kind).newbyteorder(">")).astype(kind)


def matrix(columns):
    return np.column_stack([floats(columns[name]) for name in columns])


class ReasonFixtures(unittest.TestCase):
    def test_golden_contributions(self):
        self.assertGreaterEqual(len(FIXTURES), 3)
        for folder in FIXTURES:
            with self.subTest(folder.name):
                self.check(folder)

    def check(self, folder):
        golden = json.loads((folder / "golden.json").read_text())
        background = json.loads((folder / "background.json").read_text())["columns"]
        self.assertEqual(list(background), list(golden["columns"]))
        self.assertEqual(list(golden["contributions"]), list(golden["columns"]))
        session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])

        def raw(rows):
            names = [i.name for i in session.get_inputs()]
            fed = {"input": rows} if names == ["input"] else {name: rows[:, [at]] for at, name in enumerate(names)}
            # Of two classes, the second one's.
            return session.run(["margin"], fed)[0][:, -1].astype(np.float64)

        rows, known = matrix(golden["columns"]), matrix(golden["contributions"])
        unit = np.maximum(1.0, np.abs(raw(rows)))
        total = floats(golden["base"])[0] + known.sum(axis=1)
        self.assertLessEqual(np.max(np.abs(total - floats(golden["margin"])) / unit), TOLERANCE)
        some = np.arange(0, len(rows), 7)
        base, contributions = exact.brute_force(raw, matrix(background), rows[some])
        self.assertLessEqual(abs(base - floats(golden["base"])[0]), TOLERANCE)
        self.assertLessEqual(np.max(np.abs(contributions - known[some]) / unit[some, None]), TOLERANCE)


if __name__ == "__main__":
    unittest.main()

"""Packages of each kind of model, as the program itself finds them: PROBITY names it, ORT_DYLIB_PATH ONNX Runtime."""

import json
import os
import subprocess
import sys
import tempfile
import tomllib
import unittest
import unittest.mock
import warnings
from pathlib import Path

import catboost
import lightgbm
import make
import numpy as np
import xgboost
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

HERE = Path(__file__).resolve().parent
DEPLOY = HERE.parents[1] / "deploy"
sys.path.insert(0, str(DEPLOY))
from pack_model import Refused, pack  # noqa: E402
from test_pack_model import TORCH  # noqa: E402

ROWS = 600
MANIFEST = HERE / "reasons-lightgbm/model.toml"
PROBITY = os.environ.get("PROBITY")


def kinds():
    forest = {"n_estimators": 5, "random_state": 1}
    return {
        "LightGBM": lightgbm.LGBMClassifier(n_estimators=5, num_leaves=6, n_jobs=1, random_state=1, verbose=-1),
        "XGBoost": xgboost.XGBClassifier(n_estimators=5, max_depth=3, n_jobs=1),
        "CatBoost": catboost.CatBoostClassifier(iterations=5, depth=3, random_seed=1, verbose=False, allow_writing_files=False),
        "GradientBoosting": GradientBoostingClassifier(**forest),
        "HistGradientBoosting": HistGradientBoostingClassifier(max_iter=5, random_state=1),
        "LogisticRegression": make_pipeline(StandardScaler(), LogisticRegression()),
        "MLP": make_pipeline(StandardScaler(), MLPClassifier((8, 4), max_iter=20, random_state=1)),
        "RandomForest": RandomForestClassifier(**forest),
    }


@unittest.skipUnless(PROBITY, "PROBITY does not name the program")
class Start(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.enterContext(unittest.mock.patch.dict(os.environ, {"PROBITY__INPUT__SCHEMA": str(HERE / "event.avsc")}))
        self.enterContext(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        self.matrix, self.fraud = make.payments(ROWS, 5, missing=False)
        self.data = {name: self.matrix[:, i] for i, name in enumerate(make.MATRIX_FEATURES)}
        given = tomllib.loads(MANIFEST.read_text())
        self.features, self.reasons = given["feature"], given["reason"]
        for each in self.features:
            each["impute"] = 0.0

    def packed(self, model, name="package", **options):
        options = {"features": self.features, "reasons": self.reasons, "background_rows": 5, "probity": PROBITY} | options
        return pack(model, self.data, self.folder / name, "test", "1.0.0", **options)

    def test_each_kind_starts(self):
        for kind, model in kinds().items():
            with self.subTest(kind):
                said, looked = self.packed(model.fit(self.matrix, self.fraud), kind)["check"]
                self.assertTrue(looked, said)
                self.assertRegex(said, r"golden rows have their known answers")
                self.assertIn("package test 1.0.0", said)
                self.assertNotIn("✘", said)

    def test_torch_starts(self):
        try:
            import torch
        except ImportError:
            self.skipTest(TORCH)
        torch.manual_seed(1)
        module = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
        self.assertTrue(self.packed(module)["check"][1])

    def categorical(self):
        """What the model is fed where a text was: 3 is nobody's code, and what is not listed is -1."""
        self.data["is_online"] = np.random.default_rng(1).choice([1.0, 2.5, 3.0, -1.0], ROWS).astype(np.float32)
        self.matrix[:, 7] = self.data["is_online"]
        self.features[7] = {"name": "is_online", "sql": "channel", "unknown": -1, "categories": {"online": 1, "chip": 2.5, "moto": 3}}

    def test_categories_start(self):
        self.categorical()
        fraud = self.matrix[:, 7] * self.matrix[:, 2] > 3
        for number, kind in enumerate(("LightGBM", "XGBoost", "CatBoost", "MLP")):
            with self.subTest(kind):
                said, looked = self.packed(kinds()[kind].fit(self.matrix, fraud), str(number))["check"]
                self.assertTrue(looked, said)
                folder = self.folder / str(number)
                online = tomllib.loads((folder / "model.toml").read_text())["feature"][7]
                self.assertEqual((online["categories"], online["unknown"]), ({"online": 1.0, "chip": 2.5, "moto": 3.0}, -1.0))
                for file in ("golden.json", "background.json"):
                    values = make.decode(json.loads((folder / file).read_text())["columns"]["is_online"])
                    self.assertLessEqual(set(values[~np.isnan(values)].tolist()), {1.0, 2.5, 3.0, -1.0}, file)
                golden = make.decode(json.loads((folder / "golden.json").read_text())["columns"]["is_online"])
                self.assertIn(-1.0, golden.tolist())

    def test_a_sample_with_another_code_is_refused(self):
        self.categorical()
        self.data["is_online"] = self.data["is_online"].copy()
        self.data["is_online"][3] = 7.0
        with self.assertRaisesRegex(Refused, "is_online of the sample has 7.0, which is no code"):
            self.packed(kinds()["LightGBM"].fit(self.matrix, self.fraud))

    def test_what_a_start_refuses_is_not_written(self):
        model = kinds()["LightGBM"].fit(self.matrix, self.fraud)
        self.features[3]["sql"] = "nope("
        for options, reason in (({}, "nope"), ({"language": "EN"}, "reasons.language"), ({"rules": [
                {"name": "far", "when": "distance_km > 'far'", "decision": "review"}]}, "rule `far`")):
            with self.subTest(reason), self.assertRaisesRegex(Refused, f"(?s)refuses the package, so {self.folder}/package is not written.*{reason}"):
                self.packed(model, **options)
            self.features[3]["sql"] = "card_count_1h"
        self.assertEqual(list(self.folder.iterdir()), [])

    def command(self, *options, **environment):
        kinds()["LightGBM"].fit(self.matrix, self.fraud).booster_.save_model(self.folder / "m.txt")
        rows = [",".join(self.data)] + [",".join(map(repr, map(float, row))) for row in self.matrix]
        (self.folder / "sample.csv").write_text("\n".join(rows) + "\n")
        command = [sys.executable, "-B", str(DEPLOY / "pack_model"), "--model", "m.txt", "--data", "sample.csv", "--features", str(MANIFEST),
                   "--out", "out", "--name", "n", "--version", "1", "--background-rows", "3", *options]
        return subprocess.run(command, capture_output=True, text=True, cwd=self.folder, env=os.environ | environment)

    def test_the_command_asks_the_program(self):
        for options, environment, said in [
            (["--review", "0.3", "--policy-version", "2"], {}, "\n✔ package n 1, sha256 "),
            (["--no-check"], {}, "\nnot checked by probity yet: probity model check out\n"),
            ([], {"PROBITY": "", "PATH": "/nowhere"}, "\nnot checked by probity yet: probity model check out\n"),
            ([], {"ORT_DYLIB_PATH": ""}, "✘ no ONNX Runtime library is named: set ORT_DYLIB_PATH"),
        ]:
            with self.subTest(said):
                ran = self.command(*options, **environment)
                self.assertEqual(ran.returncode, 0, ran.stderr)
                self.assertIn(said, ran.stdout)
                self.assertIn("not from", ran.stderr)
                (self.folder / "out").rename(self.folder / f"out-{len(list(self.folder.iterdir()))}")
        ran = self.command("--language", "EN")
        self.assertEqual((ran.returncode, (self.folder / "out").exists()), (1, False))
        self.assertRegex(ran.stderr, "✘ .*out/model.toml:[0-9]+: `reasons.language`")
        ran = self.command("--probity", "nowhere/probity")
        self.assertEqual(ran.returncode, 1)
        self.assertIn("nowhere/probity cannot be run", ran.stderr)


if __name__ == "__main__":
    unittest.main()

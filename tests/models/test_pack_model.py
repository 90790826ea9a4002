"""pack_model: every kind of model that it knows, what it refuses, and that nothing of a person is in the package."""

import json
import subprocess
import sys
import tempfile
import tomllib
import unittest
import unittest.mock
import warnings
from pathlib import Path

import catboost
import joblib
import lightgbm
import make
import numpy as np
import onnx
import xgboost
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
sys.path.insert(0, str(DEPLOY))
from pack_model import Refused, distributions, exact, given, leaves, models, pack, package, trees  # noqa: E402

ROWS = 600
# Not in the lock, because it brings gigabytes of CUDA: deploy/README.md says how to have it here.
TORCH = "torch is not installed: pip install --target FOLDER torch, then PYTHONPATH=FOLDER make oracles"


def sample(missing=True):
    matrix, fraud = make.payments(ROWS, 5, missing)
    return matrix, fraud, {name: matrix[:, i] for i, name in enumerate(make.MATRIX_FEATURES)}


def small_lightgbm(**options):
    matrix, fraud, _ = sample()
    return lightgbm.LGBMClassifier(n_estimators=5, num_leaves=6, n_jobs=1, random_state=1, verbose=-1, **options).fit(matrix, fraud)


def small_catboost(**options):
    matrix, fraud, _ = sample()
    options = {"iterations": 5, "depth": 3, "random_seed": 1, "verbose": False, "allow_writing_files": False} | options
    return catboost.CatBoostClassifier(**options).fit(matrix, fraud)


def decoded(document, key):
    return np.column_stack([make.decode(values) for values in document[key].values()])


class Packing(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.enterContext(warnings.catch_warnings())
        warnings.simplefilter("ignore")

    def packed(self, model, data, name="package", **options):
        options = {"background_rows": 5} | options
        pack(model, data, self.folder / name, "test", "1.0.0", **options)
        return self.folder / name

    def golden(self, folder):
        return json.loads((folder / "golden.json").read_text())

    def method(self, folder):
        return tomllib.loads((folder / "model.toml").read_text())["reasons"]["method"]

    def check_exact(self, model, data, method="tree", name="package"):
        """The golden contributions add up to the margin, and the graph is one that exact reasons can read."""
        folder = self.packed(model, data, name)
        golden = self.golden(folder)
        margin = make.decode(golden["margin"]).astype(np.float64)
        total = make.decode(golden["base"])[0] + decoded(golden, "contributions").sum(axis=1)
        self.assertLessEqual(np.max(np.abs(total - margin) / np.maximum(1.0, np.abs(margin))), 2e-5)
        self.assertEqual(self.method(folder), method)
        graph = onnx.load(folder / "model.onnx").graph
        if method == "tree":
            self.assertEqual([node.op_type for node in graph.node], ["TreeEnsembleRegressor", "Sigmoid"])
        self.assertEqual([output.name for output in graph.output], ["margin", "score"])
        return folder

    def test_lightgbm(self):
        self.check_exact(small_lightgbm(), sample()[2])

    def test_lightgbm_with_a_steep_sigmoid(self):
        self.check_exact(small_lightgbm(sigmoid=2.0), sample()[2])

    def test_lightgbm_that_never_saw_a_missing_value(self):
        """It compares zero then, on either side of a threshold, whatever its `default_left` says."""
        matrix = np.random.default_rng(1).normal(size=(ROWS, 3)).astype(np.float32)
        model = lightgbm.LGBMClassifier(n_estimators=5, num_leaves=6, n_jobs=1, random_state=1, verbose=-1)
        model.fit(matrix, matrix[:, 0] * matrix[:, 1] > 0)
        self.check_exact(model, {f"f{i}": matrix[:, i] for i in range(3)})

    def test_xgboost(self):
        matrix, fraud, data = sample()
        self.check_exact(xgboost.XGBClassifier(n_estimators=5, max_depth=3, n_jobs=1).fit(matrix, fraud), data)

    def test_xgboost_that_stopped_early(self):
        matrix, fraud, data = sample()
        model = xgboost.XGBClassifier(n_estimators=200, max_depth=5, learning_rate=0.9, early_stopping_rounds=2, n_jobs=1)
        model.fit(matrix[:400], fraud[:400], eval_set=[(matrix[400:], fraud[400:])], verbose=False)
        folder = self.check_exact(model, data)
        rows = decoded(self.golden(folder), "columns")
        score = make.decode(self.golden(folder)["score"])
        self.assertLess(np.max(np.abs(model.predict_proba(rows)[:, 1] - score)), 1e-6)

    def test_catboost(self):
        self.check_exact(small_catboost(), sample()[2])

    def test_catboost_with_trees_that_are_not_oblivious(self):
        self.check_exact(small_catboost(grow_policy="Lossguide"), sample()[2])

    def test_catboost_with_the_largest_for_missing(self):
        self.check_exact(small_catboost(nan_mode="Max"), sample()[2])

    def test_gradient_boosting(self):
        matrix, fraud, data = sample(missing=False)
        self.check_exact(GradientBoostingClassifier(n_estimators=5, random_state=1).fit(matrix, fraud), data)

    def test_hist_gradient_boosting(self):
        matrix, fraud, data = sample()
        self.check_exact(HistGradientBoostingClassifier(max_iter=5, random_state=1).fit(matrix, fraud), data)

    def test_logistic_regression_in_a_pipeline(self):
        matrix, fraud, data = sample()
        model = make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), LogisticRegression()).fit(matrix, fraud)
        folder = self.check_exact(model, data, "linear")
        features = tomllib.loads((folder / "model.toml").read_text())["feature"]
        self.assertEqual([each["impute"] for each in features], np.nanmedian(matrix, axis=0).astype(float).tolist())

    def test_network(self):
        matrix, fraud, data = sample(missing=False)
        for activation in ("relu", "tanh"):
            model = make_pipeline(StandardScaler(), MLPClassifier((8, 4), activation=activation, max_iter=20, random_state=1))
            folder = self.packed(model.fit(matrix, fraud), data, activation)
            self.assertEqual(self.method(folder), "permutation")
            self.assertNotIn("contributions", self.golden(folder))

    def test_random_forest(self):
        matrix, fraud, data = sample(missing=False)
        model = RandomForestClassifier(10, random_state=1).fit(matrix, fraud)
        folder = self.packed(model, data)
        self.assertEqual(self.method(folder), "permutation")
        rows, score = decoded(self.golden(folder), "columns"), make.decode(self.golden(folder)["score"])
        self.assertLess(np.max(np.abs(model.predict_proba(rows)[:, 1] - score)), 1e-6)
        self.assertTrue(np.all(np.isfinite(make.decode(self.golden(folder)["margin"]))))

    def test_every_key_of_the_schema_has_a_place(self):
        """A key that is new in model.toml must go on into the next package, or be said to be made here."""
        schema = json.loads((DEPLOY.parent / "schemas/model.schema.json").read_text())

        def of(table):
            found = schema["properties"][table]
            if "$ref" in found:
                found = schema["$defs"][found["$ref"].rsplit("/", 1)[1]]
            return {f"{table}.{key}" for key in found["properties"]}

        keys = set(schema["properties"]) - set(given.TABLES) | set().union(*map(of, given.TABLES))
        self.assertEqual(keys - set(given.KEYS), set())

    def test_torch(self):
        try:
            import torch
        except ImportError:
            with self.assertRaisesRegex(Refused, "PyTorch is not installed"):
                models.load("model.pt", trust_pickle=True)
            self.skipTest(TORCH)
        torch.manual_seed(1)
        layers = [torch.nn.Linear(8, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1)]
        folder = self.packed(torch.nn.Sequential(*layers), sample(missing=False)[2])
        self.assertEqual(self.method(folder), "permutation")
        self.assertNotIn(b"site-packages", (folder / "model.onnx").read_bytes())
        torch.jit.trace(torch.nn.Sequential(*layers, torch.nn.Flatten(0)), torch.zeros(2, 8)).save(self.folder / "m.pt")
        self.assertEqual(self.method(self.packed(models.load(str(self.folder / "m.pt"), True), sample(missing=False)[2], "file")), "permutation")
        with self.assertRaisesRegex(Refused, "without its last layer"):
            self.packed(torch.nn.Sequential(*layers, torch.nn.Sigmoid()), sample(missing=False)[2], "other")

    def test_more_features_than_can_be_tried(self):
        """With 12 features shap takes the place of the definition."""
        random = np.random.default_rng(1)
        matrix = random.normal(size=(ROWS, 12)).astype(np.float32)
        fraud = (matrix[:, 0] + matrix[:, 1] * matrix[:, 2] > 0).astype(int)
        for number, model in enumerate([
            xgboost.XGBClassifier(n_estimators=5, max_depth=3, n_jobs=1),
            lightgbm.LGBMClassifier(n_estimators=5, num_leaves=6, n_jobs=1, random_state=1, verbose=-1),
            catboost.CatBoostClassifier(iterations=5, depth=3, verbose=False, allow_writing_files=False),
            GradientBoostingClassifier(n_estimators=5, random_state=1),
            HistGradientBoostingClassifier(max_iter=5, random_state=1),
        ]):
            with self.subTest(type(model).__name__):
                folder = self.check_exact(model.fit(matrix, fraud), {f"f{i}": matrix[:, i] for i in range(12)}, name=str(number))
                self.assertIn("by shap", (folder / "MODEL_CARD.md").read_text())
                self.assertGreater(len(decoded(self.golden(folder), "columns")), package.GOLDEN_ROWS + 2, "those at thresholds are there")

    def test_no_golden_row_is_left_out_for_want_of_a_contribution(self):
        """Where the model never saw a value missing it takes zero, and shap takes a side of its own."""
        random = np.random.default_rng(1)
        matrix = random.normal(size=(ROWS, 12)).astype(np.float32)
        fraud = matrix[:, 0] * matrix[:, 1] > 0
        matrix[random.random(ROWS) < 0.5, 0] = np.nan
        model = lightgbm.LGBMClassifier(n_estimators=5, num_leaves=6, n_jobs=1, random_state=1, verbose=-1).fit(matrix, fraud)
        data = {f"f{i}": matrix[:, i] for i in range(12)}
        for name, replaced, why in (("with", {}, "because shap does not explain"), ("without", {"shap": None}, "because shap is not installed")):
            with self.subTest(name), unittest.mock.patch.dict(sys.modules, replaced):
                folder = self.packed(model, data, name)
                self.assertGreater(len(decoded(self.golden(folder), "columns")), package.GOLDEN_ROWS + 2)
                self.assertEqual(decoded(self.golden(folder), "contributions").shape[1], 12)
                self.assertIn(why, (folder / "MODEL_CARD.md").read_text())

    def test_what_shap_finds_is_what_the_definition_gives(self):
        """Also for golden rows with missing values and next above thresholds, where shap is asked for rows like them."""
        matrix = np.random.default_rng(1).normal(size=(ROWS, 3)).astype(np.float32)
        model = lightgbm.LGBMClassifier(n_estimators=5, num_leaves=6, n_jobs=1, random_state=1, verbose=-1)
        model.fit(matrix, matrix[:, 0] * matrix[:, 1] > 0)
        data = {f"f{i}": matrix[:, i] for i in range(3)}
        known = self.golden(self.packed(model, data, "definition"))
        with unittest.mock.patch.object(package, "BRUTE_FORCE_MAX", 0):
            folder = self.packed(model, data, "shap")
        self.assertIn("by shap", (folder / "MODEL_CARD.md").read_text())
        self.assertEqual(self.golden(folder)["columns"], known["columns"])
        self.assertTrue(np.any(np.isnan(decoded(known, "columns"))))
        apart = np.abs(decoded(self.golden(folder), "contributions") - decoded(known, "contributions"))
        self.assertLess(np.max(apart), 1e-6)

    def test_what_is_found_leaf_by_leaf_is_what_the_definition_gives(self):
        """Of each library's comparisons and ways of a missing value; a swapped child is noticed."""
        matrix, fraud, _ = sample()
        rows, background = matrix[:30], matrix[40:47]
        for number, model in enumerate([
            small_lightgbm(), small_catboost(), xgboost.XGBClassifier(n_estimators=5, max_depth=5, n_jobs=1).fit(matrix, fraud),
            HistGradientBoostingClassifier(max_iter=5, random_state=1).fit(matrix, fraud),
        ]):
            with self.subTest(type(model).__name__):
                read = models.source(model, 8).trees
                base, found = leaves.shapley(read, background, rows)
                expected = exact.brute_force(read.margin, background, rows)
                self.assertAlmostEqual(base, expected[0], delta=1e-12)
                self.assertLess(np.max(np.abs(found - expected[1])), 1e-12)
                read.roots[0].true, read.roots[0].false = read.roots[0].false, read.roots[0].true
                self.assertGreater(np.max(np.abs(leaves.shapley(read, background, rows)[1] - expected[1])), 1e-6, number)

    def test_a_wide_model_has_golden_contributions_without_shap(self):
        random = np.random.default_rng(1)
        matrix = random.normal(size=(ROWS, 12)).astype(np.float32)
        model = lightgbm.LGBMClassifier(n_estimators=5, num_leaves=6, n_jobs=1, random_state=1, verbose=-1)
        model.fit(matrix, matrix[:, 0] * matrix[:, 1] > 0)
        data = {f"f{i}": matrix[:, i] for i in range(12)}
        known = self.golden(self.packed(model, data, "with"))
        with unittest.mock.patch.dict(sys.modules, {"shap": None}):
            found = self.golden(self.packed(model, data, "without"))
        self.assertEqual(found["columns"], known["columns"])
        apart = np.abs(decoded(found, "contributions") - decoded(known, "contributions"))
        self.assertLess(np.max(apart), 1e-6)

    def test_the_same_bytes_again(self):
        model, data = small_catboost(), sample()[2]
        first, second = self.packed(model, data, "first"), self.packed(small_catboost(), data, "second")
        self.assertEqual(len(list(first.iterdir())), 6)
        for file in first.iterdir():
            self.assertEqual(file.read_bytes(), (second / file.name).read_bytes(), file.name)

    def test_no_row_is_a_persons(self):
        matrix, _, data = sample()
        background = decoded(json.loads((self.packed(small_lightgbm(), data) / "background.json").read_text()), "columns")
        self.assertEqual(exact.copies(background, matrix), 0)
        self.assertEqual(exact.copies(matrix[3:5], matrix), 2)
        twins = exact.synthetic(np.column_stack([np.arange(50.0), np.arange(50.0)]), 20, 1)
        self.assertEqual(np.sort(twins[:, 0]).tolist(), np.sort(twins[:, 1]).tolist())
        self.assertNotEqual(twins[:, 0].tolist(), twins[:, 1].tolist())
        self.assertTrue(np.all(twins == np.floor(twins)))
        rows = exact.synthetic(matrix, 100, 1)
        self.assertEqual(set(np.unique(rows[:, 7][~np.isnan(rows[:, 7])])), {0.0, 1.0})
        self.assertLess(np.nanmax(rows[:, 6]), np.nanmax(matrix[:, 6]))
        self.assertTrue(2 <= np.isnan(rows[:, 0]).sum() <= 8)

    def test_the_reference_counts_the_sample(self):
        matrix, _, data = sample()
        folder = self.packed(small_lightgbm(), data)
        reference = json.loads((folder / "reference.json").read_text())
        named = tomllib.loads((folder / "model.toml").read_text())["model"]
        self.assertEqual((named["reference"], named["card"]), ("reference.json", "MODEL_CARD.md"))
        self.assertEqual(len(reference["features"]), 8)
        for each in [reference["score"], *reference["features"]]:
            self.assertEqual(sum(each["counts"]) + each["missing"], ROWS)
            self.assertEqual(each["edges"], sorted(set(each["edges"])))
            self.assertTrue(1 <= len(each["edges"]) <= 10)
        contributions = decoded(self.golden(folder), "contributions")
        weights = dict(zip(self.golden(folder)["contributions"], np.abs(contributions).mean(axis=0), strict=True))
        names = [each["name"] for each in reference["features"]]
        self.assertEqual(names, sorted(names, key=lambda name: -weights[name]))
        missing = {name: int(np.isnan(values).sum()) for name, values in data.items()}
        self.assertEqual({each["name"]: each["missing"] for each in reference["features"]}, missing)
        self.assertGreater(max(missing.values()), 0)

    def test_what_is_imputed_is_missing_in_the_reference(self):
        matrix, fraud, data = sample()
        model = make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), LogisticRegression()).fit(matrix, fraud)
        reference = json.loads((self.packed(model, data) / "reference.json").read_text())
        found = sum(each["missing"] for each in reference["features"])
        self.assertEqual(found, int(np.isnan(matrix).sum()))

    def test_bins(self):
        nothing = distributions.distribution([np.nan, np.nan])
        self.assertEqual(nothing, {"edges": [0.0], "counts": [0, 0], "missing": 2})
        always = distributions.distribution([3.0] * 4)
        self.assertEqual((always["edges"][0], always["counts"]), (3.0, [0, 4, 0]))
        flag = distributions.distribution([0.0, 1.0, 0.0, np.nan])
        self.assertEqual(flag, {"edges": [1.0], "counts": [2, 1], "missing": 1})
        rare = distributions.distribution([0.0] * 990 + list(range(1, 12)))
        self.assertEqual(rare, {"edges": [1.0], "counts": [990, 11], "missing": 0})
        even = distributions.distribution(np.arange(1000) / 7)
        self.assertEqual(even["counts"], [100] * 10)
        counted = distributions.distribution([0.0] * 50 + [float(n % 12) for n in range(50)])
        self.assertNotIn(0.0, counted["edges"])
        self.assertEqual(sum(counted["counts"]), 100)

    def test_a_package_that_differs_from_its_model_is_refused(self):
        model, data = small_lightgbm(), sample()[2]
        source = models.source(model, 8)
        source.trees.roots[0].true, source.trees.roots[0].false = source.trees.roots[0].false, source.trees.roots[0].true
        wrong = models.graphs.of_trees(source.trees, 8)
        source.graph.CopyFrom(wrong)
        with unittest.mock.patch.object(models, "source", return_value=source), self.assertRaisesRegex(Refused, "does not give what"):
            self.packed(model, data)
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_what_cannot_be_packed(self):
        matrix, fraud, data = sample(missing=False)
        for model, reason in [
            (lightgbm.LGBMRegressor(n_estimators=2, verbose=-1).fit(matrix, fraud), "objective"),
            (small_lightgbm(zero_as_missing=True), "zero"),
            (small_lightgbm(linear_tree=True), "linear"),
            (small_lightgbm(min_child_samples=ROWS), "no tree has a split"),
            (xgboost.XGBClassifier(n_estimators=2, booster="dart").fit(matrix, fraud), "dart"),
            (catboost.CatBoostRegressor(iterations=2, verbose=False, allow_writing_files=False).fit(matrix, fraud), "RMSE"),
            (RidgeClassifier().fit(matrix, fraud), "cannot be packed"),
            (GradientBoostingClassifier(n_estimators=2).fit(matrix, np.arange(ROWS) % 3), "two classes"),
            (object(), "none of"),
        ]:
            with self.subTest(reason), self.assertRaisesRegex(Refused, reason):
                self.packed(model, data)
        with self.assertRaisesRegex(Refused, "give it `impute`"):
            self.packed(GradientBoostingClassifier(n_estimators=2).fit(matrix, fraud), sample()[2])
        channel = [{"name": name} for name in data]
        for change, reason in [
            ({"categories": {"pos": 0}}, "belong together"), ({"categories": {"pos": 0.1}, "unknown": 1}, "float32 holds exactly"),
            ({"type": "int64"}, "leave `type` out"), ({"imputed": 0}, "feature 1: `imputed` is unknown"),
        ]:
            with self.subTest(reason), self.assertRaisesRegex(Refused, reason):
                self.packed(small_lightgbm(), data, features=[channel[0] | change, *channel[1:]])
        for rule, reason in [({"name": "r", "when": "hour > 3"}, "policy.rule 1 has no `decision`"), ({"if": "hour > 3"}, "`if` is unknown")]:
            with self.subTest(reason), self.assertRaisesRegex(Refused, reason):
                self.packed(small_lightgbm(), data, rules=[rule])
        with self.assertRaisesRegex(Refused, "takes 8 features"):
            self.packed(small_lightgbm(), {"hour": [1.0, 2.0]})

    def test_thresholds_are_rounded_down(self):
        between = 1.0 + 2.0**-24 * 1.5  # nearest is the float above
        self.assertEqual(trees.not_above(between), 1.0)
        self.assertEqual(trees.not_above(1e300), np.finfo(np.float32).max)

    def test_shapley_values_of_a_known_game(self):
        """Two features share a product evenly; one that is not used gets nothing."""
        base, found = exact.brute_force(lambda rows: rows[:, 0] * rows[:, 1], np.zeros((1, 3), np.float32), np.array([[2.0, 3.0, 9.0]]))
        self.assertEqual((base, found.tolist()), (0.0, [[3.0, 3.0, 0.0]]))

    def command(self, model, *options):
        matrix, _, data = sample()
        lines = [",".join([*data, "label"])] + [",".join("" if np.isnan(v) else repr(float(v)) for v in row) + ",0" for row in matrix]
        (self.folder / "sample.csv").write_text("\n".join(lines) + "\n")
        command = [sys.executable, "-B", str(DEPLOY / "pack_model"), "--model", str(model), "--data", str(self.folder / "sample.csv")]
        command += ["--out", str(self.folder / "out"), "--name", "n", "--version", "1", "--drop", "label", "--background-rows", "3", "--no-check"]
        return subprocess.run([*command, *options], capture_output=True, text=True)

    def test_command_with_each_kind_of_file(self):
        matrix, fraud, _ = sample()
        small_lightgbm().booster_.save_model(self.folder / "m.txt")
        xgboost.XGBClassifier(n_estimators=2, n_jobs=1).fit(matrix, fraud).save_model(self.folder / "m.json")
        small_catboost().save_model(str(self.folder / "m.cbm"))
        for file in ("m.txt", "m.json", "m.cbm"):
            with self.subTest(file):
                ran = self.command(self.folder / file)
                self.assertEqual(ran.returncode, 0, ran.stderr)
                (self.folder / "out").rename(self.folder / f"{file}-out")

    def test_command_reads_features_and_reasons(self):
        small_lightgbm().booster_.save_model(self.folder / "m.txt")
        tables = [f'[[feature]]\nname = "{name}"\nsql = "{name} + 0"\n' for name in make.MATRIX_FEATURES]
        tables[1] += 'range = [0, 23]\nunit = "h"\npersonal = "none"\n'
        tables.append('[[reason]]\ncode = "ALL"\nfeatures = ["hour"]\nraises = { de = "Zur Stunde {hour}" }\nlowers = { de = "\\"" }\n')
        (self.folder / "f.toml").write_text("".join(tables) + '[card]\nOwner = "somebody"\n')
        ran = self.command(self.folder / "m.txt", "--features", str(self.folder / "f.toml"), "--language", "de")
        self.assertEqual(ran.returncode, 0, ran.stderr)
        manifest = tomllib.loads((self.folder / "out/model.toml").read_text())
        hour = {"name": "hour", "sql": "hour + 0", "type": "float32", "range": [0.0, 23.0], "unit": "h", "personal": "none"}
        self.assertEqual(manifest["feature"][1], hour)
        self.assertEqual(manifest["reason"][0]["lowers"], {"de": '"'})
        self.assertIn("| Owner | somebody |", (self.folder / "out/MODEL_CARD.md").read_text())

    def test_command_keeps_the_rules_and_the_policy_of_the_file(self):
        """A hard limit that goes missing on the way to the next version is missed by nobody until it is needed."""
        small_lightgbm().booster_.save_model(self.folder / "m.txt")
        policy = '[policy]\nversion = "7"\nreview = 0.25\ndecline = 0.75\n'
        rules = [
            {"name": "large", "when": "amount_minor > 500000\n  OR channel = 'moto'", "decision": "review", "description": "\"Ä\""},
            {"name": "pace", "when": "card_count_1h > 20", "decision": "decline"},
        ]
        for rule in rules:
            policy += "[[policy.rule]]\n" + "".join(f"{key} = {package.text(value)}\n" for key, value in rule.items())
        (self.folder / "f.toml").write_text(f'name = "old"\n[model]\nfile = "old.onnx"\n{policy}[reasons]\nlanguage = "de"\nother = {{ de = "Alles andere" }}\n')
        file = str(self.folder / "f.toml")
        ran = self.command(self.folder / "m.txt", "--features", file)
        self.assertEqual(ran.returncode, 0, ran.stderr)
        self.assertEqual(ran.stderr, f"pack_model: not from {file}, but made here: name, model\n")
        manifest = tomllib.loads((self.folder / "out/model.toml").read_text())
        self.assertEqual(manifest["policy"], {"version": "7", "review": 0.25, "decline": 0.75, "rule": rules})
        self.assertEqual(manifest["reasons"]["language"], "de")
        self.assertEqual(manifest["reasons"]["other"], {"de": "Alles andere"})
        (self.folder / "out").rename(self.folder / "first")
        ran = self.command(self.folder / "m.txt", "--features", file, "--review", "0.5")
        self.assertEqual(ran.returncode, 1)
        self.assertIn("Give --policy-version", ran.stderr)
        ran = self.command(self.folder / "m.txt", "--features", file, "--review", "0.5", "--policy-version", "8")
        self.assertEqual(ran.returncode, 0, ran.stderr)
        self.assertIn("but given by options: policy.version, policy.review\n", ran.stderr)
        manifest = tomllib.loads((self.folder / "out/model.toml").read_text())
        self.assertEqual(manifest["policy"], {"version": "8", "review": 0.5, "decline": 0.75, "rule": rules})

    def test_a_key_of_the_file_that_nobody_knows_is_refused(self):
        small_lightgbm().booster_.save_model(self.folder / "m.txt")
        for wrong, reason in [
            ("[policy]\nrules = []\n", "`policy.rules` is unknown"), ("[[features]]\nname = 'hour'\n", "`features` is unknown"), ("a", "no TOML"),
            ("[feature]\nname = 'hour'\n", "write each feature as a table"), ("[policy]\nreview = 'x'\n", "write thresholds"),
        ]:
            (self.folder / "f.toml").write_text(wrong)
            ran = self.command(self.folder / "m.txt", "--features", str(self.folder / "f.toml"))
            with self.subTest(wrong):
                self.assertEqual((ran.returncode, ran.stdout, (self.folder / "out").exists()), (1, "", False))
                self.assertIn(reason, ran.stderr.splitlines()[-1])

    def test_a_file_that_is_not_there_is_one_sentence(self):
        small_lightgbm().booster_.save_model(self.folder / "m.txt")
        for option in ("--model", "--data", "--features"):
            with self.subTest(option):
                ran = self.command(self.folder / "m.txt", option, "nowhere.txt")
                self.assertEqual((ran.returncode, ran.stderr), (1, f"pack_model: {option} nowhere.txt: there is no such file that can be read\n"))

    def test_what_a_start_would_refuse_is_not_written(self):
        model, data = small_lightgbm(), sample()[2]
        for options, reason in [
            ({"policy_version": "1 2"}, "policy version is '1 2'"), ({"review": 0.9, "decline": 0.5}, "review 0.9"), ({"decline": 1.5}, "decline 1.5"),
        ]:
            with self.subTest(reason), self.assertRaisesRegex(Refused, reason):
                self.packed(model, data, **options)
        for name, version in (("card risk", "1"), ("", "1"), ("n", "1 beta")):
            with self.subTest(name=name, version=version), self.assertRaisesRegex(Refused, "ASCII letters"):
                pack(model, data, self.folder / "package", name, version)
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_a_pickle_is_not_opened_unasked(self):
        joblib.dump(small_lightgbm(), self.folder / "m.joblib")
        ran = self.command(self.folder / "m.joblib")
        self.assertEqual((ran.returncode, "--trust-pickle" in ran.stderr), (1, True))
        self.assertEqual(self.command(self.folder / "m.joblib", "--trust-pickle").returncode, 0)


if __name__ == "__main__":
    unittest.main()

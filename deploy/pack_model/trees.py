"""Tree ensembles, read from the libraries that train them, as one sum of 32-bit leaves on the log-odds scale.

The libraries' own dumps are read instead of a converter's output: only so the comparison of each node (`<`, `<=`
or `>`), the way of a missing value and the rounding of each threshold are those of the trained model.
"""

import json
import os
import tempfile
from dataclasses import dataclass, field

import numpy as np


class Refused(Exception):
    """The model cannot be packed. The text says why, and what to do instead."""


@dataclass
class Leaf:
    value: float


@dataclass
class Split:
    """What the comparison of the ensemble asks of one feature, and where a missing value goes."""

    feature: int
    threshold: float
    missing_is_true: bool
    true: "Leaf | Split"
    false: "Leaf | Split"


COMPARE = {"BRANCH_LEQ": np.less_equal, "BRANCH_LT": np.less, "BRANCH_GT": np.greater}


@dataclass
class Trees:
    """`base` and the leaves that a row reaches, summed. Trees that are one leaf are part of `base`."""

    mode: str
    base: float = 0.0
    roots: list[Split] = field(default_factory=list)
    # Some comparison takes zero for a missing value. shap takes a side of its own there.
    missing_as_zero: bool = False

    def add(self, root):
        if isinstance(root, Leaf):
            self.base += root.value
        else:
            self.roots.append(root)

    def nodes(self):
        """(tree, number in its tree, node) in the order in which an ONNX file lists them: parents first."""
        for tree, root in enumerate(self.roots):
            for number, node in enumerate(walk(root)):
                yield tree, number, node

    def margin(self, matrix):
        """In 64 bits, with leaves rounded to 32 bits as the ONNX file has them."""
        total = np.full(len(matrix), np.float64(np.float32(self.base)))
        for root in self.roots:
            self._reach(root, matrix, np.arange(len(matrix)), total)
        return total

    def _reach(self, root, matrix, rows, total):
        pending = [(root, rows)]
        while pending:
            node, rows = pending.pop()
            if isinstance(node, Leaf):
                total[rows] += np.float64(np.float32(node.value))
                continue
            values = matrix[rows, node.feature]
            true = COMPARE[self.mode](values, np.float32(node.threshold))
            true = np.where(np.isnan(values), node.missing_is_true, true)
            pending += [(node.true, rows[true]), (node.false, rows[~true])]

    def thresholds(self):
        """(feature, threshold) of every split, each once, in order."""
        splits = (node for _, _, node in self.nodes() if isinstance(node, Split))
        return sorted({(node.feature, float(np.float32(node.threshold))) for node in splits})

    def shap_errs(self, rows):
        """Which rows shap explains as if they were others: with missing values, or next above a threshold.

        LightGBM and scikit-learn compare with 64-bit thresholds. shap rounds them to 32 bits, sometimes up, and then
        such a value is not above them: it explains the row that has the next lower value there.
        """
        errs = np.any(np.isnan(rows), axis=1) & self.missing_as_zero
        if self.mode == "BRANCH_LEQ":
            above = {(feature, next_float(threshold, np.inf)) for feature, threshold in self.thresholds()}
            errs |= np.array([any(each in above for each in enumerate(row)) for row in rows])
        return errs

    def alike(self, rows):
        """Rows whose every value goes the same way through the trees, and of which `shap_errs` finds fewer.

        Zero stands for what is missing where all splits of the feature take it so. What is next above a threshold is
        one float more, unless that passes another threshold.
        """
        rows = rows.copy()
        splits = [node for _, _, node in self.nodes() if isinstance(node, Split)]
        by_zero = lambda split: split.missing_is_true == COMPARE[self.mode](0.0, np.float32(split.threshold))  # noqa: E731
        no_zero = {split.feature for split in splits if not by_zero(split)}
        at = set(self.thresholds()) if self.mode == "BRANCH_LEQ" else set()
        for number, feature in np.ndindex(rows.shape):
            value = rows[number, feature]
            if np.isnan(value) and self.missing_as_zero and feature not in no_zero:
                rows[number, feature] = 0.0
            elif (feature, next_float(value, -np.inf)) in at and (feature, value) not in at:
                rows[number, feature] = next_float(value, np.inf)
        return rows


def next_float(value, towards):
    with np.errstate(over="ignore"):  # the largest finite float has one, too
        return np.nextafter(np.float32(value), np.float32(towards))


def walk(root):
    pending = [root]
    while pending:
        node = pending.pop()
        yield node
        if isinstance(node, Split):
            pending += [node.false, node.true]


def not_above(threshold):
    """The largest 32-bit float that is no larger: a 32-bit value is `<=` both or neither.

    Rounding to the nearest one sends a value between the two numbers to the other side.
    """
    with np.errstate(over="ignore"):
        rounded = np.float32(threshold)
    if np.float64(rounded) > threshold:
        rounded = np.nextafter(rounded, np.float32(-np.inf))
    return float(rounded)


def of_lightgbm(booster):
    dump = booster.dump_model()
    kind, _, parameters = dump.get("objective", "").partition(" ")
    if kind not in ("binary", "cross_entropy"):
        raise Refused(f"LightGBM's objective is {dump.get('objective')!r}: its raw score is no log-odds. Train with objective=binary")
    sigmoid = dict(each.split(":") for each in parameters.split() if ":" in each).get("sigmoid", "1")
    scale = float(sigmoid) / (len(dump["tree_info"]) if dump.get("average_output") else 1)
    trees = Trees("BRANCH_LEQ")
    for tree in dump["tree_info"]:
        trees.add(_lightgbm_node(tree["tree_structure"], scale, trees))
    return trees, float(sigmoid)


def _lightgbm_node(node, scale, trees):
    if "leaf_value" in node:
        if "leaf_coeff" in node:
            raise Refused("LightGBM's leaves are linear models. Train with linear_tree=false")
        return Leaf(node["leaf_value"] * scale)
    if node["decision_type"] != "<=":
        raise Refused(f"feature {node['split_feature']} is categorical in LightGBM. Encode it as numbers before training")
    if node["missing_type"] == "Zero":
        raise Refused("LightGBM takes zeros for missing. Train with zero_as_missing=false")
    # Without missing values in training LightGBM compares zero in their place.
    trees.missing_as_zero |= node["missing_type"] == "None"
    missing_is_left = node["default_left"] if node["missing_type"] == "NaN" else 0.0 <= node["threshold"]
    return Split(
        node["split_feature"], not_above(node["threshold"]), bool(missing_is_left),
        _lightgbm_node(node["left_child"], scale, trees), _lightgbm_node(node["right_child"], scale, trees),
    )


def of_xgboost(booster):
    """Also gives the leaf of each node of each tree, to sum in 64 bits what XGBoost sums in 32."""
    learner = json.loads(bytes(booster.save_raw("json")))["learner"]
    objective, booster_kind = learner["objective"]["name"], learner["gradient_booster"]["name"]
    if objective not in ("binary:logistic", "binary:logitraw", "reg:logistic"):
        raise Refused(f"XGBoost's objective is {objective}: its raw score is no log-odds. Train with binary:logistic")
    if booster_kind != "gbtree":
        raise Refused(f"XGBoost's booster is {booster_kind}, which is no plain sum of trees. Train with booster=gbtree")
    base = float(learner["learner_model_param"]["base_score"].strip("[]"))
    if objective != "binary:logitraw":
        base = float(-np.log(np.float32(1.0) / np.float32(base) - np.float32(1.0)))
    trees, leaves = Trees("BRANCH_LT", base), []
    for tree in learner["gradient_booster"]["model"]["trees"]:
        if any(tree["split_type"]) or int(tree["tree_param"]["size_leaf_vector"]) > 1:
            raise Refused("XGBoost splits by categories, or has several outputs. Encode categories as numbers before training")
        trees.add(_xgboost_node(tree, 0))
        leaves.append(np.array(tree["split_conditions"], np.float64))
    return trees, base, leaves


def _xgboost_node(tree, at):
    left, right = tree["left_children"][at], tree["right_children"][at]
    value = float(np.float32(tree["split_conditions"][at]))
    if left == -1:
        return Leaf(value)
    return Split(
        tree["split_indices"][at], value, bool(tree["default_left"][at]), _xgboost_node(tree, left), _xgboost_node(tree, right)
    )


def of_catboost(model):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.json")
        model.save_model(path, format="json")
        with open(path) as file:
            dump = json.load(file)
    loss = dump["model_info"]["params"]["loss_function"]["type"]
    scale, biases = dump["scale_and_bias"]
    if loss not in ("Logloss", "CrossEntropy") or len(biases) != 1:
        raise Refused(f"CatBoost's loss is {loss}: its raw value is no log-odds. Train with loss_function=Logloss")
    features = dump["features_info"]
    if set(features) - {"float_features"}:
        raise Refused("CatBoost was trained with features that are no numbers. Encode them as numbers before training")
    columns = [each["flat_feature_index"] for each in features["float_features"]]
    missing = [each["nan_value_treatment"] == "AsTrue" for each in features["float_features"]]

    def split(condition, true, false):
        if condition.get("split_type", "FloatFeature") != "FloatFeature":
            raise Refused(f"CatBoost splits by {condition['split_type']}. Encode categories as numbers before training")
        number = condition["float_feature_index"]
        return Split(columns[number], float(np.float32(condition["border"])), missing[number], true, false)

    def oblivious(tree, level, leaf):
        """Level i of an oblivious tree asks the same everywhere, and is bit i of the leaf's number."""
        if level < 0:
            return Leaf(tree["leaf_values"][leaf] * scale)
        true, false = oblivious(tree, level - 1, leaf | 1 << level), oblivious(tree, level - 1, leaf)
        return split(tree["splits"][level], true, false)

    def free(node):
        if "split" not in node:
            return Leaf(node["value"] * scale)
        return split(node["split"], free(node["right"]), free(node["left"]))

    trees = Trees("BRANCH_GT", biases[0])
    for tree in dump.get("oblivious_trees", []):
        trees.add(oblivious(tree, len(tree["splits"]) - 1, 0))
    for tree in dump.get("trees", []):
        trees.add(free(tree))
    return trees


def of_gradient_boosting(model):
    """scikit-learn's GradientBoostingClassifier with its usual initial estimate, a constant."""
    constant = type(model.init_).__name__ == "DummyClassifier"
    if model.loss != "log_loss" or model.n_classes_ != 2 or not constant:
        raise Refused("a GradientBoostingClassifier is packed with two classes, loss=log_loss and the usual init only")
    share = float(model.init_.class_prior_[1])
    trees = Trees("BRANCH_LEQ", float(np.log(share / (1.0 - share))))
    for (estimator,) in model.estimators_:
        trees.add(_sklearn_node(estimator.tree_, 0, lambda value: float(value[0, 0]) * model.learning_rate))
    return trees


def of_random_forest(model):
    """The mean of the trees' probabilities: a sum of trees as well, but not on the log-odds scale."""
    if model.n_outputs_ != 1 or model.n_classes_ != 2:
        raise Refused("a forest is packed with two classes only")
    trees = Trees("BRANCH_LEQ")
    for estimator in model.estimators_:
        trees.add(_sklearn_node(estimator.tree_, 0, lambda value: float(value[0, 1] / value[0].sum()) / len(model.estimators_)))
    return trees


def _sklearn_node(tree, at, leaf):
    left, right = tree.children_left[at], tree.children_right[at]
    if left == -1:
        return Leaf(leaf(tree.value[at]))
    return Split(
        int(tree.feature[at]), not_above(float(tree.threshold[at])), bool(tree.missing_go_to_left[at]),
        _sklearn_node(tree, left, leaf), _sklearn_node(tree, right, leaf),
    )


def of_hist_gradient_boosting(model):
    """Reads private fields, because scikit-learn shows these trees in no other way; the result is checked."""
    if model.n_trees_per_iteration_ != 1 or len(model.classes_) != 2:
        raise Refused("a HistGradientBoostingClassifier is packed with two classes only")

    def node(table, at):
        each = table[at]
        if each["is_leaf"]:
            return Leaf(float(each["value"]))
        if each["is_categorical"]:
            raise Refused("a feature is categorical. Encode it as numbers before training")
        return Split(
            int(each["feature_idx"]), not_above(float(each["num_threshold"])), bool(each["missing_go_to_left"]),
            node(table, int(each["left"])), node(table, int(each["right"])),
        )

    trees = Trees("BRANCH_LEQ", float(np.ravel(model._baseline_prediction)[0]))
    for (predictor,) in model._predictors:
        trees.add(node(predictor.nodes, 0))
    return trees

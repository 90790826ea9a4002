"""Trained models of each library: what to compare the package with, and their ONNX graph.

A library is imported only where a model of it is given.
"""

import copy
import io
import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper

from . import graphs, trees
from .trees import Refused, Trees

# Largest difference to the library's own log-odds, relative to them where they are above 1. Trees and linear models
# differ by the rounding of 32-bit sums; a network adds up more of them.
TOLERANCE = 2e-5
TOLERANCE_NETWORK = 1e-4


@dataclass
class Source:
    """A trained model. `raw` gives its log-odds of a float32 matrix in 64 bits, by the library's own prediction."""

    library: str
    width: int
    method: str
    raw: Callable
    graph: onnx.ModelProto
    facts: dict = field(default_factory=dict)
    names: list | None = None
    tolerance: float = TOLERANCE
    trees: Trees | None = None
    weights: tuple | None = None
    # By the model's own pipeline; probity does it before the model.
    impute: list | None = None
    # The model as `shap` reads it, if `shap` gives log-odds for it.
    for_shap: object = None
    # Where log-odds come from a probability, they are compared as probabilities.
    is_probability: bool = False


def load(path, trust_pickle):
    """Reads a model's file. Pickles, and what PyTorch saves, run code of whoever wrote them."""
    ending = os.path.splitext(path)[1]
    if ending in (".joblib", ".pkl", ".pickle", ".pt", ".pth") and not trust_pickle:
        raise Refused(f"{path}: reading a {ending} file runs code that is in it. If you trust whoever wrote it, say --trust-pickle")
    if ending == ".txt":
        import lightgbm

        return lightgbm.Booster(model_file=path)
    if ending in (".json", ".ubj"):
        import xgboost

        return xgboost.Booster(model_file=path)
    if ending == ".cbm":
        import catboost

        return catboost.CatBoost().load_model(path)
    if ending in (".joblib", ".pkl", ".pickle"):
        import joblib

        return joblib.load(path)
    if ending in (".pt", ".pth"):
        return import_torch().jit.load(path, map_location="cpu")
    raise Refused(f"{path}: what kind of model is it? Name it .txt (LightGBM), .json (XGBoost), .cbm (CatBoost), .joblib or .pt")


def import_torch():
    try:
        import torch
    except ImportError:
        raise Refused("PyTorch is not installed here, and its models are exported by PyTorch itself: install torch") from None
    return torch


def source(model, width):
    """What is known of `model`, which takes `width` features."""
    if "torch" in sys.modules and isinstance(model, sys.modules["torch"].nn.Module):
        found = of_torch(model, width)
    else:
        library = type(model).__module__.partition(".")[0]
        readers = {"lightgbm": of_lightgbm, "xgboost": of_xgboost, "catboost": of_catboost, "sklearn": of_sklearn}
        if library not in readers:
            raise Refused(f"a model of type {type(model).__name__} is none of LightGBM, XGBoost, CatBoost, scikit-learn and PyTorch")
        found = readers[library](model)
    if found.width != width:
        raise Refused(f"the model takes {found.width} features, and {width} are given")
    return found


def of_trees(library, read, width, raw, names, for_shap):
    if not read.roots:
        raise Refused("the model gives every row the same score: no tree has a split")
    leaves = sum(isinstance(node, trees.Leaf) for _, _, node in read.nodes())
    facts = {"Trees": len(read.roots), "Leaves": leaves}
    return Source(library, width, "tree", raw, graphs.of_trees(read, width), facts, names, trees=read, for_shap=for_shap)


def of_lightgbm(model):
    import lightgbm

    booster = getattr(model, "booster_", model)
    read, scale = trees.of_lightgbm(booster)
    names = booster.feature_name()
    if all(name == f"Column_{number}" for number, name in enumerate(names)):
        names = None
    return of_trees(
        f"LightGBM {lightgbm.__version__}", read, booster.num_feature(),
        lambda matrix: scale * booster.predict(matrix, raw_score=True), names, booster if scale == 1.0 else None,
    )


def of_xgboost(model):
    import xgboost

    booster = model.get_booster() if hasattr(model, "get_booster") else model
    # As XGBClassifier predicts after early stopping; XGBoost's plain booster would use all trees.
    best = booster.attr("best_iteration")
    if best is not None:
        booster = booster[: int(best) + 1]
    read, base, leaves = trees.of_xgboost(booster)

    def raw(matrix):
        """XGBoost finds the leaves; its sum of them is of 32 bits, so they are summed here."""
        data = xgboost.DMatrix(matrix, feature_names=booster.feature_names)
        reached = booster.predict(data, pred_leaf=True).astype(int).reshape(len(matrix), -1)
        return base + sum(values[reached[:, tree]] for tree, values in enumerate(leaves))

    found = of_trees(f"XGBoost {xgboost.__version__}", read, booster.num_features(), raw, booster.feature_names, booster)
    if best is not None:
        found.facts["Stopped early"] = f"the first {int(best) + 1} rounds are used"
    return found


def of_catboost(model):
    import catboost

    def raw(matrix):
        return np.asarray(model.predict(matrix, prediction_type="RawFormulaVal"), np.float64)

    names = list(model.feature_names_)
    if names == [str(number) for number in range(len(names))]:
        names = None
    return of_trees(f"CatBoost {catboost.__version__}", trees.of_catboost(model), len(model.feature_names_), raw, names, model)


def of_sklearn(model):
    import sklearn

    library = f"scikit-learn {sklearn.__version__}"
    steps = [step for _, step in model.steps] if type(model).__name__ == "Pipeline" else [model]
    steps = [step for step in steps if step is not None and not (isinstance(step, str) and step == "passthrough")]
    *before, last = steps
    kinds = [type(step).__name__ for step in before]
    impute = None
    if kinds[:1] == ["SimpleImputer"]:
        impute = [float(np.float32(value)) for value in before[0].statistics_]
        if before[0].add_indicator or not np.all(np.isfinite(impute)):
            raise Refused("a SimpleImputer is packed without indicators, and with a number for every feature")
        before, kinds = before[1:], kinds[1:]
    kind, names = type(last).__name__, getattr(model, "feature_names_in_", None)
    names, width = None if names is None else list(names), model.n_features_in_
    facts = {"Estimator": " > ".join(type(step).__name__ for step in steps)}

    def quietly(function):
        def call(matrix):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the model had names, a matrix has none
                return function(matrix.astype(np.float64))

        return call

    def log_odds(matrix):
        with np.errstate(divide="ignore"):
            probabilities = model.predict_proba(matrix)
            return np.log(probabilities[:, 1]) - np.log(probabilities[:, 0])

    if kind in ("LogisticRegression", "MLPClassifier") and kinds in ([], ["StandardScaler"]):
        if len(last.classes_) != 2:
            raise Refused(f"a {kind} is packed with two classes only")
        centre, scale = (before[0].mean_, before[0].scale_) if before else (None, None)
        if kind == "LogisticRegression":
            graph = graphs.of_layers(width, centre, scale, [(last.coef_.T, last.intercept_)], None)
            scale = np.ones(width) if scale is None else scale
            # As they are, and as the 32-bit constants of the graph give them.
            weights = last.coef_[0] / scale, np.float32(last.coef_[0]).astype(np.float64) / np.float32(scale).astype(np.float64)
            return Source(library, width, "linear", quietly(model.decision_function), graph, facts, names, weights=weights, impute=impute)
        activation = {"relu": "Relu", "tanh": "Tanh", "logistic": "Sigmoid", "identity": None}[last.activation]
        graph = graphs.of_layers(width, centre, scale, list(zip(last.coefs_, last.intercepts_, strict=True)), activation)
        return Source(library, width, "permutation", quietly(log_odds), graph, facts, names, TOLERANCE_NETWORK, impute=impute)
    readers = {"GradientBoostingClassifier": trees.of_gradient_boosting, "HistGradientBoostingClassifier": trees.of_hist_gradient_boosting}
    if kind in readers and not kinds:
        found = of_trees(library, readers[kind](last), width, quietly(model.decision_function), names, last)
        found.facts, found.impute = facts | found.facts, impute
        return found
    if kind in ("RandomForestClassifier", "ExtraTreesClassifier") and not kinds:
        # Log-odds of a mean of trees are no sum of trees: these reasons can only be approximated.
        graph = graphs.of_forest(trees.of_random_forest(last), width)
        raw = quietly(lambda matrix: clipped_log_odds(model.predict_proba(matrix)[:, 1]))
        return Source(library, width, "permutation", raw, graph, facts, names, impute=impute, is_probability=True)
    raise Refused(
        f"scikit-learn's {facts['Estimator']} cannot be packed. Known are LogisticRegression and MLPClassifier, alone or after a "
        "StandardScaler; GradientBoosting-, HistGradientBoosting-, RandomForest- and ExtraTreesClassifier; all of them after a SimpleImputer"
    )


def clipped_log_odds(probability):
    inside = np.clip(np.asarray(probability, np.float64), graphs.CLIP, 1.0 - graphs.CLIP)
    return np.log(inside / (1.0 - inside))


def of_torch(module, width):
    """A module whose output is the log-odds: [N, 1] or [N]."""
    torch = import_torch()
    module = copy.deepcopy(module).cpu().float().eval()

    def raw(matrix):
        with torch.no_grad():
            return module(torch.from_numpy(np.ascontiguousarray(matrix, np.float32))).reshape(-1).numpy().astype(np.float64)

    if len(raw(np.zeros((3, width), np.float32))) != 3:
        raise Refused("the module gives more than one number for a row. It must give the log-odds of a fraud")
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, (torch.zeros(2, width),), buffer, input_names=["input"], output_names=["given"], dynamo=False,
            dynamic_axes={"input": {0: "N"}, "given": {0: "N"}}, opset_version=graphs.OPSET,
        )
    graph = onnx.load_model_from_string(buffer.getvalue())
    made_by = {output: node for node in graph.graph.node for output in node.output}
    last = made_by["given"]
    while last.op_type in ("Reshape", "Squeeze", "Flatten", "Identity") and last.input[0] in made_by:
        last = made_by[last.input[0]]
    if last.op_type in ("Sigmoid", "Softmax"):
        raise Refused("the module ends with a sigmoid: its log-odds are lost in 32 bits. Pack it without its last layer")
    graph.graph.initializer.append(helper.make_tensor("one_column", TensorProto.INT64, [2], [-1, 1]))
    graph.graph.node.append(helper.make_node("Reshape", ["given", "one_column"], ["margin"]))
    graph.graph.node.append(helper.make_node("Sigmoid", ["margin"], ["score"]))
    del graph.graph.output[:]
    graph.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in ("margin", "score"))
    strip(graph)
    facts = {"Module": type(module).__name__}
    return Source(f"PyTorch {torch.__version__}", width, "permutation", raw, graph, facts, tolerance=TOLERANCE_NETWORK)


def strip(model):
    """Takes out what says where, when and with what the file was made. PyTorch writes its call stack."""
    model.graph.name = "model"
    for message in (model, model.graph, *model.graph.node):
        message.ClearField("metadata_props")
        message.ClearField("doc_string")
    for key in ("producer_name", "producer_version", "domain", "model_version"):
        model.ClearField(key)
    model.ir_version = graphs.IR_VERSION

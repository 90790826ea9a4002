"""What train.py writes for [reasons]: the rows that a score is compared with, and known contributions.

A score is compared with payments that are no fraud, so a contribution says what tells the payment from
ordinary ones. They are generated (probity generate) and nobody's: rows of real customers would be
personal data in a file that is copied widely. A package of your own needs rows that are made up or aggregated.
"""

import json
from math import factorial

import numpy
import shap

# An exact explanation costs the same however many rows there are, but Python's shap takes no more than these.
BACKGROUND_ROWS = 100
# A network is run 2 * 35 times for each of them and each explanation.
BACKGROUND_ROWS_OF_NETWORK = 8
# Of the sum of contributions from the booster's own margin, relative to it where it is above 1.
TOLERANCE = 1e-9
# Of contributions by shap.
SHAP_TOLERANCE = 1e-6


def background(parts):
    """Payments of the training part that are no fraud, spread over its time."""
    rows, fraud = parts.fit
    ordinary = numpy.flatnonzero(~fraud)
    return rows[ordinary[spread(len(ordinary), BACKGROUND_ROWS)]]


def background_of_network(rows, margins):
    """Those of `rows` in the middle of each eighth by margin, in their order in time.

    So few rows taken at random would make the base a matter of luck. Centroids are no payments: half on the
    web and half in a shop is nothing that the network has seen.
    """
    ordered = numpy.argsort(margins, kind="stable").reshape(-1)
    eighths = numpy.array_split(ordered, BACKGROUND_ROWS_OF_NETWORK)
    return rows[sorted(eighth[len(eighth) // 2] for eighth in eighths)]


def spread(length, count):
    return numpy.linspace(0, length - 1, count).astype(int)


def contributions(booster, goes_left, background, rows):
    """Base and contributions: interventional Shapley values of the booster's margin, of its 64-bit leaves.

    A leaf's value is reached by a coalition where each of the features on the path is met by the row in the
    coalition or by the background row outside of it, which has a closed form. Python's shap, which rounds leaves
    to 32 bits, must agree. `goes_left` says where a node sends a missing value.
    """
    rows, background = rows.astype(numpy.float64), background.astype(numpy.float64)
    base = float(booster.predict(background, raw_score=True, num_threads=1).mean())
    found = numpy.zeros(rows.shape)
    both = numpy.concatenate([rows, background])
    for tree in booster.dump_model()["tree_info"]:
        for value, met in leaves(tree["tree_structure"], goes_left, both, {}):
            add_leaf(found, value, met, len(rows))
    margin = booster.predict(rows, raw_score=True, num_threads=1)
    unit = numpy.maximum(1.0, numpy.abs(margin))
    agree("the margin", base + found.sum(axis=1) - margin, unit, TOLERANCE)
    by_shap = shap.TreeExplainer(
        booster, data=background, feature_perturbation="interventional", model_output="raw"
    ).shap_values(rows)
    agree("shap", numpy.abs(found - by_shap).max(axis=1), unit, SHAP_TOLERANCE)
    return base, found


def leaves(node, goes_left, rows, met):
    """The value of each leaf, and which rows meet the conditions on the way to it, by feature."""
    if "leaf_value" in node:
        yield node["leaf_value"], met
        return
    feature = node["split_feature"]
    column = rows[:, feature]
    left = numpy.where(numpy.isnan(column), goes_left(node), column <= node["threshold"])
    before = met.get(feature, True)
    yield from leaves(node["left_child"], goes_left, rows, met | {feature: before & left})
    yield from leaves(node["right_child"], goes_left, rows, met | {feature: before & ~left})


def add_leaf(found, value, met, count):
    features = list(met)
    if not features:
        return
    table = numpy.column_stack([met[feature] for feature in features])
    rows, place = numpy.unique(table[:count], axis=0, return_inverse=True)
    others, many = numpy.unique(table[count:], axis=0, return_counts=True)
    mine = rows[:, None, :] & ~others[None, :, :]
    theirs = ~rows[:, None, :] & others[None, :, :]
    reached = (rows[:, None, :] | others[None, :, :]).all(axis=2) * many / many.sum() * value
    inside, outside = mine.sum(axis=2), theirs.sum(axis=2)
    gain = reached * GAIN[inside, outside]
    loss = reached * GAIN[outside, inside]
    values = (mine * gain[:, :, None] - theirs * loss[:, :, None]).sum(axis=1)
    found[:, features] += values[place.reshape(-1)]


def weight(inside, outside):
    """How often, of all orders, one of `inside` features comes last of these and before all `outside` ones."""
    if inside == 0:
        return 0.0
    return factorial(inside - 1) * factorial(outside) / factorial(inside + outside)


DEPTH_MAX = 16
GAIN = numpy.array([[weight(i, o) for o in range(DEPTH_MAX)] for i in range(DEPTH_MAX)])


def agree(who, difference, unit, tolerance):
    apart = float(numpy.max(numpy.abs(difference) / unit))
    print(f"contributions differ from {who} by {apart:.1e}")
    if apart > tolerance:
        raise SystemExit(f"that is more than {tolerance}")


def golden_lines(names, base, found):
    """The lines of golden.json."""
    return [
        f'"base": {json.dumps(bits(numpy.array([base])))}',
        f'"contributions": {{\n{table(names, found)}\n}}',
    ]


def background_file(names, rows):
    return f'{{\n"columns": {{\n{table(names, rows)}\n}}\n}}\n'


def table(names, rows):
    lines = (f"{json.dumps(name)}: {json.dumps(bits(rows[:, place]))}" for place, name in enumerate(names))
    return ",\n".join(lines)


def bits(values):
    """Each number as the hexadecimal digits of its bits."""
    width = values.dtype.itemsize
    return {f"float{8 * width}": values.astype(f">f{width}").tobytes().hex()}


def of_network(text):
    """The model.toml of trees, for a model that must be run to be explained."""
    exact = 'method = "tree"\n'
    if text.count(exact) != 1:
        raise SystemExit("model.toml has no method for trees")
    return text.replace(exact, 'method = "permutation"\npermutations = 1\n')

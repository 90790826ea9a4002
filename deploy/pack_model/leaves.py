"""Shapley values of a sum of trees, leaf by leaf: for models of more features than their definition can be tried on.

Each leaf is a game of its own. A row that is mixed of the explained row and a background row reaches the leaf where
every comparison on the way to it is met by the value that the row has there. Of the features on the way, those that
only the explained row meets must be taken from it, and those that only the background row meets must not; what each
of them is worth then has a formula. Written apart from the program that checks these values, and not for speed.
"""

from math import factorial

import numpy as np

from .trees import COMPARE, Leaf


def shapley(trees, background, rows):
    """Base and contributions of each row, as `exact.brute_force` finds them of `trees.margin`."""
    contributions = np.zeros(rows.shape)
    for root in trees.roots:
        for value, met in _leaves(trees.mode, root, (rows, background), {}):
            features = list(met)
            row_meets, background_meets = (np.column_stack([met[feature][side] for feature in features]) for side in (0, 1))
            kinds, kind = np.unique(row_meets, axis=0, return_inverse=True)
            contributions[:, features] += value * _of_leaf(kinds, background_meets)[np.ravel(kind)]
    return float(np.mean(trees.margin(background))), contributions


def _leaves(mode, node, sides, met):
    """(value, {feature: which rows of each side meet all comparisons of it on the way}) of each leaf below the node."""
    if isinstance(node, Leaf):
        yield float(np.float32(node.value)), met
        return
    ways = []
    for matrix in sides:
        values = matrix[:, node.feature]
        true = COMPARE[mode](values, np.float32(node.threshold))
        ways.append(np.where(np.isnan(values), node.missing_is_true, true))
    before = met.get(node.feature, [np.ones(len(matrix), bool) for matrix in sides])
    for child, is_true in ((node.true, True), (node.false, False)):
        now = [earlier & (way == is_true) for earlier, way in zip(before, ways, strict=True)]
        yield from _leaves(mode, child, sides, met | {node.feature: now})


def _of_leaf(row_meets, background_meets):
    """What each feature is worth to each kind of row, of a leaf whose value is 1, on average over the background."""
    kinds, counts = np.unique(background_meets, axis=0, return_counts=True)
    row, other = row_meets[:, None, :], kinds[None, :, :]
    inside, outside = row & ~other, ~row & other
    reached = np.all(row | other, axis=2)
    width = row_meets.shape[1] + 1
    last_in = np.zeros((width, width))  # by how many must be inside, and how many outside
    for a in range(width):
        for b in range(width - a):
            last_in[a, b] = factorial(a - 1) * factorial(b) / factorial(a + b) if a else 0.0
    a, b = inside.sum(axis=2), outside.sum(axis=2)
    gains = inside * last_in[a, b][:, :, None] - outside * last_in[b, a][:, :, None]
    return np.einsum("rbf,rb,b->rf", gains, reached.astype(np.float64), counts / counts.sum())

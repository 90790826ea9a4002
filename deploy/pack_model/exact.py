"""Shapley values by their definition, and rows that are nobody's."""

from math import factorial

import numpy as np

FEATURES_MAX = 10


def brute_force(raw, background, rows):
    """Base and contributions of each row: the interventional Shapley values of the function `raw`, in 64 bits.

    A coalition's value is the mean of `raw` over the background rows with the coalition's features taken from the
    explained row. All 2^F coalitions are evaluated, so nothing is assumed of the model.
    """
    width = rows.shape[1]
    inside = (np.arange(2**width)[:, None] >> np.arange(width)) & 1 == 1
    contributions = np.empty(rows.shape, np.float64)
    for number, row in enumerate(rows):
        mixed = np.where(inside[:, None, :], row[None, None, :], background[None, :, :])
        values = raw(mixed.reshape(-1, width)).reshape(len(inside), len(background)).mean(axis=1)
        contributions[number] = _shapley(values, inside)
    return float(np.mean(raw(background))), contributions


def _shapley(values, inside):
    width = inside.shape[1]
    sizes = inside.sum(axis=1)
    weights = np.array([factorial(size) * factorial(width - size - 1) / factorial(width) for size in range(width)])
    result = np.empty(width)
    for feature in range(width):
        without = np.flatnonzero(~inside[:, feature])
        gains = values[without | 1 << feature] - values[without]
        result[feature] = np.sum(weights[sizes[without]] * gains)
    return result


def linear(weights, background, rows):
    """The same for a weighted sum, where they have a formula."""
    weights = np.ravel(weights)
    return weights * (rows.astype(np.float64) - background.astype(np.float64).mean(axis=0))


def synthetic(sample, rows, seed, coded=()):
    """`rows` rows with each column distributed as in `sample`, and the columns independent of each other.

    A column's values are its quantiles at the middles of `rows` equal parts, shuffled by themselves. So no row is
    a person's, and a largest or smallest value, which may point at one, is not used unless the sample is tiny.
    Centroids of clusters would keep how columns go together, but a cluster of one row is a copy of it, and the
    mean of a flag is no value that the flag has. What goes together is lost anyway where Shapley values mix a row
    with the background. Columns of whole numbers keep whole numbers, and those whose numbers are
    `coded` keep the values that they have; the share of missing values stays.
    """
    random = np.random.default_rng(seed)
    columns = []
    for number, column in enumerate(sample.T):
        known = column[~np.isnan(column)].astype(np.float64)
        missing = int(np.floor(rows * (1.0 - len(known) / len(column)) + 0.5)) if len(known) else rows
        places = (np.arange(rows - missing) + 0.5) / max(rows - missing, 1)
        whole = number in coded or bool(np.all(known == np.floor(known)))
        values = np.quantile(known, places, method="inverted_cdf" if whole else "linear") if len(places) else places
        values = np.concatenate([values, np.full(missing, np.nan)]).astype(np.float32)
        columns.append(random.permutation(values))
    return np.column_stack(columns)


def copies(rows, sample):
    """How many of `rows` are rows of the sample, missing values included."""
    known = {row.tobytes() for row in normal(sample)}
    return sum(row.tobytes() in known for row in normal(rows))


def normal(matrix):
    """One bit pattern for each value: all missing values alike, and no negative zero."""
    matrix = np.ascontiguousarray(matrix, np.float32) + np.float32(0.0)
    matrix[np.isnan(matrix)] = np.float32(np.nan)
    return matrix

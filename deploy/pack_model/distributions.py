"""What scores and features look like in a sample: the file that drift is measured from. Needs NumPy only."""

import json

import numpy as np

FEATURES = 10
# With no more values than these, each has a bin of its own.
DISTINCT_MAX = 10


def edges(known):
    """What separates the bins of these values, as 64-bit floats: the deciles, or every value but the least.

    A bin begins at its edge. Values that many rows share, such as zero, must not lie on both sides of one.
    """
    distinct = np.unique(known)
    if len(distinct) == 0:
        return [0.0]
    if len(distinct) == 1:
        return [float(distinct[0]), float(np.nextafter(np.float32(distinct[0]), np.float32(np.inf)))]
    if len(distinct) <= DISTINCT_MAX:
        return distinct[1:].tolist()
    whole = bool(np.all(distinct == np.floor(distinct)))
    deciles = np.quantile(known, np.arange(1, 10) / 10, method="inverted_cdf" if whole else "linear")
    found = np.unique(deciles[deciles > distinct[0]])
    return found.tolist() if len(found) else distinct[1:2].tolist()


def distribution(values):
    """How many of the values are in which bin; NaN stands for a missing one."""
    values = np.asarray(values, np.float64)
    known = values[~np.isnan(values)]
    between = edges(known)
    counts = np.bincount(np.searchsorted(between, known, side="right"), minlength=len(between) + 1)
    return {"edges": between, "counts": counts.tolist(), "missing": len(values) - len(known)}


def by_contribution(names, contributions):
    """The features whose contributions are largest on average, the most important one first."""
    return ordered(names, np.mean(np.abs(contributions), axis=0))


def by_shuffling(names, margin, rows, seed):
    """As by_contribution, where none are known: a feature counts for what the margin changes when its values are
    dealt out anew."""
    random = np.random.default_rng(seed)
    before = margin(rows).astype(np.float64)
    weights = []
    for number in range(rows.shape[1]):
        dealt = rows.copy()
        dealt[:, number] = random.permutation(dealt[:, number])
        weights.append(np.mean(np.abs(margin(dealt).astype(np.float64) - before)))
    return ordered(names, weights)


def ordered(names, weights):
    first = np.argsort(-np.asarray(weights), kind="stable")[:FEATURES]
    return [names[number] for number in first]


def reference(score, columns, features):
    """The file's text: `features` are names of `columns`, the most important one first."""
    lines = [{"name": name} | distribution(columns[name]) for name in features]
    listed = ",\n".join(json.dumps(line) for line in lines)
    return f'{{\n"score": {json.dumps(distribution(score))},\n"features": [\n{listed}\n]\n}}\n'

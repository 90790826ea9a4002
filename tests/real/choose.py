"""Chooses hyper-parameters on a split by time. Pure: what fits and what measures is handed in."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy

# Of the rows that may be seen, the first part is for fitting and the rest for choosing.
FIT_SHARE = 0.8


@dataclass
class Choice:
    settings: dict
    rounds: int
    measured: float
    """How many pairs of settings and rounds were tried."""
    tried: int
    """What the chosen model, fitted on the first part, says of the rest."""
    scores: numpy.ndarray


def fit_part(count: int) -> slice:
    return slice(0, int(count * FIT_SHARE))


def choosing_part(count: int) -> slice:
    return slice(fit_part(count).stop, count)


def choose(
    rows: numpy.ndarray,
    fraud: numpy.ndarray,
    grid: list[dict],
    rounds: list[int],
    fit: Callable[[numpy.ndarray, numpy.ndarray, dict, int], Callable[[numpy.ndarray, int], numpy.ndarray]],
    measure: Callable[[numpy.ndarray, numpy.ndarray], float],
) -> Choice:
    """The settings, and the rounds of boosting, that measure best on the later part of `rows`. Of equals
    the first one."""
    early, later = fit_part(len(rows)), choosing_part(len(rows))
    best = None
    for settings in grid:
        predict = fit(rows[early], fraud[early], settings, max(rounds))
        for count in rounds:
            scores = predict(rows[later], count)
            measured = measure(fraud[later], scores)
            if best is None or measured > best.measured:
                best = Choice(settings, count, measured, len(grid) * len(rounds), scores)
    return best

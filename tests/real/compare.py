"""Compares what was published with what Python makes of the same rows. Pure: arrays in, counts out."""

from collections import Counter
from collections.abc import Callable, Iterable

import numpy


def not_once(found: Iterable[int], expected: range) -> int:
    """How many ids are missing, there more than once, or not expected at all."""
    times = Counter(found)
    wrong = sum(1 for each in expected if times[each] != 1)
    return wrong + sum(1 for each in times if each not in expected)


def different_bits(left: numpy.ndarray, right: numpy.ndarray) -> int:
    """How many 32-bit floats are not the same to the bit."""
    if left.shape != right.shape:
        raise ValueError(f"{left.shape} and {right.shape} cannot be compared")
    if left.dtype != numpy.float32 or right.dtype != numpy.float32:
        raise ValueError(f"{left.dtype} and {right.dtype} are not both float32")
    left, right = numpy.ascontiguousarray(left), numpy.ascontiguousarray(right)
    return int((left.view(numpy.uint32) != right.view(numpy.uint32)).sum())


def in_chunks(
    rows: numpy.ndarray,
    chunk_rows: numpy.ndarray,
    run: Callable[[numpy.ndarray], list[numpy.ndarray]],
) -> list[numpy.ndarray]:
    """Runs a model on each row in a chunk of the size that was recorded for it. The last chunk of each
    size is padded with its first row."""
    outputs: list[numpy.ndarray] = []
    for size in numpy.unique(chunk_rows):
        places = numpy.flatnonzero(chunk_rows == size)
        for start in range(0, len(places), size):
            chunk = places[start : start + size]
            padded = numpy.concatenate([chunk, numpy.repeat(chunk[:1], size - len(chunk))])
            answers = run(rows[padded])
            if not outputs:
                outputs = [numpy.empty(len(rows), dtype=answer.dtype) for answer in answers]
            for output, answer in zip(outputs, answers, strict=True):
                output[chunk] = answer[: len(chunk)]
    return outputs


def decisions(scores: numpy.ndarray, review: float, decline: float) -> numpy.ndarray:
    """By the thresholds of a package, compared as 64-bit numbers."""
    scores = scores.astype(numpy.float64)
    return numpy.where(scores >= decline, "decline", numpy.where(scores >= review, "review", "approve"))


def interval(
    fraud: numpy.ndarray, scores: numpy.ndarray, measure: Callable[[numpy.ndarray, numpy.ndarray], float]
) -> tuple[float, float]:
    """In which 95 of 100 samples of these events, drawn with replacement, would measure."""
    random = numpy.random.default_rng(1)
    measured = []
    for _ in range(500):
        drawn = random.integers(0, len(fraud), len(fraud))
        measured.append(measure(fraud[drawn], scores[drawn]))
    low, high = numpy.quantile(measured, [0.025, 0.975])
    return float(low), float(high)

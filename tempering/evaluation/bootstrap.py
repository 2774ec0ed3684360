"""The percentile bootstrap over rows (Efron 1979): one for all numbers that are no shares of yes and no.

Rows are drawn with a fixed seed, so that a number has one interval, and with all their columns, so that pairs
stay pairs. Intervals are 95%. `paired.estimate` asks `scipy.stats.bootstrap`, which draws the same rows; of
many rows with few different values the mean draws counts instead, and other numbers of the same distribution.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Numbers = NDArray[np.float64]
RESAMPLES = 2000
COMPARED = 10_000
"""Resamples of differences between models, where an interval near 0 decides."""
_TOGETHER = 500_000  # rows that are drawn at once
_MANY_ROWS, _FEW_KINDS = 4000, 30


def resamples(n: int, count: int = RESAMPLES) -> Iterator[NDArray[np.int64]]:
    """Blocks of row numbers, (some, n) each, `count` lines in all: drawn with replacement, from seed 0."""
    generator = np.random.default_rng(0)
    size = max(1, _TOGETHER // n)
    for start in range(0, count, size):
        yield generator.integers(0, n, (min(size, count - start), n))


def interval(values: ArrayLike) -> tuple[float, float]:
    """The 95% interval of a statistic from its values in the resamples, (R,); NaN is left out."""
    low, high = np.nanquantile(np.asarray(values, dtype=float), [0.025, 0.975])
    return float(low), float(high)


def mean_interval(
    values: Sequence[float] | Numbers, weights: Sequence[float] | None = None, *, count: int = RESAMPLES
) -> tuple[float, float]:
    """The 95% interval of the mean over rows, or of a weighted mean; NaN of fewer than two rows."""
    array = np.asarray(values, dtype=float)
    if len(array) < 2:
        return math.nan, math.nan
    if weights is not None:
        shares = np.asarray(weights, dtype=float)
        means = [
            (array[draw] * shares[draw]).sum(-1) / shares[draw].sum(-1)
            for draw in resamples(len(array), count)
        ]
        return interval(np.concatenate(means))
    kinds, sizes = np.unique(array, return_counts=True)
    if len(array) > _MANY_ROWS and len(kinds) < _FEW_KINDS:
        # How often each value is drawn is multinomial: as good as drawing row by row, and at once.
        drawn = np.random.default_rng(0).multinomial(len(array), sizes / len(array), count)
        return interval(drawn @ kinds / len(array))
    return interval(np.concatenate([array[draw].mean(-1) for draw in resamples(len(array), count)]))


def statistics(
    statistic: Callable[[Any], Sequence[float]], n: int, *, count: int = RESAMPLES
) -> tuple[Sequence[float], list[tuple[float, float]]]:
    """Statistics of `n` rows, and the 95% interval of each.

    Args:
        statistic: numbers of rows, (n,) -> the statistics of those rows.
    """
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a resample of equal rows has no correlation
        drawn = np.array([statistic(draw) for block in resamples(n, count) for draw in block])
        return statistic(np.arange(n)), [interval(column) for column in drawn.T]

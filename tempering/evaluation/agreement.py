"""How well predicted labels agree with the right ones: accuracy, F1 and Matthews' correlation.

All three come from the counts of (label, prediction), so that one bootstrap serves them all. With several
seeds the value is the mean over seeds, and the interval resamples rows and seeds alike: it says where another
test set and other seeds would put that mean, as far as a few seeds can tell. Where all is right a bootstrap
knows nothing else: there the share right is taken at its interval by Wilson. F1 is that of label 1 (van
Rijsbergen 1979), the correlation is Matthews' (1975) in Gorodkin's form for any number of labels (2004,
https://doi.org/10.1016/j.compbiolchem.2004.09.006).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import ne

import numpy as np
from numpy.typing import NDArray

from tempering.evaluation.bootstrap import RESAMPLES, interval
from tempering.evaluation.metrics import wilson

Counts = NDArray[np.float64]
"""Rows by label and prediction, (..., labels, labels)."""


@dataclass(frozen=True)
class Estimate:
    """A value and its 95% interval."""

    value: float
    low: float
    high: float


def accuracy(counts: Counts) -> NDArray[np.float64]:
    """Share of rows whose prediction is their label."""
    return _ratio(np.trace(counts, axis1=-2, axis2=-1), counts.sum((-2, -1)))


def f1(counts: Counts) -> NDArray[np.float64]:
    """Harmonic mean of precision and recall of label 1, of two labels; 0 where there is neither."""
    right = counts[..., 1, 1]
    return _ratio(2 * right, 2 * right + counts[..., 0, 1] + counts[..., 1, 0])


def mcc(counts: Counts) -> NDArray[np.float64]:
    """Correlation of labels and predictions; 0 where one of them never changes."""
    rows, labels, predictions = counts.sum((-2, -1)), counts.sum(-1), counts.sum(-2)
    right = np.trace(counts, axis1=-2, axis2=-1)
    shared = right * rows - (labels * predictions).sum(-1)
    spread = (rows**2 - (labels**2).sum(-1)) * (rows**2 - (predictions**2).sum(-1))
    return _ratio(shared, np.sqrt(spread))


MEASURES: Mapping[str, Callable[[Counts], NDArray[np.float64]]] = {
    "accuracy": accuracy,
    "f1": f1,
    "mcc": mcc,
}
"""By name; F1 is of two labels only."""


def counted(labels: Sequence[int], predictions: Sequence[int], kinds: int) -> Counts:
    """How many rows have each label and prediction, (kinds, kinds)."""
    counts = np.zeros((kinds, kinds))
    np.add.at(counts, (np.asarray(labels), np.asarray(predictions)), 1)
    return counts


def estimate(
    measure: str,
    labels: Sequence[int],
    predictions: Sequence[Sequence[int]],
    kinds: int,
    *,
    resamples: int = RESAMPLES,
) -> Estimate:
    """The mean of a measure over seeds, with a percentile bootstrap over rows and seeds.

    Args:
        predictions: of each seed, for all rows.
    """
    score = MEASURES[measure]
    value = np.mean([score(counted(labels, line, kinds)) for line in predictions])

    # All right in every seed, or all wrong.
    right = [line == [*labels] for line in map(list, predictions)]
    wrong = [all(map(ne, line, labels)) for line in predictions]
    if all(right) or (measure == "accuracy" and all(wrong)):
        bounds = wilson(len(labels) if all(right) else 0, len(labels))
        low, high = (_at_share(score, labels, kinds, bound) for bound in bounds)
        return Estimate(float(value), low, high)

    # Rows alike in label and predictions need not be told apart: draw how many of each sort there are.
    sorts, sizes = np.unique(np.array([labels, *predictions]).T, axis=0, return_counts=True)
    generator = np.random.default_rng(0)
    draws = generator.multinomial(sizes.sum(), sizes / sizes.sum(), size=resamples)  # (R, sorts)
    cells = np.zeros((len(sorts), len(predictions), kinds, kinds))
    for seed in range(len(predictions)):
        cells[np.arange(len(sorts)), seed, sorts[:, 0], sorts[:, 1 + seed]] = 1
    scores = score(np.einsum("rs,snij->rnij", draws.astype(float), cells))  # (R, seeds)

    # Then seeds, with the same number of draws.
    seeds = generator.multinomial(len(predictions), [1 / len(predictions)] * len(predictions), size=resamples)
    return Estimate(float(value), *interval((scores * seeds).sum(-1) / len(predictions)))


def _at_share(
    score: Callable[[Counts], NDArray[np.float64]], labels: Sequence[int], kinds: int, share: float
) -> float:
    """A measure where this share of each label's rows is right, and the rest have the other labels alike."""
    sizes = np.bincount(labels, minlength=kinds)[:, None]
    wrong = (1 - np.eye(kinds)) * (1 - share) / (kinds - 1)
    return float(score(sizes * (np.eye(kinds) * share + wrong)))


def _ratio(over: NDArray[np.float64], under: NDArray[np.float64]) -> NDArray[np.float64]:
    """0 where nothing stands below the line."""
    share: NDArray[np.float64] = np.zeros_like(np.asarray(over, dtype=float))
    return np.divide(over, under, out=share, where=under != 0)

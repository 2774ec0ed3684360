"""How well a reward model's margins say how sure it may be of the order of two answers.

Bradley-Terry: the margin, the chosen answer's score less the rejected one's, is the logit of the probability
that the chosen one is better. So its log loss and Brier score need no further fit. Reliability: of the pairs
of which it is 80% sure, it should order 80% right (Guo et al. 2017, https://arxiv.org/abs/1706.04599, eq. 3).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tempering.evaluation.bootstrap import Numbers, statistics
from tempering.evaluation.metrics import wilson

BINS = 10


@dataclass(frozen=True)
class Bin:
    """Pairs of like confidence: between `low` and `high`, and the mean of it; how many were ordered right."""

    bin: int
    low: float
    high: float
    confidence: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    n: int

    def row(self) -> dict[str, Any]:
        """As a row of reliability.parquet."""
        return asdict(self)


def points(margins: Sequence[float]) -> list[float]:
    """What each pair counts in the accuracy: 1 ordered as labelled, ½ tied, 0 the other way, NaN unscored."""
    return [float((1 + np.sign(margin)) / 2) for margin in margins]


def log_losses(margins: Sequence[float]) -> list[float]:
    """Negative log-likelihood of each label, in nats: -log σ(margin); ln 2 for a tie."""
    return [-float(chance) for chance in _log_sigmoid(np.asarray(margins, dtype=float))]


def brier_scores(margins: Sequence[float]) -> list[float]:
    """(1 - σ(margin))² of each pair, 0 to 1; ¼ for a tie."""
    chances = np.exp(_log_sigmoid(np.asarray(margins, dtype=float)))
    return [float((1 - chance) ** 2) for chance in chances]


def reliability(margins: Sequence[float], bins: int = BINS) -> list[Bin]:
    """Bins of equal width over the confidence, ½ to 1; those without a pair are left out."""
    confidence, right, places = _placed(margins, bins)
    width = 0.5 / bins
    table = []
    for place in range(bins):
        part = places == place
        n = int(part.sum())
        if not n:
            continue
        low, high = wilson(float(right[part].sum()), n)
        limits = 0.5 + place * width, 0.5 + (place + 1) * width
        means = float(confidence[part].mean()), float(right[part].mean())
        table.append(Bin(place, *limits, *means, low, high, n))
    return table


def calibration_error(margins: Sequence[float], bins: int = BINS) -> tuple[float, tuple[float, float]]:
    """Expected calibration error, and its 95% interval.

    The mean of |accuracy - confidence| over the bins, each weighted by its pairs. Chance alone keeps it above
    0, the more so the fewer the pairs, and more still in the resamples of the percentile bootstrap: its
    interval is widened to hold the value.
    """
    confidence, right, places = _placed(margins, bins)
    if not len(right):
        return float("nan"), (float("nan"), float("nan"))
    value = _error(right - confidence, places, bins)
    gaps = right - confidence
    _, ((low, high),) = statistics(lambda rows: [_error(gaps[rows], places[rows], bins)], len(gaps))
    return value, (min(value, low), max(value, high))


def _placed(margins: Sequence[float], bins: int) -> tuple[Numbers, Numbers, NDArray[np.int64]]:
    """Confidence in the order that the model gives, what it counts, and the bin of each pair."""
    array = np.asarray(margins, dtype=float)
    array = array[~np.isnan(array)]
    confidence = np.exp(_log_sigmoid(np.abs(array)))
    places = np.minimum(((confidence - 0.5) * 2 * bins).astype(np.int64), bins - 1)
    return confidence, np.asarray(points([*array])), places


def _error(gaps: Numbers, places: NDArray[np.int64], bins: int) -> float:
    """Σ over bins of |Σ gaps of the bin| / n: each bin's share times the gap of its means."""
    return float(np.abs(np.bincount(places, weights=gaps, minlength=bins)).sum() / len(gaps))


def _log_sigmoid(array: Numbers) -> Numbers:
    with np.errstate(invalid="ignore"):  # NaN stays NaN
        return -np.logaddexp(0.0, -array)

"""Accuracy, F1 and Matthews' correlation against numbers worked out by hand, and their intervals."""

import numpy as np
import pytest

from tempering.evaluation.agreement import MEASURES, counted, estimate
from tempering.evaluation.metrics import wilson

LABELS, PREDICTIONS = [1, 1, 1, 0, 0, 0, 0, 1], [1, 1, 0, 0, 1, 0, 0, 1]


def score(measure: str, labels: list[int], predictions: list[int], kinds: int = 2) -> float:
    return float(MEASURES[measure](counted(labels, predictions, kinds)))


def test_scores_worked_out_by_hand() -> None:
    # 3 true positives, 1 false positive, 1 false negative, 3 true negatives.
    assert score("accuracy", LABELS, PREDICTIONS) == 6 / 8
    assert score("f1", LABELS, PREDICTIONS) == pytest.approx(3 / (3 + 0.5 * (1 + 1)))
    assert score("mcc", LABELS, PREDICTIONS) == pytest.approx((3 * 3 - 1 * 1) / 4**2)
    # F1 is that of label 1: with the labels exchanged it is another number.
    assert score("f1", [1, 0, 0, 0], [1, 1, 0, 0]) == pytest.approx(2 / 3)
    assert score("f1", [0, 1, 1, 1], [0, 0, 1, 1]) == pytest.approx(0.8)


def test_the_correlation_is_that_of_the_labels() -> None:
    generator = np.random.default_rng(0)
    labels, predictions = (generator.integers(0, 2, 50).tolist() for _ in range(2))
    assert score("mcc", labels, predictions) == pytest.approx(np.corrcoef(labels, predictions)[0, 1])
    # Of more labels: the covariances of the indicators, summed over labels (Gorodkin 2004, equation 8).
    labels, predictions = (generator.integers(0, 3, 50) for _ in range(2))

    def covariance(one: np.ndarray, other: np.ndarray) -> float:  # type: ignore[type-arg]
        pairs = [(one == label, other == label) for label in range(3)]
        return float(sum(np.cov(first, second, ddof=0)[0, 1] for first, second in pairs))

    spread = covariance(labels, labels) * covariance(predictions, predictions)
    expected = covariance(labels, predictions) / spread**0.5
    assert score("mcc", labels.tolist(), predictions.tolist(), 3) == pytest.approx(expected)


def test_one_prediction_for_all_rows_tells_nothing() -> None:
    assert score("mcc", LABELS, [1] * 8) == 0
    assert score("f1", LABELS, [0] * 8) == 0
    assert score("f1", [0, 0], [0, 0]) == 0, "no label 1 anywhere"


def test_the_interval_of_a_share_is_near_wilsons() -> None:
    labels = [0, 1] * 100
    predictions = [0, 1] * 70 + [1, 0] * 30
    found = estimate("accuracy", labels, [predictions], 2)
    low, high = wilson(140, 200)
    assert found.value == 0.7
    assert (found.low, found.high) == (pytest.approx(low, abs=0.01), pytest.approx(high, abs=0.01))
    assert found == estimate("accuracy", labels, [predictions], 2), "the same numbers each time"


def test_seeds_that_differ_widen_the_interval() -> None:
    labels = [0, 1] * 50
    good, bad = [0, 1] * 45 + [1, 0] * 5, [0, 1] * 30 + [1, 0] * 20
    middle = [0, 1] * 37 + [0, 0] + [1, 0] * 12
    alike = estimate("accuracy", labels, [middle, middle], 2)
    apart = estimate("accuracy", labels, [good, bad], 2)
    assert alike.value == apart.value == 0.75
    assert apart.high - apart.low > 1.5 * (alike.high - alike.low)
    one = estimate("accuracy", labels, [middle], 2)
    assert (alike.low, alike.high) == (pytest.approx(one.low, abs=0.015), pytest.approx(one.high, abs=0.015))


def test_all_right_is_not_certain() -> None:
    """Twelve rows, three seeds, no mistake: resamples of them hold none either."""
    labels = [0, 1] * 6
    low, _ = wilson(12, 12)
    found = {measure: estimate(measure, labels, [labels] * 3, 2) for measure in MEASURES}
    assert [(item.value, item.high) for item in found.values()] == [(1.0, 1.0)] * 3
    # With a share q right of either label: accuracy q, F1 2q / (2q + 2 (1 - q)) = q, correlation 2q - 1.
    assert found["accuracy"].low == found["f1"].low == pytest.approx(low) == pytest.approx(0.7575, abs=1e-4)
    assert found["mcc"].low == pytest.approx(2 * low - 1)
    wrong = estimate("accuracy", labels, [[1, 0] * 6] * 3, 2)
    assert (wrong.low, wrong.high) == (pytest.approx(0.0), pytest.approx(1 - low))
    # One mistake in one seed: the bootstrap again.
    assert estimate("accuracy", labels, [labels, labels, [1, *labels[1:]]], 2).high == 1.0

"""Log loss, Brier score and reliability against scikit-learn, and a model that knows how sure it may be."""

from typing import Any

import numpy as np
import pytest

from tempering.evaluation.calibration import (
    brier_scores,
    calibration_error,
    log_losses,
    points,
    reliability,
)

_GENERATOR = np.random.default_rng(0)
MARGINS = [*_GENERATOR.normal(0.7, 2.0, 2000), 0.0, 0.0]


def both_orders() -> tuple[Any, Any]:
    """Label and probability of "the first is better", of each pair in both orders."""
    chances = 1 / (1 + np.exp(-np.asarray(MARGINS)))
    return np.r_[np.ones_like(chances), np.zeros_like(chances)], np.r_[chances, 1 - chances]


def test_log_loss_and_brier_score_are_scikit_learns() -> None:
    from sklearn import metrics

    labels, chances = both_orders()
    assert np.mean(log_losses(MARGINS)) == pytest.approx(metrics.log_loss(labels, chances))
    assert np.mean(brier_scores(MARGINS)) == pytest.approx(metrics.brier_score_loss(labels, chances))


def test_reliability_is_scikit_learns() -> None:
    """Its bins over 0 to 1 of both orders mirror ours over ½ to 1 (without ties: they lie on an edge)."""
    from sklearn.calibration import calibration_curve as curve

    labels, chances = both_orders()
    untied = chances != 0.5
    right, confidence = curve(labels[untied], chances[untied], n_bins=20)
    ours = reliability([margin for margin in MARGINS if margin])
    assert [item.accuracy for item in ours] == pytest.approx(right[10:])
    assert [item.confidence for item in ours] == pytest.approx(confidence[10:])


def test_the_table_adds_up_to_the_error() -> None:
    value, (low, high) = calibration_error(MARGINS)
    bins = reliability(MARGINS)
    assert sum(item.n for item in bins) == len(MARGINS)
    gaps = [item.n * abs(item.accuracy - item.confidence) for item in bins]
    assert value == pytest.approx(sum(gaps) / len(MARGINS))
    assert low < value < high
    assert np.average([item.accuracy for item in bins], weights=[item.n for item in bins]) == pytest.approx(
        np.mean(points(MARGINS))
    )


@pytest.mark.parametrize(("stretch", "least", "most"), [(1.0, 0.0, 0.02), (4.0, 0.1, 0.2)])
def test_who_is_as_sure_as_right_is_calibrated(stretch: float, least: float, most: float) -> None:
    """Labels drawn with the margins' own probabilities; margins four times as large are overconfident."""
    logits = _GENERATOR.normal(0, 1.5, 20_000)
    signs = np.where(_GENERATOR.random(20_000) < 1 / (1 + np.exp(-logits)), 1, -1)
    value, _ = calibration_error([*(stretch * logits * signs)])
    assert least <= value <= most


def test_without_pairs_there_is_no_error() -> None:
    assert np.isnan(calibration_error([])[0])
    assert reliability([]) == []

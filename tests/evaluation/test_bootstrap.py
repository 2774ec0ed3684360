"""Bootstrap intervals beside scipy's, and what holds of them."""

import math

import numpy as np
import pytest
import scipy.stats

from tempering.evaluation.bootstrap import mean_interval, resamples, statistics
from tempering.evaluation.paired import estimate, mean

GENERATOR = np.random.default_rng(3)
NORMAL = GENERATOR.normal(0.2, 1, 120)


def scipys(values: np.ndarray, count: int, seed: int = 0) -> tuple[float, float]:
    drawn = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=count, method="percentile", batch=200, rng=seed
    )
    return float(drawn.confidence_interval.low), float(drawn.confidence_interval.high)


@pytest.mark.parametrize("values", [NORMAL, np.round(3 * NORMAL), np.array([0.0, 0.5, 1.0] * 30)])
@pytest.mark.parametrize("count", [2000, 10_000])
def test_the_interval_is_scipys(values: np.ndarray, count: int) -> None:
    """The same rows are drawn, so that they agree to the last digits."""
    assert mean_interval([*values], count=count) == pytest.approx(scipys(values, count), abs=1e-12)


def test_the_pairs_of_models_draw_the_same_rows() -> None:
    assert estimate(mean, [*NORMAL])[1] == pytest.approx(mean_interval([*NORMAL], count=10_000), abs=1e-12)


@pytest.mark.parametrize("kinds", ["few", "many"])
def test_many_rows_have_scipys_interval_but_for_chance(kinds: str) -> None:
    values = GENERATOR.normal(0.2, 1, 4_100)
    if kinds == "few":
        values = np.round(values)
    low, high = mean_interval([*values])
    theirs = scipys(values, 2000, seed=1)
    assert (low, high) == pytest.approx(theirs, abs=0.06 * (theirs[1] - theirs[0]))


def test_weights_are_drawn_with_their_rows() -> None:
    """A row of weight 2 counts as two rows of one sentence: the interval is that of the ratio of sums."""
    weights = [*GENERATOR.integers(1, 9, len(NORMAL)).astype(float)]
    sums = NORMAL * weights
    expected = estimate(lambda top, under: top.sum(-1) / under.sum(-1), [*sums], weights)[1]
    assert mean_interval([*NORMAL], weights, count=10_000) == pytest.approx(expected, abs=1e-12)
    assert mean_interval([*NORMAL], [3.0] * len(NORMAL)) == pytest.approx(mean_interval([*NORMAL]), abs=1e-12)


def test_it_shrinks_with_the_rows_and_is_the_same_again() -> None:
    few, many = [0.0, 1.0, 0.5, 0.25] * 5, [0.0, 1.0, 0.5, 0.25] * 100
    (low, high), (lower, higher) = mean_interval(few), mean_interval(many)
    assert low < lower < 0.4375 < higher < high
    assert higher - lower < (high - low) / 3
    assert mean_interval(few) == (low, high)
    assert all(math.isnan(bound) for bound in mean_interval([1.0]))


def test_blocks_are_the_resamples_of_one_draw() -> None:
    whole = np.random.default_rng(0).integers(0, 600, (2000, 600))
    blocks = [*resamples(600)]
    assert len(blocks) > 1
    assert np.array_equal(np.concatenate(blocks), whole)


def test_statistics_that_some_resamples_do_not_have() -> None:
    """Two rows drawn twice have no correlation: they are left out."""
    columns = np.array([[1.0, 2.0, 4.0], [1.0, 3.0, 2.0]])
    values, intervals = statistics(
        lambda rows: [np.corrcoef(columns[:, rows])[0, 1], columns[0, rows].mean()], 3
    )
    assert values == pytest.approx([0.3273, 7 / 3], abs=1e-4)
    assert intervals[0] == pytest.approx((-1, 1))
    assert intervals[1] == pytest.approx(mean_interval([1.0, 2.0, 4.0]), abs=1e-12)

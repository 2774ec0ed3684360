"""Intervals and answer matching against known numbers."""

import math

import pytest

from tempering.data.answers import exact_match, f1, normalise_answer
from tempering.evaluation.metrics import bootstrap, mean_metric, wilson


def test_wilson_by_hand() -> None:
    low, high = wilson(8, 10)  # Wilson 1927: (0.4902, 0.9433)
    assert (low, high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))
    assert wilson(0, 20)[0] == 0
    assert wilson(20, 20)[1] == 1


def test_bootstrap_covers_the_mean_and_shrinks() -> None:
    few, many = [0.0, 1.0, 0.5, 0.25] * 5, [0.0, 1.0, 0.5, 0.25] * 100
    for values in (few, many):
        low, high = bootstrap(values)
        assert low < 0.4375 < high
    assert bootstrap(many)[1] - bootstrap(many)[0] < (bootstrap(few)[1] - bootstrap(few)[0]) / 3
    assert bootstrap(few) == bootstrap(few)


def test_unscored_rows_are_left_out_not_zero() -> None:
    metric = mean_metric("reward", [2.0, None, 4.0, math.nan], "answers")
    assert (metric.value, metric.n) == (3.0, 2)


def test_nothing_measured_is_nan() -> None:
    metric = mean_metric("reward", [None], "answers")
    assert math.isnan(metric.value)
    assert metric.n == 0


@pytest.mark.parametrize(
    ("answer", "exact", "overlap"),
    [("The Park!", 1, 1.0), ("park", 1, 1.0), ("a big park", 0, 2 / 3), ("lake", 0, 0.0), ("", 0, 0.0)],
)
def test_answers(answer: str, exact: int, overlap: float) -> None:
    assert exact_match(answer, ["park", "the big garden"]) == exact
    assert f1(answer, ["park"]) == pytest.approx(overlap)


def test_normalise_answer() -> None:
    assert normalise_answer(" The  Cat's, hat. ") == "cats hat"

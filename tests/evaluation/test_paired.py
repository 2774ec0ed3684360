"""Statistics of pairs of completions: beside scipy, and AlpacaEval's own code on its own judgements."""

import gzip
import json
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

from tempering.evaluation.paired import estimate, length_controlled, mean, ratio
from tests.data.real_samples import real_sample


def judgements(count: int, seed: int = 0) -> tuple[Any, Any]:
    """Outcomes with ties, and how much longer the winner tends to be."""
    generator = np.random.default_rng(seed)
    longer = generator.normal(40, 200, count)
    chance = 1 / (1 + np.exp(-(0.3 + 1.2 * np.tanh(longer / 200))))
    return np.where(generator.random(count) < 0.1, 0.5, generator.random(count) < chance), longer


def test_the_length_controlled_win_rate_minimises_the_penalised_loss() -> None:
    """Mutations: a spread with ddof=0, no tanh, the length at its mean instead of 0, another penalty."""
    wins, longer = judgements(200)
    features = np.tanh(longer / longer.std(ddof=1))

    def loss(weights: Any) -> float:
        score = weights[0] + weights[1] * features
        likelihood = np.logaddexp(0, -score) * wins + np.logaddexp(0, score) * (1 - wins)
        return float(likelihood.sum() + (weights**2).sum() / 200)

    a, _ = minimize(loss, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12}).x
    ours = float(length_controlled(wins, longer))
    assert ours == pytest.approx(1 / (1 + np.exp(-a)), abs=1e-6)
    # Here the longer answer wins, and ours are longer: without that they would win less.
    assert ours < wins.mean() - 0.02


def test_swapping_the_models_mirrors_the_rate() -> None:
    wins, longer = judgements(60)
    assert length_controlled(1 - wins, -longer) == pytest.approx(1 - length_controlled(wins, longer))


@pytest.mark.parametrize("length", [0.0, 7.0])
def test_where_lengths_explain_nothing_it_is_the_win_rate(length: float) -> None:
    """Mutation: a constant difference divided by 1 where its spread is 0."""
    wins = np.array([1.0, 1.0, 1.0, 0.5, 0.0] * 40)
    assert length_controlled(wins, np.full(200, length)) == pytest.approx(0.7, abs=1e-3)


@pytest.mark.parametrize("outcome", [0.0, 1.0])
@pytest.mark.parametrize("count", [1, 2, 100])
def test_one_sided_outcomes_have_a_finite_rate(outcome: float, count: int) -> None:
    """Mutation: no penalty, with which the weights run away."""
    value = float(length_controlled(np.full(count, outcome), np.arange(count) - 3.0))
    assert abs(value - outcome) < 0.5
    assert 0 < value < 1


def test_resamples_are_fitted_like_single_samples() -> None:
    """Mutation: a sum over all resamples instead of each."""
    wins, longer = np.stack([judgements(50, seed) for seed in range(4)], axis=1)
    together = length_controlled(wins, longer)
    assert together == pytest.approx(
        [float(length_controlled(*one)) for one in zip(wins, longer, strict=True)]
    )


def test_intervals_are_scipys_over_prompts() -> None:
    """Mutations: the columns drawn apart; another seed, method or number of resamples."""
    generator = np.random.default_rng(1)
    ours, theirs = generator.gamma(2, 50, 40), generator.gamma(2, 40, 40)
    value, (low, high) = estimate(ratio, ours, theirs)
    assert value == ours.mean() / theirs.mean()
    assert low < value < high
    drawn = [generator.integers(0, 40, 40) for _ in range(4000)]
    ratios = [ours[rows].mean() / theirs[rows].mean() for rows in drawn]
    assert (low, high) == (
        pytest.approx(np.quantile(ratios, 0.025), rel=0.03),
        pytest.approx(np.quantile(ratios, 0.975), rel=0.03),
    )
    assert estimate(ratio, ours, theirs) == (value, (low, high))
    same, (least, most) = estimate(ratio, ours, 2 * ours)
    assert same == least == most == 0.5
    assert np.isnan(estimate(mean, [1.0])[1]).all()


def test_alpacas_own_judgements() -> None:
    """AlpacaEval's code gives 25.37 on these rows: its form without difficulty, with its own penalty.

    `length_controlled_minimal` of alpaca_eval at cd543a1 (src/alpaca_eval/metrics/glm_winrate.py), run with
    scikit-learn 1.9.1. On all 805 rows it gives 25.77, ours is 25.68, and the leaderboard, with a difficulty
    of each instruction, says 26.29. The raw win rate is 25.68 here, 26.46 there and on the leaderboard.
    """
    file = real_sample("preference/alpaca_eval_gpt4_annotations_alpaca7b.json.gz")
    rows = json.loads(gzip.decompress(file.read_bytes()))
    wins = np.array([{0: 0.5, 1: 0.0, 2: 1.0}[row["preference"]] for row in rows])
    longer = np.array([len(row["output_2"]) - len(row["output_1"]) for row in rows], dtype=float)
    assert wins.mean() * 100 == pytest.approx(25.678, abs=1e-3)
    assert float(length_controlled(wins, longer)) * 100 == pytest.approx(25.372, abs=0.15)

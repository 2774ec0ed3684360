"""Two models' completions of the same prompts: statistics of the pairs, with intervals over prompts.

The length-controlled win rate is AlpacaEval 2's (Dubois et al. 2024, https://arxiv.org/abs/2404.04475, eq. 2)
without its difficulty of each instruction, which is known for its own 805 prompts only:

    P(win) = sigmoid(a + b · tanh((length - reference length) / s)),  s: standard deviation of the difference

and the answer is sigmoid(a): what is expected where both answers are equally long. Theirs penalises the
absolute values of a and b by a strength from cross-validation, here both squares count 1 / (2 · 100), so that
one-sided outcomes have a finite answer too.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from tempering.evaluation.bootstrap import COMPARED, Numbers

_TOGETHER = 500_000  # numbers that are resampled at once
_C = 100.0  # inverse strength of the penalty: AlpacaEval's C where it does not search for one


def estimate(
    statistic: Callable[..., Numbers], *columns: Sequence[float]
) -> tuple[float, tuple[float, float]]:
    """A statistic of columns over prompts, and its 95% interval: a percentile bootstrap over the prompts.

    Args:
        statistic: takes the columns (…, N) to (…); `mean`, `ratio`, `length_controlled`.
        columns: (N,) each; the same prompts are drawn from all of them, 10,000 times with a fixed seed.
    """
    from scipy.stats import bootstrap

    data = tuple(np.asarray(column, dtype=float) for column in columns)
    value = float(statistic(*data))
    if len(data[0]) < 2:
        return value, (math.nan, math.nan)
    limits = bootstrap(
        data,
        lambda *drawn, axis: statistic(*drawn),
        n_resamples=COMPARED,
        batch=max(1, _TOGETHER // len(data[0])),
        paired=True,
        vectorized=True,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return value, (float(limits.low), float(limits.high))


def mean(values: Numbers) -> Numbers:
    """(…, N) values -> (…) means."""
    return np.asarray(values.mean(-1))


def ratio(ours: Numbers, theirs: Numbers) -> Numbers:
    """(…, N) twice -> (…) ratios of the means; infinite where theirs are all 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(ours.mean(-1) / theirs.mean(-1))


def length_controlled(wins: Numbers, longer: Numbers) -> Numbers:
    """The win rate between answers of equal length.

    Args:
        wins: (…, N) outcomes in [0, 1].
        longer: (…, N) by how much the judged answer is longer than the reference's.

    Returns:
        (…) win rates, by Newton's method on the penalised log-likelihood.
    """
    # Standardised as theirs are, in each resample anew; one difference for all explains nothing.
    spread = longer.std(-1, ddof=min(1, longer.shape[-1] - 1), keepdims=True)
    length = np.where(spread > 0, np.tanh(longer / np.where(spread > 0, spread, 1.0)), 0.0)
    a = b = np.zeros(wins.shape[:-1])
    for _ in range(50):
        # The gradient and the Hessian (2 × 2) of each resample.
        p = 1 / (1 + np.exp(-(a[..., None] + b[..., None] * length)))
        rest, weight = wins - p, p * (1 - p)
        slope_a, slope_b = rest.sum(-1) - a / _C, (rest * length).sum(-1) - b / _C
        aa, ab = weight.sum(-1) + 1 / _C, (weight * length).sum(-1)
        bb = (weight * length**2).sum(-1) + 1 / _C
        # One step, at most 1 long in each, which keeps it from overshooting where outcomes are one-sided.
        determinant = aa * bb - ab**2
        step_a = np.clip((bb * slope_a - ab * slope_b) / determinant, -1, 1)
        step_b = np.clip((aa * slope_b - ab * slope_a) / determinant, -1, 1)
        a, b = a + step_a, b + step_b
        if max(np.abs(step_a).max(), np.abs(step_b).max()) < 1e-7:
            break
    return np.asarray(1 / (1 + np.exp(-a)))

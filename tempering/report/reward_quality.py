"""How far a reward model can be believed: its confidence against how often it is right, and what it gives.

A pair's confidence is the probability that the reward model states for its choice (Bradley and Terry 1952);
in a calibrated one the pairs of 80% are right 8 times of 10 (the reliability diagram of DeGroot and
Fienberg 1983). The histograms show the rewards of each model's completions beside its baseline's.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup

from tempering.artifacts.kinds import EvaluationArtifact
from tempering.evaluation.metrics import wilson
from tempering.report.curves import Panel
from tempering.report.names import Model
from tempering.report.numbers import finite, number
from tempering.report.plot import Axes, numbers_across, plot
from tempering.report.reading import Row, rows_of
from tempering.report.svg import Scale, scale_for

_BINS = 28


def reliability_panels(
    evaluations: Mapping[str, EvaluationArtifact], cast: Mapping[str, Model]
) -> list[Panel]:
    """One diagram for each reward model and benchmark that has a table `reliability`."""
    panels = []
    for key in [key for key in cast if key in evaluations]:
        groups: dict[str, list[Row]] = {}
        for row in rows_of(evaluations[key], "reliability"):
            numbers = [finite(row.get(name)) for name in ("confidence", "accuracy", "n")]
            if None not in numbers and numbers[2]:
                groups.setdefault(str(row.get("benchmark") or ""), []).append(row)
        panels += [_reliability(cast[key], name, rows) for name, rows in groups.items()]
    return panels


def _reliability(model: Model, benchmark: str, rows: Sequence[Row]) -> Panel:
    bins = [(float(row["confidence"]), float(row["accuracy"]), float(row["n"])) for row in rows]
    bins.sort()
    total = sum(n for _, _, n in bins)
    error = sum(n * abs(accuracy - confidence) for confidence, accuracy, n in bins) / total
    # A choice has a confidence of a half at least; other probabilities begin at 0.
    start = 0.5 if bins[0][0] >= 0.5 else 0.0
    low = min([start, *(accuracy for _, accuracy, _ in bins)])
    up = scale_for([low, 1.0], bounds=(0, 1))
    axes = Axes(Scale(start - 0.01, 1.01), up, "confidence, a probability", numbers_across)
    # The diagonal, and each bin with its interval, the larger the more pairs it has.
    marks = []
    for confidence, accuracy, n in bins:
        marks.append(axes.whisker(confidence, *wilson(accuracy * n, round(n))))
        marks.append(axes.dot(confidence, accuracy, radius=3 + 4 * (n / total) ** 0.5))
    curves = [axes.line([(start, start), (1, 1)], "ideal"), axes.line([each[:2] for each in bins], "thin")]
    words = f"{model.label} on {benchmark}: share that is right over confidence, {len(bins)} bins"
    chart = plot(axes, curves, marks, title=f"{words}, mean distance {number(error)}")
    unit = f"share ordered right · {total:,.0f} pairs"
    return Panel(benchmark, unit, _coloured(chart, model), [(model, number(error))])


def reward_panels(evaluations: Mapping[str, EvaluationArtifact], cast: Mapping[str, Model]) -> list[Panel]:
    """Rewards of each model's completions (filled), and of those of the model it was trained from (a line).

    Of a model whose parent was not evaluated: of the baseline's.
    """
    keys = [key for key in cast if key in evaluations]
    by_id = {evaluations[key].manifest.id: key for key in keys}
    rewards = {key: _rewards(evaluations[key]) for key in keys}
    pairs = []
    for key in keys:
        source = evaluations[key].manifest.inputs.get("baseline")
        parent = cast[key].parent
        base = parent if parent in rewards else by_id.get(source.id) if source and parent else None
        if base is not None:
            shared = [name for name in rewards[key] if name in rewards[base]]
            pairs += [(name, base, key) for name in shared]
    # All histograms of a benchmark have the same bins, so that they can be compared.
    panels = []
    for name in dict.fromkeys(name for name, _, _ in pairs):
        mine = [(base, key) for benchmark, base, key in pairs if benchmark == name]
        values = [value for pair in mine for key in pair for value in rewards[key][name]]
        edges = np.linspace(min(values), max(values) + 1e-9, _BINS + 1)
        shares = {
            key: _shares(rewards[key][name], edges) for key in dict.fromkeys(k for p in mine for k in p)
        }
        top = max(float(share.max()) for share in shares.values())
        for base, key in mine:
            means = {each: float(np.mean(rewards[each][name])) for each in (base, key)}
            panels.append(_histogram(name, cast[base], cast[key], shares, edges, top, means))
    return panels


def _histogram(
    benchmark: str,
    base: Model,
    model: Model,
    shares: Mapping[str, np.ndarray],
    edges: np.ndarray,
    top: float,
    means: Mapping[str, float],
) -> Panel:
    across = Scale(float(edges[0]), float(edges[-1]))
    axes = Axes(across, Scale(0, top * 1.08), "reward, a logit", numbers_across)
    curves = [
        _coloured(axes.line(_steps(shares[model.key], edges, closed=True), "filled"), model),
        _coloured(axes.line(_steps(shares[base.key], edges), "smooth"), base),
    ]
    marks = [_coloured(axes.upright(means[each.key], "mean"), each) for each in (base, model)]
    ends = [(each, number(means[each.key])) for each in (base, model)]
    words = " and ".join(f"{each.label}, mean {mean}" for each, mean in ends)
    chart = plot(axes, curves, marks, title=f"Rewards of completions of {benchmark}: {words}")
    return Panel(f"{base.label} → {model.label}", f"share of completions · {benchmark}", chart, ends)


def _steps(shares: np.ndarray, edges: np.ndarray, *, closed: bool = False) -> list[tuple[float, float]]:
    corners = [
        (float(edge), float(share))
        for left, right, share in zip(edges[:-1], edges[1:], shares, strict=True)
        for edge in (left, right)
    ]
    return [(float(edges[0]), 0.0), *corners, (float(edges[-1]), 0.0)] if closed else corners


def _rewards(evaluation: EvaluationArtifact) -> dict[str, list[float]]:
    rewards: dict[str, list[float]] = {}
    for row in rows_of(evaluation, "completions"):
        value = finite(row.get("reward"))
        if value is not None:
            rewards.setdefault(str(row.get("benchmark") or ""), []).append(value)
    return rewards


def _shares(values: Sequence[float], edges: np.ndarray) -> np.ndarray:
    counts, _ = np.histogram(values, edges)
    return counts / max(1, len(values))


def _coloured(marks: Markup, model: Model) -> Markup:
    """In the colour of a model."""
    return Markup('<g class="{}">{}</g>').format(model.color, marks)

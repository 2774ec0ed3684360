"""Training curves from `metadata/training_stats.parquet`: what to draw for which stage.

A model whose log has a score was trained on-policy; these models share their panels, because
they can be compared. The losses of the other stages cannot, so each has its own panel.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from tempering.artifacts.kinds import ModelArtifact
from tempering.report.lines import Curve, line_chart
from tempering.report.names import Model
from tempering.report.numbers import finite, number
from tempering.report.reading import Row, rows_of
from tempering.report.svg import Bounds

_ON_POLICY: tuple[tuple[str, str, str, Bounds | None], ...] = (
    ("score", "Score", "mean per completion, before any penalty", None),
    ("kl", "KL to the starting model", "nats per completion", None),
    ("entropy", "Entropy", "nats per token", None),
    ("completion_length", "Completion length", "tokens", None),
    ("ended_share", "Completions that ended", "share", (0, 1)),
    ("explained_variance", "Explained variance", "of the value model", None),
)


@dataclass(frozen=True)
class Panel:
    """One chart with its heading; `ends` are (model, smoothed last value)."""

    title: str
    unit: str
    chart: Markup
    ends: Sequence[tuple[Model, str]]


def loss_panels(models: Mapping[str, ModelArtifact], cast: Mapping[str, Model]) -> list[Panel]:
    """The loss of every stage that was not trained on-policy."""
    panels = []
    for key in [key for key in cast if key in models]:
        rows = rows_of(models[key], "training_stats")
        curve = _curve(cast[key], rows, "loss")
        if curve is not None and not any(finite(row.get("score")) is not None for row in rows):
            kind = cast[key].kind
            unit = f"loss, {kind.loss_unit if kind else 'nats'}"
            panels.append(_panel(cast[key].label, unit, [(cast[key], curve)]))
    return panels


def on_policy_panels(models: Mapping[str, ModelArtifact], cast: Mapping[str, Model]) -> list[Panel]:
    """Score, KL, entropy, length and so on of the stages trained on-policy, together."""
    logs = {key: rows_of(models[key], "training_stats") for key in cast if key in models}
    logs = {key: rows for key, rows in logs.items() if _curve(cast[key], rows, "score")}
    panels = []
    for column, title, unit, bounds in _ON_POLICY:
        candidates = [(cast[key], _curve(cast[key], rows, column)) for key, rows in logs.items()]
        curves = [(model, curve) for model, curve in candidates if curve is not None]
        if curves:
            panels.append(_panel(title, unit, curves, bounds))
    return panels


def _panel(
    title: str, unit: str, curves: Sequence[tuple[Model, Curve]], bounds: Bounds | None = None
) -> Panel:
    ends = [(model, number(curve.last)) for model, curve in curves]
    summary = "; ".join(f"{model.label} ends at {last}" for model, last in ends)
    words = f"{title}, {unit}, over tokens: {summary}"
    chart = line_chart([curve for _, curve in curves], title=words, bounds=bounds)
    return Panel(title, unit, chart, ends)


def _curve(model: Model, rows: Sequence[Row], column: str) -> Curve | None:
    """The column over tokens, in their order; None where it has no finite value.

    Steps that share a token count (a rollout's epochs and batches) are one point, their mean.
    """
    at_tokens: dict[float, list[float]] = {}
    for row in rows:
        tokens, value = finite(row.get("tokens")), finite(row.get(column))
        if tokens is not None:
            at_tokens.setdefault(tokens, []).extend([] if value is None else [value])
    if not any(at_tokens.values()):
        return None
    x = sorted(at_tokens)
    means = [
        sum(at_tokens[tokens]) / len(at_tokens[tokens]) if at_tokens[tokens] else math.nan for tokens in x
    ]
    return Curve(model.label, model.color, x, means)

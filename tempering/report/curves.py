"""Training curves from `metadata/training_stats.parquet`: what to draw of which stage.

A model whose log has a score was trained on-policy; these share their panels, for they
can be compared. The losses of the other stages cannot, so each has its own.
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

_ON_POLICY = (
    ("score", "Score", "mean a completion, before any penalty"),
    ("kl", "KL to the starting model", "nats a completion"),
    ("entropy", "Entropy", "nats a token"),
    ("completion_length", "Completion length", "tokens"),
    ("ended_share", "Completions that ended", "share"),
    ("explained_variance", "Explained variance", "of the value model"),
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
    found = []
    for key in [key for key in cast if key in models]:
        rows = rows_of(models[key], "training_stats")
        curve = _curve(cast[key], rows, "loss")
        if curve is not None and not any(finite(row.get("score")) is not None for row in rows):
            kind = cast[key].kind
            unit = f"loss, {kind.loss_unit if kind else 'nats'}"
            found.append(_panel(cast[key].label, unit, [(cast[key], curve)]))
    return found


def on_policy_panels(models: Mapping[str, ModelArtifact], cast: Mapping[str, Model]) -> list[Panel]:
    """Score, KL, entropy, length and so on of the stages trained on-policy, together."""
    logs = {key: rows_of(models[key], "training_stats") for key in cast if key in models}
    logs = {key: rows for key, rows in logs.items() if _curve(cast[key], rows, "score")}
    found = []
    for column, title, unit in _ON_POLICY:
        curves = [(cast[key], _curve(cast[key], rows, column)) for key, rows in logs.items()]
        drawn = [(model, curve) for model, curve in curves if curve is not None]
        if drawn:
            found.append(_panel(title, unit, drawn))
    return found


def _panel(title: str, unit: str, drawn: Sequence[tuple[Model, Curve]]) -> Panel:
    ends = [(model, number(curve.last)) for model, curve in drawn]
    said = "; ".join(f"{model.label} ends at {last}" for model, last in ends)
    chart = line_chart([curve for _, curve in drawn], title=f"{title}, {unit}, over tokens: {said}")
    return Panel(title, unit, chart, ends)


def _curve(model: Model, rows: Sequence[Row], column: str) -> Curve | None:
    """None where the column has no finite value. Rows are in order of their tokens."""
    known = [row for row in rows if finite(row.get("tokens")) is not None]
    known.sort(key=lambda row: float(row["tokens"]))
    values = [finite(row.get(column)) for row in known]
    if all(value is None for value in values):
        return None
    tokens = [float(row["tokens"]) for row in known]
    return Curve(model.label, model.color, tokens, [math.nan if y is None else y for y in values])

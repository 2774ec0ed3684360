"""Scores along the way: each stage beside the one it was trained from, each checkpoint over tokens."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from tempering.artifacts.kinds import EvaluationArtifact
from tempering.report.curves import Panel
from tempering.report.names import Model
from tempering.report.numbers import decimals, finite, number
from tempering.report.plot import Axes, plot
from tempering.report.reading import rows_of
from tempering.report.svg import Scale, scale_for, tag
from tempering.report.table import Line

_MOST = 12  # panels: a page is not a table


def stage_panels(every: Sequence[Line], cast: Mapping[str, Model]) -> list[Panel]:
    """One chart for each benchmark's first whole metric that two or more models have."""
    panels = []
    for line in first_lines(every):
        keys = [key for key in cast if key in line.figures and line.figures[key].value is not None]
        if len(keys) > 1:
            panels.append(_stages(line, [cast[key] for key in keys]))
    return panels[:_MOST]


def first_lines(every: Sequence[Line]) -> list[Line]:
    """Each benchmark's first metric that is of all its rows."""
    firsts: dict[str, Line] = {}
    for line in sorted(every, key=lambda line: line.measure.rank):
        if "[" not in line.metric:
            firsts.setdefault(line.benchmark, line)
    return [line for line in every if line in firsts.values()]


def _stages(line: Line, models: Sequence[Model]) -> Panel:
    figures = [line.figures[model.key] for model in models]
    values = [value for item in figures for value in item.numbers]
    across, up = Scale(-0.4, len(models) - 0.6), scale_for([*values, line.baseline])
    axes = Axes(across, up, "models, in the order above", names=())
    place = {model.key: float(at) for at, model in enumerate(models)}
    lines, marks = [], []
    if line.baseline is not None:
        marks.append(axes.level(line.baseline, "guess"))
    for model, item in zip(models, figures, strict=True):
        # A line from the model it was trained from, then its own dot and interval.
        parent = line.figures.get(model.parent or "")
        if parent is not None and parent.value is not None and parent.model in place:
            ends = [(place[parent.model], parent.value), (place[model.key], item.value or 0.0)]
            lines.append(axes.line(ends, f"thin {model.color}"))
        whisker = [] if None in item.numbers else [axes.whisker(place[model.key], item.low, item.high)]  # type: ignore[arg-type]
        marks.append(tag("g", *whisker, axes.dot(place[model.key], item.value or 0.0), cls=model.color))
    places = decimals(values)
    ends_ = [(model, number(item.value, places)) for model, item in zip(models, figures, strict=True)]
    words = "; ".join(f"{model.label} {value}" for model, value in ends_)
    title = f"{line.measure.label} of {line.benchmark}, {line.better} is better: {words}"
    return Panel(line.measure.label, _unit(line), plot(axes, lines, marks, title=title), ends_)


def _unit(line: Line) -> str:
    """What stands beside the metric's name: where up leads, of which benchmark, and the unit."""
    arrow = "↓" if line.better == "lower" else "↑"
    return " · ".join(filter(None, (f"{arrow} {line.benchmark}", line.measure.unit)))


def checkpoint_panels(
    evaluations: Mapping[str, EvaluationArtifact], every: Sequence[Line], cast: Mapping[str, Model]
) -> list[Panel]:
    """One chart for each benchmark's first metric, over the tokens that a model was trained on."""
    tables = {key: rows_of(evaluations[key], "checkpoints") for key in cast if key in evaluations}
    panels = []
    for line in first_lines(every):
        curves = {key: _points(rows, line.benchmark, line.metric) for key, rows in tables.items()}
        curves = {key: points for key, points in curves.items() if len(points) > 1}
        if curves:
            panels.append(_checkpoints(line, curves, cast))
    return panels[:_MOST]


Stop = tuple[float, float, float | None, float | None]
"""tokens, value, low, high"""


def _points(rows: Sequence[Mapping[str, Any]], benchmark: str, metric: str) -> list[Stop]:
    points = []
    for row in rows:
        tokens, value = finite(row.get("tokens")), finite(row.get("value"))
        mine = row.get("benchmark") == benchmark and row.get("metric") == metric
        if mine and tokens is not None and value is not None:
            points.append((tokens, value, finite(row.get("low")), finite(row.get("high"))))
    return sorted(points, key=lambda point: point[0])


def _checkpoints(line: Line, curves: Mapping[str, Sequence[Stop]], cast: Mapping[str, Model]) -> Panel:
    every = [point for points in curves.values() for point in points]
    across = Scale(0, max(point[0] for point in every) * 1.02 or 1)
    up = scale_for([*(value for point in every for value in point[1:]), line.baseline])
    axes = Axes(across, up, "tokens trained on")
    lines, marks = [], []
    if line.baseline is not None:
        marks.append(axes.level(line.baseline, "guess"))
    for key, points in curves.items():
        lines.append(axes.line([point[:2] for point in points], f"smooth {cast[key].color}"))
        whiskers: list[Markup] = [
            axes.whisker(at, low, high, "whisker thin")
            for at, _, low, high in points
            if low is not None and high is not None
        ]
        dots = [axes.dot(at, value, radius=3.0) for at, value, _, _ in points]
        marks.append(tag("g", *whiskers, *dots, cls=cast[key].color))
    ends = [(cast[key], number(points[-1][1])) for key, points in curves.items()]
    words = "; ".join(f"{model.label} ends at {value}" for model, value in ends)
    title = f"{line.measure.label} of {line.benchmark} over tokens, {line.better} is better: {words}"
    return Panel(line.measure.label, _unit(line), plot(axes, lines, marks, title=title), ends)

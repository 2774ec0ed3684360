"""The over-optimisation curve: the trained-for reward and the gold score against how far a policy has gone.

Gao, Schulman and Hilton 2022 (https://arxiv.org/abs/2210.10760): along the distance √KL the proxy reward goes
on rising while the gold score turns. The turn is marked where the gold is highest, if it then falls while the
proxy rises; no turn where the last checkpoint is the best. Best-of-n, of the starting model, is a path too.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from tempering.artifacts.kinds import EvaluationArtifact
from tempering.report.curves import Panel
from tempering.report.names import Model, label_of
from tempering.report.numbers import count, finite, number
from tempering.report.plot import Axes, numbers_across, plot
from tempering.report.reading import rows_of
from tempering.report.svg import scale_for, tag

_PROXY = ("proxy", "Proxy", "what it was trained for")
_GOLD = {
    "gold_score": ("Gold", "what was wanted", "gold score"),
    "judge_score": ("Second judge", "who had no part in the training", "score by the second judge"),
}
"""What is called gold: on the chart, and in a sentence."""
BEST_OF_N = "best_of_n"


@dataclass(frozen=True)
class Stop:
    """A checkpoint, or a best-of-n: how far it went, and what it got."""

    distance: float
    proxy: float | None
    gold: float | None
    name: str
    turns: bool | None = None
    """Whether its table marks it as the turn, beyond what chance does; None: the table has no such column."""
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """95% intervals by column, where the table has them."""


@dataclass(frozen=True)
class Path:
    """The stops of one model in the order of its table, that of its training: the distance may fall too."""

    model: Model
    stops: Sequence[Stop]

    @property
    def turn(self) -> Stop | None:
        """The stop from which on the gold falls while the proxy rises."""
        both = [stop for stop in self.stops if stop.proxy is not None and stop.gold is not None]
        best = max(both, key=lambda stop: stop.gold or 0.0, default=None)
        if any(stop.turns is not None for stop in self.stops):
            return next((stop for stop in self.stops if stop.turns), None)
        if best is None or best is both[-1]:
            return None
        last = both[-1]
        falls = (last.gold or 0.0) < (best.gold or 0.0)
        return best if falls and (last.proxy or 0.0) > (best.proxy or 0.0) else None


@dataclass(frozen=True)
class Curves:
    """The charts of one benchmark, and in words where each model turned."""

    benchmark: str
    panels: Sequence[Panel]
    turns: Sequence[str]
    gold: str = "gold score"


def curves(evaluations: Mapping[str, EvaluationArtifact], cast: Mapping[str, Model]) -> list[Curves]:
    """One pair of charts for each benchmark that has a table `overoptimisation`."""
    groups: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for key in [key for key in cast if key in evaluations]:
        for row in rows_of(evaluations[key], "overoptimisation"):
            name = str(row.get("stage") or row.get("model") or key)
            groups.setdefault(str(row.get("benchmark") or ""), {}).setdefault(name, []).append(row)
    charts = []
    for benchmark, rows in groups.items():
        paths = [Path(_model(name, cast), _stops(stops)) for name, stops in rows.items()]
        paths = [path for path in paths if path.stops]
        if paths:
            title, words, gold = _GOLD[_gold_metric(rows)]
            panels = [_panel(*_PROXY, paths), _panel("gold", title, words, paths)]
            shown = [panel for panel in panels if panel]
            charts.append(Curves(benchmark, shown, list(_turns(paths, gold)), gold))
    return charts


def _gold_metric(rows: Mapping[str, Iterable[Mapping[str, Any]]]) -> str:
    """What gold is of these paths; tables of before said nothing, and had the world's score."""
    metrics = [row.get("gold_metric") for path in rows.values() for row in path]
    return "judge_score" if "judge_score" in metrics else "gold_score"


def _model(name: str, cast: Mapping[str, Model]) -> Model:
    """A model of the page, or what has no row of its own there."""
    return cast.get(name) or Model(name, "Best of n" if name == BEST_OF_N else label_of(name), "m-none")


def _stops(rows: Iterable[Mapping[str, Any]]) -> list[Stop]:
    stops = []
    for row in rows:
        # The distance, stated or from the divergence; an estimate of it may lie below 0.
        distance, divergence = finite(row.get("sqrt_kl")), finite(row.get("kl"))
        if distance is None and divergence is not None:
            distance = max(0.0, divergence) ** 0.5
        # Of which checkpoint, or of how many completions the best.
        samples, tokens = finite(row.get("best_of")), finite(row.get("tokens"))
        name = f"n = {samples:.0f}" if samples else f"{count(tokens)} tokens" if tokens else ""
        if distance is not None:
            turns = row.get("turns")
            values = finite(row.get("proxy")), finite(row.get("gold"))
            marked = None if turns is None else bool(turns)
            stops.append(Stop(distance, *values, name, marked, _intervals(row)))
    return stops


def _intervals(row: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    intervals = {}
    for column in ("proxy", "gold"):
        low, high = finite(row.get(f"{column}_low")), finite(row.get(f"{column}_high"))
        if low is not None and high is not None:
            intervals[column] = (low, high)
    return intervals


def _panel(column: str, title: str, words: str, paths: Sequence[Path]) -> Panel | None:
    # Points of each path that were measured.
    points = {
        path.model.key: [
            (stop.distance, value) for stop in path.stops if (value := getattr(stop, column)) is not None
        ]
        for path in paths
    }
    every = [point for line in points.values() for point in line]
    if not every:
        return None
    around = [end for path in paths for stop in path.stops for end in stop.intervals.get(column, ())]
    across, up = scale_for([x for x, _ in every], pad=0.03), scale_for([*(y for _, y in every), *around])
    axes = Axes(across, up, "distance √KL, √nats per completion", numbers_across)
    lines, marks, ends = [], [], []
    for path in paths:
        line, color = points[path.model.key], path.model.color
        if not line:
            continue
        # A line with a dot at each stop and its interval, and a ring around the turn.
        lines.append(axes.line(line, f"smooth {color}"))
        ranges = [(stop.distance, stop.intervals[column]) for stop in path.stops if column in stop.intervals]
        dots = [axes.whisker(at, *bounds, "whisker thin") for at, bounds in ranges]
        dots += [axes.dot(*point, radius=3.0) for point in line]
        if path.turn is not None:
            dots.append(axes.upright(path.turn.distance, "turn"))
            dots.append(axes.dot(path.turn.distance, getattr(path.turn, column), "ring", 8.0))
        marks.append(tag("g", *dots, cls=color))
        ends.append((path.model, number(line[-1][1])))
    summary = "; ".join(f"{model.label} ends at {value}" for model, value in ends)
    chart = plot(axes, lines, marks, title=f"{title}, {words}, over the square root of KL: {summary}")
    return Panel(title, f"{words}, mean per completion", chart, ends)


def _turns(paths: Iterable[Path], gold: str) -> Iterable[Markup | str]:
    for path in paths:
        turn = path.turn
        if turn is not None:
            last = path.stops[-1]
            where = f" ({turn.name})" if turn.name else ""
            yield (
                f"{path.model.label} turns at √KL {number(turn.distance)}{where}: {gold} falls from "
                f"{number(turn.gold)} to {number(last.gold)} while the proxy rises from "
                f"{number(turn.proxy)} to {number(last.proxy)}."
            )

"""The headline chart: every model's value of one metric, and how it differs from the model before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from tempering.report.names import Model
from tempering.report.numbers import decimals, guess, interval, number
from tempering.report.pairing import Difference, Effect
from tempering.report.scoreboard import places_of, scale_of
from tempering.report.strips import axis, strip
from tempering.report.svg import Scale
from tempering.report.table import Figure, Line


@dataclass(frozen=True)
class Bar:
    """One model in the headline chart."""

    model: Model
    chart: Markup
    value: str
    around: str
    best: bool
    delta: str
    delta_around: str
    against: str
    effect: Effect | str


@dataclass(frozen=True)
class Headline:
    """The chart that the report is about."""

    title: str
    benchmark: str
    better: str
    baseline: str
    rows: int
    bars: Sequence[Bar]
    axis: Markup

    @property
    def paired(self) -> bool:
        """Whether there is any difference to show."""
        return any(bar.delta for bar in self.bars)


def headline_chart(line: Line, cast: Mapping[str, Model], deltas: Mapping[str, Difference]) -> Headline:
    """Dots and whiskers of every model, with the paired difference to the stage before."""
    figures = {key: line.figures[key] for key in cast if key in line.figures}
    scale, places = scale_of(line), places_of(line)
    spread = decimals([value for item in deltas.values() for value in (item.mean, item.low, item.high)])
    best = line.best(figures) if len(figures) > 1 else None
    bars = [
        _bar(item, cast, scale, places, item is best, deltas.get(key), spread)
        for key, item in figures.items()
    ]
    title = line.measure.label
    rows = max((item.n for item in figures.values()), default=0)
    base = guess(line.baseline)
    words = ", ".join(filter(None, (title, line.measure.unit)))
    below = axis(scale, baseline=line.baseline, title=words)
    return Headline(title, line.benchmark, line.better, base, rows, bars, below)


def _bar(
    item: Figure,
    cast: Mapping[str, Model],
    scale: Scale,
    places: int,
    best: bool,
    delta: Difference | None,
    spread: int,
) -> Bar:
    # The model's own figure.
    model = cast[item.model]
    chart = strip(
        item.numbers,
        scale,
        color=model.color,
        name=model.label,
        baseline=item.baseline,
        height=46,
        ticks=True,
    )
    figure = number(item.value, places), interval(item.low, item.high, places)
    # Its difference to the stage before, where rows can be paired.
    if delta is None:
        return Bar(model, chart, *figure, best, "", "", "", "")
    change = number(delta.mean, spread, sign=True), interval(delta.low, delta.high, spread, sign=True)
    return Bar(model, chart, *figure, best, *change, cast[delta.against].label, delta.effect)

"""The headline chart and the tables of metrics, as the template wants them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from tempering.report.names import Model
from tempering.report.numbers import decimals, guess, interval, number
from tempering.report.pairing import Difference, Effect
from tempering.report.strips import axis, strip
from tempering.report.svg import Scale, scale_for
from tempering.report.table import Figure, Line

_CHANCE: Mapping[int | None, str] = {-1: "worse than guessing", 0: "no better than guessing"}


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


@dataclass(frozen=True)
class Cell:
    """One number in a table; `raw` is the exact value, None where the model was not measured."""

    model: Model
    raw: float | None
    value: str
    around: str
    best: bool
    chart: Markup
    chance: str = ""


@dataclass(frozen=True)
class TableRow:
    """One metric."""

    label: str
    metric: str
    benchmark: str
    better: str
    baseline: str
    baseline_label: str
    rows: str
    note: str
    cells: Sequence[Cell]
    convention: str = ""


@dataclass(frozen=True)
class Fold:
    """The parts of one metric, which open on demand."""

    title: str
    rows: Sequence[TableRow]


@dataclass(frozen=True)
class Table:
    """Metrics of models that can be compared."""

    models: Sequence[Model]
    rows: Sequence[TableRow]
    folds: Sequence[Fold] = ()


def headline_chart(line: Line, cast: Mapping[str, Model], deltas: Mapping[str, Difference]) -> Headline:
    """Dots and whiskers of every model, with the paired difference to the stage before."""
    figures = {key: line.figures[key] for key in cast if key in line.figures}
    scale, places = _scale(line), _places(line)
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


def score_tables(
    groups: Iterable[Sequence[Line]], cast: Mapping[str, Model], judged: str = ""
) -> list[Table]:
    """One table for each family of comparable models, the largest first.

    Args:
        judged: stands beside metrics that a reward model gives.
    """
    tables = []
    for group in groups:
        models = [cast[key] for key in cast if any(key in line.figures for line in group)]
        rows = [_row(line, _scale(*_parts(line, group)), models, judged) for line in group]
        whole = [row for line, row in zip(group, rows, strict=True) if not line.whole]
        tables.append(Table(models, whole, list(_folds(group, rows))))
    return sorted(tables, key=lambda table: -len(table.models))


def _folds(group: Sequence[Line], rows: Sequence[TableRow]) -> Iterator[Fold]:
    """The parts by benchmark and metric, each called by its part alone."""
    parts: dict[tuple[str, str], list[TableRow]] = {}
    for line, row in zip(group, rows, strict=True):
        if line.whole:
            title = line.measure.label.removesuffix(f": {line.part}")
            parts.setdefault((line.benchmark, title), []).append(replace(row, label=line.part))
    for (benchmark, title), named in parts.items():
        yield Fold(f"{title}: {len(named)} parts of {benchmark}", named)


def _row(line: Line, scale: Scale, models: Sequence[Model], judged: str) -> TableRow:
    places = _places(line)
    values = {item.value for item in line.figures.values()}
    best = line.best() if len(values) > 1 else None
    base = guess(line.baseline)
    counts = sorted({item.n for item in line.figures.values()})
    rows = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    cells = [
        _cell(line.figures.get(model.key), model, scale, places, best, line.measure.even) for model in models
    ]
    measure = line.measure
    return TableRow(
        measure.label,
        line.metric,
        line.benchmark,
        line.better,
        base,
        "even" if measure.even else "guess",
        rows,
        judged if measure.judged else "",
        cells,
        line.convention,
    )


def _cell(
    item: Figure | None, model: Model, scale: Scale, places: int, best: Figure | None, even: bool
) -> Cell:
    if item is None or item.value is None:
        return Cell(model, None, number(None), "", False, Markup(""))
    chart = strip(item.numbers, scale, color=model.color, name=model.label, baseline=item.baseline)
    equal = best is not None and item.value == best.value
    around = interval(item.low, item.high, places)
    chance = "" if even else _CHANCE.get(item.versus_guess, "")
    return Cell(model, item.value, number(item.value, places), around, equal, chart, chance)


def _parts(line: Line, group: Sequence[Line]) -> list[Line]:
    """The lines of the same metric, whole or in parts: `METRIC[PART]` is drawn on the scale of the others."""
    metric = line.metric.partition("[")[0]
    return [
        other
        for other in group
        if (other.benchmark, other.metric.partition("[")[0]) == (line.benchmark, metric)
    ]


def _scale(*lines: Line) -> Scale:
    figures = [item for line in lines for item in line.figures.values()]
    return scale_for(
        [*(line.baseline for line in lines), *(value for item in figures for value in item.numbers)]
    )


def _places(line: Line) -> int:
    return decimals([value for item in line.figures.values() for value in item.numbers])

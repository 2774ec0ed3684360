"""The tables of metrics, one for each benchmark, as the templates want them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from tempering.report.names import Model
from tempering.report.numbers import decimals, guess, interval, number
from tempering.report.strips import strip
from tempering.report.svg import Scale, scale_for
from tempering.report.table import Figure, Line

_SHOWN = 4
"""Metrics of a benchmark that are seen without a click, where there are more."""
_CHANCE: Mapping[int | None, str] = {-1: "worse than guessing", 0: "no better than guessing"}


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
    """One metric; `rows` and `convention` are empty where they are those of its table."""

    label: str
    metric: str
    benchmark: str
    better: str
    baseline: str
    baseline_label: str
    rows: str
    judged: bool
    cells: Sequence[Cell]
    convention: str = ""

    @property
    def facts(self) -> list[str]:
        """What is to be known of it beside its table's facts."""
        facts = (
            f"{self.rows} rows" if self.rows else "",
            self.convention,
            "judged" if self.judged else "",
            f"{self.baseline_label} {self.baseline}" if self.baseline else "",
        )
        return [fact for fact in facts if fact]


@dataclass(frozen=True)
class Fold:
    """The parts of one metric, which open on demand."""

    title: str
    rows: Sequence[TableRow]


@dataclass(frozen=True)
class Table:
    """The metrics of one benchmark: the first of them, and what opens on demand.

    `facts` hold for all of them, `models` are all that share a metric with one of its own.
    """

    benchmark: str
    facts: Sequence[str]
    models: Sequence[Model]
    rows: Sequence[TableRow]
    more: Sequence[TableRow] = ()
    folds: Sequence[Fold] = ()


def score_tables(
    groups: Iterable[Sequence[Line]], cast: Mapping[str, Model], judged: str = ""
) -> list[Table]:
    """One table for each benchmark, those of the largest family of comparable models first.

    Args:
        judged: who judges, where a metric is a reward model's.
    """
    tables = []
    for group in groups:
        models = [cast[key] for key in cast if any(key in line.figures for line in group)]
        for benchmark in dict.fromkeys(line.benchmark for line in group):
            lines = [line for line in group if line.benchmark == benchmark]
            tables.append(_table(benchmark, lines, models, judged))
    return sorted(tables, key=lambda table: -len(table.models))


def _table(benchmark: str, lines: Sequence[Line], models: Sequence[Model], judged: str) -> Table:
    rows = [_row(line, scale_of(*_parts(line, lines)), models, bool(judged)) for line in lines]
    pairs = list(zip(lines, rows, strict=True))
    # A benchmark of parts alone shows these.
    whole = [pair for pair in pairs if not pair[0].whole] or pairs
    # What all of them say stands once, above.
    count, convention = _one(row.rows for _, row in whole), _one(row.convention for _, row in whole)
    judge = judged if any(row.judged for _, row in whole) else ""
    facts = [fact for fact in (f"{count} rows" if count else "", convention, judge) if fact]
    short = [
        replace(row, rows="" if count else row.rows, convention="" if convention else row.convention)
        for _, row in whole
    ]
    # The first by rank are shown, in their order; a single one more too.
    order = sorted(range(len(whole)), key=lambda place: whole[place][0].measure.rank)
    shown = order[: _SHOWN if len(order) > _SHOWN + 1 else None]
    first = [short[place] for place in sorted(shown)]
    more = [short[place] for place in sorted(set(order).difference(shown))]
    folds = list(_folds(pairs)) if whole is not pairs else []
    return Table(benchmark, facts, models, first, more, folds)


def _one(values: Iterable[str]) -> str:
    """The value, where all are the same; else ""."""
    different = set(values)
    return different.pop() if len(different) == 1 else ""


def _folds(pairs: Iterable[tuple[Line, TableRow]]) -> Iterator[Fold]:
    """The parts by metric, each called by its part alone."""
    parts: dict[str, list[TableRow]] = {}
    for line, row in pairs:
        if line.whole:
            title = line.measure.label.removesuffix(f": {line.part}")
            parts.setdefault(title, []).append(replace(row, label=line.part))
    for title, named in parts.items():
        yield Fold(f"{title}: {len(named)} part{'s' if len(named) != 1 else ''}", named)


def _row(line: Line, scale: Scale, models: Sequence[Model], judged: bool) -> TableRow:
    places = places_of(line)
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
        judged and measure.judged,
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


def _parts(line: Line, lines: Sequence[Line]) -> list[Line]:
    """The lines of the same metric, whole or in parts: `METRIC[PART]` is drawn on the scale of the others."""
    metric = line.metric.partition("[")[0]
    return [other for other in lines if other.metric.partition("[")[0] == metric]


def scale_of(*lines: Line) -> Scale:
    """A scale for all values, intervals and guesses of `lines`."""
    figures = [item for line in lines for item in line.figures.values()]
    return scale_for(
        [*(line.baseline for line in lines), *(value for item in figures for value in item.numbers)]
    )


def places_of(line: Line) -> int:
    """Decimals for all values of `line`."""
    return decimals([value for item in line.figures.values() for value in item.numbers])

"""The numbers of evaluations side by side: rows for `--json`, and a table with a column for each model.

Models that share no metric (a reward model and the policies) get tables of their own. A number of a part of
the rows (`accuracy[islands]`) is shown where parts are asked for; `--json` has all.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flows.cli.output import console
from tempering.artifacts.kinds import EvaluationArtifact
from tempering.printable import number, visible

COLUMNS = ("model", "benchmark", "part", "metric", "value", "low", "high", "n", "convention")
Row = dict[str, Any]
_Line = tuple[str, str, str | None, str]


def metric_rows(evaluations: Mapping[str, EvaluationArtifact]) -> list[Row]:
    """Model -> evaluation, as rows of `COLUMNS` and `better`; what is not finite is None."""
    from tempering.artifacts.tables import read_rows

    return [
        _row(model, row)
        for model, artifact in evaluations.items()
        for row in read_rows(artifact.path / "metadata" / "metrics.parquet")
    ]


def _row(model: str, row: Mapping[str, Any]) -> Row:
    metric, _, part = str(row["metric"]).removesuffix("]").partition("[")
    numbers = {name: row.get(name) for name in ("value", "low", "high")}
    finite = {
        name: value if value is not None and math.isfinite(value) else None for name, value in numbers.items()
    }
    return {
        "model": model,
        "benchmark": row.get("benchmark"),
        "part": part or None,
        "metric": metric,
        **finite,
        "n": row.get("n"),
        "convention": row.get("convention") or "honest",
        "better": row.get("better") or "higher",
    }


def as_json(rows: Iterable[Row]) -> list[Row]:
    """The rows as `--json` prints them."""
    return [{name: row[name] for name in COLUMNS} for row in rows]


def print_metrics(rows: Sequence[Row], *, parts: bool) -> None:
    """A table for each family of models that share metrics; the best of each line is marked."""
    wholes = {(row["benchmark"], row["metric"]) for row in rows if row["part"] is None}
    shown = [
        row for row in rows if parts or not row["part"] or (row["benchmark"], row["metric"]) not in wholes
    ]
    lines: dict[_Line, dict[str, Row]] = {}
    for row in shown:
        line = (str(row["benchmark"] or ""), row["metric"], row["part"], row["convention"])
        lines.setdefault(line, {})[row["model"]] = row
    order = {name: rank for rank, name in reversed(list(enumerate(line[0] for line in lines)))}
    lines = dict(sorted(lines.items(), key=lambda item: order[item[0][0]]))
    out = console()
    for models in _families(lines.values()):
        ours = {line: cells for line, cells in lines.items() if models & cells.keys()}
        columns = [model for model in dict.fromkeys(row["model"] for row in shown) if model in models]
        out.print(_table(columns, ours))
    if hidden := len(rows) - len(shown):
        numbers = "1 number" if hidden == 1 else f"{hidden} numbers"
        out.print(f"{numbers} of parts of the rows: --parts shows them all, --json has them")


def _families(lines: Iterable[Mapping[str, Row]]) -> list[set[str]]:
    families: list[set[str]] = []
    for cells in lines:
        touching = [family for family in families if family & cells.keys()]
        families = [family for family in families if family not in touching]
        families.append(set(cells).union(*touching))
    return families


def _table(models: Sequence[str], lines: Mapping[_Line, Mapping[str, Row]]) -> Any:
    from rich.table import Table

    table = Table(box=None, padding=(0, 1), header_style="dim", pad_edge=False)
    table.add_column("benchmark")
    table.add_column("metric", overflow="fold")
    for model in models:
        table.add_column(visible(model), justify="right", overflow="fold")
    table.add_column("n", justify="right", no_wrap=True)
    before = None
    for (benchmark, metric, part, convention), cells in lines.items():
        name = f"{metric}[{part}]" if part else metric
        more = "" if convention == "honest" else f" ({convention})"
        better = next(iter(cells.values()))["better"]
        best = _best(cells.values(), better)
        counts = sorted({row["n"] or 0 for row in cells.values()})
        table.add_row(
            "" if benchmark == before else visible(benchmark),
            visible(f"{name}{more} {'↓' if better == 'lower' else '↑'}"),
            *(_cell(cells.get(model), best) for model in models),
            number(counts[0]) if len(counts) == 1 else f"{number(counts[0])} to {number(counts[-1])}",
        )
        before = benchmark
    return table


def _best(rows: Iterable[Row], better: str) -> float | None:
    """The best value, where it is not that of all."""
    values = {row["value"] for row in rows if row["value"] is not None}
    return (min if better == "lower" else max)(values) if len(values) > 1 else None


def _cell(row: Row | None, best: float | None) -> Any:
    from rich.text import Text

    if row is None:
        return ""
    is_best = best is not None and row["value"] == best
    cell = Text(f"{'* ' if is_best else ''}{number(row['value'], '.3f') or '–'}", "bold" if is_best else "")
    if row["low"] is not None and row["high"] is not None:
        cell.append(f"\n{row['low']:.3f}–{row['high']:.3f}", "dim not bold")
    return cell

"""`temper report [RUN]`: where the report is, and its numbers.

The numbers come from the evaluations that the run made or reused, not from the page, so that a run
whose report failed can still be read.
"""

import argparse
import math
from collections.abc import Iterable
from typing import Any

from tempering.artifacts.kinds import EvaluationArtifact, ReportArtifact
from tempering.artifacts.runs import RunRecord
from tempering.artifacts.store import Store
from tempering.errors import ArtifactError

_COLUMNS = ("model", "metric", "value", "low", "high", "n")


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    from flows.cli.store_option import add_store

    text = "print where a run's report is, and its metrics"
    parser = commands.add_parser("report", help=text, description=text, allow_abbrev=False)
    parser.add_argument("run", nargs="?", metavar="RUN", help="a run's id (default: the newest run)")
    add_store(parser)
    parser.add_argument("--json", action="store_true", help="the metrics as one JSON document on stdout")
    parser.add_argument("--open", action="store_true", help="open the report in a browser")
    parser.set_defaults(command=report)


def report(args: argparse.Namespace) -> int:
    """The command."""
    from flows.cli.main import print_json
    from flows.cli.store_option import store_root

    store = Store(store_root(args), writable=False)
    record = find_run(store, args.run)
    rows = metric_rows(store, record)
    pages = [artifact.html for artifact in _artifacts(store, record) if isinstance(artifact, ReportArtifact)]
    if args.json:
        print_json(rows)
    else:
        for page in pages:
            print(page)
        if not pages:
            print(f"run {record.id} has no report")
        _print_table(rows)
    if args.open and pages:
        import webbrowser

        webbrowser.open(pages[-1].as_uri())
    return 0


def find_run(store: Store, run: str | None) -> RunRecord:
    """The record called `run`, else the newest that has an evaluation or a report.

    Raises:
        ArtifactError: there is no such run.
    """
    if run is not None:
        record = store.runs.get(run)
        if record is None:
            known = [record.id for _, record in zip(range(3), store.runs.newest(), strict=False)]
            raise ArtifactError(
                f"there is no run {run!r} in {store.root}",
                expected=f"a run's id; the newest are: {', '.join(known) or 'none'}",
            )
        return record
    newest = store.runs.last_run()
    if newest is None:
        raise ArtifactError(f"there is no run in {store.root}", fix="start one with `temper run`")
    shown = (record for record in store.runs.newest(newest.pipeline) if _tells(record))
    return next(shown, newest)


def metric_rows(store: Store, record: RunRecord) -> list[dict[str, Any]]:
    """The run's evaluations as rows of model, metric, value, low, high, n; what is not finite is null."""
    rows: list[dict[str, Any]] = []
    for artifact in _artifacts(store, record):
        if isinstance(artifact, EvaluationArtifact):
            import pyarrow.parquet as parquet

            table = parquet.read_table(artifact.path / "metadata" / "metrics.parquet")
            rows += [{name: _plain(row.get(name)) for name in _COLUMNS} for row in table.to_pylist()]
    return rows


def _tells(record: RunRecord) -> bool:
    made = [name for name, entry in record.stages.items() if entry.artifact]
    return any(name.startswith(("evaluate", "report")) for name in made)


def _artifacts(store: Store, record: RunRecord) -> Iterable[Any]:
    for entry in record.stages.values():
        if entry.artifact:
            yield store.get(entry.artifact)


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 1), header_style="dim", pad_edge=False)
    for name in ("model", "metric"):
        table.add_column(name)
    for name in ("value", "95% interval", "n"):
        table.add_column(name, justify="right", no_wrap=True)
    last = None
    for row in rows:
        shown = "" if row["model"] == last else str(row["model"])
        last = row["model"]
        interval = "" if row["low"] is None else f"{_number(row['low'])} – {_number(row['high'])}"
        table.add_row(shown, str(row["metric"]), _number(row["value"]), interval, str(row["n"] or ""))
    Console(highlight=False).print(table)


def _number(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str("" if value is None else value)

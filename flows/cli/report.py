"""`temper report [RUN]`: where the report is, and its numbers.

The numbers come from the evaluations that the run made or reused, not from the page, so that a run
whose report failed can still be read.
"""

import argparse
import math
import sys
from collections.abc import Iterable
from itertools import islice
from typing import Any

from flows.cli.command import add_command, open_store
from flows.cli.output import console, print_json
from tempering.artifacts.kinds import EvaluationArtifact, ReportArtifact
from tempering.artifacts.runs import RunRecord
from tempering.artifacts.store import Store
from tempering.errors import ArtifactError
from tempering.printable import number

_COLUMNS = ("model", "metric", "value", "low", "high", "n")


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    parser = add_command(commands, "report", report, "print where a run's report is, and its metrics")
    parser.add_argument("run", nargs="?", metavar="RUN", help="a run's id (default: the newest run)")
    parser.add_argument("--open", action="store_true", help="open the report in a browser")


def report(args: argparse.Namespace) -> int:
    """The command."""
    store = open_store(args)
    record = find_run(store, args.run)
    artifacts = list(_artifacts(store, record))
    rows = metric_rows(artifacts)
    pages = [artifact.html for artifact in artifacts if isinstance(artifact, ReportArtifact)]
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
            path = store.runs.path(run)
            if path.exists():
                fix = f"remove {path.name}, or restore it from a copy; the artifacts of the run stay"
                raise ArtifactError(
                    f"{path} cannot be read: it is malformed", expected="a run record", fix=fix
                )
            newest = [record.id for record in islice(store.runs.newest(), 3)]
            raise ArtifactError(
                f"there is no run {run!r} in {store.root}",
                expected=f"a run's id; the newest are: {', '.join(newest) or 'none'}",
            )
        return record
    latest = next((record for record in store.runs.newest() if record.pipeline != "adopt"), None)
    latest = latest or store.runs.last_run()
    if latest is None:
        raise ArtifactError(f"there is no run in {store.root}", fix="start one with `temper run`")
    telling = (record for record in store.runs.newest(latest.pipeline) if _tells(record))
    return next(telling, latest)


def metric_rows(artifacts: Iterable[Any]) -> list[dict[str, Any]]:
    """Evaluations as rows of model, metric, value, low, high, n; what is not finite is null."""
    rows: list[dict[str, Any]] = []
    for artifact in artifacts:
        if isinstance(artifact, EvaluationArtifact):
            import pyarrow.parquet as parquet

            table = parquet.read_table(artifact.path / "metadata" / "metrics.parquet")
            rows += [{name: _plain(row.get(name)) for name in _COLUMNS} for row in table.to_pylist()]
    return rows


def _tells(record: RunRecord) -> bool:
    names = (name for name, entry in record.stages.items() if entry.artifact)
    return any(name.startswith(("evaluate", "report")) for name in names)


def _artifacts(store: Store, record: RunRecord) -> Iterable[Any]:
    for entry in record.stages.values():
        if entry.artifact:
            try:
                yield store.get(entry.artifact)
            except ArtifactError as error:  # the rest can be read all the same
                print(error.found, file=sys.stderr)


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table(box=None, padding=(0, 1), header_style="dim", pad_edge=False)
    for name in ("model", "metric"):
        table.add_column(name)
    for name in ("value", "95% interval", "n"):
        table.add_column(name, justify="right", no_wrap=True)
    previous = None
    for row in rows:
        model = "" if row["model"] == previous else str(row["model"])
        previous = row["model"]
        value, low, high = (number(row[name], ".3f") for name in ("value", "low", "high"))
        interval = f"{low} – {high}" if low else ""
        table.add_row(model, str(row["metric"]), value, interval, str(row["n"] or ""))
    console().print(table)

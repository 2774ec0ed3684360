"""`temper report [RUN]`: where the report is, and its numbers.

The numbers come from the evaluations that the run made or reused, not from the page, so that a run
whose report failed can still be read.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from flows.cli.command import add_command, open_store
from flows.cli.output import print_json
from tempering.artifacts.kinds import EvaluationArtifact, ReportArtifact
from tempering.artifacts.runs import RunRecord
from tempering.artifacts.store import Store
from tempering.errors import ArtifactError

_ASIDE = ("adopt", "evaluate")
"""Records of commands that run no pipeline."""


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    parser = add_command(commands, "report", report, "print where a run's report is, and its metrics")
    parser.add_argument("run", nargs="?", metavar="RUN", help="a run's id (default: the newest run)")
    parser.add_argument("--parts", action="store_true", help="show the numbers of parts of the rows too")
    parser.add_argument("--open", action="store_true", help="open the report in a browser")


def report(args: argparse.Namespace) -> int:
    """The command."""
    from flows.cli.metric_table import as_json, metric_rows, print_metrics

    store = open_store(args)
    record = find_run(store, args.run)
    artifacts = dict(_artifacts(store, record))
    rows = metric_rows(_evaluations(artifacts, record))
    pages = [artifact.html for artifact in artifacts.values() if isinstance(artifact, ReportArtifact)]
    if args.json:
        print_json(as_json(rows))
    else:
        for page in pages:
            print(page)
        if not pages:
            print(f"run {record.id} has no report")
        print_metrics(rows, parts=args.parts)
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
    latest = next((record for record in store.runs.newest() if record.pipeline not in _ASIDE), None)
    latest = latest or store.runs.last_run()
    if latest is None:
        raise ArtifactError(f"there is no run in {store.root}", fix="start one with `temper run`")
    telling = (record for record in store.runs.newest(latest.pipeline) if _tells(record))
    return next(telling, latest)


def _tells(record: RunRecord) -> bool:
    names = (name for name, entry in record.stages.items() if entry.artifact)
    return any(name.startswith(("evaluate", "report")) for name in names)


def _evaluations(artifacts: Mapping[str, Any], record: RunRecord) -> dict[str, EvaluationArtifact]:
    """Model -> its evaluation, in the order of the pipeline's stages."""
    found = {
        name.partition("[")[2].removesuffix("]") or name: artifact
        for name, artifact in artifacts.items()
        if isinstance(artifact, EvaluationArtifact)
    }
    order = [name for name in record.config if name in found]
    return {name: found[name] for name in dict.fromkeys([*order, *found])}


def _artifacts(store: Store, record: RunRecord) -> Iterator[tuple[str, Any]]:
    for name, entry in record.stages.items():
        if entry.artifact:
            try:
                yield name, store.get(entry.artifact)
            except ArtifactError as error:  # the rest can be read all the same
                print(error.found, file=sys.stderr)

"""`temper report [RUN]`: where the report is, and its numbers; as a page or Markdown made now.

The numbers come from the evaluations that the run made or reused, not from the page, so that a run
whose report failed, or which has not ended, can be read and shown as well.
"""

import argparse
import sys
from itertools import islice
from pathlib import Path
from typing import Any

from flows.cli.command import add_command, open_store
from flows.cli.output import print_json
from tempering.artifacts.kinds import ReportArtifact
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
    parser.add_argument(
        "--html",
        metavar="FILE",
        help="make the page now, from what the run has made so far, also of one that failed or still runs",
    )
    parser.add_argument("--markdown", action="store_true", help="print the report as Markdown, made now")


def report(args: argparse.Namespace) -> int:
    """The command."""
    import tasks  # noqa: F401  stages say how they are called
    from flows.cli.metric_table import as_json, metric_rows, print_metrics
    from tempering.report.gather import gather, settings
    from tempering.report.page import make_report

    store = open_store(args)
    record = find_run(store, args.run)
    contents = gather(store, record)
    pages = _pages(store, record)
    # A page of this moment, where one is wanted.
    if args.html:
        write_page(args.html, make_report(contents, settings(record)).html)
        pages = [*pages, Path(args.html).absolute()]
    # Then what goes to stdout.
    if args.json:
        print_json(as_json(metric_rows(contents.evaluations)))
    elif args.markdown:
        print(make_report(contents, settings(record)).markdown, end="")
    elif args.html:
        print(pages[-1])
    else:
        for page in pages:
            print(page)
        if not pages:
            print(f"run {record.id} has no report; `--html FILE` makes one of what it has")
        for name, reason in contents.failures.items():
            print(f"{name} failed: {reason.splitlines()[0]}", file=sys.stderr)
        print(contents.unfinished, end="\n" if contents.unfinished else "")
        print_metrics(metric_rows(contents.evaluations), parts=args.parts)
    if args.open and pages:
        import webbrowser

        webbrowser.open(pages[-1].as_uri())
    return 0


def write_page(name: str, html: str) -> None:
    """Write a page where the user wants it; a missing folder is their mistake."""
    path = Path(name)
    if not path.parent.is_dir():
        raise ArtifactError(f"there is no folder {path.parent}", fix="make it, or name another file")
    path.write_text(html, encoding="utf-8", newline="\n")


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


def _pages(store: Store, record: RunRecord) -> list[Path]:
    """The pages of the reports that the run made or reused."""
    pages = []
    for entry in record.stages.values():
        if entry.artifact:
            try:
                artifact = store.get(entry.artifact)
            except ArtifactError as error:  # the rest can be read all the same
                print(error.found, file=sys.stderr)
                continue
            pages += [artifact.html] if isinstance(artifact, ReportArtifact) else []
    return pages

"""What a stage has to show at its end: metrics, samples of its completions, curves, a report's verdict.

Made in the sender's thread from the artifact's tables, of which only the columns and rows that are shown
are read. Prompts and completions are foreign text: masked, escaped and cut.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from flows.outcome import Outcome
from flows.pages.charts import curves
from flows.pages.markup import metric_rows, plain, table
from flows.plan import PlanRow
from tempering.artifacts.kinds import Artifact, EvaluationArtifact, ReportArtifact
from tempering.credentials import masked
from tempering.printable import clock, count, headline, number

_FIRST, _LAST = 4, 8  # completions shown of a training's beginning and end
_SAMPLE_COLUMNS = ("tokens", "score", "gold", "reward", "prompt", "completion")
_LARGEST = 200_000  # rows of a table that is read to its end
_STATES = {
    "run": "Completed",
    "resume": "Completed (resumed)",
    "cached": "Cached",
    "failed": "Failed",
    "skipped": "NotRun",
    "cancelled": "Cancelled",
}
"""Outcomes in the words of Prefect's states, which stand on the same pages."""
Shown = tuple[str, str, Callable[[], Any], str]
"""What it is called, the kind of Prefect artifact, a function that makes its content, a line about it."""


def plan_rows(rows: Iterable[PlanRow]) -> list[dict[str, str]]:
    """The plan with its reasons."""
    return [
        {
            "stage": row.stage,
            "action": row.action,
            "why": "; ".join(row.in_words()),
            "artifact": row.artifact or "",
        }
        for row in rows
    ]


def run_rows(names: Iterable[str], outcomes: Mapping[str, Outcome]) -> list[dict[str, str]]:
    """What the run has done so far, stage by stage."""
    rows = []
    for name in names:
        outcome = outcomes.get(name)
        artifact = outcome.artifact if outcome else None
        shown = headline(artifact.manifest.metrics) if artifact else outcome.reason if outcome else ""
        rows.append(
            {
                "stage": name,
                "state": _STATES[outcome.action] if outcome else "to come",
                "time": clock(outcome.seconds) if outcome and outcome.seconds else "",
                "result": shown,
                "artifact": artifact.id if artifact else "",
            }
        )
    return rows


def shown_of(artifact: Artifact, stage: str, page: str | None) -> Iterator[Shown]:
    """The pages about an artifact that `stage` has just made; `page`: the address of its report."""
    files, metadata = artifact.manifest.files, artifact.path / "metadata"
    if not isinstance(artifact, ReportArtifact):  # its verdict has all of it
        yield "metrics", "table", lambda: _metrics(artifact), f"Metrics of {plain(stage)}"
    if "metadata/training_stats.parquet" in files:
        about = f"How {plain(stage)} trained, over tokens"
        yield "curves", "markdown", lambda: curves(metadata / "training_stats.parquet"), about
    for name in ("generated_outputs", "completions"):
        if f"metadata/{name}.parquet" in files:
            about = f"What {plain(stage)} answered"
            yield "samples", "markdown", partial(samples, metadata / f"{name}.parquet"), about
    if isinstance(artifact, ReportArtifact):
        yield "verdict", "markdown", lambda: verdict(artifact, page), "What the numbers of this run say"


def _metrics(artifact: Artifact) -> list[dict[str, str]]:
    """An evaluation's numbers with their intervals; else the stage's metrics, tokens and time."""
    if isinstance(artifact, EvaluationArtifact):
        return [_figure(row) for row in _rows(artifact.path / "metadata/metrics.parquet")]
    manifest = artifact.manifest
    facts = {"tokens": f"{manifest.tokens:,}"} if manifest.tokens else {}
    facts |= {"time": clock(manifest.seconds), "artifact": artifact.id}
    return [*metric_rows(manifest.metrics), *metric_rows(facts)]


def _figure(row: Mapping[str, Any]) -> dict[str, str]:
    low, high = row.get("low"), row.get("high")
    return {
        **{name: str(row[name]) for name in ("model", "benchmark", "metric") if row.get(name)},
        "value": number(row.get("value")),
        "95% interval": f"{number(low)} to {number(high)}" if low is not None and high is not None else "",
        "rows": number(row.get("n")),
    }


def samples(path: Path) -> str:
    """The first completions of a table, and of a training the last ones too."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        names = [name for name in _SAMPLE_COLUMNS if name in file.schema_arrow.names]
        if file.metadata.num_rows == 0 or "completion" not in names:
            return ""
        training = "tokens" in names
        first = next(file.iter_batches(_FIRST if training else _LAST, columns=names)).to_pylist()
        if not training:
            return _samples(first)
        if file.metadata.num_rows > _LARGEST:
            return f"{_samples(first)}\n\nThe table is too large to read to its end here: {plain(path.name)}"
        rows = file.read(columns=names)
    last = rows.slice(max(len(first), rows.num_rows - _LAST)).to_pylist()
    parts = [f"At the beginning:\n\n{_samples(first)}"]
    return "\n\n".join(parts + ([f"At the end:\n\n{_samples(last)}"] if last else []))


def _samples(rows: Sequence[Mapping[str, Any]]) -> str:
    names = list(rows[0])
    return table(names, [[_cell(name, row[name]) for name in names] for row in rows])


def _cell(name: str, value: Any) -> str:
    if name == "tokens" and value is not None:
        return count(int(value))
    return value if isinstance(value, str) else number(value, ".3g")


def verdict(report: ReportArtifact, page: str | None) -> str:
    """Where the page is, and the report as its stage has written it in Markdown."""
    where = f"[Open the report]({page})" if page else f"The report: {plain(str(report.html))}"
    if "report.md" not in report.manifest.files:  # an older report
        details = report.details
        failures = details.get("failures")
        lost = failures.items() if isinstance(failures, Mapping) else ()
        lines = "\n".join(f"- {plain(name)} failed: {plain(str(why))}" for name, why in lost)
        sentence = f"**{plain(str(details.get('verdict') or 'The report has no verdict.'), 2000)}**"
        return "\n\n".join(filter(None, (sentence, lines, where)))
    return f"{where}\n\n{masked((report.path / 'report.md').read_text(encoding='utf-8'))}"


def _rows(path: Path) -> list[dict[str, Any]]:
    from tempering.artifacts.tables import read_rows

    return read_rows(path)

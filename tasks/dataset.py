"""dataset[NAME]: checked and filtered rows in two parts, from external files or the story world."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from tempering.artifacts.draft import Draft
from tempering.artifacts.kinds import DatasetArtifact
from tempering.artifacts.stage import Summary, stage
from tempering.config import external_revisions
from tempering.data.builders.base import BuilderConfig
from tempering.errors import DataError

_REASONS = 20  # in the log


@stage("dataset", version=2, makes=DatasetArtifact)
def dataset(
    out: Draft, config: BuilderConfig, *, against: Mapping[str, DatasetArtifact] = MappingProxyType({})
) -> Summary:
    """Normalise, check, filter and split one data set; every dropped row is listed with file and line.

    Args:
        against: evaluation sets whose text must not occur in the train part.

    Raises:
        DataError: a Hub revision has moved since the run was planned, or too many rows are rejected.
    """
    from tempering.data.prepare import build_parts

    _check_unmoved(out, config)
    totals = build_parts(
        config,
        out.rows_dir,
        out.metadata_dir / "rejected.parquet",
        _running_text(out, against),
        say=out.log,
        progress=lambda rows: out.progress(rows, None, unit="rows"),
    )
    # What came of the rows: a summary per part, filter statistics, and the commonest reasons in the log.
    out.write_table("summary", totals.summary())
    if totals.quality:
        out.write_table("quality", totals.quality)
    for reason, count in totals.reasons.most_common(_REASONS):
        out.log(f"{count} rows: {reason}")
    if len(totals.reasons) > _REASONS:
        out.log(f"and {len(totals.reasons) - _REASONS} more reasons, in metadata/rejected.parquet")
    if totals.unused:
        names = ", ".join(f"{name} ({count})" for name, count in totals.unused.most_common(_REASONS))
        out.log(f"columns that are in no part of a row (and the rows that have them): {names}")
        out.write_table("unused_columns", [{"column": name, "rows": n} for name, n in totals.unused.items()])
    # Samples and benchmarks ask for the row type; the live table shows the first number.
    out.details["row_type"] = str(totals.row_type)
    counts = {"rows": totals.rows["train"], "eval_rows": totals.rows["eval"]}
    if not counts["rows"]:  # everything is held out
        counts = dict(reversed(counts.items()))
    return {**counts, "rejected": totals.dropped.total(), "filtered": totals.filtered.total()}


def _check_unmoved(out: Draft, config: BuilderConfig) -> None:
    """Refuse to store rows under the fingerprint of another commit, after a branch has moved."""
    planned_commits = dict(out.ticket.hashed.get("files", [])) if out.ticket else {}
    for source, commit in external_revisions(config):
        planned_commit = planned_commits.get(source, commit)
        if planned_commit != commit:
            raise DataError(
                f"{source} moved to commit {commit[:12]} since this run was planned",
                expected=f"commit {planned_commit[:12]}",
                fix="run again, or set `revision` to a commit",
            )


def _running_text(out: Draft, against: Mapping[str, DatasetArtifact]) -> Iterator[str]:
    from tempering.data.rows import RowType, texts
    from tempering.data.shards import count_rows, iter_rows

    for name, artifact in against.items():
        counts = {part: count_rows(artifact.rows_path(part)) for part in ("eval", "train")}
        part = "eval" if counts["eval"] else "train"
        message = f"decontamination: compared with the {counts[part]} rows of the {part} part of {name}"
        if all(counts.values()):
            out.warn(f"{message}, but not with its {counts['train']} train rows, which no benchmark uses")
        else:
            out.log(message)
        for row in iter_rows(artifact.rows_path(part)):
            yield from texts(RowType(artifact.row_type), row)

"""dataset[NAME]: foreign files, or the story world, to checked and filtered rows in two parts."""

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
    """Normalise, check, filter and split one data set; every row left out is listed with file and line.

    Args:
        against: evaluation sets whose text must not occur in the train part.
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
    out.write_table("summary", totals.summary())
    if totals.quality:
        out.write_table("quality", totals.quality)
    for reason, count in totals.reasons.most_common(_REASONS):
        out.log(f"{count} rows: {reason}")
    if len(totals.reasons) > _REASONS:
        out.log(f"and {len(totals.reasons) - _REASONS} more reasons, in metadata/rejected.parquet")
    out.details["row_type"] = str(totals.row_type)
    counts = {"rows": totals.rows["train"], "eval_rows": totals.rows["eval"]}
    if not counts["rows"]:  # all of it is held out: the first one is what the live table shows
        counts = dict(reversed(counts.items()))
    return {**counts, "rejected": totals.dropped.total(), "filtered": totals.filtered.total()}


def _check_unmoved(out: Draft, config: BuilderConfig) -> None:
    """Refuse to file rows of one commit under the fingerprint of another, should a branch have moved."""
    planned = dict(out.ticket.hashed.get("files", [])) if out.ticket else {}
    for what, commit in external_revisions(config):
        if planned.get(what, commit) != commit:
            raise DataError(
                f"{what} moved to commit {commit[:12]} since this run was planned",
                expected=f"commit {planned[what][:12]}",
                fix="run again, or set `revision` to a commit",
            )


def _running_text(out: Draft, against: Mapping[str, DatasetArtifact]) -> Iterator[str]:
    from tempering.data.rows import RowType, texts
    from tempering.data.shards import count_rows, iter_rows

    for name, one in against.items():
        rows = {part: count_rows(one.rows_path(part)) for part in ("eval", "train")}
        part = "eval" if rows["eval"] else "train"
        compared = f"decontamination: compared with the {rows[part]} rows of the {part} part of {name}"
        if all(rows.values()):
            out.warn(f"{compared}; its {rows['train']} train rows are not evaluated on, and not compared")
        else:
            out.log(compared)
        for row in iter_rows(one.rows_path(part)):
            yield from texts(RowType(one.row_type), row)

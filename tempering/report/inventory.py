"""What went into a run: rows per data set and sample."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from tempering.artifacts.kinds import DatasetArtifact, SampleArtifact
from tempering.report.names import label_of
from tempering.report.numbers import MISSING, count, finite
from tempering.report.reading import rows_of


@dataclass(frozen=True)
class DatasetRow:
    """A row of the table of data sets."""

    name: str
    row_type: str
    train: str
    held_out: str
    characters: str
    rejected: int
    reasons: str


def dataset_rows(datasets: Mapping[str, DatasetArtifact]) -> list[DatasetRow]:
    """Rows, characters and rejections of each data set, by name."""
    table = []
    for name in sorted(datasets):
        # What it holds, and what was turned away at the door and why.
        artifact = datasets[name]
        # Rows and characters of each part, where the artifact knows them.
        parts = {str(row.get("part")): row for row in rows_of(artifact, "summary")}
        rows = {part: finite(parts.get(part, {}).get("rows")) for part in ("train", "eval")}
        sizes = [finite(parts.get(part, {}).get("characters")) for part in ("train", "eval")]
        characters = [size for size in sizes if size is not None]
        # Rejected rows by reason; a row that was kept and only marked is not one of them.
        rejected = [row for row in rows_of(artifact, "rejected") if not row.get("kept")]
        reasons = Counter(str(row.get("reason")) for row in rejected)
        table.append(
            DatasetRow(
                name,
                artifact.row_type,
                train=_rows(rows["train"]),
                held_out=_rows(rows["eval"]),
                characters=count(sum(characters)) if characters else MISSING,
                rejected=sum(reasons.values()),
                reasons=", ".join(f"{times:,} × {reason}" for reason, times in reasons.most_common(3)),
            )
        )
    return table


@dataclass(frozen=True)
class SampleRow:
    """What one data set contributed to one sample."""

    sample: str
    source: str
    part: str
    rows: str
    tokens: str
    truncated: str
    rejected: str
    reasons: str


def sample_rows(samples: Mapping[str, SampleArtifact]) -> list[SampleRow]:
    """Rows and tokens that each source contributed to each sample; training parts first."""
    return [
        SampleRow(
            label_of(name),
            str(row.get("source", "")),
            str(row.get("part", "")),
            rows=_rows(row.get("rows")),
            tokens=count(finite(row.get("tokens"))),
            truncated=_rows(row.get("truncated")),
            rejected=_rows(row.get("rejected")),
            reasons=str(row.get("reasons") or ""),
        )
        for name in sorted(samples)
        for row in rows_of(samples[name], "sources")
        if finite(row.get("rows")) or finite(row.get("rejected"))
    ]


def _rows(value: object) -> str:
    amount = finite(value)
    return MISSING if amount is None else f"{amount:,.0f}"

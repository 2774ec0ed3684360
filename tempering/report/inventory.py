"""What a run cost and what went into it: time and tokens per stage, rows per data set."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tempering.artifacts.kinds import Artifact, DatasetArtifact, SampleArtifact
from tempering.report.names import Model, label_of
from tempering.report.numbers import MISSING, count, duration, finite
from tempering.report.reading import rows_of


@dataclass(frozen=True)
class Cost:
    """A row of the table of stages; shares are percentages of the largest, for the bars."""

    label: str
    color: str
    seconds: float
    tokens: int
    time_share: float
    token_share: float
    note: str = ""

    @property
    def time(self) -> str:
        """The time as text."""
        return duration(self.seconds) if self.seconds else MISSING

    @property
    def speed(self) -> str:
        """Tokens per second over the entire stage, loading included."""
        return f"{count(self.tokens / self.seconds)}/s" if self.tokens and self.seconds else MISSING


Groups = Mapping[str, Mapping[str, Artifact]]
"""label -> artifacts that share a row"""


def costs(
    before: Groups, models: Mapping[str, Artifact], after: Groups, cast: Mapping[str, Model]
) -> list[Cost]:
    """One row per model; the stages before and after them in groups, with summed times."""
    rows = _grouped(before)
    rows += [(cast[key].label, cast[key].color, [models[key]]) for key in cast if key in models]
    rows += _grouped(after)
    seconds = [sum(artifact.manifest.seconds for artifact in group) for _, _, group in rows]
    tokens = [
        sum(artifact.manifest.tokens for artifact in group if artifact.kind == "model")
        for _, _, group in rows
    ]
    max_seconds, max_tokens = max(seconds, default=0) or 1, max(tokens, default=0) or 1
    return [
        Cost(label, color, time, amount, 100 * time / max_seconds, 100 * amount / max_tokens, _note(group))
        for (label, color, group), time, amount in zip(rows, seconds, tokens, strict=True)
    ]


def _grouped(groups: Groups) -> list[tuple[str, str, Sequence[Artifact]]]:
    return [
        (f"{label} ({len(group)})", "m-none", list(group.values()))
        for label, group in groups.items()
        if group
    ]


def _note(group: Sequence[Artifact]) -> str:
    starts = [artifact.manifest.resumed_from_tokens for artifact in group]
    resume_points = [start for start in starts if start is not None]
    return f"resumed from {count(resume_points[0])} tokens" if resume_points else ""


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

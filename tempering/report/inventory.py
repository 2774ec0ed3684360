"""What it took and what went in: time and tokens a stage, rows a data set."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tempering.artifacts.kinds import Artifact, DatasetArtifact, SampleArtifact
from tempering.report.names import Model, label_of
from tempering.report.numbers import MISSING, count, duration, finite
from tempering.report.reading import rows_of


@dataclass(frozen=True)
class Cost:
    """A row of the table of stages; shares are per cent of the largest, for the bars."""

    label: str
    color: str
    seconds: float
    tokens: int
    time_share: float
    token_share: float
    note: str = ""

    @property
    def time(self) -> str:
        """For reading."""
        return duration(self.seconds) if self.seconds else MISSING

    @property
    def speed(self) -> str:
        """Tokens a second over the whole stage, loading included."""
        return f"{count(self.tokens / self.seconds)}/s" if self.tokens and self.seconds else MISSING


Groups = Mapping[str, Mapping[str, Artifact]]
"""label -> artifacts that share a row"""


def costs(
    before: Groups, models: Mapping[str, Artifact], after: Groups, cast: Mapping[str, Model]
) -> list[Cost]:
    """One row a model; what comes before and after them in groups, whose times are summed."""
    rows = _grouped(before)
    rows += [(cast[key].label, cast[key].color, [models[key]]) for key in cast if key in models]
    rows += _grouped(after)
    seconds = [sum(artifact.manifest.seconds for artifact in group) for _, _, group in rows]
    tokens = [
        sum(artifact.manifest.tokens for artifact in group if artifact.kind == "model")
        for _, _, group in rows
    ]
    longest, most = max(seconds, default=0) or 1, max(tokens, default=0) or 1
    return [
        Cost(label, color, time, used, 100 * time / longest, 100 * used / most, _note(group))
        for (label, color, group), time, used in zip(rows, seconds, tokens, strict=True)
    ]


def _grouped(groups: Groups) -> list[tuple[str, str, Sequence[Artifact]]]:
    return [
        (f"{label} ({len(group)})", "m-none", list(group.values()))
        for label, group in groups.items()
        if group
    ]


def _note(group: Sequence[Artifact]) -> str:
    points = [artifact.manifest.resumed_from_tokens for artifact in group]
    resumed = [point for point in points if point is not None]
    return f"resumed from {count(resumed[0])} tokens" if resumed else ""


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
    found = []
    for name in sorted(datasets):
        artifact = datasets[name]
        parts = {str(row.get("part")): row for row in rows_of(artifact, "summary")}
        rows = {part: finite(parts.get(part, {}).get("rows")) for part in ("train", "eval")}
        characters = [finite(parts.get(part, {}).get("characters")) for part in ("train", "eval")]
        known = [value for value in characters if value is not None]
        rejected = [row for row in rows_of(artifact, "rejected") if not row.get("kept")]
        reasons = Counter(str(row.get("reason")) for row in rejected)
        listed = ", ".join(f"{times:,} × {reason}" for reason, times in reasons.most_common(3))
        found.append(DatasetRow(
            name, artifact.row_type, _rows(rows["train"]), _rows(rows["eval"]),
            count(sum(known)) if known else MISSING, sum(reasons.values()), listed,
        ))  # fmt: skip
    return found


@dataclass(frozen=True)
class SampleRow:
    """What one data set gave to one sample."""

    sample: str
    source: str
    part: str
    rows: str
    tokens: str
    truncated: str
    rejected: str
    reasons: str


def sample_rows(samples: Mapping[str, SampleArtifact]) -> list[SampleRow]:
    """Rows and tokens that each source gave to each sample; training parts first."""
    return [
        SampleRow(
            label_of(name), str(row.get("source", "")), str(row.get("part", "")), _rows(row.get("rows")),
            count(finite(row.get("tokens"))), _rows(row.get("truncated")), _rows(row.get("rejected")),
            str(row.get("reasons") or ""),
        )
        for name in sorted(samples)
        for row in rows_of(samples[name], "sources")
        if finite(row.get("rows")) or finite(row.get("rejected"))
    ]  # fmt: skip


def _rows(value: object) -> str:
    known = finite(value)
    return MISSING if known is None else f"{known:,.0f}"

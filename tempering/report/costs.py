"""What each stage cost: time, tokens, compute, memory and money.

Compute is an estimate: 6 operations per parameter and token trained on, forward and backward (Kaplan et al.
2020, https://arxiv.org/abs/2001.08361, eq. 2.1), 4 with an adapter, whose base has no gradient of weights.
What else runs is left out: sampling, reference, reward and value models, further passes over a rollout.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tempering.artifacts.kinds import Artifact
from tempering.printable import size
from tempering.report.names import Model
from tempering.report.numbers import MISSING, count, duration, finite


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
    operations: float = 0.0
    peak: str = ""
    price: str = ""

    @property
    def time(self) -> str:
        """The time as text."""
        return duration(self.seconds) if self.seconds else MISSING

    @property
    def speed(self) -> str:
        """Tokens per second over the entire stage, loading included."""
        return f"{count(self.tokens / self.seconds)}/s" if self.tokens and self.seconds else MISSING

    @property
    def compute(self) -> str:
        """The operations as text: `3.7 TFLOP`."""
        return operations(self.operations) if self.operations else MISSING


Groups = Mapping[str, Mapping[str, Artifact]]
"""label -> artifacts that share a row"""


def costs(
    before: Groups,
    models: Mapping[str, Artifact],
    after: Groups,
    cast: Mapping[str, Model],
    price_per_hour: float | None = None,
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
        Cost(
            label,
            color,
            time,
            amount,
            100 * time / max_seconds,
            100 * amount / max_tokens,
            _note(group),
            sum(training_operations(artifact) for artifact in group),
            _peak(group),
            money(time, price_per_hour),
        )
        for (label, color, group), time, amount in zip(rows, seconds, tokens, strict=True)
    ]


def total(stages: Sequence[Cost], price_per_hour: float | None) -> Cost | None:
    """All stages together; None where there is only one."""
    if len(stages) < 2:
        return None
    seconds = sum(stage.seconds for stage in stages)
    amount = sum(stage.operations for stage in stages)
    tokens = sum(stage.tokens for stage in stages)
    return Cost("All", "m-none", seconds, tokens, 100, 100, "", amount, "", money(seconds, price_per_hour))


def training_operations(artifact: Artifact) -> float:
    """Floating-point operations of a model's training, estimated; 0 where tokens or size are unknown."""
    manifest = artifact.manifest
    parameters = finite(manifest.details.get("parameters")) if manifest.kind == "model" else None
    return (4 if manifest.details.get("adapter") else 6) * (parameters or 0.0) * manifest.tokens


def operations(amount: float) -> str:
    """`3.74 TFLOP`."""
    for unit, letter in ((1e21, "Z"), (1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G")):
        if amount >= unit:
            return f"{amount / unit:.3g} {letter}FLOP"
    return f"{amount / 1e6:.3g} MFLOP"


def money(seconds: float, price_per_hour: float | None) -> str:
    """What so many seconds cost; "" without a price."""
    if price_per_hour is None:
        return ""
    cost = seconds / 3600 * price_per_hour
    return f"{cost:,.2f}" if cost >= 0.1 or cost == 0 else f"{cost:.2g}"


def _peak(group: Sequence[Artifact]) -> str:
    """The largest peak of a group's processes, on a device and in main memory."""
    used = [artifact.manifest.details.get("resources") or {} for artifact in group]
    words = []
    for name, where in (("peak_device_memory", " on the GPU"), ("peak_memory", "")):
        peak = max((finite(facts.get(name)) or 0.0 for facts in used), default=0.0)
        words += [f"{size(peak, rough=True)}{where}"] if peak else []
    return ", ".join(words) or MISSING


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

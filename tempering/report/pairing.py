"""Paired differences between a model and the one it was trained from.

Models answer the same rows, so the difference row by row has a much narrower interval than two
separate means. 95% percentile bootstrap over rows (see `tempering.evaluation.metrics`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from tempering.artifacts.kinds import EvaluationArtifact, ModelArtifact
from tempering.evaluation.metrics import bootstrap
from tempering.report.names import ordered
from tempering.report.numbers import finite
from tempering.report.reading import rows_of

Effect = Literal["better", "worse", "unclear"]


@dataclass(frozen=True)
class Difference:
    """`model` minus `against`, the mean over `n` rows that both answered."""

    model: str
    against: str
    mean: float
    low: float | None
    high: float | None
    n: int
    better: str

    @property
    def effect(self) -> Effect:
        """What the interval says: it lies on the better side of zero, on the worse, or holds zero."""
        if self.low is None or self.high is None or self.low <= 0 <= self.high:
            return "unclear"
        return "better" if (self.low > 0) == (self.better == "higher") else "worse"


def differences(
    evaluations: Mapping[str, EvaluationArtifact],
    parents: Mapping[str, str],
    benchmark: str,
    metric: str,
    better: str,
) -> dict[str, Difference]:
    """Model -> its paired difference to its parent, where both have scores of the same rows."""
    scores = {key: _scores(artifact, benchmark, metric) for key, artifact in evaluations.items()}
    found = {}
    for key, parent in parents.items():
        if key not in scores or parent not in scores:
            continue
        shared = sorted(scores[key].keys() & scores[parent].keys())
        if shared:
            deltas = [scores[key][row] - scores[parent][row] for row in shared]
            low, high = (finite(bound) for bound in bootstrap(deltas))
            found[key] = Difference(key, parent, sum(deltas) / len(deltas), low, high, len(deltas), better)
    return found


def parents_of(models: Mapping[str, ModelArtifact], keys: Iterable[str]) -> dict[str, str]:
    """Model -> the model it was trained from, by lineage.

    For what was evaluated without its model artifact: SFT comes after pretraining, the others after SFT.
    """
    ids = {artifact.manifest.id: key for key, artifact in models.items()}
    order = [key for key in ordered(keys) if key != "reward_model"]
    found: dict[str, str] = {}
    for place, key in enumerate(order):
        if key in models:
            inputs = models[key].manifest.inputs
            given = inputs.get("model") or inputs.get("adapter")
            parent = ids.get("/".join(given.id.split("/")[:2])) if given else None  # without the checkpoint
        else:
            parent = "sft" if "sft" in order[:place] else order[0]
        if parent is not None and parent != key:
            found[key] = parent
    return found


def _scores(artifact: EvaluationArtifact, benchmark: str, metric: str) -> dict[int, float]:
    return {
        int(row["row"]): value
        for row in rows_of(artifact, "scores")
        if row.get("benchmark") == benchmark
        and row.get("metric") == metric
        and (value := finite(row.get("value"))) is not None
    }

"""Paired differences between a model and the one it was trained from.

Both models answer the same rows, so the row-by-row difference has a much narrower interval than two
separate means. 95% percentile bootstrap over rows (see `tempering.evaluation.bootstrap`). A number that is no
plain mean of its rows, such as a loss over all tokens, is not paired: the mean of the rows' differences is
another one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isclose
from statistics import fmean
from typing import Literal

from tempering.artifacts.kinds import EvaluationArtifact, ModelArtifact
from tempering.artifacts.names import stage_folder
from tempering.evaluation.bootstrap import COMPARED, mean_interval
from tempering.report.numbers import finite
from tempering.report.reading import rows_of

Effect = Literal["better", "worse", "unclear"]


@dataclass(frozen=True)
class Difference:
    """`model` minus `against`: the mean over the `n` rows that both answered."""

    model: str
    against: str
    mean: float
    low: float | None
    high: float | None
    n: int
    better: str

    @property
    def effect(self) -> Effect:
        """Which side of zero the interval is on, the better or the worse; unclear where it contains zero."""
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
    """Model -> its paired difference to its parent, where both have scores for the same rows."""
    scores = {
        key: rows
        for key, artifact in evaluations.items()
        if is_mean(_value(artifact, benchmark, metric), rows := _scores(artifact, benchmark, metric))
    }
    by_model = {}
    for key, parent in parents.items():
        if key not in scores or parent not in scores:
            continue
        shared = sorted(scores[key].keys() & scores[parent].keys())
        if shared:
            deltas = [scores[key][row] - scores[parent][row] for row in shared]
            low, high = (finite(bound) for bound in mean_interval(deltas, count=COMPARED))
            by_model[key] = Difference(key, parent, sum(deltas) / len(deltas), low, high, len(deltas), better)
    return by_model


def parents_of(models: Mapping[str, ModelArtifact]) -> dict[str, str]:
    """Model -> the model it was trained from, by lineage; for a merged adapter the adapter's own stage."""
    # Two stages of the same settings share one artifact: the first of them is meant.
    ids = {artifact.manifest.id: key for key, artifact in reversed(list(models.items()))}
    merges = {stage_folder(f"merge[{key}]"): key for key in models}
    parents: dict[str, str] = {}
    for key, artifact in models.items():
        inputs = artifact.manifest.inputs
        source = inputs.get("model") or inputs.get("adapter")
        if source is None:
            continue
        stage, folder = source.id.split("/")[:2]  # without the checkpoint
        parent = ids.get(f"{stage}/{folder}") or merges.get(stage)
        if parent is not None and parent != key:
            parents[key] = parent
    return parents


def is_mean(value: float | None, rows: Mapping[int, float]) -> bool:
    """Whether a number is the plain mean of its rows: not if they have weights, or are none."""
    return value is not None and bool(rows) and isclose(fmean(rows.values()), value, abs_tol=1e-9)


def _value(artifact: EvaluationArtifact, benchmark: str, metric: str) -> float | None:
    rows = rows_of(artifact, "metrics")
    mine = (row for row in rows if (row.get("benchmark"), row.get("metric")) == (benchmark, metric))
    return finite(next(mine, {}).get("value"))


def _scores(artifact: EvaluationArtifact, benchmark: str, metric: str) -> dict[int, float]:
    return {
        int(row["row"]): value
        for row in rows_of(artifact, "scores")
        if row.get("benchmark") == benchmark
        and row.get("metric") == metric
        and (value := finite(row.get("value"))) is not None
    }

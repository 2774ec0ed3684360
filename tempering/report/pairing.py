"""Paired differences between a model and the one it was trained from.

Both models answer the same rows, so the row-by-row difference has a much narrower interval than two
separate means. 95% percentile bootstrap over rows (see `tempering.evaluation.bootstrap`), which says too much
of few rows and of rows that all differ alike: no verdict there. A number that is no plain mean of its rows,
such as a loss over all tokens, is not paired: the mean of the rows' differences is another one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isclose
from statistics import fmean
from typing import Literal

from tempering.artifacts.kinds import EvaluationArtifact, ModelArtifact
from tempering.artifacts.names import stage_folder
from tempering.evaluation.bootstrap import COMPARED, mean_interval
from tempering.evaluation.metrics import wilson
from tempering.report.numbers import finite
from tempering.report.reading import rows_of

Effect = Literal["better", "worse", "unclear"]
FEWEST = 10
"""Rows that a verdict needs: of two that do not differ in truth, a bootstrap finds one in five different."""
Scores = Mapping[tuple[str, str], Mapping[int, float]]
"""benchmark and metric, or metric[part] -> row -> value"""


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
        """Which side of zero the interval is on; unclear: it contains zero or is a point, or rows are few."""
        if self.low is None or self.high is None or self.low <= 0 <= self.high:
            return "unclear"
        if self.n < FEWEST or isclose(self.low, self.high):
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
    place = benchmark, metric
    scores = {
        key: rows
        for key, artifact in evaluations.items()
        if is_mean(_value(artifact, benchmark, metric), rows := scores_of(artifact).get(place, {}))
    }
    pairs = {key: parent for key, parent in parents.items() if key in scores and parent in scores}
    paired = {
        key: difference(key, parent, scores[key], scores[parent], better) for key, parent in pairs.items()
    }
    return {key: change for key, change in paired.items() if change is not None}


def difference(
    model: str, against: str, ours: Mapping[int, float], theirs: Mapping[int, float], better: str
) -> Difference | None:
    """`ours` less `theirs` over the rows that both have, with its interval; None where they share none."""
    shared = sorted(ours.keys() & theirs.keys())
    if not shared:
        return None
    deltas = [ours[row] - theirs[row] for row in shared]
    low, high = _interval(deltas, yes_no={*ours.values(), *theirs.values()} <= {0.0, 1.0})
    return Difference(model, against, fmean(deltas), low, high, len(deltas), better)


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


def scores_of(artifact: EvaluationArtifact) -> Scores:
    """The values of the rows of each metric, and of each part of one: its rows that belong to the part."""
    scores: dict[tuple[str, str], dict[int, float]] = {}
    for row in rows_of(artifact, "scores"):
        value, part = finite(row.get("value")), row.get("part")
        if value is None:
            continue
        benchmark, metric = str(row["benchmark"]), str(row["metric"])
        for name in [metric] if part is None else [metric, f"{metric}[{part}]"]:
            scores.setdefault((benchmark, name), {})[int(row["row"])] = value
    return scores


def _value(artifact: EvaluationArtifact, benchmark: str, metric: str) -> float | None:
    rows = rows_of(artifact, "metrics")
    mine = (row for row in rows if (row.get("benchmark"), row.get("metric")) == (benchmark, metric))
    return finite(next(mine, {}).get("value"))


def _interval(deltas: Sequence[float], *, yes_no: bool) -> tuple[float | None, float | None]:
    """By the bootstrap; where all rows went from no to yes, or back, by how many may not have (Wilson)."""
    if yes_no and {*deltas} in ({1.0}, {-1.0}):
        share, _ = wilson(len(deltas), len(deltas))
        low, high = sorted((deltas[0], deltas[0] * (2 * share - 1)))
        return low, high
    low, high = mean_interval(deltas, count=COMPARED)
    return finite(low), finite(high)

"""RewardBench 2 (Malik et al. 2025, https://arxiv.org/abs/2506.01937): the right answer among several.

Best of N: the reward model must give the one right answer of (usually) four the highest score. The subset
Ties has several right answers and a score of its own (`tempering.evaluation.ties`). The benchmark's score is
the mean over its subsets.
"""

import math
from collections.abc import Iterator, Mapping
from statistics import fmean
from typing import TYPE_CHECKING, Literal

from tempering.data.rows import RowType
from tempering.errors import DataError
from tempering.evaluation.benchmarks.base import Benchmark, Measure, Row, Tools

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

    from tempering.evaluation.findings import Findings

_CHANCE = "mean of 1 / number of answers"
_TIES = "ties"


class RewardBenchBenchmark(Benchmark):
    """Share of prompts whose right answer a reward model scores highest, and RewardBench 2's Ties score."""

    kind: Literal["reward_bench"]

    row_types = (RowType.ANSWER_SET,)
    measures = "scorer"
    convention = (
        "As RewardBench 2's own tool: the right answer counts 1/k where k answers, it among them, have the "
        "best score; in the subset Ties 0.3 accuracy on tied + 0.3 on ref prompts + 0.2 margins right + 0.2 "
        "right in both forms + 0.01 tanh of their size. `best_of_n[SUBSET]` is that of a subset, "
        "`subset_mean` the mean over the subsets, Ties too."
    )
    metrics = (
        Measure("best_of_n", "Right answer scored highest", "share of prompts", baseline=_CHANCE),
        Measure("ties_score", "Ties, as published", "0 to 1.01, over all questions of Ties"),
        Measure("subset_mean", "Mean of the subsets", "0 to 1, as published", rank=8),
    )

    @property
    def convention_name(self) -> str:
        """As the official tool."""
        return "official"

    def run(self, rows: list[Row], tools: Tools, findings: "Findings") -> None:
        """The score of every answer, in `answers.parquet`, and what follows for each subset."""
        assert tools.scorer is not None
        check_answers(rows)

        # Score every answer of every prompt.
        prompts = [[dict(turn) for turn in row["prompt"]] for row in rows for _ in row["answers"]]
        scores = iter(tools.scorer(prompts, [text for row in rows for text in row["answers"]]))
        scored = [[next(scores) for _ in row["answers"]] for row in rows]
        findings.keep("answers", _table(rows, scored))

        # Best of N: every prompt with one right answer, outside of Ties.
        subsets = [str(row["subset"]) for row in rows]
        points = [
            None if subset.lower() == _TIES else best_of_n(line)
            for subset, line in zip(subsets, scored, strict=True)
        ]
        resampled = dict(_subsets(rows, subsets, points, findings))

        # Ties, and the mean over the subsets.
        ties = [place for place, subset in enumerate(subsets) if subset.lower() == _TIES]
        if ties:
            own = [rows[place] for place in ties], [scored[place] for place in ties]
            resampled[_TIES] = _ties(*own, findings)
        if resampled:
            _mean_of_subsets(resampled, findings)


def best_of_n(scores: list[float]) -> float | None:
    """1 where the first answer has the best score alone, 1/k where k share it, else 0; None: not scored."""
    if any(math.isnan(score) for score in scores):
        return None
    return (scores[0] == max(scores)) / scores.count(max(scores))


def check_answers(rows: list[Row]) -> None:
    """Refuse several right answers outside of Ties, where the published score knows one.

    Raises:
        DataError: naming the subset and the row; also a row of Ties without its form.
    """
    from tempering.evaluation.ties import form_of

    for number, row in enumerate(rows):
        if str(row["subset"]).lower() == _TIES:
            form_of(row["id"])
        elif row["num_right"] != 1:
            raise DataError(
                f"row {number} of subset {row['subset']!r} has {row['num_right']} right answers",
                expected="one outside of the subset Ties",
                fix="keep one of its chosen answers, or put it into Ties with the id tied:N",
            )


def _subsets(
    rows: list[Row], subsets: list[str], points: list[float | None], findings: "Findings"
) -> Iterator[tuple[str, "NDArray[float64]"]]:
    """Adds the metric of all rows and of each subset; the subset, its mean and resampled means follow."""
    import numpy as np

    from tempering.evaluation.bootstrap import resamples

    best_of = [place for place, subset in enumerate(subsets) if subset.lower() != _TIES]
    if best_of:
        findings.add("best_of_n", points, fmean(1 / len(rows[place]["answers"]) for place in best_of))
    for subset in dict.fromkeys(subsets[place] for place in best_of):
        own = [point if subset == name else None for point, name in zip(points, subsets, strict=True)]
        sizes = [len(row["answers"]) for row, name in zip(rows, subsets, strict=True) if name == subset]
        chance = fmean(1 / size for size in sizes)
        findings.add(f"best_of_n[{subset}]", own, chance)
        values = np.asarray([point for point in own if point is not None])
        if len(values):
            drawn = [values[draw].mean(axis=1) for draw in resamples(len(values))]
            yield subset, np.concatenate([[values.mean()], *drawn])


def _ties(rows: list[Row], scored: list[list[float]], findings: "Findings") -> "NDArray[float64]":
    """Adds the score of Ties; returns it, and those of the resamples over questions."""
    import numpy as np

    from tempering.evaluation import ties
    from tempering.evaluation.bootstrap import RESAMPLES, resamples

    forms = {
        ties.form_of(row["id"]): ties.Scored(line[: row["num_right"]], line[row["num_right"] :])
        for row, line in zip(rows, scored, strict=True)
        if not any(math.isnan(score) for score in line)
    }
    terms = ties.parts(forms)
    count = len(terms["ref"])
    if not count:
        return np.full(RESAMPLES + 1, np.nan)
    drawn = (ties.score(terms, draw) for block in resamples(count) for draw in block)
    scores = np.asarray([ties.score(terms), *drawn])
    findings.add_value("ties_score", float(scores[0]), _interval(scores), count)
    return scores


def _mean_of_subsets(resampled: Mapping[str, "NDArray[float64]"], findings: "Findings") -> None:
    """Every subset counts the same; the resamples are of each subset's own rows."""
    import numpy as np

    means = np.mean([*resampled.values()], axis=0)
    findings.add_value("subset_mean", float(means[0]), _interval(means), len(resampled))


def _interval(values: "NDArray[float64]") -> tuple[float, float]:
    """The percentile bootstrap interval of the first value, from the others."""
    from tempering.evaluation.bootstrap import interval

    low, high = interval(values[1:])
    return min(float(values[0]), low), max(float(values[0]), high)


def _table(rows: list[Row], scored: list[list[float]]) -> Iterator[Row]:
    """One row per answer."""
    for number, (row, line) in enumerate(zip(rows, scored, strict=True)):
        about = {"row": number, "subset": row["subset"], "id": row["id"]}
        for place, score in enumerate(line):
            yield {**about, "answer": place, "right": place < row["num_right"], "score": score}

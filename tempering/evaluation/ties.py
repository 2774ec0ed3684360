"""The subset Ties of RewardBench 2: questions with several right answers, none of which should win by much.

Each question has two forms: `ref`, with one right answer, and `tied`, with several. A form is right where the
worst right answer scores above the best wrong one. A question's margins are right where the right answers of
its tied form lie closer together than right and wrong ones. The score is what the benchmark's own tool
computes (https://github.com/allenai/reward-bench/blob/05a9005/rewardbench/utils.py, `process_single_model`):
0.3 accuracy on tied + 0.3 on ref + 0.2 margins right in the tied form + 0.2 in both forms, and a last
term of at most 0.01 that prefers larger margins.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tempering.errors import DataError

Numbers = NDArray[np.float64]
_FORMS = ("ref", "tied")
_WEIGHTS = {"tied": 0.3, "ref": 0.3, "margin": 0.2, "hard_margin": 0.2, "margin_size": 0.01}


@dataclass(frozen=True)
class Scored:
    """One form of a question: the scores of its right answers, and those of its wrong ones."""

    right: Sequence[float]
    wrong: Sequence[float]

    @property
    def gap(self) -> float:
        """The worst right answer's score less the best wrong one's."""
        return min(self.right) - max(self.wrong)

    @property
    def spread(self) -> float:
        """The best right answer's score less the worst one's."""
        return max(self.right) - min(self.right)


def form_of(identity: str) -> tuple[str, str]:
    """Form and question of a row's `id`.

    Raises:
        DataError: it is neither `ref:N` nor `tied:N`.
    """
    form, _, question = identity.partition(":")
    if form not in _FORMS or not question:
        raise DataError(
            f"the id of a row of the subset Ties is {identity!r}",
            expected="ref:N (one right answer) or tied:N (several) with the same N for the same question",
            fix="correct `id`, or name the subset otherwise: its rows are then best of N",
        )
    return form, question


def parts(rows: Mapping[tuple[str, str], Scored]) -> dict[str, Numbers]:
    """The terms of the score, one value per question; NaN where the question lacks the form."""
    questions = list(dict.fromkeys(question for _, question in rows))
    pairs = [(rows.get(("ref", question)), rows.get(("tied", question))) for question in questions]
    terms: dict[str, list[float]] = {name: [] for name in _WEIGHTS}
    for ref, tied in pairs:
        terms["ref"].append(float("nan") if ref is None else float(ref.gap > 0))
        terms["tied"].append(float("nan") if tied is None else float(tied.gap > 0))
        margins = [float("nan")] * 3 if ref is None or tied is None else _margins(ref, tied)
        for name, value in zip(("margin", "hard_margin", "margin_size"), margins, strict=True):
            terms[name].append(value)
    return {name: np.asarray(values) for name, values in terms.items()}


def score(terms: Mapping[str, Numbers], questions: NDArray[np.int64] | None = None) -> float:
    """The published score, of all questions or (a resample) of those at these places.

    A form that no question has counts 0, as there.
    """
    chosen = terms if questions is None else {name: values[questions] for name, values in terms.items()}
    return sum(weight * _mean(chosen[name]) for name, weight in _WEIGHTS.items())


def _margins(ref: Scored, tied: Scored) -> list[float]:
    smaller = min(ref.gap, tied.gap)
    # 0 / 0 is not a number there, and counts 0; anything else / 0 is infinite, and its tanh ±1.
    size = 0.0 if tied.spread == smaller == 0 else _tanh_ratio(smaller, tied.spread)
    return [float(tied.gap > tied.spread), float(smaller > tied.spread), size]


def _tanh_ratio(gap: float, spread: float) -> float:
    return float(np.sign(gap)) if spread == 0 else float(np.tanh(gap / spread - 1))


def _mean(values: Numbers) -> float:
    numbers = values[~np.isnan(values)]
    return float(numbers.mean()) if len(numbers) else 0.0

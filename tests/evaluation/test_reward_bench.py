"""RewardBench 2: best of N and Ties, by hand and as its own tool computed them from the same scores."""

from math import nan, tanh
from typing import Any

import pytest

from tempering.errors import DataError
from tempering.evaluation.benchmarks import RewardBenchBenchmark, Tools
from tempering.evaluation.findings import Findings, run_benchmark


def reads_its_answer(prompts: Any, answers: list[str], **_: Any) -> list[float]:
    return [float(answer) for answer in answers]


def row(subset: str, identity: str, right: list[float], wrong: list[float]) -> dict[str, Any]:
    answers = [str(score) for score in [*right, *wrong]]
    prompt = [{"role": "user", "content": "?"}]
    return {"prompt": prompt, "answers": answers, "num_right": len(right), "subset": subset, "id": identity}


BEST_OF = [
    row("Math", "0", [3], [1, 2, 0]),  # right
    row("Math", "1", [2], [2, 2, 0]),  # one of three best
    row("Focus", "2", [1], [2, 2, 0]),
    row("Focus", "3", [1.5], [1, 1, 1]),
]
TIES = [
    row("Ties", "ref:0", [4], [1, 2]),
    row("Ties", "tied:0", [5, 4.5, 4], [1, 2]),  # spread 1, gap 2: the smaller gap, also ref's, is 2
    row("Ties", "ref:1", [1], [2]),
    row("Ties", "tied:1", [3, 1], [0.5]),  # spread 2, gap 0.5
    row("Ties", "ref:2", [1], [1]),  # a tie with a wrong answer is no win
    row("Ties", "tied:2", [2, 2], [1]),  # spread 0
]


def measured(rows: list[dict[str, Any]], scorer: Any = reads_its_answer) -> Findings:
    benchmark = RewardBenchBenchmark(kind="reward_bench", dataset="bench")
    return run_benchmark("bench", benchmark, rows, Tools(scorer=scorer))


def values(found: Findings) -> dict[str, float]:
    return {metric.metric: metric.value for metric in found.metrics}


def test_best_of_n_by_hand() -> None:
    found = measured(BEST_OF)
    assert values(found) == pytest.approx(
        {
            "best_of_n": (1 + 1 / 3 + 0 + 1) / 4,
            "best_of_n[Math]": 2 / 3,
            "best_of_n[Focus]": 0.5,
            "subset_mean": (2 / 3 + 0.5) / 2,
        }
    )
    assert {metric.convention for metric in found.metrics} == {"official"}
    assert found.metrics[0].baseline == 0.25
    assert [item["score"] for item in found.tables["answers"][:4]] == [3, 1, 2, 0]
    assert all(metric.low <= metric.value <= metric.high for metric in found.metrics)


def test_ties_by_hand() -> None:
    found = values(measured(TIES))
    accuracies = 0.3 * (3 / 3) + 0.3 * (1 / 3)
    margins = 0.2 * (2 / 3) + 0.2 * (1 / 3)
    # Question 0: 2 / 1 - 1; question 1: ref's gap -1 / 2 - 1; question 2: 0 / 0, which counts 0.
    sizes = 0.01 * (tanh(1) + tanh(-1.5) + 0) / 3
    assert found["ties_score"] == pytest.approx(accuracies + margins + sizes)
    assert found["subset_mean"] == found["ties_score"]


def test_the_numbers_of_the_official_tool() -> None:
    """What reward-bench 05a9005 gave for these rows (`process_single_model`, `reroll_and_score_dataset`)."""
    assert values(measured(TIES))["ties_score"] == pytest.approx(0.5995214863410363, abs=1e-12)
    assert values(measured(BEST_OF))["best_of_n[Math]"] == pytest.approx(0.6666666666666666, abs=1e-12)


def test_an_answer_without_a_score_leaves_its_prompt_out() -> None:
    def breaks(prompts: Any, answers: list[str], **_: Any) -> list[float]:
        return [nan if answer in ("3", "5") else float(answer) for answer in answers]

    found = {metric.metric: metric for metric in measured([*BEST_OF, *TIES], breaks).metrics}
    assert (found["best_of_n"].n, found["best_of_n[Math]"].n) == (3, 1)
    assert found["ties_score"].n == 3, "the question has its other form"


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (row("Math", "0", [1, 2], [0]), "2 right answers"),
        (row("Ties", "17", [1, 2], [0]), "id of a row of the subset Ties is '17'"),
    ],
)
def test_rows_it_has_no_score_for_are_refused(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        measured([*BEST_OF, bad])

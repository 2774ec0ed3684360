"""A judge compares completions with the baseline's or with those in the rows."""

from types import SimpleNamespace
from typing import Any

import pytest

from tempering.errors import DataError
from tempering.evaluation.benchmarks import ComparisonBenchmark, CompletionsBenchmark, Tools
from tempering.evaluation.findings import Findings, run_benchmark
from tempering.evaluation.judges import Verdict
from tests.evaluation.test_against import OURS, THEIRS, baseline, policy, rows, values


class Longer:
    """Prefers the longer text, and does not answer where one of them is empty."""

    model_names = ("the judge",)

    def __init__(self, across_prompts: bool = False) -> None:
        # Four of its six questions had an answer other than a tie.
        self.facts = {"first_place_share": 0.75, "first_place_questions": 4}
        self.across_prompts, self.asked = across_prompts, 0

    def build(self, tools: Tools) -> Any:
        return self

    def compare(self, prompts: Any, first: list[str], second: list[str], ended: Any) -> list[Verdict]:
        self.asked += len(prompts)
        sizes = [*zip(map(len, first), map(len, second), strict=True)]
        return [
            Verdict((a > b) + (a == b) / 2, "ok", a, b) if a and b else Verdict(None, "refused")
            for a, b in sizes
        ]


def benchmark(judge: Any, **settings: Any) -> ComparisonBenchmark:
    made = ComparisonBenchmark(kind="comparison", dataset="x", judge={"kind": "reward_model"}, **settings)
    return made.model_copy(update={"judge": judge})


def counts(findings: Findings) -> dict[str, int]:
    return {metric.metric: metric.n for metric in findings.metrics}


def test_outcomes_by_hand() -> None:
    """Mutations: a refusal counted as a loss or a tie; equal completions put to the judge; sides swapped."""
    judge = Longer()
    findings = run_benchmark("x", benchmark(judge), rows(), Tools(policy(OURS), baseline=baseline()))
    found = values(findings)
    # A win, a loss, a refusal, the same text, a loss.
    assert (found["win_rate"], found["win_share"], found["tie_share"]) == (1.5 / 4, 1 / 4, 1 / 4)
    assert (found["judged_share"], counts(findings)["judged_share"], counts(findings)["win_rate"]) == (
        0.8,
        5,
        4,
    )
    assert (found["first_place_share"], counts(findings)["first_place_share"]) == (0.75, 4)
    assert found["length_ratio"] == 11 / 13
    assert "score" not in found
    assert judge.asked == 4
    table = {row["row"]: row for row in findings.tables["verdicts"]}
    assert (table[2]["status"], table[2]["preference"], table[3]["status"]) == (
        "refused",
        None,
        "the same completion",
    )
    assert [table[row]["reference"] for row in range(5)] == [text for text, _ in THEIRS]


def test_scores_that_mean_the_same_for_every_prompt_are_averaged() -> None:
    """Mutation: equal completions left out of the average."""
    findings = run_benchmark("x", benchmark(Longer(True)), rows(), Tools(policy(OURS), baseline=baseline()))
    found = values(findings)
    assert (found["score"], found["reference_score"]) == (11 / 4, 12 / 4)
    assert found["score_gain"] == -1 / 4


class EndingReward:
    """A reward model to which a completion is worth its length, and its end 10."""

    classifies = False

    def __call__(self, prompts: Any, texts: list[str], ended: list[bool]) -> list[float]:
        return [len(text) + 10.0 * end for text, end in zip(texts, ended, strict=True)]


def test_a_reward_model_judges_what_was_cut_short_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `completions` does. Mutations: EOS behind every completion; one side's ends for both."""
    monkeypatch.setattr("tempering.rewards.learned.LearnedReward.of", lambda *_: EndingReward())
    monkeypatch.setattr("tempering.evaluation.judges.reward_model.device_of", lambda tools: "cpu")
    others = baseline()
    others[0]["ended"] = others[3]["ended"] = False
    for row, other in others.items():
        other["reward"] = len(other["completion"]) + 10.0 * other["ended"]
        assert other["completion"] == THEIRS[row][0]
    judge = {"kind": "reward_model", "model": "rm"}
    asked = ComparisonBenchmark.model_validate({"kind": "comparison", "dataset": "x", "judge": judge})
    tools = Tools(policy(OURS), EndingReward(), baseline=others, models={"rm": None})  # type: ignore[arg-type,dict-item]
    found = values(run_benchmark("x", asked, rows(), tools))
    # Ours 14, 2, 10, 14, 11; theirs 2, 14, 11, 4, 12.
    assert (found["score"], found["reference_score"], found["win_rate"]) == (51 / 5, 43 / 5, 2 / 5)
    scored = CompletionsBenchmark(kind="completions", dataset="x")
    same = values(run_benchmark("x", scored, rows(), tools))
    names = {"score": "reward", "reference_score": "reference_reward", "score_gain": "reward_gain"}
    assert [found[name] for name in names] == [same[name] for name in names.values()]
    # What the rows bring is whole.
    answers = [[{"role": "assistant", "content": text}] for text, _ in THEIRS]
    given = [{**row, "completion": answer} for row, answer in zip(rows(), answers, strict=True)]
    bring = asked.model_copy(update={"reference": "rows"})
    assert values(run_benchmark("x", bring, given, tools))["reference_score"] == 63 / 5


def test_the_rows_bring_the_reference() -> None:
    answers = [[{"role": "assistant", "content": text}] for text, _ in THEIRS]
    given = [{**row, "completion": answer} for row, answer in zip(rows(), answers, strict=True)]
    asked = benchmark(Longer(), reference="rows")
    findings = run_benchmark("x", asked, given, Tools(policy(OURS)))
    assert values(findings)["win_rate"] == 1.5 / 4
    assert not asked.compared
    with pytest.raises(DataError, match="holds prompt rows"):
        asked.check("judged", Tools(datasets={"x": SimpleNamespace(id="dataset/x", row_type="prompt")}))  # type: ignore[dict-item]


def test_the_baseline_itself_is_not_compared() -> None:
    findings = run_benchmark("x", benchmark(Longer()), rows(), Tools(policy(OURS)))
    assert set(values(findings)) == {"ended_share", "empty_share"}
    assert len(findings.tables["completions"]) == 5


def test_a_judges_model_is_an_input(nodes: Any) -> None:
    judged = {"kind": "comparison", "dataset": "prompts", "judge": {"kind": "reward_model"}}
    made = {node.name: node for node in nodes({"evaluate.benchmarks.judged": judged})}
    assert made["evaluate[ppo]"].inputs["models"] == {"reward_model": "reward_model"}
    assert made["evaluate[ppo]"].inputs["baseline"] == "evaluate[sft]"

"""Completions against a reference's, with numbers worked out by hand."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tempering.evaluation.benchmarks import CompletionsBenchmark, Tools
from tempering.evaluation.findings import Findings, run_benchmark
from tempering.evaluation.metrics import wilson
from tempering.evaluation.paired import length_controlled

OURS = [("aaaa", True), ("bb", False), ("", True), ("same", True), ("e", True)]
THEIRS = [("aa", True), ("bbbb", True), ("c", True), ("same", True), ("ee", True)]
REWARDS = {"aaaa": 3.0, "bb": 1.0, "": -1.0, "same": 0.5, "e": 2.0}
THEIR_REWARDS = [1.0, 2.0, -1.0, 0.5 + 1e-7, 2.5]


def policy(answers: list[tuple[str, bool]]) -> Any:
    return SimpleNamespace(prompt=lambda turns: [1], complete=lambda prompts, *more: answers[: len(prompts)])


def rows(count: int = 5) -> list[dict[str, Any]]:
    return [{"prompt": [{"role": "user", "content": f"q{number}"}]} for number in range(count)]


def baseline() -> dict[int, dict[str, Any]]:
    return {
        row: {"row": row, "prompt": f"q{row}", "completion": text, "ended": ended, "reward": reward}
        for row, ((text, ended), reward) in enumerate(zip(THEIRS, THEIR_REWARDS, strict=True))
    }


def measured(**tools: Any) -> Findings:
    benchmark = CompletionsBenchmark(kind="completions", dataset="x")
    return run_benchmark("x", benchmark, rows(), Tools(policy(OURS), **tools))


def values(findings: Findings) -> dict[str, float]:
    return {metric.metric: metric.value for metric in findings.metrics}


class Scorer:
    """A reward model's scores from a table."""

    classifies = False

    def __call__(self, prompts: Any, texts: list[str], ended: Any = None) -> list[float]:
        return [REWARDS[text] for text in texts]


def test_a_win_a_loss_and_ties_by_hand() -> None:
    """Mutations: equal texts with rewards that differ by rounding lose; a tie counts 0; sides swapped."""
    findings = measured(scorer=Scorer(), baseline=baseline())
    longer = np.array([2.0, -2.0, -1.0, 0.0, -1.0])
    expected = {
        "reward": 1.1,
        "reference_reward": 1.0,
        "reward_gain": (2.0 - 1.0 + 0.0 + 0.0 - 0.5) / 5,
        "win_rate": 2 / 5,
        "win_share": 1 / 5,
        "tie_share": 2 / 5,
        "loss_share": 2 / 5,
        "length_controlled_win_rate": float(length_controlled(np.array([1.0, 0, 0.5, 0.5, 0]), longer)),
        "length_ratio": 11 / 13,
        "ended_share": 4 / 5,
        "empty_share": 1 / 5,
    }
    assert values(findings) == pytest.approx(expected)
    assert all(metric.n == 5 and metric.low <= metric.value <= metric.high for metric in findings.metrics)
    wins = [row["value"] for row in findings.tables["scores"] if row["metric"] == "win_rate"]
    assert wins == [1.0, 0.0, 0.5, 0.5, 0.0]


def test_a_second_judge_scores_the_same_completions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutations: it scores something else; its scores stand for rewards, or rewards for its scores."""

    def scores(judge: str, tools: Tools, prompts: Any, texts: list[str], ended: list[bool]) -> list[float]:
        assert (judge, [*zip(texts, ended, strict=True)]) == ("held_out", OURS)
        assert [prompt[-1]["content"] for prompt in prompts] == ["q0", "q1", "q2", "q3", "q4"]
        return [float(len(text)) for text in texts]

    monkeypatch.setattr("tempering.evaluation.judges.reward_model.scores_by", scores)
    benchmark = CompletionsBenchmark(kind="completions", dataset="x", judge="held_out")
    assert benchmark.model_names == ("held_out",)
    for scorer in (Scorer(), None):
        findings = run_benchmark("x", benchmark, rows(), Tools(policy(OURS), scorer))  # type: ignore[arg-type]
        assert values(findings)["judge_score"] == 11 / 5
        assert values(findings).get("reward") == (scorer and 1.1)
        assert [row["judge_score"] for row in findings.tables["completions"]] == [4, 2, 0, 4, 1]


def test_without_a_reward_model_lengths_are_compared() -> None:
    assert values(measured(baseline=baseline())) == pytest.approx(
        {"ended_share": 4 / 5, "empty_share": 1 / 5, "length_ratio": 11 / 13}
    )


def test_a_row_without_a_partner_or_a_reward_is_left_out() -> None:
    """Mutations: rows of other prompts paired by their number; a missing reward counted as 0."""
    others = baseline()
    del others[0]
    others[1]["prompt"] = "another"
    others[2]["reward"] = None
    others[3]["reward"] = math.nan
    findings = measured(scorer=Scorer(), baseline=others)
    counted = {metric.metric: metric.n for metric in findings.metrics}
    assert (counted["win_rate"], counted["reward_gain"], counted["length_ratio"]) == (1, 1, 3)
    assert counted["reward"] == 5


class Unsure(Scorer):
    """Classifies, and has no score for the first two completions."""

    classifies = True

    def __call__(self, prompts: Any, texts: list[str], ended: Any = None) -> list[float]:
        return [math.nan, math.inf, *super().__call__(prompts, texts)[2:]]


def test_a_completion_without_a_score_is_left_out() -> None:
    """Mutations: it is lost; it is not positive; an infinite score wins."""
    findings = measured(scorer=Unsure(), baseline=baseline())
    counted = {metric.metric: metric.n for metric in findings.metrics}
    names = ("reward", "win_rate", "loss_share", "reward_gain", "length_controlled_win_rate")
    assert {counted[name] for name in (*names, "positive_share")} == {3}
    found = values(findings)
    assert (found["loss_share"], found["positive_share"]) == (1 / 3, 2 / 3)


def test_one_outcome_alone_has_wilsons_interval() -> None:
    """Mutation: the bootstrap's, which is a point."""
    others = {row: {**item, "reward": 9.0, "completion": "zz"} for row, item in baseline().items()}
    metric = next(
        item for item in measured(scorer=Scorer(), baseline=others).metrics if item.metric == "win_rate"
    )
    assert (metric.low, metric.high) == wilson(0, 5)


def test_the_baseline_needs_no_reward_model(nodes: Any) -> None:
    """Mutation: a baseline only where something judges."""
    made = {node.name: node for node in nodes({"evaluate.reward_model": None})}
    ppo, sft, scorer = (made[f"evaluate[{name}]"] for name in ("ppo", "sft", "reward_model"))
    assert ppo.inputs["baseline"] == "evaluate[sft]"
    assert "reward_model" not in ppo.inputs
    assert "baseline" not in sft.inputs
    assert "baseline" not in scorer.inputs
    lone = {
        "evaluate.benchmarks": {"text": {"kind": "perplexity", "dataset": "corpus"}},
        "evaluate.baseline": None,
    }
    assert all("baseline" not in node.inputs for node in nodes(lone))


@pytest.mark.parametrize("won", [True, False])
def test_a_win_at_every_prompt_is_not_certain(won: bool) -> None:
    """At equal length too: five wins of five say at least 0.566, by Wilson."""
    theirs = {
        row: {**item, "reward": -9.0 if won else 9.0, "completion": "?"} for row, item in baseline().items()
    }
    found = {metric.metric: metric for metric in measured(scorer=Scorer(), baseline=theirs).metrics}
    rate = found["length_controlled_win_rate"]
    assert (rate.low, rate.high) == wilson(5.0 * won, 5)
    assert rate.low <= rate.value <= rate.high

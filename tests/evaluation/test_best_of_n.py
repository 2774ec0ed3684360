"""Best-of-n: what a stand-in policy writes, chosen by a stand-in reward model."""

import math
from typing import Any

import pytest
from pydantic import ValidationError

from tempering.errors import ConfigError
from tempering.evaluation.benchmarks import BestOfNBenchmark, Tools
from tempering.evaluation.benchmarks.best_of_n import sizes
from tempering.evaluation.findings import Findings, run_benchmark


class Counts:
    """A policy that writes 0, 1, 2, ... to a prompt."""

    cut = 0

    def prompt(self, messages: Any) -> list[int]:
        return [len(messages)]

    def complete(self, prompts: list[Any], sampling: Any, seed: int) -> list[tuple[str, bool]]:
        return [(str(place), True) for place in range(len(prompts))]


def likes_large_numbers(prompts: Any, texts: list[str], ended: Any = None, **_: Any) -> list[float]:
    return [math.nan if text == "9" else float(text) for text in texts]


def measured(monkeypatch: pytest.MonkeyPatch, golds: Any, scorer: Any = likes_large_numbers) -> Findings:
    monkeypatch.setattr(
        "tempering.evaluation.judges.reward_model.scores_by",
        lambda judge, tools, prompts, texts, ended: [golds(int(text)) for text in texts],
    )
    benchmark = BestOfNBenchmark(kind="best_of_n", dataset="prompts", samples=4, judge="second")
    rows = [{"prompt": [{"role": "user", "content": str(number)}]} for number in range(3)]
    tools = Tools(policy=Counts(), scorer=scorer)  # type: ignore[arg-type]
    return run_benchmark("best", benchmark, rows, tools)


def test_the_curve_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts write 0-3, 4-7 and 8-11, of which 9 has no score; gold is the number's last bit, negated."""
    found = measured(monkeypatch, lambda number: -float(number % 2))
    one, two, four = found.tables["overoptimisation"]
    assert [row["best_of"] for row in (one, two, four)] == [1, 2, 4]
    assert {(row["benchmark"], row["model"]) for row in (one, two, four)} == {("best", "best_of_n")}
    assert one["gold_metric"] == "judge_score"
    assert one["kl"] == 0
    assert four["kl"] == pytest.approx(math.log(4) - 3 / 4)
    # Of two of 0, 1, 2, 3 the larger is 1 once in six, 2 twice, 3 three times.
    assert two["proxy"] == pytest.approx((14 / 6 + 14 / 6 + 4 + (10 + 2 * 11) / 3) / 3)
    assert (four["proxy"], four["rows"]) == (5.0, 2), "the third prompt has three scored completions"
    values = {metric.metric: (metric.value, metric.n) for metric in found.metrics}
    assert values["best_proxy"] == (5.0, 2)
    assert values["best_gold"] == (-1.0, 2)
    assert values["gold_gain"] == (-0.5, 2)


def test_n_are_powers_of_two_and_the_largest() -> None:
    assert sizes(64) == [1, 2, 4, 8, 16, 32, 64]
    assert sizes(5) == [1, 2, 4, 5]


def test_without_a_reward_model_there_is_nothing_to_choose_by(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="no reward model to choose by"):
        measured(monkeypatch, float, scorer=None)


@pytest.mark.parametrize("settings", [{}, {"gold": True, "judge": "second"}])
def test_gold_is_one_of_two(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="set one of the two"):
        BestOfNBenchmark(kind="best_of_n", dataset="prompts", **settings)


def test_the_second_judge_becomes_an_input() -> None:
    assert BestOfNBenchmark(kind="best_of_n", dataset="prompts", judge="second").model_names == ("second",)


@pytest.mark.slow
def test_on_the_tiny_models(nodes: Any, tiny_store: Any) -> None:
    from tests.tiny import run_nodes

    best = {"kind": "best_of_n", "dataset": "prompts", "samples": 4, "max_new_tokens": 8, "gold": True}
    judged = {**best, "gold": False, "judge": "reward_model", "beside": "stories"}
    graph = nodes({"evaluate.benchmarks": {"world": best, "judged": judged}})
    table = run_nodes(tiny_store, graph, "evaluate[sft]").read("overoptimisation")
    assert table["best_of"].tolist() == [1, 2, 4, 1, 2, 4]
    same = table[table["benchmark"] == "stories"]
    assert same["gold"].tolist() == pytest.approx(same["proxy"].tolist()), "the same model is both judges"
    assert same["proxy"].is_monotonic_increasing
    assert not same["turns"].any()

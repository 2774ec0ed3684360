"""The evaluate stage on tiny models: what is measured for whom, and against what."""

from typing import Any

import pytest

pytestmark = pytest.mark.slow


def test_a_policy_gets_every_benchmark_but_preferences(tiny: Any) -> None:
    table = tiny("evaluate[dpo]").read("metrics")
    assert {name for name in table["metric"] if "[" not in name} == {
        "gold_score",
        "perfect_share",
        "reward",
        "reference_reward",
        "reward_gain",
        "win_rate",
        "length_controlled_win_rate",
        "win_share",
        "tie_share",
        "loss_share",
        "length_ratio",
        "ended_share",
        "empty_share",
        "loss",
        "loss_per_row",
        "perplexity",
        "word_perplexity",
        "byte_perplexity",
        "bits_per_byte",
        "exact_match",
        "f1",
        "accuracy",
        "macro_accuracy",
        "squad_exact_match",
        "squad_f1",
    }
    assert {name for name in table["metric"] if "[" in name} > {"accuracy[word_order]"}
    assert set(table["model"]) == {"dpo"}
    assert ((table["low"] <= table["value"]) & (table["value"] <= table["high"])).all()


def test_prompts_begin_as_in_the_training_of_the_model(tiny: Any) -> None:
    """A pretrained model reads documents that follow an EOS, an aligned one rows that follow nothing."""
    assert not tiny("pretrain").trained_on_rows
    assert tiny("sft").trained_on_rows
    assert tiny("dpo").trained_on_rows


def test_a_reward_model_only_orders_pairs(tiny: Any) -> None:
    table = tiny("evaluate[reward_model]").read("metrics")
    names = [name for name in table["metric"] if "[" not in name]
    assert names == ["accuracy", "tied_share", "margin", "nll", "brier", "ece"]
    assert tiny("evaluate[reward_model]").read("reliability")["n"].sum() == table["n"].max()


def test_win_rate_is_against_the_baseline_prompt_by_prompt(tiny: Any) -> None:
    ours, theirs = (tiny(f"evaluate[{name}]").read("completions") for name in ("ppo", "sft"))
    assert ours["prompt"].tolist() == theirs["prompt"].tolist()
    wins = [
        1.0 if a > b else 0.5 if a == b else 0.0
        for a, b in zip(ours["reward"], theirs["reward"], strict=True)
    ]
    table = tiny("evaluate[ppo]").read("metrics").set_index("metric")
    assert table.loc["win_rate", "value"] == pytest.approx(sum(wins) / len(wins))


def test_accuracy_equals_the_scores_of_the_reward_model(tiny: Any) -> None:
    """Scored again, one pair at a time and unbatched, the same pairs come out right."""
    from tempering.rewards.learned import LearnedReward

    reward = LearnedReward(tiny("reward_model").model_dir)
    rows = tiny("dataset[preferences]").rows("eval").to_dict("records")
    right = []
    for row in rows:
        prompt = [[dict(turn) for turn in row["prompt"]]]
        good, bad = (reward(prompt, [row[side][-1]["content"]])[0] for side in ("chosen", "rejected"))
        right.append(float(good > bad) + 0.5 * (good == bad))
    table = tiny("evaluate[reward_model]").read("metrics").set_index("metric")
    assert table.loc["accuracy", "value"] == pytest.approx(sum(right) / len(right))
    assert table.loc["accuracy", "n"] == len(rows)

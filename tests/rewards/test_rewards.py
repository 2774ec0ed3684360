"""Reward functions: signature, EOS, batching, and clear refusals."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from tempering.errors import ArtifactError, ConfigError
from tempering.rewards.build import build_reward
from tempering.rewards.config import RewardConfig

PROMPT = [{"role": "user", "content": "Tell a story. Lily, ball, dog, park:"}]


def config(**settings: Any) -> Any:
    return TypeAdapter(RewardConfig).validate_python(settings)


def test_function_reward_and_its_source_in_the_identity() -> None:
    made = config(kind="function", function="tests.rewards.some_rewards:undecided")
    assert [path.name for path in made.external_files()] == ["some_rewards.py"]
    assert build_reward(made, None, "cpu")([PROMPT] * 3, ["a", "b", "c"]) == [1.0, None, 1.0]


def test_a_function_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="nothing_here"):
        build_reward(config(kind="function", function="tests.rewards.some_rewards:nothing_here"), None, "cpu")
    with pytest.raises(ValidationError, match="module:function"):
        config(kind="function", function="no_colon")


def test_random_reward_depends_on_text_and_seed_only() -> None:
    first, again, other = (build_reward(config(kind="random", seed=seed), None, "cpu") for seed in (1, 1, 2))
    scores = first([PROMPT] * 2, ["a", "b"])
    assert scores == again([PROMPT] * 2, ["a", "b"])
    assert scores != other([PROMPT] * 2, ["a", "b"])
    assert all(0 <= score < 1 for score in scores)


def test_gold_reward_needs_the_end() -> None:
    reward = build_reward(config(kind="gold"), None, "cpu")
    story = " Once upon a time Lily had a ball. She took her dog to the park. But the ball was gone. " \
            "The dog found it. They were happy. The end."  # fmt: skip
    whole, cut = reward([PROMPT] * 2, [story, story], ended=[True, False])
    assert whole == 1.0
    assert cut == 0.75


@pytest.mark.slow
def test_learned_reward_reads_eos_as_in_its_training(tiny: Any) -> None:
    from tempering.rewards.learned import LearnedReward

    reward = LearnedReward(tiny("reward_model").model_dir)
    row = tiny("sample[preferences]").rows("train").iloc[0]
    pair = next(
        item for item in tiny("dataset[preferences]").rows("train").to_dict("records")
        if reward.encode([dict(turn) for turn in item["prompt"]], item["chosen"][-1]["content"], True)
        == [*row["prompt_ids"], *row["chosen_ids"]]
    )  # fmt: skip
    prompt, text = [dict(turn) for turn in pair["prompt"]], pair["chosen"][-1]["content"]
    eos = reward.tokenizer.eos_token_id
    assert reward.encode(prompt, text, ended=True)[-1] == eos
    assert reward.encode(prompt, text, ended=False) == reward.encode(prompt, text, ended=True)[:-1]
    assert reward.encode(prompt, "", ended=True)[-1] == eos


@pytest.mark.slow
def test_scores_do_not_depend_on_the_batch(tiny: Any) -> None:
    from tempering.rewards.learned import LearnedReward

    reward = LearnedReward(tiny("reward_model").model_dir)
    texts = [" Once.", " Once upon a time Lily had a ball and a dog.", "", " The end."]
    together = reward([PROMPT] * 4, texts, ended=[True, False, True, True])
    alone = [reward([PROMPT], [text], ended=[done])[0]
             for text, done in zip(texts, [True, False, True, True], strict=True)]  # fmt: skip
    assert together == pytest.approx(alone, abs=1e-5)


@pytest.mark.slow
def test_a_model_without_a_score_head_is_refused(tiny: Any) -> None:
    from tempering.rewards.learned import LearnedReward

    with pytest.raises(ArtifactError, match=r"score\.weight"):
        LearnedReward(Path(tiny("sft").model_dir))

"""Reward functions: signature, EOS, batching, mixtures, shaping, and clear refusals."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from tempering.artifacts.draft import LOG_FILE
from tempering.errors import ArtifactError, ConfigError, DataError, UserError
from tempering.rewards.build import build_rewards
from tempering.rewards.config import RewardConfig, reward_inputs
from tempering.rewards.functions import UserFunction
from tempering.rewards.scoring import Scored
from tempering.rewards.shaping import ScoreShaping
from tests.rewards import some_rewards
from tests.tiny import fresh_draft

PROMPT = [{"role": "user", "content": "Tell a story. Lily, ball, dog, park:"}]


def config(**settings: Any) -> Any:
    return TypeAdapter(RewardConfig).validate_python(settings)


def function(name: str, **more: Any) -> dict[str, Any]:
    return {"kind": "function", "function": f"tests.rewards.some_rewards:{name}", **more}


def score(
    settings: dict[str, Any], texts: list[str], folder: Path = Path("/nowhere"), **columns: Any
) -> Scored:
    draft = fresh_draft(folder) if folder != Path("/nowhere") else None
    rewards = build_rewards(config(**settings), {}, "cpu", draft)  # type: ignore[arg-type]
    return rewards([PROMPT] * len(texts), texts, **columns)


def test_function_reward_and_its_source_in_the_identity() -> None:
    made = config(**function("undecided"))
    assert [path.name for path in made.external_files()] == ["some_rewards.py"]
    found = score(function("undecided"), ["a", "b", "c"])
    assert found.scores == pytest.approx([1.0, math.nan, 1.0], nan_ok=True)
    assert found.components == {"function": pytest.approx([1.0, math.nan, 1.0], nan_ok=True)}


def test_a_function_is_called_as_trl_calls_it() -> None:
    assert score(function("brevity"), ["abc", ""], query=["q", "q"]).scores == [-3.0, 0.0]
    length = len(PROMPT[0]["content"])
    assert score(function("of_messages", form="messages"), ["abc"]).scores == [3.0 + length]
    assert score(function("narrow"), ["a", "b"], ended=[True, False], answer=["x", "y"]).scores == [1.0, 0.0]
    found = score(function("logging"), ["a", "b"], completion_ids=[[1, 2], [3]])
    assert found.extra == {"ids": [2, 1], "metric_seen": [2.0, 2.0]}


def test_a_prompt_as_text_is_what_the_messages_say_without_the_policys_marks() -> None:
    prompt = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "How old is Lily?"},
        {"role": "assistant", "content": "She is 6."},
        {"role": "user", "content": "And Tom?"},
    ]
    rewards = build_rewards(config(**function("of_a_plain_prompt")), {}, "cpu", None)  # type: ignore[arg-type]
    assert rewards([prompt], ["7"], query=["<|user|>And Tom?<|assistant|>"]).scores == [1.0]


def test_a_function_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="nothing_here"):
        score(function("nothing_here"), ["a"])
    with pytest.raises(ValidationError, match="module:function"):
        config(kind="function", function="no_colon")


@pytest.mark.parametrize(
    ("name", "form", "says"),
    [
        ("broken", "text", r"ZeroDivisionError.*line \d+ of some_rewards.py"),
        ("of_messages", "text", "TypeError.*"),
        ("failing", "text", "KeyError"),
        ("too_few", "text", "for 2 completions"),
        ("texts", "text", "'0.5'"),
        ("deep", "text", r"JSONDecodeError.*\(line \d+ of some_rewards.py\)"),
        ("greedy", "text", "answer'$|answer'\n"),  # no line: it was never entered
        ("overwriting", "text", "log_extra..score"),
        ("leaving", "text", r"some_rewards:leaving ended the process: it raised SystemExit: 3 \(line"),
        ("leaving_later", "text", "leaving_later ended the process: it raised SystemExit: no more"),
        ("leaving_from_a_pool", "text", "leaving_from_a_pool ended the process: it raised SystemExit"),
        ("interrupting", "text", "interrupting ended the process: it raised KeyboardInterrupt"),
        ("short_log", "text", "1 values for 2"),
    ],
)
def test_what_a_function_does_wrong_is_said(name: str, form: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        score(function(name, form=form), ["a", "b"])


def test_a_function_that_does_not_come_back_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = fresh_draft(tmp_path)
    UserFunction("tests.rewards.some_rewards:slow", "text", out)([], [])
    log = out.path / LOG_FILE
    assert not log.exists() or "waiting" not in log.read_text()
    monkeypatch.setattr("tempering.artifacts.draft.PATIENCE", 0.05)
    UserFunction("tests.rewards.some_rewards:slow", "text", out)([], [])
    assert "waiting for the reward function tests.rewards.some_rewards:slow, since 0.05" in log.read_text()


def test_a_logged_column_has_one_type() -> None:
    rewards = build_rewards(config(**function("changing")), {}, "cpu", None)  # type: ignore[arg-type]
    rewards([PROMPT], ["a"])
    with pytest.raises(UserError, match="had floats before"):
        rewards([PROMPT], ["a"])


def mixture(**more: Any) -> dict[str, Any]:
    parts = {"one": function("first"), "two": function("second"), "short": function("brevity")}
    return {"kind": "mixture", "components": parts, **more}


def test_a_mixture_weighs_its_components_and_awaits_them_together() -> None:
    some_rewards.meeting.clear()
    found = score(mixture(weights={"two": 0.5, "short": 0.1}), ["abc", "de"])
    assert found.components["short"] == [-3.0, -2.0]
    assert found.components["two"] == pytest.approx([2.0, math.nan], nan_ok=True)
    assert found.scores == pytest.approx([1.0 + 0.5 * 2.0 - 0.1 * 3.0, math.nan], nan_ok=True)
    assert some_rewards.meeting == ["first begins", "second begins", "first ends"]
    assert score(mixture(when_missing="skip"), ["abc", "de"]).scores == [0.0, -1.0]


def test_what_an_async_function_keeps_open_lives_for_the_run() -> None:
    rewards = build_rewards(config(**function("patient")), {}, "cpu", None)  # type: ignore[arg-type]
    assert rewards([PROMPT], ["a"]).scores == rewards([PROMPT], ["b"]).scores == [1.0]
    rewards.close()


def test_what_a_function_logs_is_made_plain_and_belongs_to_one_reward() -> None:
    assert score(function("numpy_log"), ["a"]).extra == {"mine": [0.5]}
    parts = {"one": function("numpy_log"), "two": function("numpy_log")}
    with pytest.raises(ConfigError, match="'mine'"):
        score({"kind": "mixture", "components": parts}, ["a"])


def test_nothing_but_missing_scores_is_unscored() -> None:
    both = {"a": function("undecided"), "b": function("undecided")}
    parts = {"kind": "mixture", "when_missing": "skip", "components": both}
    assert math.isnan(score(parts, ["x", "y"]).scores[1])


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (mixture(weights={"three": 1.0}), "three"),
        ({"kind": "mixture", "components": {"no good": function("brevity")}}, "no good"),
        ({"kind": "mixture", "components": {"x": mixture()}}, "mixture"),
        ({"kind": "rule", "rule": "length"}, "needs `target`"),
        ({"kind": "rule", "rule": "length", "target": 3, "most": 3}, "needs `target`"),
        ({"kind": "rule", "rule": "length", "least": 4, "most": 3}, "more than most"),
        ({"kind": "rule", "rule": "ended", "pattern": "x"}, "it is for regex"),
        ({"kind": "rule", "rule": "regex", "pattern": "("}, "not a regular expression"),
        ({"kind": "teacher"}, "endpoint or a model"),
        ({"kind": "teacher", "model": "sft", "min_score": 5, "max_score": 5}, "not below"),
        ({"kind": "teacher", "endpoint": {"model": "m", "base_url": "ftp://x"}}, "http://"),
        ({"kind": "teacher", "endpoint": {"model": "m", "base_url": "http://me:key@x/v1"}}, "api_key_env"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: Any, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        config(**settings)


def test_models_that_a_reward_names() -> None:
    parts = {"good": {"kind": "model"}, "rated": {"kind": "teacher", "model": "sft"}, "x": {"kind": "random"}}
    assert reward_inputs(config(kind="mixture", components=parts)) == {"good": "reward_model", "rated": "sft"}
    assert reward_inputs(config(kind="model", model="rm@latest")) == {"model": "rm@latest"}


@pytest.mark.parametrize(
    ("rule", "text", "wanted"),
    [
        ({"rule": "length", "target": 4}, "One, two  three!", 0.75),
        ({"rule": "length", "target": 2}, "a b c d e", 0.0),
        ({"rule": "length", "least": 4, "most": 6}, "a b c d e", 1.0),
        ({"rule": "length", "least": 4, "most": 6}, "a b c", 0.75),
        ({"rule": "length", "most": 4}, "a b c d e", 0.75),
        ({"rule": "length", "most": 4}, "", 1.0),
        ({"rule": "length", "target": 5, "unit": "tokens"}, "One.", 0.8),
        ({"rule": "regex", "pattern": r"^\s*Once"}, " Once upon", 1.0),
        ({"rule": "regex", "pattern": "bad", "forbid": True}, "so bad", 0.0),
        ({"rule": "keywords", "column": "words"}, "The dog and the BALL.", 2 / 3),
        ({"rule": "keywords", "column": "nothing"}, "The dog.", math.nan),
        ({"rule": "distinct", "ngram": 2}, "a b a b a", 0.5),
        ({"rule": "distinct"}, "a b", 1.0),
        ({"rule": "ended"}, "x", 0.0),
        ({"rule": "exact_match", "column": "answers"}, " The Park. ", 1.0),
        ({"rule": "exact_match", "column": "answers"}, "a park and more", 0.0),
        ({"rule": "exact_match", "column": "number"}, "42.", 1.0),
        ({"rule": "exact_match", "column": "signed"}, "-0.5", 1.0),
        ({"rule": "exact_match", "column": "signed"}, "-1/2", 1.0),
        ({"rule": "exact_match", "column": "signed"}, "0.5", 0.0),
        ({"rule": "exact_match", "column": "signed"}, "-5", 0.0),
        ({"rule": "exact_match", "column": "several"}, "None", 0.0),
        ({"rule": "keywords", "column": "number"}, "It is 42", 1.0),
        ({"rule": "keywords", "column": "number"}, "It is 42.0.", 1.0),
        ({"rule": "keywords", "column": "signed"}, "It is 0.5, or 5", 0.0),
        ({"rule": "keywords", "column": "several"}, "1,000 lines of C", 0.5),
        ({"rule": "json"}, '{"a": [1]}', 1.0),
        ({"rule": "json"}, "[" * 100_000, 0.0),
    ],
)
def test_rules_by_hand(rule: dict[str, Any], text: str, wanted: float) -> None:
    columns = {
        "words": ["dog, ball, park"],
        "nothing": [[]],
        "answers": [["park", "garden"]],
        "ended": [False],
        "number": [42],
        "signed": [-0.5],
        "several": [["C++", None, 1000]],
        "completion_ids": [[5, 6, 7, 1]],
    }
    found = score({"kind": "rule", **rule}, [text], **columns)
    assert found.scores == pytest.approx([wanted], nan_ok=True)


def test_a_rule_names_the_column_that_is_not_there() -> None:
    with pytest.raises(DataError, match=r"(?s)answer.*one of: ended, query"):
        score({"kind": "rule", "rule": "exact_match", "column": "answer"}, ["x"], query=["q"], ended=[True])


def test_running_normalisation_is_that_of_all_scores_so_far() -> None:
    parts = [torch.tensor([1.0, 2, 6, torch.nan]), torch.tensor([3.0, 3]), torch.tensor([torch.nan, -4])]
    shaping = ScoreShaping("whiten", 2.0, None)
    for part in parts:
        shaped = shaping(part)
    seen = torch.cat(parts)
    seen = seen[~seen.isnan()].double()
    wanted = 2 * (-4 - seen.mean()) / seen.std(unbiased=False)
    assert shaped[0].isnan()
    assert shaped[1].item() == pytest.approx(wanted.item(), abs=1e-5)
    again = ScoreShaping("whiten", 2.0, None)
    again.restore(shaping.state())
    assert torch.equal(again(parts[0])[:3], shaping(parts[0])[:3])


def test_scaling_leaves_the_mean_and_clipping_comes_last() -> None:
    assert ScoreShaping("scale", 1.0, None)(torch.tensor([1.0, 3])).tolist() == pytest.approx([1.0, 3.0])
    assert ScoreShaping("none", 2.0, 3.0)(torch.tensor([1.0, 3, -9])).tolist() == [2.0, 3.0, -3.0]
    assert ScoreShaping("whiten", 1.0, None)(torch.tensor([5.0, 5])).tolist() == [0.0, 0.0]


def test_random_reward_depends_on_text_and_seed_only() -> None:
    first, again, other = (score({"kind": "random", "seed": seed}, ["a", "b"]).scores for seed in (1, 1, 2))
    assert first == again != other
    assert all(0 <= one < 1 for one in first)


def test_gold_reward_needs_the_end() -> None:
    story = (
        " Once upon a time Lily had a ball. She took her dog to the park. But the ball was gone. "
        "The dog found it. They were happy. The end."
    )
    assert score({"kind": "gold"}, [story, story], ended=[True, False]).scores == [1.0, 0.75]


@pytest.mark.slow
def test_learned_reward_reads_eos_as_in_its_training(tiny: Any) -> None:
    from tempering.rewards.learned import LearnedReward

    reward = LearnedReward(tiny("reward_model").model_dir)
    row = tiny("sample[preferences]").rows("train").iloc[0]
    pair = next(
        item
        for item in tiny("dataset[preferences]").rows("train").to_dict("records")
        if reward.encode([dict(turn) for turn in item["prompt"]], item["chosen"][-1]["content"], True)
        == [*row["prompt_ids"], *row["chosen_ids"]]
    )
    prompt, text = [dict(turn) for turn in pair["prompt"]], pair["chosen"][-1]["content"]
    eos = reward.tokenizer.eos_token_id
    assert reward.encode(prompt, text, ended=True)[-1] == eos
    assert reward.encode(prompt, text, ended=False) == reward.encode(prompt, text, ended=True)[:-1]
    assert reward.encode(prompt, "", ended=True)[-1] == eos
    # What does not fit is counted: a prompt, or an answer, that loses its beginning.
    assert not [*reward.cuts("it")]
    whole = reward.encode(prompt, text, ended=True)
    reward.room = len(whole) - 1
    assert reward.encode(prompt, text, ended=True) == whole[1:]
    assert (reward.cut_prompts, reward.cut_answers) == (1, 0)
    reward.room = 2
    assert reward.encode(prompt, text, ended=True) == whole[-2:]
    assert [message.split(" before")[0] for message in reward.cuts("it")] == [
        "2 prompts lost their beginning",
        "1 answers lost their beginning",
    ]


@pytest.mark.slow
def test_scores_do_not_depend_on_the_batch(tiny: Any) -> None:
    from tempering.rewards.learned import LearnedReward

    reward = LearnedReward(tiny("reward_model").model_dir)
    texts = [" Once.", " Once upon a time Lily had a ball and a dog.", "", " The end."]
    together = reward([PROMPT] * 4, texts, ended=[True, False, True, True])
    alone = [
        reward([PROMPT], [text], ended=[done])[0]
        for text, done in zip(texts, [True, False, True, True], strict=True)
    ]
    assert together == pytest.approx(alone, abs=1e-5)


@pytest.mark.slow
def test_a_model_without_a_score_head_is_refused(tiny: Any) -> None:
    from tempering.rewards.learned import LearnedReward

    with pytest.raises(ArtifactError, match=r"score\.weight"):
        LearnedReward(Path(tiny("sft").model_dir))


@pytest.mark.parametrize(
    ("reward", "place"),
    [
        ({"kind": "model", "model": "reward_modle"}, "ppo.reward.model"),
        (
            {"kind": "mixture", "components": {"good": {"kind": "teacher", "model": "reward_modle"}}},
            "ppo.reward.components.good.model",
        ),
    ],
)
def test_a_model_that_is_not_there_is_named_by_its_place(reward: Any, place: str) -> None:
    from tests.conftest import tiny_nodes

    with pytest.raises(ConfigError, match=f"{place}: 'reward_modle'"):
        tiny_nodes({"ppo.reward": reward, "ppo.value_init": "policy"})


@pytest.mark.parametrize("value", [0.7, 0.0, -123.456])
@pytest.mark.parametrize("kind", ["scale", "whiten"])
def test_rounding_is_not_the_spread_of_equal_scores(kind: Any, value: float) -> None:
    """All scores but one are equal, and that one is the next number of fp32."""
    scores = torch.full((96,), value)
    scores[0] = torch.nextafter(scores[0], torch.tensor(1e9))
    shaped = ScoreShaping(kind, 1.0, None)(scores)
    torch.testing.assert_close(shaped, scores if kind == "scale" else torch.zeros(96), atol=1e-4, rtol=0)

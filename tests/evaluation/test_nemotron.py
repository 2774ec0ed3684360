"""Nemotron reward models: both forms of ratings over real HTTP, and the logit of a causal LM."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from tempering.artifacts.draft import Draft
from tempering.errors import UserError
from tempering.evaluation.benchmarks.base import Tools
from tempering.evaluation.judges import AnyJudge
from tempering.evaluation.judges.nemotron import parse_ratings, rating_text
from tests.stand_in import Reply, says

PROMPT = [{"role": "user", "content": "Tell a story."}]


def build(judge: Any, out: Draft | None = None, **more: Any) -> Any:
    endpoint = {"base_url": judge.url, "model": "m", "retries": 0, "max_concurrency": 2}
    settings = {"kind": "nemotron", "endpoint": endpoint, **more}
    return TypeAdapter(AnyJudge).validate_python(settings).build(Tools(out=out))


@pytest.mark.parametrize(
    ("text", "ratings"),
    [
        ("helpfulness:1.2578125,correctness:0.43,verbosity:-1e-2",
         {"helpfulness": 1.2578125, "correctness": 0.43, "verbosity": -0.01}),
        ("reward:-25.6", {"reward": -25.6}),
        (" Reward: 3 ", {"reward": 3.0}),
        ("reward:nan", {}), ("reward:", {}), ("3.5", {}), ("", {}), ("reward:1e999", {}),
        ("The reward:3 is high", {}), ("reward:3,", {}),
    ],
)  # fmt: skip
def test_ratings_in_an_answer(text: str, ratings: dict[str, float]) -> None:
    assert parse_ratings(text) == ratings


def test_ratings_as_pairs_of_a_token_and_its_logprob() -> None:
    pairs = [{"token": "helpfulness", "logprob": 1.5}, {"token": "verbosity", "logprob": -0.25}]
    for content in ("", None):
        choice = {"message": {"content": content}, "logprobs": {"content": pairs}}
        assert parse_ratings(rating_text(choice)) == {"helpfulness": 1.5, "verbosity": -0.25}
    said = {"message": {"content": "reward:2"}, "logprobs": {"content": [{"token": "re", "logprob": -1.0}]}}
    assert rating_text(said) == "reward:2"
    assert rating_text({"message": {"content": None}}) is None


def test_nemotron_rates_the_last_message_and_compares_within_a_prompt(judge: Any, tmp_path: Path) -> None:
    """One server writes its ratings, another has pairs; nothing is sent but the conversation."""
    rewards = {"good": 1.25, "bad": -25.6, "odd": float("nan")}

    def written(text: str) -> Reply:
        return says(f"reward:{rewards[text]}")

    def paired(text: str) -> Reply:
        names = {"helpfulness": rewards[text], "verbosity": 9.0}
        pairs = [{"token": name, "logprob": value} for name, value in names.items()]
        return 200, {}, {"choices": [{"message": {"content": ""}, "logprobs": {"content": pairs}}]}

    for number, reply in enumerate((written, paired)):
        judge.replies = [reply]
        judge.asked.clear()
        draft = Draft(tmp_path / str(number) / ".partial" / "evaluate-1")
        made = build(judge, draft, max_unjudged=0.5)
        verdicts = made.compare([PROMPT] * 3, ["good", "bad", "odd"], ["bad", "bad", "good"])
        assert [verdict.preference for verdict in verdicts] == [1.0, 0.5, None]
        assert (verdicts[0].score_first, verdicts[0].score_second) == (1.25, -25.6)
        assert verdicts[2].status == ("no rating in the answer" if number == 0 else "the answer is empty")
        assert verdicts[2].score_second == 1.25
        body = next(body for body in judge.asked if body["messages"][-1]["content"] == "good")
        assert body == {"model": "m", "messages": [*PROMPT, {"role": "assistant", "content": "good"}]}
        asked = len(judge.asked)
        made.compare([PROMPT], ["good"], ["bad"])
        assert len(judge.asked) == asked, "cached in the form that was read"


def test_which_rating_counts_is_a_setting(judge: Any) -> None:
    judge.replies = [lambda text: says(f"helpfulness:1,correctness:{len(text)}")]
    (verdict,) = build(judge, attribute="correctness").compare([PROMPT], ["long"], ["a"])
    assert (verdict.preference, verdict.note) == (1.0, "correctness")
    with pytest.raises(UserError, match="no rating in the answer"):
        build(judge, attribute="coherence").compare([PROMPT], ["long"], ["a"])


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"endpoint": {"model": "m"}, "model": "x/y"},
        {"model": "x/y", "attribute": "helpfulness"},
        {"endpoint": {"model": "m", "temperature": 0.5}},
    ],
)
def test_settings_that_make_no_sense(settings: Any) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(AnyJudge).validate_python({"kind": "nemotron", **settings})


@pytest.mark.slow
def test_a_local_nemotron_is_the_logit_of_token_0_after_the_conversation(tiny: Any) -> None:
    """As its card does it: the chat template without a generation prompt, one forward, scores[0][0][0]."""
    import torch

    settings = {"kind": "nemotron", "model": "sft", "max_unjudged": 1.0}
    made = TypeAdapter(AnyJudge).validate_python(settings).build(Tools(models={"sft": tiny("sft")}))
    first, second = ["Lily ran.", "A dog."], ["A big dog sat down.", "A dog."]
    verdicts = made.compare([PROMPT] * 2, first, second)
    speaker = made.rate.speaker
    expected = []
    for text in (first[0], second[0]):
        turns = [*PROMPT, {"role": "assistant", "content": text}]
        ids = speaker.tokenizer.apply_chat_template(turns, return_dict=True, return_tensors="pt")
        answer = speaker.model.generate(
            ids["input_ids"], attention_mask=ids["attention_mask"], max_new_tokens=1, do_sample=False,
            return_dict_in_generate=True, output_scores=True,
        )  # fmt: skip
        expected.append(answer.scores[0][0][0].item())
    assert isinstance(ids["input_ids"], torch.Tensor)
    assert (verdicts[0].score_first, verdicts[0].score_second) == pytest.approx(tuple(expected), abs=1e-4)
    assert verdicts[0].preference == float(expected[0] > expected[1])
    assert verdicts[1].preference == 0.5
    (long,) = made.compare([PROMPT], ["word " * 3000], ["A dog."])
    assert (long.preference, long.status) == (None, "too long")
    assert json.dumps(dict(made.facts)) == "{}"

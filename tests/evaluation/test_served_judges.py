"""Judges behind an endpoint, over real HTTP: both orders, position bias, failures."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from tempering.artifacts.draft import LOG_FILE, Draft
from tempering.errors import ConfigError, UserError
from tempering.evaluation.benchmarks.base import Tools
from tempering.evaluation.judges import AnyJudge, Verdict
from tests.stand_in import Reply, says

PROMPT = [{"role": "user", "content": "Tell a story."}]


def build(judge: Any, out: Draft | None = None, **more: Any) -> Any:
    endpoint = {"base_url": judge.url, "model": "m", "retries": 0, "max_concurrency": 2}
    settings = {"kind": "endpoint", "endpoint": endpoint, **more}
    return TypeAdapter(AnyJudge).validate_python(settings).build(Tools(out=out))


def test_both_orders_count_and_a_judge_of_places_gives_ties(judge: Any, tmp_path: Path) -> None:
    """It likes `good` wherever it stands, takes the first of two others, and says tie once."""

    def reply(question: str) -> Reply:
        one, other = question.split("[Answer A]\n")[1].split("\n\n[Answer B]\n")
        other = other.split("\n\nReply")[0]
        if "even" in (one, other):
            return says("tie")
        return says("B" if other == "good" else "A")

    judge.replies = [reply]
    draft = Draft(tmp_path / "draft")
    made = build(judge, draft)
    first, second = ["good", "bad", "bad", "even", "same"], ["bad", "good", "worse", "bad", "same"]
    verdicts = made.compare([PROMPT] * 5, first, second)
    assert [verdict.preference for verdict in verdicts] == [1.0, 0.0, 0.5, 0.5, 0.5]
    assert [verdict.note for verdict in verdicts] == [
        "A, swapped B", "B, swapped A", "A, swapped A", "tie, swapped tie", "A, swapped A"
    ]  # fmt: skip
    # Of the choices of a letter A B, B A, A A, A A six are the first place; of five pairs two disagree.
    assert made.facts == {"first_place_share": 6 / 8, "first_place_questions": 8, "disagreement": 2 / 5}
    assert (
        "first_place_share 0.750, first_place_questions 8.000, disagreement 0.400"
        in (draft.path / LOG_FILE).read_text()
    )
    assert len(judge.asked) == 7, "the first two pairs ask the same, and so do the orders of the last"
    assert {(body["temperature"], body["max_tokens"]) for body in judge.asked} == {(0.0, 64)}


def test_one_order_without_an_answer_is_no_verdict(judge: Any) -> None:
    def reply(question: str) -> Reply:
        lost = question.index("odd") < question.index("\n\n[Answer B]") if "odd" in question else False
        return (500, {}, {}) if lost else says("A")

    judge.replies = [reply]
    verdicts = build(judge, max_unjudged=0.5).compare([PROMPT] * 2, ["odd", "a"], ["b", "b"])
    assert verdicts[0] == Verdict(None, "http 500", note="http 500, swapped A")
    assert verdicts[1].preference == 0.5
    with pytest.raises(UserError, match="could not judge 1 of 2 pairs: 1 x http 500"):
        build(judge).compare([PROMPT] * 2, ["odd", "a"], ["b", "b"])


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (says("I would rather not say."), "no choice in the answer"),
        (says("nan"), "no choice in the answer"),
        ((200, {}, {"choices": [{"message": {"content": "A"}, "finish_reason": "length"}]}), "cut off"),
        ((200, {}, {"choices": []}), "no answer in the reply"),
        ((503, {}, {}), "http 503"),
        (None, "the connection broke"),
        ((200, {}, b"<html>sign in</html>"), "the reply is not JSON"),
    ],
)
def test_a_judge_that_refuses_fails_the_stage_by_name(judge: Any, reply: Any, status: str) -> None:
    judge.replies = [reply]
    (verdict,) = build(judge, max_unjudged=1.0).compare([PROMPT], ["a"], ["b"])
    assert (verdict.preference, verdict.status) == (None, status)
    with pytest.raises(UserError, match=rf"(?s)1 x {status}.*at most 10% \(max_unjudged\)") as error:
        build(judge).compare([PROMPT], ["a"], ["b"])
    # Where it is, and what it said where it said something else than a choice.
    assert f"the judge endpoint at {judge.url}" in str(error.value)
    said = {"no choice in the answer": "for example: ", "the reply is not JSON": "<html>sign in</html>"}
    assert said.get(status, "") in str(error.value)


def test_a_refused_key_ends_the_stage(judge: Any) -> None:
    judge.replies = [says("A"), (401, {}, {})]
    with pytest.raises(UserError, match=r"the judge at .* answers 401"):
        build(judge, max_unjudged=1.0).compare([PROMPT] * 9, list("abcdefghi"), ["z"] * 9)
    assert len(judge.asked) <= 3, "one more may have been on its way"


def test_a_judge_without_its_key_is_refused_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.pipeline import require_keys

    monkeypatch.delenv("JUDGE_KEY", raising=False)
    settings = {"kind": "endpoint", "endpoint": {"model": "m", "api_key_env": "JUDGE_KEY"}}
    node = SimpleNamespace(config=TypeAdapter(AnyJudge).validate_python(settings))
    rows: list[Any] = [SimpleNamespace(node=node, action="cached"), SimpleNamespace(node=None, action="run")]
    require_keys(rows)
    with pytest.raises(ConfigError, match="JUDGE_KEY is not set"):
        require_keys([*rows, SimpleNamespace(node=node, action="run")])  # type: ignore[list-item]


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "endpoint"},
        {"kind": "endpoint", "endpoint": {"model": "m", "base_url": "http://u:key@x/v1"}},
    ],
)
def test_settings_that_make_no_sense(settings: Any) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(AnyJudge).validate_python(settings)


@pytest.mark.slow
def test_a_served_judge_in_the_stage(judge: Any, tiny_store: Any, nodes: Any) -> None:
    """It is paid once: a second run has its answers from the store. One that only fails ends the stage."""
    from tests.tiny import run_nodes

    def measured(batch_size: int, **more: Any) -> Any:
        endpoint = {"base_url": judge.url, "model": "m", "retries": 0, **more}
        benchmark = {
            "kind": "comparison",
            "dataset": "prompts",
            "judge": {"kind": "endpoint", "endpoint": endpoint},
            "max_new_tokens": 8,
            "temperature": 0,
        }
        # Another batch size is another evaluation, of the same greedy completions.
        changes = {"evaluate.benchmarks": {"judged": benchmark}, "evaluate.batch_size": batch_size}
        return run_nodes(tiny_store, nodes(changes), "evaluate[dpo]").read("metrics").set_index("metric")

    judge.replies = [says("A")]
    table = measured(64)
    assert table.loc["win_rate", "value"] == 0.5
    assert table.loc["first_place_share", "value"] == 1.0
    asked = len(judge.asked)
    assert asked > 0
    again = measured(63)
    assert again.loc["win_rate", "value"] == 0.5
    assert len(judge.asked) == asked
    judge.replies = [(500, {}, {})]
    with pytest.raises(UserError, match=r"(?s)could not judge \d+ of \d+ pairs: \d+ x http 500"):
        measured(62, cache=None)

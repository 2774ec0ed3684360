"""The client over real HTTP: retries, deadline, concurrency, budget, circuit breaker, cache."""

import json
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tempering.artifacts.draft import LOG_FILE, Draft
from tempering.errors import UserError
from tempering.rewards.endpoint.client import Endpoint
from tempering.rewards.endpoint.config import Budget, EndpointConfig
from tempering.rewards.endpoint.exchange import Answer
from tests.stand_in import Reply, says

KEY = "sk-very-secret-0815"
YES = Answer("yes", "ok")


def endpoint(judge: Any, draft: Draft | None = None, **more: Any) -> Endpoint:
    own = {name: more.pop(name) for name in ("expected", "usable", "read") if name in more}
    settings = {"base_url": judge.url, "model": "m", "retries": 2, "max_concurrency": 1, "timeout": 5, **more}
    return Endpoint(EndpointConfig(**settings), 8, pause=0.001, out=draft, **own)


def answers(asked: Endpoint, *questions: Any) -> list[Answer]:
    return [answer for _, answer in sorted(asked(questions), key=lambda item: item[0])]


def draft_in(store: Path, name: str = "ppo-1234") -> Draft:
    (store / ".partial").mkdir(parents=True, exist_ok=True)
    return Draft(store / ".partial" / name)


@pytest.mark.parametrize(
    ("reply", "status", "asked"),
    [
        ((429, {}, {}), "http 429", 3),
        ((500, {}, b"<html>"), "http 500", 3),
        (None, "the connection broke", 3),
        ("half", "the connection broke", 3),
        ((200, {}, b"[]"), "no answer in the reply", 3),
        ((200, {}, b"3"), "no answer in the reply", 3),
        ((200, {}, {"choices": [{"message": {}}]}), "no answer in the reply", 3),
        ((200, {}, {"choices": {"0": 1}}), "no answer in the reply", 3),
        (says({"text": "yes"}), "no answer in the reply", 3),
        ((422, {}, {}), "http 422", 1),
    ],
)
def test_a_server_that_fails_for_good_is_a_status(judge: Any, reply: Any, status: str, asked: int) -> None:
    judge.replies = [reply]
    (answer,) = answers(endpoint(judge), "x")
    assert (answer.text, answer.status) == (None, status)
    assert len(judge.asked) == asked


def test_retry_after_is_waited_for_and_pauses_grow(judge: Any) -> None:
    judge.replies = [(429, {"Retry-After": "0.2"}, {}), says("yes")]
    assert answers(endpoint(judge), "x") == [YES]
    assert 0.2 <= judge.times[1] - judge.times[0] < 2
    judge.times.clear()
    judge.replies = [(500, {}, {})]
    slow = endpoint(judge)
    slow.pause = 0.1
    answers(slow, "x")
    first, second, third = judge.times
    assert 0.1 <= second - first < third - second


def test_a_deadline_ends_the_attempts_of_a_question(judge: Any) -> None:
    judge.replies = [(429, {"Retry-After": "30"}, {})]
    began = time.monotonic()
    assert answers(endpoint(judge, deadline=0.5), "x") == [Answer(None, "http 429")]
    assert len(judge.asked) == 1
    judge.trickles = b" "  # and the one on its way
    assert answers(endpoint(judge, deadline=0.3), "x") == [Answer(None, "no answer in time")]
    assert time.monotonic() - began < 5


def test_a_reply_without_end_is_cut(judge: Any) -> None:
    judge.trickles = b"x" * (1 << 20)
    assert answers(endpoint(judge, retries=0), "x") == [Answer(None, "the reply is too long")]


def test_no_more_questions_are_in_flight_than_allowed(judge: Any) -> None:
    def reply(question: str) -> Reply:
        time.sleep(0.05)
        return says("yes")

    judge.replies = [reply]
    assert answers(endpoint(judge, max_concurrency=3), *map(str, range(12))) == [YES] * 12
    assert judge.most_at_once == 3


def test_a_refused_key_opens_the_circuit(judge: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is still to be asked, then or later, is not sent, and those on their way are not repeated."""
    monkeypatch.setenv("JUDGE_KEY", KEY)
    judge.replies = [says("yes"), says("yes"), (401, {}, {"error": KEY})]
    asked = endpoint(judge, api_key_env="JUDGE_KEY")
    had = []
    with pytest.raises(UserError, match="401") as caught:
        had.extend(asked([str(number) for number in range(20)]))
    assert had == [(0, YES), (1, YES)]
    assert len(judge.asked) == 3
    with pytest.raises(UserError, match="401"):
        answers(asked, "another")
    assert len(judge.asked) == 3
    assert KEY not in str(caught.value)
    # With more in flight: a failure beside it does not go on asking.
    both_there = threading.Barrier(2, timeout=5)

    def reply(question: str) -> Reply:
        both_there.wait()
        return (401, {}, {}) if question == "refused" else (503, {"Retry-After": "20"}, {})

    judge.asked.clear()
    judge.replies = [reply]
    began = time.monotonic()
    with pytest.raises(UserError, match="401"):
        answers(endpoint(judge, max_concurrency=2), "busy", "refused", "never", "asked")
    assert len(judge.asked) == 2
    assert time.monotonic() - began < 5


def test_answers_are_shared_by_runs_and_failures_are_not(judge: Any, tmp_path: Path) -> None:
    judge.replies = [lambda question: (500, {}, {}) if question == "odd" else says("yes")]
    first = endpoint(judge, draft_in(tmp_path, "a"))
    assert answers(first, "one", "odd", "two") == [YES, Answer(None, "http 500"), YES]
    judge.asked.clear()
    judge.replies = [says("no")]
    second = endpoint(judge, draft_in(tmp_path, "b"))
    assert answers(second, "one", "odd", "two") == [YES, Answer("no", "ok"), YES]
    assert [body["messages"][0]["content"] for body in judge.asked] == ["odd"]
    for other in ({"temperature": 0.5}, {"model": "n"}, {"cache": None}):
        assert answers(endpoint(judge, draft_in(tmp_path, "c"), **other), "one") == [Answer("no", "ok")]


def test_an_answer_that_cannot_be_used_or_was_cut_off_is_asked_for_again(judge: Any, tmp_path: Path) -> None:
    cut = {"choices": [{"message": {"content": "ye"}, "finish_reason": "length"}]}
    judge.replies = [says("nan"), (200, {}, cut), says("yes"), says("no")]
    file = str(tmp_path / "mine.sqlite")
    for answer in (Answer("nan", "ok"), Answer("ye", "cut off"), YES, YES):
        assert answers(endpoint(judge, cache=file, usable=lambda text: text != "nan"), "x") == [answer]
    assert len(judge.asked) == 3


def test_the_key_is_in_no_file_even_where_the_server_repeats_it(
    judge: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    judge.replies = [says(f"yes {KEY}")]
    draft = draft_in(tmp_path)
    asked = endpoint(judge, draft, api_key_env="JUDGE_KEY", budget={"max_requests": 9})
    assert answers(asked, "a question") == [Answer("yes [key]", "ok")]
    asked.close()
    assert judge.keys == [f"Bearer {KEY}"]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"answers.sqlite", "spending.sqlite", LOG_FILE}
    for path in files:
        assert KEY.encode() not in path.read_bytes()
        assert b"a question" not in path.read_bytes()
    assert sqlite3.connect(tmp_path / ".cache" / "answers.sqlite").execute(
        "SELECT model, answer FROM answers"
    ).fetchall() == [("m", "yes [key]")]


def test_a_budget_is_never_exceeded_and_a_resumed_run_has_what_is_left(judge: Any, tmp_path: Path) -> None:
    """The questions are asked with many repetitions at the same time: a race would send one too many."""
    judge.replies = [lambda question: (500, {}, {}) if int(question) % 2 else says("yes")]
    draft = Draft(tmp_path / "draft")
    limits = {"budget": {"max_requests": 15}, "max_concurrency": 8, "retries": 9}
    had: list[tuple[int, Answer]] = []
    with pytest.raises(UserError, match=r"budget of teacher(.|\n)*at most 15 requests"):
        had.extend(endpoint(judge, draft, **limits)([str(number) for number in range(10)]))
    assert len(judge.asked) == 15
    assert YES in [answer for _, answer in had], "what was answered before is handed on"
    with pytest.raises(UserError, match="even with the shortest answers, after 15 requests"):
        answers(endpoint(judge, draft, **limits), "0")
    assert len(judge.asked) == 15


def test_tokens_and_money_are_what_the_server_counts(judge: Any) -> None:
    usage = {"prompt_tokens": 50, "completion_tokens": 5}
    judge.replies = [says("yes", usage=usage), (500, {}, {}), says("yes", usage={"prompt_tokens": -1}), None]
    asked = endpoint(judge, retries=1, budget={"input_price": 2.0, "output_price": 10.0, "max_cost": 1})
    answers(asked, "x" * 40)
    assert (asked.ledger.spent.questions, asked.ledger.spent.answers) == (50, 5)
    assert asked.ledger.spent.shown(asked.config.budget) == "1 request, 55 tokens, cost 0.00015"
    answers(asked, "x" * 40)  # an error costs a request and no tokens; nonsense is no count
    assert (asked.ledger.spent.requests, asked.ledger.spent.questions) == (3, 50 + 104)
    answers(asked, "x" * 40)  # a lost reply may have been paid for
    assert (asked.ledger.spent.requests, asked.ledger.spent.questions) == (5, 50 + 104 * 3)


def test_the_estimate_is_said_before_and_refused_where_it_cannot_fit(judge: Any, tmp_path: Path) -> None:
    judge.replies = [says("yes")]
    draft = Draft(tmp_path / "draft")
    priced = {"input_price": 1.0, "output_price": 2.0}
    asked = endpoint(judge, draft, expected=100, budget={**priced, "max_cost": 1})
    answers(asked, "x" * 400, "y" * 400)
    asked.close()
    log = (draft.path / LOG_FILE).read_text()
    # 100 questions of 100 tokens, 8 each for the answer: 10,800 tokens, 0.0116.
    assert "asks m: about 100 requests, 10,800 tokens, cost 0.0116 at most" in log
    assert "has asked m: 2 requests" in log
    # What is known must fit; a guess is only said.
    judge.asked.clear()
    texts = [f"{number:0400}" for number in range(100)]
    for limit in ({"max_requests": 99}, {"max_tokens": 10_000}, {**priced, "max_cost": 0.0101}):
        with pytest.raises(UserError, match="teacher needs about 100 requests"):
            answers(endpoint(judge, budget=limit), *texts)
    assert judge.asked == []
    assert answers(endpoint(judge, draft, expected=100, budget={"max_requests": 99}), texts[0]) == [YES]
    assert "100 requests, 10,100 tokens even with" in (draft.path / LOG_FILE).read_text()


def test_a_whole_conversation_is_asked_without_settings_where_none_are_wanted(judge: Any) -> None:
    judge.replies = [says("yes")]
    turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]
    config = EndpointConfig(base_url=judge.url, model="m")
    assert list(Endpoint(config, None)([turns])) == [(0, YES)]
    assert judge.asked == [{"model": "m", "messages": turns}]


def test_limits_that_make_no_sense() -> None:
    with pytest.raises(ValidationError, match="max_cost needs"):
        Budget(max_cost=2.0)
    assert not Budget(input_price=1.0).limited
    assert json.loads(EndpointConfig(model="m").model_dump_json())["cache"] == "store"

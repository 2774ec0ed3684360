"""The files between runs: the cache of answers and the ledger, with several processes and kill -9."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tempering.errors import ConfigError, UserError
from tempering.rewards.endpoint.budget import Ledger, Use, most
from tempering.rewards.endpoint.cache import AnswerCache, key_of, store_of
from tempering.rewards.endpoint.config import Budget

ROOT = Path(__file__).parent.parent.parent
WRITER = """
import sys
from pathlib import Path
from tempering.rewards.endpoint.cache import AnswerCache
from tempering.rewards.endpoint.budget import Ledger, most
from tempering.rewards.endpoint.config import Budget

folder, name, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
cache = AnswerCache(folder / "answers.sqlite")
ledger = Ledger(Budget(max_requests=10**6), "judge", folder / "spending.sqlite")
print("ready", flush=True)
for number in range(count):
    ledger.reserve(most(10, 1))
    cache.put(f"{name}-{number}", "m", f"answer {number}")
    cache.put(f"shared-{number}", "m", "the same")
    print(number, flush=True)
"""


def writer(folder: Path, name: str, count: int) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", WRITER, str(folder), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def test_several_processes_write_at_once_and_one_is_killed(tmp_path: Path) -> None:
    """What a killed process said it had kept is there, and the others lose nothing."""
    steady = [writer(tmp_path, name, 40) for name in "ab"]
    victim = writer(tmp_path, "victim", 100_000)
    assert victim.stdout is not None
    kept = -1
    for line in victim.stdout:
        if line.strip() == "25":
            os.kill(victim.pid, signal.SIGKILL)
            kept = 25
            break
    victim.communicate()
    assert [process.communicate()[0].split()[-1] for process in steady] == ["39", "39"]
    cache = AnswerCache(tmp_path / "answers.sqlite")
    for name, count in (("a", 40), ("b", 40), ("victim", kept + 1)):
        assert [cache.get(f"{name}-{number}") for number in range(count)] == [
            f"answer {number}" for number in range(count)
        ]
    assert cache.get("shared-3") == "the same"
    rows = sqlite3.connect(tmp_path / "answers.sqlite")
    assert rows.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    spent = Ledger(Budget(), "judge", tmp_path / "spending.sqlite").spent
    assert spent.requests >= 40 + 40 + kept + 1, "a killed process has spent what it had reserved"


def test_the_first_answer_stays_and_a_question_is_its_words_settings_and_address(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path / "deep" / "answers.sqlite")
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "temperature": 0}
    key = key_of("http://a/v1/chat/completions", body)
    cache.put(key, "m", "one")
    cache.put(key, "m", "two")
    assert cache.get(key) == "one"
    assert key == key_of("http://a/v1/chat/completions", dict(reversed(body.items())))
    others = [("http://b", body), ("http://a/v1/chat/completions", {**body, "temperature": 1})]
    assert len({key, *(key_of(*other) for other in others)}) == 3
    assert cache.get(key_of(*others[0])) is None


def test_a_file_that_is_no_cache_is_refused_and_left_alone(tmp_path: Path) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text("Dear all, " * 500)
    foreign = tmp_path / "other.sqlite"
    sqlite3.connect(foreign).execute("CREATE TABLE answers (question TEXT)")
    for path in (letter, foreign, tmp_path):
        with pytest.raises(ConfigError, match=r"endpoint\.cache"):
            AnswerCache(path)
    assert letter.read_text().startswith("Dear all")


def test_a_cache_that_goes_bad_costs_questions_and_no_run(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path / "answers.sqlite")
    cache.put("a", "m", "one")
    sqlite3.connect(tmp_path / "answers.sqlite").execute("DROP TABLE answers")
    cache.put("b", "m", "two")
    assert cache.get("a") is None


def test_where_the_stores_cache_is(tmp_path: Path) -> None:
    assert store_of(tmp_path / "artifacts" / ".partial" / "ppo-1234") == tmp_path / "artifacts"
    assert store_of(tmp_path / "draft") is None


@pytest.mark.parametrize(
    ("limits", "sent"),
    [
        ({"max_requests": 3}, 3),
        ({"max_tokens": 500}, 2),  # 200 each at most: the third might be the 600th
        ({"max_cost": 0.001, "input_price": 4.0, "output_price": 8.0}, 1),  # 0.00088 each
        ({"max_cost": 0.00088, "input_price": 4.0, "output_price": 8.0}, 1),
        ({}, 5),
    ],
)
def test_a_request_is_sent_only_if_it_fits_for_certain(limits: dict[str, float], sent: int) -> None:
    ledger = Ledger(Budget.model_validate(limits), "judge")
    use = most(116, 20)  # 116 bytes and 64 for the template are 180 tokens, 20 of the answer
    assert use == Use(1, 180, 20)
    for number in range(5):
        if number < sent:
            ledger.reserve(use)
        else:
            with pytest.raises(UserError, match="budget of judge"):
                ledger.reserve(use)
    assert ledger.spent == Use(sent, 180 * sent, 20 * sent)


def test_what_was_reserved_becomes_what_was_used_and_a_resumed_run_goes_on(tmp_path: Path) -> None:
    budget = Budget(max_tokens=500)
    ledger = Ledger(budget, "judge", tmp_path / "spending.sqlite")
    for _ in range(4):
        ledger.reserve(most(116, 20))
        ledger.correct(most(116, 20), Use(1, 60, 5))
    assert ledger.spent == Use(4, 240, 20)
    resumed = Ledger(budget, "judge", tmp_path / "spending.sqlite")
    resumed.reserve(most(116, 20))
    with pytest.raises(UserError, match="at most 500 tokens"):
        resumed.reserve(most(116, 20))
    assert Ledger(budget, "another", tmp_path / "spending.sqlite").spent == Use(0, 0, 0)

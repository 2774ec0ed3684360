"""Ctrl-C, SIGTERM and SIGHUP at any moment of a run: it ends in seconds, says so in one word, and resumes."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.flows.conftest import Answer, Started, wait_for
from tests.flows.test_run import NODES, newest, prefect_states

Start = Callable[..., Started]
Temper = Callable[..., Answer]


def check_stopped(run: Started) -> Answer:
    """`run` has just got a SIGTERM: it ends, leaves nothing, and only says what is true."""
    begin = time.monotonic()
    answer = run.wait(60)
    assert time.monotonic() - begin < 12
    assert answer.code == 143, answer.err
    assert "Traceback" not in answer.err
    assert "failed" not in answer.err
    wait_for(lambda: run.family() == [], 3)
    return answer


def test_stopped_while_it_starts(start: Start, toy: Path, store: Path) -> None:
    """Prefect is being imported, its server starts, the fork server imports its libraries."""
    run = start("run", toy, "--store", store, "--json", TEMPER_PRELOAD="torch transformers.trainer")
    wait_for(lambda: len(run.family()) >= 4)
    run.process.send_signal(signal.SIGTERM)
    assert check_stopped(run).actions == dict.fromkeys(NODES, "cancelled")
    assert newest(store).state == "cancelled"


def test_stopped_while_a_stage_works_or_waits_and_resumed(
    api: str, start: Start, temper: Temper, toy: Path, store: Path, tmp_path: Path
) -> None:
    arguments = ("run", toy, "--store", store, f"left.wait_for={tmp_path / 'flag'}")
    works = start(*arguments, PREFECT_API_URL=api)
    wait_for((tmp_path / "flag.pid").exists)
    # Another run of the same waits for its lease.
    waits = start(*arguments, "--json", PREFECT_API_URL=api)
    assert waits.process.stderr is not None
    while not (line := waits.process.stderr.readline()).startswith("left: waiting for"):
        assert line
    waits.process.send_signal(signal.SIGTERM)
    assert check_stopped(waits).actions["left"] == "cancelled"
    # A scheduler signals every process of a job, the stage's own before ours.
    for pid in sorted(works.family(), reverse=True):
        os.kill(pid, signal.SIGTERM)
    *lines, summary = check_stopped(works).err.splitlines()
    assert summary.startswith("4 run, 5 cancelled in ")
    assert "evaluate[right]: cancelled" in lines
    assert "right: running" not in lines
    record = min((store / "runs").glob("*.json")).read_text()
    assert '"state": "cancelled"' in record
    assert record.count('"action": "cancelled"') == 5
    name = min((store / "runs").glob("*.json")).stem
    wait_for(lambda: prefect_states(api, name)[0] == "Cancelled", 10)
    # Run again, it goes on from the checkpoint.
    (tmp_path / "flag").touch()
    again = temper(*arguments, "--json")
    assert (again.code, again.actions["left"]) == (0, "resume")
    assert again.rows["left"]["resumed_from_tokens"] == 200

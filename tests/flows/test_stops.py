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


def hold(start: Start, api: str, toy: Path, store: Path, flag: Path, *more: str) -> Started:
    """A run whose stage `left` waits at its second step, long before its first checkpoint."""
    settings = (f"left.wait_for={flag}", "left.save_every=100", *more)
    run = start("run", toy, "--store", store, *settings, PREFECT_API_URL=api)
    wait_for(Path(f"{flag}.pid").exists)
    return run


def test_a_stopped_stage_writes_a_checkpoint_first(
    first_run: tuple[Path, Answer],
    api: str,
    start: Start,
    temper: Temper,
    toy: Path,
    store: Path,
    tmp_path: Path,
) -> None:
    run = hold(start, api, toy, store, tmp_path / "flag")
    # As `timeout` does: once to the process, once to its group.
    run.process.send_signal(signal.SIGTERM)
    run.process.send_signal(signal.SIGTERM)
    lines = check_stopped(run).err.splitlines()
    wanted = "stopping: left writes a checkpoint (up to 25 s); a second signal ends it at once"
    assert wanted in lines
    assert "left: cancelled (a checkpoint at step 2)" in lines
    # The same weights as those of a run that nobody stopped.
    (tmp_path / "flag").touch()
    again = temper("run", toy, "--store", store, "--json")
    assert (again.actions["left"], again.rows["left"]["resumed_from_tokens"]) == ("resume", 200)
    whole, whole_store = first_run[1].rows["left"]["artifact"], first_run[0]
    chains = [
        (folder / name / "model/chain").read_text()
        for folder, name in ((whole_store, whole), (store, again.rows["left"]["artifact"]))
    ]
    assert chains[0] == chains[1]


def test_a_stage_that_takes_too_long_is_killed(
    api: str, start: Start, toy: Path, store: Path, tmp_path: Path
) -> None:
    run = hold(start, api, toy, store, tmp_path / "flag", "left.hold=deaf", "runtime.stop_grace=0.5")
    run.process.send_signal(signal.SIGTERM)
    answer = run.wait(20)
    assert answer.code == 143
    assert "left: cancelled (killed: it had no checkpoint after 0.5 s)" in answer.err
    assert run.family() == []


def test_a_second_signal_waits_for_no_checkpoint(
    api: str, start: Start, toy: Path, store: Path, tmp_path: Path
) -> None:
    run = hold(start, api, toy, store, tmp_path / "flag", "left.hold=deaf")
    assert run.process.stderr is not None
    run.process.send_signal(signal.SIGTERM)
    while not (line := run.process.stderr.readline()).startswith("stopping: left"):
        assert line
    time.sleep(1.1)  # sooner it would be the same one, sent twice
    run.process.send_signal(signal.SIGTERM)
    assert run.process.wait(3) == 143
    wait_for(lambda: run.family() == [], 3)

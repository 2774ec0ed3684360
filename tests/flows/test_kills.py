"""`kill -9` of a run at random moments: no process stays, no half artifact, and the next run ends well."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tempering.artifacts.integrity import verify_folder
from tempering.artifacts.store import Store
from tests.flows.conftest import HERE, LIGHT, ROOT, Started, wait_for

# A run without Prefect: two stages, again and again, each in its process and committed.
LOOP = """
import sys, toy_stages
from flows.display import Display
from flows.graph import Node
from flows.process.workers import Workers
from flows.runner import Runner
from tempering.artifacts.stage import get_stage
from tempering.artifacts.store import Store
from tempering.runtime import RuntimeConfig

data = Node("data", get_stage("toy_data"), toy_stages.ToyData())
sample = Node("sample", get_stage("toy_sample"), toy_stages.ToySample(), {"data": "data"})
if __name__ == "__main__":
    for _ in range(int(sys.argv[2])):
        display, both = Display(), ["data", "sample"]
        display.add(both)
        runner = Runner(Store(sys.argv[1]), RuntimeConfig(), display, Workers(), frozenset(both))
        for node in (data, sample):
            assert runner.run_node(node).ok, runner.outcomes
        print("made", flush=True)
    runner.workers.close()
"""


def begin(folder: Path, rounds: int = 1000, code: str = LOOP) -> Started:
    mark = uuid.uuid4().hex
    path = os.pathsep.join([str(HERE), str(ROOT)])
    (folder / "loop.py").write_text(code)
    process = subprocess.Popen(
        [sys.executable, str(folder / "loop.py"), str(folder / "store"), str(rounds)],
        env={**os.environ, **LIGHT, "PYTHONPATH": path, "TEMPER_TEST_MARK": mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return Started(process, f"TEMPER_TEST_MARK={mark}")


@contextlib.contextmanager
def gone_at_the_end(run: Started) -> Iterator[None]:
    try:
        yield
    finally:
        for pid in run.family():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        run.process.communicate()


@pytest.mark.parametrize("kills", [3, pytest.param(10, marks=pytest.mark.slow)])
def test_kill_9_leaves_no_process_and_no_half_artifact(tmp_path: Path, kills: int) -> None:
    chance = random.Random(kills)
    for kill in range(kills):
        run = begin(tmp_path)
        with gone_at_the_end(run):
            # While it starts, or in one of the first rounds.
            if chance.random() < 0.75:
                assert run.process.stdout is not None
                run.process.stdout.readline()
            time.sleep(chance.uniform(0, 0.6))
            run.process.kill()
            run.process.wait()
            wait_for(lambda run=run: not run.family(), 5)
        for folder in Store(tmp_path / "store", writable=False).folders():
            assert verify_folder(folder) == [], f"kill {kill}"
    last = begin(tmp_path, rounds=1)
    with gone_at_the_end(last):
        assert last.wait(60).code == 0


HELD = """
import multiprocessing, os, time
from multiprocessing import forkserver
from flows.process.workers import Workers

Workers().warm_up()
process = multiprocessing.get_context("forkserver").Process(target=os.getpid)  # the preload is over then
process.start()
process.join()
if os.fork() == 0:
    time.sleep(30)
print(forkserver._forkserver._forkserver_pid, flush=True)
time.sleep(30)
"""


def test_the_fork_server_ends_with_its_parent_whoever_holds_its_pipe(tmp_path: Path) -> None:
    """`multiprocessing` waits for all processes that have the pipe, such as one that the parent forked."""
    run = begin(tmp_path, code=HELD)
    with gone_at_the_end(run):
        assert run.process.stdout is not None
        server = int(run.process.stdout.readline())
        run.process.kill()
        run.process.wait()
        wait_for(lambda: server not in run.family(), 5)
        assert len(run.family()) >= 1

"""Whose process is whose: told by the environment, which outlives parents."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flows.service.location import MARK
from flows.service.processes import kill, of_runs, of_service, terminate

SLEEPS = [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"]
PARENT = f"import subprocess, time; subprocess.Popen({SLEEPS!r}); time.sleep(60)"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., "subprocess.Popen[bytes]"]]:
    started: list[subprocess.Popen[bytes]] = []

    def begin(command: list[str], **environment: str) -> "subprocess.Popen[bytes]":
        given = {**os.environ, MARK: str(tmp_path), **environment}
        started.append(subprocess.Popen(command, env=given, stdout=subprocess.PIPE, start_new_session=True))
        stdout = started[-1].stdout
        assert stdout is not None
        stdout.readline()  # it, or its child, runs
        return started[-1]

    yield begin
    for process in started:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_processes_are_told_by_their_environment(
    tmp_path: Path, start: Callable[..., "subprocess.Popen[bytes]"]
) -> None:
    server = start(SLEEPS)
    leader = start([sys.executable, "-c", PARENT], PREFECT__FLOW_RUN_ID="one")
    other = start(SLEEPS, PREFECT__FLOW_RUN_ID="two")
    start(SLEEPS, **{MARK: "/another/folder"})
    # The service's own processes have no run.
    assert [process.pid for process, run in of_service(tmp_path) if run is None] == [server.pid]
    # The one that leads a run comes first, whatever its number.
    runs = of_runs(tmp_path)
    assert set(runs) == {"one", "two"}
    assert runs["one"][0].pid == leader.pid
    assert len(runs["one"]) == 2
    assert [process.pid for process in runs["two"]] == [other.pid]
    # One that has ended and waits for its parent is none.
    terminate(runs["two"])
    end = time.monotonic() + 10
    while "two" in of_runs(tmp_path):
        assert time.monotonic() < end
        time.sleep(0.02)
    # Without its leader a run still has its stages.
    kill(runs["one"][:1])
    while len(of_runs(tmp_path)["one"]) > 1:
        assert time.monotonic() < end
        time.sleep(0.02)
    kill(process for process, _ in of_service(tmp_path))
    while list(of_service(tmp_path)):
        assert time.monotonic() < end
        time.sleep(0.02)

"""A run outlives its server: killed, stopped, without disk, away for a while or for ever.

Whatever becomes of the server, all artifacts are made, the exit code is theirs, the terminal says that the
pages are blind, and nothing waits for minutes at the end.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.process.prefect_server import template
from tempering.artifacts.integrity import verify_folder
from tests.flows.conftest import HERE, LIGHT, ROOT, Started, free_port
from tests.flows.conftest import wait_for as _wait_for

pytestmark = pytest.mark.services
BLIND = "does not answer: its pages are blind, the run goes on"
LATE = "does not answer: its pages may lack the last of it"
UNHEARD = "Prefect's pages have not heard how this run ended; the store has"
_END = 60.0  # seconds from the last stage's end to the command's, on a busy machine


def wait_for(condition: Callable[[], Any], limit: float = 240) -> None:
    """With patience: the moment matters, and not how long a busy machine takes to get there."""
    _wait_for(condition, limit)


class Run:
    """A `temper run` of the toy chain whose lines are read as they come."""

    def __init__(
        self, start: Callable[..., Started], folder: Path, *words: object, **environment: str
    ) -> None:
        self.store, self.flag = folder / "store", folder / "flag"
        (folder / "toy.yaml").write_text("name: toy\nleft: {steps: 4}\nright: {steps: 5}\n")
        self.started = start("run", folder / "toy.yaml", "--store", self.store, *words, **environment)
        self.lines: list[tuple[float, str]] = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        for line in self.started.process.stderr or ():
            self.lines.append((time.monotonic(), line))

    @property
    def text(self) -> str:
        return "".join(line for _, line in self.lines)

    def until(self, condition: Callable[[], Any]) -> None:
        """Wait for it while the run goes on."""
        wait_for(lambda: condition() or self.started.process.poll() is not None)
        assert condition(), self.text

    def says(self, text: str) -> None:
        """Wait until the terminal says it."""
        self.until(lambda: text in self.text)

    def server(self) -> int:
        """The process of the embedded server."""
        for pid in self.started.family():
            if b"prefect_server_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
        return 0

    def end(self) -> int:
        """Wait for the command's end; its exit code."""
        code = self.started.process.wait(400)
        self.reader.join()
        ended = [moment for moment, line in self.lines if line.startswith("report: done")]
        assert not ended or time.monotonic() - ended[0] < _END, self.text
        assert "Traceback" not in self.text, self.text
        assert "Error logging" not in self.text, self.text
        return code

    def check(self) -> None:
        """All artifacts are there, whole, and no process is."""
        folders = [path.parent for path in self.store.glob("*/*/manifest.json")]
        assert len(folders) == 9, self.text
        assert [verify_folder(folder) for folder in folders] == [[]] * 9
        record = json.loads(next((self.store / "runs").glob("*.json")).read_text())
        assert record["state"] == "completed"
        wait_for(lambda: self.started.family() == [], 10)


@pytest.mark.parametrize("group", range(4))
def test_kill_9_of_the_embedded_server_at_any_moment(
    start: Callable[..., Started], tmp_path: Path, group: int
) -> None:
    """Five moments a group: while it starts, and over all stages."""
    chance = random.Random(group)
    for kill in range(5):
        folder = tmp_path / str(kill)
        folder.mkdir()
        run = Run(start, folder)
        run.until(run.server)
        if kill:
            run.says("data: running")
        time.sleep(chance.uniform(0, 4))
        server = run.server()
        if not server:
            assert run.end() == 0  # it was quicker
            continue
        os.kill(server, signal.SIGKILL)
        all_made = "report: done" in run.text  # then the server may have heard everything
        code = run.end()
        if code == 2:  # nothing had begun
            assert "the embedded Prefect server failed: signal 9 killed it" in run.text
            assert "data: running" not in run.text
            run = Run(start, folder)
            code = run.end()
        else:
            assert (BLIND in run.text and UNHEARD in run.text) or LATE in run.text or all_made, run.text
        assert code == 0, run.text
        assert len(list(run.store.glob("*/*/manifest.json"))) == 9


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("port", [False, True])
def test_a_server_of_our_own_that_is_killed_or_hangs(
    start: Callable[..., Started], tmp_path: Path, number: int, port: bool
) -> None:
    words = ("--port", free_port()) if port else ()
    run = Run(start, tmp_path, f"left.wait_for={tmp_path / 'flag'}", *words)
    run.until((tmp_path / "flag.pid").exists)
    server = run.server()
    os.kill(server, number)
    run.says(BLIND)
    run.flag.touch()
    try:
        assert run.end() == 0, run.text
    finally:
        if number == signal.SIGSTOP:
            os.kill(server, signal.SIGKILL) if Path(f"/proc/{server}").exists() else None
    assert UNHEARD in run.text
    run.check()


class Theirs:
    """Somebody's server on one port, which can be killed and started again."""

    def __init__(self, home: Path) -> None:
        self.home, self.port = home, free_port()
        self.url = f"http://127.0.0.1:{self.port}/api"
        home.mkdir()
        shutil.copyfile(template(), home / "prefect.db")
        self.begin()

    def begin(self) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        environment |= {
            "PREFECT_HOME": str(self.home),
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{self.home}/prefect.db",
            "PREFECT_SERVER_UI_ENABLED": "false",
        }
        command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(self.port)]
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        wait_for(self.answers, 120)

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=2):
                return True
        except OSError:
            return False

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def states(self, what: str) -> list[str]:
        """The states of all flow runs or task runs."""
        request = urllib.request.Request(
            f"{self.url}/{what}/filter", b"{}", {"Content-Type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            runs: list[dict[str, Any]] = json.load(answer)
        return sorted(str(run["state_type"]) for run in runs)


@pytest.fixture
def theirs(tmp_path: Path) -> Iterator[Theirs]:
    server = Theirs(tmp_path / "theirs")
    yield server
    if server.process.poll() is None:
        server.kill()


@pytest.mark.parametrize("away", [5.0, 20.0])
def test_a_server_that_comes_back_hears_what_it_has_missed(
    start: Callable[..., Started], tmp_path: Path, theirs: Theirs, away: float
) -> None:
    run = Run(start, tmp_path, f"left.wait_for={tmp_path / 'flag'}", PREFECT_API_URL=theirs.url)
    run.until((tmp_path / "flag.pid").exists)
    theirs.kill()
    time.sleep(away)
    theirs.begin()
    if BLIND in run.text:
        run.says("the Prefect server answers again")
    run.flag.touch()
    assert run.end() == 0, run.text
    assert UNHEARD not in run.text
    run.check()
    wait_for(lambda: theirs.states("flow_runs") == ["COMPLETED"], 20)
    wait_for(lambda: theirs.states("task_runs") == ["COMPLETED"] * 9, 20)


def test_a_server_that_comes_back_after_the_run_hears_it_from_the_next(
    start: Callable[..., Started], tmp_path: Path, theirs: Theirs
) -> None:
    run = Run(start, tmp_path, f"left.wait_for={tmp_path / 'flag'}", PREFECT_API_URL=theirs.url)
    run.until((tmp_path / "flag.pid").exists)
    theirs.kill()
    run.flag.touch()
    assert run.end() == 0, run.text
    assert BLIND in run.text
    assert UNHEARD in run.text
    run.check()
    theirs.begin()
    assert theirs.states("flow_runs") == ["RUNNING"]
    again = Run(start, tmp_path, "--force", "evaluate[left]", PREFECT_API_URL=theirs.url)
    assert again.end() == 0, again.text
    wait_for(lambda: theirs.states("flow_runs") == ["COMPLETED"] * 2, 20)
    assert "RUNNING" not in theirs.states("task_runs")


def test_a_full_disk_under_the_servers_database(start: Callable[..., Started], tmp_path: Path) -> None:
    """Its folder is a small file system of its own, in a mount namespace, and full once `left` runs."""
    home = tmp_path / "store" / ".prefect"
    home.mkdir(parents=True)
    flag = tmp_path / "flag"
    script = (
        f"mount -t tmpfs -o size=8m none {home} || exit 99; "
        f"(while ! test -e {flag}.pid; do sleep 0.1; done; "
        f"dd if=/dev/zero of={home}/fill bs=64k 2>/dev/null; touch {flag}) & "
        f'exec "$@"'
    )
    (tmp_path / "toy.yaml").write_text("name: toy\nleft: {steps: 4}\nright: {steps: 5}\n")
    rootless = [] if os.geteuid() == 0 else ["--map-root-user"]
    command = ["unshare", "--mount", *rootless, "sh", "-c", script, "sh", sys.executable]
    command += [str(HERE / "toy_temper.py"), "run", str(tmp_path / "toy.yaml")]
    known = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    ended = subprocess.run(
        [*command, "--store", str(tmp_path / "store"), f"left.wait_for={flag}"],
        env={**known, **LIGHT, "PYTHONPATH": os.pathsep.join([str(HERE), str(ROOT)])},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert ended.returncode != 99, f"this test needs the right to mount: {ended.stderr}"
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    assert UNHEARD in ended.stderr
    assert len(list((tmp_path / "store").glob("*/*/manifest.json"))) == 9

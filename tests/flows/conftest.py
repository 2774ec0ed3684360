"""One Prefect server a session; `temper` runs the toy pipeline against it in this process."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE), str(ROOT)]

TOY = "name: toy\nleft: {steps: 4}\nright: {steps: 5}\n"
LIGHT = {"TEMPER_PRELOAD": "pandas pyarrow.parquet"}  # toys need no torch


@dataclass
class Answer:
    """What one call of `temper` came to."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> dict[str, Any]:
        return {row["stage"]: row for row in json.loads(self.out)}

    @property
    def actions(self) -> dict[str, str]:
        return {name: row["action"] for name, row in self.rows.items()}


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Prefect server of our own."""
    from flows.process.prefect_server import start_server, use_server

    old = dict(os.environ)
    os.environ.pop("PREFECT_API_URL", None)
    home = tmp_path_factory.mktemp("server")
    server = start_server(home)
    server.wait()
    os.environ.update(LIGHT)
    use_server(server, home)
    yield server.url
    server.stop()
    os.environ.clear()
    os.environ.update(old)


@pytest.fixture
def temper(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Call the command line, with the toy pipeline in the place of the real one."""
    import toy_temper

    from flows.cli.main import main

    toy_temper.install(monkeypatch.setattr)

    def call(*arguments: object) -> Answer:
        capfd.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as error:
            code = int(error.code or 0)
        return Answer(code, *capfd.readouterr())

    return call


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """A config of the toy pipeline."""
    path = tmp_path / "toy.yaml"
    path.write_text(TOY)
    return path


@pytest.fixture(scope="session")
def first_run(api: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answer]:
    """The store and the answer of a first, whole run, in a process of its own."""
    folder = tmp_path_factory.mktemp("first")
    (folder / "toy.yaml").write_text(TOY)
    command = [sys.executable, str(HERE / "toy_temper.py"), "run", "toy.yaml", "--store", "store", "--json"]
    path = os.pathsep.join([str(HERE), str(ROOT)])
    ended = subprocess.run(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    answer = Answer(ended.returncode, ended.stdout, ended.stderr)
    assert answer.code == 0, answer.err
    return folder / "store", answer


@pytest.fixture
def made(first_run: tuple[Path, Answer], store: Path) -> Answer:
    """`store` holds a copy of what a first, whole run has made."""
    shutil.copytree(first_run[0], store)
    return first_run[1]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Where a test's artifacts go."""
    return tmp_path / "store"


@dataclass
class Started:
    """A `temper` in a process of its own; `family` finds it and all that it started."""

    process: "subprocess.Popen[str]"
    mark: str

    def family(self) -> list[int]:
        found = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                with contextlib.suppress(OSError):
                    alive = "\nState:\tZ" not in (folder / "status").read_text()
                    if alive and self.mark.encode() in (folder / "environ").read_bytes():
                        found.append(int(folder.name))
        return found

    def wait(self, limit: float = 60) -> Answer:
        out, err = self.process.communicate(timeout=limit)
        return Answer(self.process.returncode, out, err)


@pytest.fixture
def start() -> Iterator[Callable[..., Started]]:
    """Start `temper` with the toy pipeline in another process; all are killed at the end."""
    started: list[Started] = []

    def begin(*arguments: object, **environment: str) -> Started:
        mark = f"TEMPER_TEST_MARK={uuid.uuid4()}"
        name, _, value = mark.partition("=")
        known = {key: item for key, item in os.environ.items() if not key.startswith("PREFECT_")}
        path = os.pathsep.join([str(HERE), str(ROOT)])
        process = subprocess.Popen(
            [sys.executable, str(HERE / "toy_temper.py"), *map(str, arguments)],
            env={**known, **LIGHT, "PYTHONPATH": path, **environment, name: value},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(Started(process, mark))
        return started[-1]

    yield begin
    for one in started:
        for pid in one.family():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        one.process.communicate()


def wait_for(condition: Callable[[], Any], limit: float = 60) -> None:
    """Return when `condition` holds."""
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, "this did not happen in time"
        time.sleep(0.02)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])

"""A process that the supervisor keeps up: started again with growing pauses, ended in order or killed."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.service import child as module
from flows.service.child import Child

SLEEPS = "import time; print('up', flush=True); time.sleep(60)"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEPS}"


@pytest.fixture
def children() -> Iterator[list[Child]]:
    made: list[Child] = []
    yield made
    for one in made:
        if one.process is not None:
            one.process.kill()
            one.process.wait()


def make(folder: Path, code: str, children: list[Child], **options: object) -> Child:
    made = Child("toy", [sys.executable, "-c", code], os.environ, folder / "toy.log", **options)  # type: ignore[arg-type]
    children.append(made)
    return made


def until_up(child: Child) -> None:
    end = time.monotonic() + 20
    while "up" not in (child.log.read_text() if child.log.exists() else ""):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_what_dies_is_started_again(
    tmp_path: Path, children: list[Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    child = make(tmp_path, SLEEPS, children)
    assert child.look() == "toy: started"
    assert child.look() is None
    now = time.monotonic()
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    pauses = []
    for _ in range(9):
        assert child.process is not None
        child.process.kill()
        child.process.wait()
        line = child.look()
        assert line is not None
        assert "SIGKILL" in line
        pauses.append(child.pause)
        assert child.look() is None  # not before its pause is over
        now += child.pause
        assert child.look() == "toy: started"
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    # One that has lived for long begins anew.
    now += 61
    assert child.process is not None
    child.process.kill()
    child.process.wait()
    child.look()
    assert child.pause == 1


def test_what_cannot_start_is_tried_again(tmp_path: Path, children: list[Child]) -> None:
    child = make(tmp_path, SLEEPS, children)
    child.command = [str(tmp_path / "missing")]
    line = child.look()
    assert line is not None
    assert "did not start (No such file or directory), starts again in 1 s" in line
    assert child.look() is None


def test_ended_in_order(tmp_path: Path, children: list[Child]) -> None:
    child = make(tmp_path, SLEEPS, children)
    child.start()
    until_up(child)
    assert child.end(20) is None
    assert child.process is None


def test_killed_when_it_does_not_listen(tmp_path: Path, children: list[Child]) -> None:
    child = make(tmp_path, DEAF, children)
    child.start()
    until_up(child)
    line = child.end(0.2)
    assert line is not None
    assert "killed" in line


def test_asked_by_a_byte(tmp_path: Path, children: list[Child]) -> None:
    code = "import os, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True)\n"
    child = make(tmp_path, code + "assert os.read(0, 1) == b'.'; print('in order')", children, ask=None)
    child.start()
    until_up(child)
    assert child.end(20) is None
    assert "in order" in child.log.read_text()


def test_a_tied_process_ends_with_its_parent(tmp_path: Path, children: list[Child]) -> None:
    (tmp_path / "toy_module.py").write_text("import sys; print(sys.argv[1:], flush=True)\n" + SLEEPS)
    child = make(tmp_path, "", children)
    child.command = [sys.executable, "-m", "flows.service.tied", "toy_module", "word"]
    root = str(Path(__file__).parents[3])
    child.environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), root])}
    child.start()
    until_up(child)
    assert "['word']" in child.log.read_text()
    assert child.process is not None
    assert child.process.stdin is not None
    child.process.stdin.close()  # as the kernel does when the supervisor is killed
    child.process.wait(20)


def test_a_log_stays_small(tmp_path: Path, children: list[Child], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOG_LIMIT", 100)
    child = make(tmp_path, SLEEPS, children)
    child.log.write_text("x" * 200)
    child.trim()
    assert child.log.read_text() == ""
    assert (tmp_path / "toy.log.1").read_text() == "x" * 200
    child.log.write_text("y")
    child.trim()
    assert child.log.read_text() == "y"


def test_ending_in_words() -> None:
    assert module._ending(-signal.SIGKILL) == "SIGKILL"
    assert module._ending(3) == "exit code 3"

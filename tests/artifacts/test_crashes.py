"""Processes that die, and processes that want the same: real children, real signals."""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from toys import RowsConfig, blob

from tempering.artifacts.integrity import verify_folder
from tempering.artifacts.lease import acquire
from tempering.artifacts.resolve import build
from tempering.artifacts.store import Store

HERE = Path(__file__).parent

COMMITTER = """
import sys
from toys import RowsConfig, blob
from tempering.artifacts.resolve import build
from tempering.artifacts.store import Store
store = Store(sys.argv[1])
while True:
    build(store, blob, RowsConfig(text="x" * 1000), force=True)
    print("made", flush=True)
"""
HOLDER = """
import sys, time
from pathlib import Path
from tempering.artifacts.lease import acquire
lease = acquire(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def start(code: str, argument: Path) -> "subprocess.Popen[str]":
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(argument)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=HERE,
        env={**os.environ, "PYTHONPATH": f"{HERE}:{HERE.parent.parent}"},
    )
    assert child.stdout is not None
    child.stdout.readline()
    return child


def test_kill_9_in_a_commit_never_leaves_half_an_artifact(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    chance = random.Random(0)
    for _ in range(8):
        child = start(COMMITTER, store.root)
        time.sleep(chance.uniform(0.02, 0.15))
        child.kill()
        child.wait()
        for folder in store.folders():
            assert verify_folder(folder) == []
    assert len(list(store.folders())) >= 8
    build(store, blob, RowsConfig(text="x" * 1000), force=True)  # neither locks nor leftovers are in the way
    assert list((store.root / ".partial").glob("blob-*")) == []


@pytest.mark.parametrize("step", ["sha256_file", "write_atomic", "_rename"])
def test_dying_at_each_step_leaves_no_artifact(tmp_path: Path, step: str) -> None:
    code = f"import os, tempering.artifacts.commit as c; c.{step} = lambda *a: os._exit(9)\n" + COMMITTER
    store = Store(tmp_path / "store")
    child = start(code, store.root)
    assert child.wait(30) == 9
    assert list(store.folders()) == []
    assert build(store, blob, RowsConfig(text="x" * 1000)).id


class TakenError(Exception):
    """Somebody has the lease."""


def give_up(holder: str) -> None:
    raise TakenError(holder)


def test_a_second_process_waits_and_is_told_for_whom(tmp_path: Path) -> None:
    child = start(HOLDER, tmp_path / "x.lock")
    with pytest.raises(TakenError, match=f"^pid {child.pid} on host "):
        acquire(tmp_path / "x.lock", waiting=give_up)
    child.kill()
    child.wait()


def test_a_dead_holder_frees_it_at_once(tmp_path: Path) -> None:
    child = start(HOLDER, tmp_path / "x.lock")
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    with acquire(tmp_path / "x.lock", waiting=give_up) as lease:
        lease.check()


def test_it_is_taken_once_also_by_the_same_thread(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    with acquire(path) as lease:
        with pytest.raises(TakenError, match=f"^pid {os.getpid()} on host "):
            acquire(path, waiting=give_up)
        lease.check()
    assert not path.exists()
    with acquire(path, waiting=give_up) as again:
        lease.release()  # a second time, when somebody else has it
        again.check()


def test_another_thread_waits_for_its_end(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    order: list[str] = []
    waits = threading.Event()

    def second() -> None:
        with acquire(path, waiting=lambda holder: waits.set()):
            order.append("second")

    with acquire(path):
        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(5)
        order.append("first")
    thread.join(5)
    assert order == ["first", "second"]
    assert not path.exists()


def test_a_forked_child_does_not_own_its_parents_lease(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    with acquire(path) as lease:
        child = multiprocessing.get_context("fork").Process(target=_must_not_get, args=(path,))
        child.start()
        child.join(10)
        assert child.exitcode == 0
        lease.check()


def test_a_forked_child_that_lives_on_does_not_keep_it(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    with acquire(path):
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        child.start()
    with acquire(path, waiting=give_up):
        pass
    child.kill()
    child.join()


def _must_not_get(path: Path) -> None:
    try:
        acquire(path, waiting=give_up)
    except TakenError:
        os._exit(0)
    os._exit(1)


def test_two_builders_make_one_artifact(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    made: list[str] = []
    threads = [
        threading.Thread(target=lambda: made.append(build(store, blob, RowsConfig()).id)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 4
    assert len(set(made)) == len(list(store.folders())) == 1

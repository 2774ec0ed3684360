"""A stage's process: what comes back, how it ends, what it prints."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing import forkserver, get_context
from pathlib import Path

import pytest

from flows.process import preload
from flows.process.child import Message, Send
from flows.process.prints import Prints
from flows.process.workers import Cancelled, StageCrashed, Workers
from tempering.artifacts.draft import Draft
from tempering.errors import DataError, StageStopped
from tempering.rewards.functions import UserFunction


def add(send: Send, one: int, two: int) -> int:
    send(("progress", one, two))
    print("printed")
    os.system("echo from the shell")
    print("a bar 1%\ra bar 100%")
    return one + two


def frozen(send: Send) -> int:
    return gc.get_freeze_count()


def kill(send: Send) -> None:
    print("last words", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def leave(send: Send) -> None:
    os._exit(3)


def leave_in_a_reward(send: Send, folder: Path) -> None:
    draft = Draft(folder)
    draft.on_doing = lambda what: send(("doing", "0", what))
    UserFunction("tests.rewards.some_rewards:brevity", "text", draft)([], [])
    UserFunction("tests.rewards.some_rewards:ending_the_process", "text", draft)([], [])


def leave_after_a_reward(send: Send, folder: Path) -> None:
    draft = Draft(folder)
    draft.on_doing = lambda what: send(("doing", "0", what))
    UserFunction("tests.rewards.some_rewards:brevity", "text", draft)([], [])
    os._exit(3)


def tell(send: Send, key: str) -> None:
    print(f"the key is {key[:6]}", end="")
    sys.stdout.flush()
    time.sleep(0.3)
    print(f"{key[6:]}, really")
    os.system("env | grep TEACHER")
    os.write(2, f"{key} in C\n".encode())
    print(f"without an end {key}", end="")


def fail(send: Send) -> None:
    raise ValueError("no good")


def mistake(send: Send) -> None:
    raise DataError("rows.jsonl:3", expected="JSON", fix="mend it")


def sleep(send: Send) -> None:
    send(("ready",))
    time.sleep(60)


def stop_when_told(send: Send, folder: Path) -> None:
    draft = Draft(folder)
    with draft.stoppable():
        send(("ready",))
        while not draft.stop_asked:
            time.sleep(0.01)
    raise StageStopped("a checkpoint is written")


@dataclass
class Heard:
    messages: list[Message] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    ready: threading.Event = field(default_factory=threading.Event)

    def message(self, message: Message) -> None:
        self.messages.append(message)
        self.ready.set()

    def line(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Workers]:
    monkeypatch.setenv("TEMPER_PRELOAD", "json")
    made = Workers()
    yield made
    made.close()


def test_result_messages_and_everything_printed(workers: Workers, tmp_path: Path) -> None:
    heard = Heard()
    (tmp_path / "log.txt").write_text("of an earlier try\n")
    assert workers.run(add, 1, 2, log=tmp_path / "log.txt", listener=heard) == 3
    assert heard.messages == [("progress", 1, 2)]
    assert heard.lines == ["printed", "from the shell", "a bar 100%"]


def test_what_is_preloaded_is_never_collected(workers: Workers, tmp_path: Path) -> None:
    assert workers.run(frozen, log=tmp_path / "log.txt", listener=Heard()) > 1000


def test_a_key_is_in_no_log_and_no_line(
    workers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutation: the pipe's blocks are kept as they come, or the child writes the log itself."""
    monkeypatch.setenv("TEACHER_KEY", "opaque-4711-key")
    heard, log = Heard(), tmp_path / "log.txt"
    workers.run(tell, "opaque-4711-key", log=log, listener=heard)
    assert heard.lines == [
        "the key is [hidden], really",
        "TEACHER_KEY=[hidden]",
        "[hidden] in C",
        "without an end [hidden]",
    ]
    assert log.read_text().splitlines() == heard.lines


def test_a_log_that_cannot_be_written_is_said(workers: Workers, tmp_path: Path) -> None:
    heard = Heard()
    assert workers.run(add, 1, 2, log=Path("/dev/full"), listener=heard) == 3
    assert heard.messages[-1] == ("log", "warning", "its log.txt is not whole: No space left on device")
    assert "printed" in heard.lines


def test_a_line_without_end_and_an_endless_one(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.touch()
    reader, writer = get_context("forkserver").Pipe(duplex=False)
    prints = Prints(reader, log)
    os.write(writer.fileno(), b"half")
    assert prints.take() == []
    os.write(writer.fileno(), b" a line\n\xff")
    assert prints.take() == ["half a line"]
    os.write(writer.fileno(), b"x" * 60_000)
    assert prints.take() == []
    os.write(writer.fileno(), b"x" * 60_000)
    [line] = prints.take()
    assert line == "\ufffd" + "x" * 120_000
    writer.close()
    assert prints.take(all_of_it=True) == []
    assert prints.sources() == []


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (kill, "was killed by SIGKILL"),
        (leave, "ended with exit code 3"),
        (fail, "^ValueError: no good$"),
    ],
)
def test_a_crash_says_what_happened(workers: Workers, tmp_path: Path, function: object, message: str) -> None:
    with pytest.raises(StageCrashed, match=message) as caught:
        workers.run(function, log=tmp_path / "log.txt", listener=Heard())  # type: ignore[arg-type]
    assert ("last words" in caught.value.log_tail) == (function is kill)
    assert ('raise ValueError("no good")' in caught.value.traceback) == (function is fail)
    assert "flows/process/child.py" not in caught.value.traceback


def test_what_the_process_ended_in_is_named(workers: Workers, tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    with pytest.raises(StageCrashed, match=r"some_rewards:ending_the_process ended .* with exit code 3"):
        workers.run(leave_in_a_reward, tmp_path / "a", log=log, listener=Heard())
    with pytest.raises(StageCrashed, match=r"^the stage.*code 3 before it had answered$"):
        workers.run(leave_after_a_reward, tmp_path / "b", log=log, listener=Heard())


def test_a_users_mistake_stays_one(workers: Workers, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        workers.run(mistake, log=tmp_path / "log.txt", listener=Heard())
    assert (caught.value.found, caught.value.expected, caught.value.fix) == (
        "rows.jsonl:3",
        "JSON",
        "mend it",
    )


def test_stop_ends_a_running_stage(workers: Workers, tmp_path: Path) -> None:
    heard = Heard()
    threading.Thread(target=lambda: heard.ready.wait() and workers.stop()).start()
    with pytest.raises(Cancelled):
        workers.run(sleep, log=tmp_path / "log.txt", listener=heard)


def test_a_stop_tells_the_stage_and_spares_what_it_hangs_on(workers: Workers, tmp_path: Path) -> None:
    """A scheduler signals the fork server too, and on Linux a stage dies with that."""
    heard = Heard()

    def stop() -> None:
        heard.ready.wait()
        os.kill(forkserver._forkserver._forkserver_pid, signal.SIGTERM)  # type: ignore[attr-defined]
        time.sleep(0.2)
        workers.stop()

    threading.Thread(target=stop).start()
    with pytest.raises(Cancelled, match="a checkpoint is written"):
        workers.run(stop_when_told, tmp_path, log=tmp_path / "log.txt", listener=heard, grace=20.0)
    assert ("stopping", 20.0) in heard.messages


def test_a_stage_that_somebody_else_stopped_has_crashed(workers: Workers, tmp_path: Path) -> None:
    heard = Heard()

    def stop() -> None:
        heard.ready.wait()
        os.kill(next(iter(workers._running)), signal.SIGTERM)

    threading.Thread(target=stop).start()
    with pytest.raises(StageCrashed, match=r"told to end \(SIGTERM\): a checkpoint is written"):
        workers.run(stop_when_told, tmp_path, log=tmp_path / "log.txt", listener=heard)


def main_of(send: Send) -> list[str]:
    return [name for name in ("__main__", "__mp_main__") if hasattr(sys.modules.get(name), "only_in_main")]


MAIN = """
from pathlib import Path
from flows.process.workers import Workers
from tests.flows.process.test_process import Heard, main_of

only_in_main = True
if __name__ == "__main__":
    workers = Workers()
    print(workers.run(main_of, log=Path("log.txt"), listener=Heard()), Path(__file__).name, __spec__ is None)
    workers.close()
"""


def test_a_stage_does_not_import_the_main_module(tmp_path: Path) -> None:
    """Nor does it change: it is hidden only while a process starts."""
    (tmp_path / "main.py").write_text(MAIN)
    inherited = {**os.environ, "TEMPER_FORK_SERVER": str(os.getpid())}  # as of a run that starts another
    environment = {**inherited, "PYTHONPATH": str(Path(__file__).parents[3]), "TEMPER_PRELOAD": "json"}
    ended = subprocess.run(
        [sys.executable, "main.py"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (ended.stdout, ended.stderr) == ("[] main.py True\n", "")


def test_the_next_child_is_quick(workers: Workers, tmp_path: Path) -> None:
    workers.run(add, 1, 2, log=tmp_path / "log.txt", listener=Heard())
    started = time.monotonic()
    workers.run(add, 1, 2, log=tmp_path / "log.txt", listener=Heard())
    assert time.monotonic() - started < 3


def test_a_failed_preload_is_told_by_the_first_stage(
    workers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPER_PRELOAD", "json no_such_library")
    with pytest.raises(StageCrashed, match="importing no_such_library"):
        workers.run(add, 1, 2, log=tmp_path / "log.txt", listener=Heard())


def test_importing_the_preload_imports_nothing() -> None:
    assert preload.ERROR is None
    code = "import sys, flows.process.preload; sys.exit('torch' in sys.modules or 'trl' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=False).returncode
        == 0
    )

"""One process per stage, forked from a server that has imported the heavy libraries already.

Memory comes back when a stage ends, a crash is contained, and cancelling is a kill. A child's
messages travel over a pipe as small tuples; artifacts stay on disk. Whatever a library prints goes to
the stage's `log.txt` at the level of file descriptors. A child ends when its parent does: a thread
watches the parent's sentinel, and the child leads its own process group, so that what it started
ends with it.
"""

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing import connection, forkserver
from pathlib import Path
from typing import Any, Protocol

from flows.process.child import Message, child
from tempering.errors import StageFailed, TemperingError, UserError

ENVIRONMENT = {
    # Threads that wait spin for some 10 us, then sleep. Sleeping at once costs a third of the training
    # speed and half of the decoding speed; spinning on makes a busy machine 20 times slower.
    "GOMP_SPINCOUNT": "10000",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "TQDM_DISABLE": "1",  # progress is ours; a bar in a log file is noise
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # asking for a GPU in the preload must not start CUDA
}
_POLL = 0.2  # seconds between looks at the log and at `cancel`
_GRACE = 10.0  # seconds a child that has answered may take to end
_MOMENT = 1.0  # seconds: a scheduler signals all processes of a run, and ours may hear of it last


class StageCrashed(StageFailed):
    """A stage's process ended with an error or a signal.

    Attributes:
        traceback: the child's traceback, or "" when it was killed.
        log_tail: the last lines that the stage printed.
    """

    def __init__(self, message: str, *, traceback: str = "", log_tail: str = "") -> None:
        super().__init__(message)
        self.traceback, self.log_tail = traceback, log_tail


class Cancelled(TemperingError):
    """The run was cancelled while this stage was running."""


class Listener(Protocol):
    """What the parent does with a child's messages and with the lines it prints."""

    def message(self, message: Message) -> None: ...

    def line(self, text: str) -> None: ...


@dataclass
class Workers:
    """Starts stage processes, at most as many at once as the caller's threads ask for."""

    cancel: threading.Event = field(default_factory=threading.Event)
    _running: set[int] = field(default_factory=set)

    def warm_up(self) -> None:
        """Start the fork server in the background; it imports the libraries meanwhile."""
        prepare_environment()
        # Preloading must not happen in a child that merely imports the module.
        os.environ["TEMPER_FORK_SERVER"] = str(os.getpid())
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["flows.process.preload"])
        forkserver.ensure_running()

    def run(self, function: Callable[..., Any], *arguments: Any, log: Path, listener: Listener) -> Any:
        """Call `function(send, *arguments)` in a new process and return what it returns.

        `function` must be importable by name, its arguments and result small and picklable.

        Raises:
            UserError: the one that the child raised.
            StageCrashed: the child raised something else, or was killed.
            Cancelled: `stop` was called.
        """
        self._check()
        self.warm_up()
        log.parent.mkdir(parents=True, exist_ok=True)
        log.touch()
        tail = _Tail(log, log.stat().st_size)
        process, pipe = self._start(function, arguments, log)
        try:
            with self._registered(process.pid):
                answer = self._follow(process, pipe, tail, listener)
        finally:
            pipe.close()
        self._check(wait=answer is None)
        return _unpack(answer, process.exitcode, tail)

    def stop(self) -> None:
        """Kill every stage process and the fork server; `run` raises Cancelled from now on.

        Takes no lock that a signal handler could find taken by its own thread.
        """
        self.cancel.set()
        for pid in tuple(self._running):
            _kill(pid)
        server = getattr(forkserver._forkserver, "_forkserver_pid", None)
        if server is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(server, signal.SIGKILL)

    def close(self) -> None:
        """`stop`, and wait for the fork server's end."""
        self.stop()
        forkserver._forkserver._stop()  # type: ignore[attr-defined]

    def _start(self, function: Callable[..., Any], arguments: tuple[Any, ...], log: Path) -> tuple[Any, Any]:
        context = multiprocessing.get_context("forkserver")
        receiver, sender = context.Pipe(duplex=False)
        name = (function.__module__, function.__qualname__)
        process = context.Process(target=child, args=(sender, str(log), name, arguments), daemon=False)
        try:
            process.start()  # waits for the preload
        except (EOFError, OSError) as error:
            receiver.close()
            self._check(wait=True)
            raise StageCrashed(f"the process that starts stages has ended: {error!r}") from error
        finally:
            sender.close()
        return process, receiver

    def _follow(self, process: Any, pipe: Any, tail: "_Tail", listener: Listener) -> Message | None:
        answer: Message | None = None
        doing: dict[str, str] = {}  # of each rank
        deadline = float("inf")
        open_pipe = True
        while True:
            sources = [process.sentinel, *([pipe] if open_pipe else [])]
            ready = connection.wait(sources, timeout=_POLL)
            # Its messages; the answer is the last.
            while open_pipe and pipe.poll():
                try:
                    message = pipe.recv()
                except (EOFError, OSError):
                    open_pipe = False
                    break
                if message[0] in ("done", "failed"):
                    answer, deadline = message, time.monotonic() + _GRACE
                elif message[0] == "doing":  # all that is known, should it end now
                    doing[message[1]] = message[2]
                    answer = ("doing", next(filter(None, doing.values()), ""))
                else:
                    listener.message(message)
            # Its prints.
            for line in tail.new_lines():
                listener.line(line)
            # Whether it has ended, or must.
            if process.sentinel in ready:
                process.join()
                _kill(process.pid, group_only=True)  # whatever the stage left running
                return answer
            if self.cancel.is_set() or time.monotonic() > deadline:
                _kill(process.pid)

    @contextlib.contextmanager
    def _registered(self, pid: int) -> Iterator[None]:
        self._running.add(pid)
        try:
            yield
        finally:
            self._running.discard(pid)

    def _check(self, *, wait: bool = False) -> None:
        if self.cancel.wait(_MOMENT if wait else 0):
            raise Cancelled("cancelled")


def prepare_environment() -> None:
    """Set what must be set before a library is imported; what the user has set stays."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


@dataclass
class _Tail:
    """The lines added to a log file since `offset`; `torn` is a last line without its end."""

    path: Path
    offset: int
    torn: bytes = b""

    def __post_init__(self) -> None:
        self.start = self.offset

    def new_lines(self) -> list[str]:
        with contextlib.suppress(FileNotFoundError), self.path.open("rb") as file:
            file.seek(self.offset)
            fresh = file.read()
            self.offset += len(fresh)
            # A progress bar redraws itself with carriage returns: keep what stood last.
            *lines, self.torn = (self.torn + fresh).split(b"\n")
            return [line.rsplit(b"\r", 1)[-1].decode(errors="replace") for line in lines]
        return []

    def last(self, count: int = 15) -> str:
        with contextlib.suppress(FileNotFoundError), self.path.open("rb") as file:
            file.seek(max(self.start, self.path.stat().st_size - 8000))
            lines = file.read().decode(errors="replace").splitlines()
            return "\n".join(line.rsplit("\r", 1)[-1] for line in lines[-count:])
        return ""


def _unpack(answer: Message | None, code: int | None, tail: _Tail) -> Any:
    if answer is None or answer[0] == "doing":
        ending = f"the stage's process {_ending(code)}"
        if answer is not None and answer[1]:
            left = code is not None and code >= 0
            culprit = f"{answer[1]} ended the stage's process with exit code {code}"
            ending = culprit if left else f"{ending}, in {answer[1]}"
        raise StageCrashed(ending, log_tail=tail.last())
    if answer[0] == "done":
        return answer[1]
    _, message, pickled, trace = answer
    if pickled is not None:
        error = pickle.loads(pickled)
        assert isinstance(error, UserError)
        raise error
    raise StageCrashed(message, traceback=trace, log_tail=tail.last())


def _ending(code: int | None) -> str:
    if code is None or code >= 0:
        return f"ended with exit code {code} before it had answered"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = " (out of memory?)" if name == "SIGKILL" else ""
    return f"was killed by {name}{hint}"


def _kill(pid: int, *, group_only: bool = False) -> None:
    # The child leads its own group; before it has made one, only its own id is right.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    if not group_only:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)

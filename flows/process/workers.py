"""One process per stage, forked from a server that has imported the heavy libraries already.

Memory comes back when a stage ends, a crash is contained, and cancelling is a SIGTERM: a training stage makes
a checkpoint of it, any other ends at once, and after `grace` seconds it is a kill. A child's messages travel
over a pipe as small tuples; artifacts stay on disk. Whatever is printed, by Python or below it, comes over a
second pipe, and goes to the stage's `log.txt` without keys. A child ends when its parent does: a thread
watches the parent's sentinel, and the child leads its own process group, which ends with it.
"""

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing import connection, forkserver
from pathlib import Path
from typing import Any, Protocol

from flows.process.child import Message, child
from flows.process.prints import Prints
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
_POLL = 0.2  # seconds between looks at `cancel`
_GRACE = 10.0  # seconds a child that has answered may take to end
_MOMENT = 1.0  # seconds: a scheduler signals all processes of a run, and ours may hear of it last


class StageCrashed(StageFailed):
    """A stage's process ended with an error or a signal.

    Attributes:
        traceback: the child's traceback, or "" when it was killed.
        log_tail: the last lines that the stage printed.
        again: whether it may end better at the next try: it was killed, or the network failed.
    """

    def __init__(self, message: str, *, traceback: str = "", log_tail: str = "", again: bool = False) -> None:
        super().__init__(message)
        self.traceback, self.log_tail, self.again = traceback, log_tail, again


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

    def run(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        log: Path,
        listener: Listener,
        grace: float = 0.0,
    ) -> Any:
        """Call `function(send, *arguments)` in a new process and return what it returns.

        `function` must be importable by name, its arguments and result small and picklable.

        Args:
            grace: seconds that it may take to end by itself after `stop`.

        Raises:
            UserError: the one that the child raised.
            StageCrashed: the child raised something else, or was killed.
            Cancelled: `stop` was called.
        """
        self._check()
        self.warm_up()
        log.parent.mkdir(parents=True, exist_ok=True)
        log.touch()
        context = multiprocessing.get_context("forkserver")
        printed, printing = context.Pipe(duplex=False)
        prints = Prints(printed, log)
        try:
            process, pipe = self._start(function, arguments, log, printing)
            with pipe, self._registered(process.pid):
                answer = self._follow(process, pipe, prints, listener, grace)
        finally:
            printed.close()
        # A stage that has ended without an answer was told to, and the run may hear of it a moment later.
        ending = answer[1] if answer is not None and answer[0] == "stopped" else ""
        if grace and process.exitcode == -signal.SIGKILL:
            ending = f"killed: it had no checkpoint after {grace:g} s"
        self._check(ending or "cancelled", wait=answer is None or answer[0] not in ("done", "failed"))
        return _unpack(answer, process.exitcode, prints)

    def stop(self) -> None:
        """Tell every stage to end; `run` raises Cancelled from now on.

        Takes no lock that a signal handler could find taken by its own thread.
        """
        self.cancel.set()
        if not self._running:  # one that is only being started waits for the server's imports
            self._kill_server()

    def close(self) -> None:
        """Kill every stage process and the fork server, and wait for its end."""
        self.stop()
        for pid in tuple(self._running):
            _kill(pid)
        self._kill_server()
        forkserver._forkserver._stop()  # type: ignore[attr-defined]

    def _kill_server(self) -> None:
        server = getattr(forkserver._forkserver, "_forkserver_pid", None)
        if server is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(server, signal.SIGKILL)

    def _start(
        self, function: Callable[..., Any], arguments: tuple[Any, ...], log: Path, printing: Any
    ) -> tuple[Any, Any]:
        context = multiprocessing.get_context("forkserver")
        receiver, sender = context.Pipe(duplex=False)
        name = (function.__module__, function.__qualname__)
        process = context.Process(
            target=child, args=(sender, printing, str(log), name, arguments), daemon=False
        )
        try:
            with _main_hidden():
                process.start()  # waits for the preload
        except (EOFError, OSError) as error:
            receiver.close()
            self._check(wait=True)
            raise StageCrashed(f"the process that starts stages has ended: {error!r}", again=True) from error
        finally:
            sender.close()
            printing.close()
        return process, receiver

    def _follow(
        self, process: Any, pipe: Any, prints: Prints, listener: Listener, grace: float
    ) -> Message | None:
        answer: Message | None = None
        doing: dict[str, str] = {}  # of each rank
        deadline = float("inf")
        open_pipe, is_told = True, False
        while True:
            sources = [process.sentinel, *([pipe] if open_pipe else []), *prints.sources()]
            ready = connection.wait(sources, timeout=_POLL)
            # Its messages; the answer is the last.
            while open_pipe and pipe.poll():
                try:
                    message = pipe.recv()
                except (EOFError, OSError):
                    open_pipe = False
                    break
                if message[0] in ("done", "failed", "stopped"):
                    answer, deadline = message, time.monotonic() + _GRACE
                elif message[0] == "doing":  # all that is known, should it end now
                    doing[message[1]] = message[2]
                    answer = ("doing", next(filter(None, doing.values()), ""))
                else:
                    listener.message(message)
            # Whether it has ended; what it has printed, also in its last moment.
            ended = process.sentinel in ready
            if ended:
                process.join()
                _kill(process.pid, group_only=True)  # whatever the stage left running
            for line in prints.take(all_of_it=ended):
                listener.line(line)
            if ended:
                if prints.trouble:
                    listener.message(("log", "warning", f"its log.txt is not whole: {prints.trouble}"))
                return answer
            # Whether it shall end, or must.
            if self.cancel.is_set() and not is_told:
                is_told, deadline = True, min(deadline, time.monotonic() + grace)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGTERM)
                listener.message(("stopping", grace))
            if time.monotonic() > deadline:
                _kill(process.pid)

    @contextlib.contextmanager
    def _registered(self, pid: int) -> Iterator[None]:
        self._running.add(pid)
        try:
            yield
        finally:
            self._running.discard(pid)

    def _check(self, ending: str = "cancelled", *, wait: bool = False) -> None:
        if self.cancel.wait(_MOMENT if wait else 0):
            raise Cancelled(ending)


_MAIN = threading.Lock()


@contextlib.contextmanager
def _main_hidden() -> Iterator[None]:
    """Let no process that is started in the body import this one's main module again.

    `multiprocessing` does so in every child: a second each where it is prefect's engine. No stage needs it.
    """
    main: dict[str, Any] = vars(sys.modules["__main__"])
    with _MAIN:
        hidden = {name: main[name] for name in main.keys() & {"__spec__", "__file__"}}
        try:
            main["__spec__"] = None
            main.pop("__file__", None)
            yield
        finally:
            main.update(hidden)


def prepare_environment() -> None:
    """Set what must be set before a library is imported; what the user has set stays."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def _unpack(answer: Message | None, code: int | None, prints: Prints) -> Any:
    if answer is None or answer[0] == "doing":
        ending = f"the stage's process {_ending(code)}"
        if answer is not None and answer[1]:
            left = code is not None and code >= 0
            culprit = f"{answer[1]} ended the stage's process with exit code {code}"
            ending = culprit if left else f"{ending}, in {answer[1]}"
        raise StageCrashed(ending, log_tail=prints.last(), again=code is not None and code < 0)
    if answer[0] == "done":
        return answer[1]
    if answer[0] == "stopped":  # by somebody else than this run
        raise StageCrashed(f"the stage's process was told to end (SIGTERM): {answer[1]}", again=True)
    _, message, pickled, trace, again = answer
    if pickled is not None:
        error = pickle.loads(pickled)
        assert isinstance(error, UserError)
        raise error
    raise StageCrashed(message, traceback=trace, log_tail=prints.last(), again=again)


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

"""The child's side of a stage's process: its descriptors, its end, its answer.

Everything printed, by Python or below it, goes to a pipe (`Prints`). The answer is the function's result
or its failure as text; only a `UserError` travels as an object, and a full disk or missing rights are one.
A thread waits for the parent's end and then kills the child's whole process group.
"""

import contextlib
import importlib
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing import connection
from pathlib import Path
from typing import Any

from flows.process.faults import may_pass
from tempering.artifacts.atomic import file_trouble
from tempering.errors import StageStopped, TemperingError, UserError

Message = tuple[Any, ...]
Send = Callable[[Message], None]

_OWN_FILES = ("flows/process/child.py", "flows/process/run_stage.py", "tempering/artifacts/stage.py")


def child(pipe: Any, printing: Any, log: str, name: tuple[str, str], arguments: tuple[Any, ...]) -> None:
    """Call the function called `name` (module, qualified name) and send what it returns.

    Args:
        log: its log, which the parent writes.
    """
    # A process group of its own: one kill ends the stage and all that it started. Ctrl-C and a closed
    # terminal are the parent's; its SIGTERM ends this process, unless the stage makes a checkpoint of it.
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the fork server blocks some
    threading.Thread(target=die_with_parent, daemon=True).start()
    _redirect(printing)

    # Progress comes from any thread of the stage; a message must not be cut by another.
    lock = threading.Lock()

    def send(message: Message) -> None:
        with lock:
            pipe.send(message)

    # The work, or why there is none.
    try:
        from flows.process import preload

        preload.check()
        function: Any = importlib.import_module(name[0])
        for part in name[1].split("."):
            function = getattr(function, part)
        send(("done", function(send, *arguments)))
    except StageStopped as stop:
        send(("stopped", str(stop)))
    except BaseException as error:
        send(_failure(error, log))
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()


def _failure(error: BaseException, log: str) -> Message:
    frames = error.__traceback__
    while frames is not None and frames.tb_next and frames.tb_frame.f_code.co_filename.endswith(_OWN_FILES):
        frames = frames.tb_next  # the frames that started the stage help nobody
    trace = "".join(traceback.format_exception(type(error), error, frames))
    nameless = getattr(error, "filename", None) is None  # as of a write to a full disk
    error = file_trouble(error, f"cannot write in {Path(log).parent}" if nameless else "") or error
    if isinstance(error, UserError):
        return ("failed", str(error), pickle.dumps(error), trace, False)
    again = may_pass(error)
    if isinstance(error, TemperingError):  # raised on purpose: its frames help nobody
        return ("failed", str(error), None, "", again)
    print(trace, file=sys.stderr)
    text = str(error).strip()
    name = type(error).__name__
    return ("failed", f"{name}: {text}" if text else name, None, trace, again)


def _redirect(printing: Any) -> None:
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    for stream in (1, 2):
        os.dup2(printing.fileno(), stream)
    printing.close()
    sys.stdout = os.fdopen(1, "w", buffering=1, errors="replace", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="replace", closefd=False)


def die_with_parent() -> None:
    """Wait for the parent's end, then end too: with the whole process group, where this process leads one."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    with contextlib.suppress(OSError):
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
    os._exit(1)

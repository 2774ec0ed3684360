"""What stops a command: Ctrl-C, the SIGTERM of a scheduler or container, the SIGHUP of a closed terminal.

All of them mean the same. The first raises `Stopped` in the main thread, wherever that is: in an import, a
plan, a wait, a commit; what is half written goes as it passes. Libraries swallow it, or turn it into an error
of their own: swallowed, it is raised again, and an error after a stop is the stop. A second signal ends the
process at once, and so does some time; but who sends a SIGTERM may send it twice (`timeout` does, to the
process and to its group), and that is one. What is ignored from outside (`nohup`) stays ignored.
"""

import contextlib
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Iterator

PATIENCE = 10.0  # seconds that a stopped command may take to end in order
_TWICE = 1.0  # seconds in which a SIGTERM or SIGHUP after another is the same stop
_LOOK = 0.5  # seconds until a swallowed stop is raised again
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(KeyboardInterrupt):
    """The command was told to end; libraries take it for Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class _State:
    """What this process has been told: the signal, and the exception, which dies where it is swallowed."""

    number: int | None = None
    when = 0.0
    patience = PATIENCE
    stop: "weakref.ref[Stopped] | None" = None
    again = False
    heard: KeyboardInterrupt | None = None
    """Kept, so that it is not raised again."""


def stop_code(stop: KeyboardInterrupt) -> int:
    """The exit code of a stopped command, as a shell counts: 130 for Ctrl-C, 143 for SIGTERM."""
    _State.heard = stop
    return 128 + (stop.number if isinstance(stop, Stopped) else signal.SIGINT)


def take_longer(seconds: float) -> None:
    """The stopped command needs so much more time to end in order."""
    _State.patience = PATIENCE + seconds


def stop_behind(error: BaseException) -> KeyboardInterrupt | None:
    """The stop that `error` is or comes from, else None."""
    if isinstance(error, KeyboardInterrupt):
        return error
    return None if _State.number is None else Stopped(_State.number)


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """While the block runs, the signals raise `Stopped`; only in the main thread, which alone gets them.

    After a stop the next one ends the process, also behind the block: nothing may print a traceback then.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in previous.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, _stop)
    try:
        yield
    except Exception as error:
        stop = stop_behind(error)
        if stop is None:
            raise
        raise stop from error
    finally:
        if _State.number is None:
            for number, handler in previous.items():
                if signal.getsignal(number) is _stop:
                    signal.signal(number, handler)


def _stop(number: int, frame: object) -> None:
    if _State.again:
        _State.again = False
    elif _State.number is not None:
        if signal.SIGINT in (number, _State.number) or time.monotonic() - _State.when > _TWICE:
            _end(number)
        return
    else:
        _State.number, _State.when, _State.patience = number, time.monotonic(), PATIENCE
        if number == signal.SIGHUP:
            _mute()
        threading.Thread(target=_see_to_it, args=(number,), daemon=True).start()
    stop = Stopped(number)
    _State.stop = weakref.ref(stop)
    try:
        raise stop
    finally:
        del stop  # this frame is in its traceback, and would keep it alive


def _see_to_it(number: int) -> None:
    """Raise the stop again where nobody holds it any more, and end the process when its time is over."""
    while time.monotonic() < _State.when + _State.patience:
        time.sleep(_LOOK)
        if _State.again:  # on its way still: two would be a second signal
            continue
        if _State.heard is None and _State.stop is not None and _State.stop() is None:
            _State.again = True
            os.kill(os.getpid(), number)
    _end(number)


def _end(number: int, frame: object = None) -> None:
    with contextlib.suppress(OSError):
        if os.isatty(2):
            os.write(2, b"\x1b[?25h")  # the live table hides the cursor
    os._exit(128 + number)


def _mute() -> None:
    """A terminal that has closed takes no more lines: writing to it would be an error."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            if stream.isatty():
                nothing = os.open(os.devnull, os.O_RDWR)
                os.dup2(nothing, stream.fileno())
                os.close(nothing)

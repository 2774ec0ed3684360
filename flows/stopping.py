"""What stops a command: Ctrl-C, the SIGTERM of a scheduler or container, the SIGHUP of a closed terminal.

All of them mean the same. The first raises `Stopped` in the main thread, wherever that is: in an import, a
plan, a wait, a commit; what is half written goes as it passes. A second one ends the process at once, and so
does some time, since a library may swallow the exception. What is ignored from outside (`nohup`) stays so.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator

PATIENCE = 10.0  # seconds that a stopped command may take to end in order
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(KeyboardInterrupt):
    """The command was told to end; libraries take it for Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def stop_code(stop: KeyboardInterrupt) -> int:
    """The exit code of a stopped command, as a shell counts: 130 for Ctrl-C, 143 for SIGTERM."""
    return 128 + (stop.number if isinstance(stop, Stopped) else signal.SIGINT)


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
    finally:
        for number, handler in previous.items():
            if signal.getsignal(number) is _stop:
                signal.signal(number, handler)


def _stop(number: int, frame: object) -> None:
    for other in _SIGNALS:
        if signal.getsignal(other) is _stop:
            signal.signal(other, _end)
    if number == signal.SIGHUP:
        _mute()
    threading.Thread(target=_end_later, args=(number,), daemon=True).start()
    raise Stopped(number)


def _end_later(number: int) -> None:
    time.sleep(PATIENCE)
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

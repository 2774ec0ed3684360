"""A chat template is a program of somebody else's: it may compute five seconds and take two gigabytes.

Jinja's sandbox bounds a `range` but neither loops within loops nor the length of texts. The limits hold where
the process can be asked for them: time in the main thread, memory on Linux. The length is always looked at.
"""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tempering.errors import DataError

if sys.platform != "win32":
    import resource

SECONDS = 5
_MEMORY = 2 * 2**30
_LONGEST = 64 * 2**20
_INSIDE, _LOCK = threading.local(), threading.Lock()
_HOLDERS: list[tuple[int, int]] = []
"""The limits of memory before, once per thread that is inside."""


class _Endless(BaseException):
    """Past everything that a template or a library might catch."""


@contextmanager
def limited() -> Iterator[None]:
    """Run what is inside, the rendering of one conversation, within the limits.

    Raises:
        DataError: it did not end, or wanted too much memory.
    """
    if not getattr(_INSIDE, "open", False):
        with within_limits(), limited():
            yield
        return
    timed = threading.current_thread() is threading.main_thread()
    try:
        if timed:
            signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
        try:
            yield
        finally:
            if timed:
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    except _Endless:
        raise _absurd(f"does not end within {SECONDS} seconds of computing") from None
    except (MemoryError, RecursionError) as error:
        raise _absurd(f"does not end ({type(error).__name__})") from None


@contextmanager
def within_limits() -> Iterator[None]:
    """What `limited` needs, prepared once for many conversations: it costs more than one of them."""
    with _handler(), _memory():
        _INSIDE.open = True
        try:
            yield
        finally:
            _INSIDE.open = False


def check_length(text: str) -> str:
    """`text` itself, unless no conversation could be so long.

    Raises:
        DataError: it is longer than any row may be.
    """
    if len(text) > _LONGEST:
        raise _absurd(f"makes {len(text):,} characters of one conversation")
    return text


def _absurd(fault: str) -> DataError:
    return DataError(
        f"the chat template {fault}",
        expected="a template that goes through the messages once",
        fix="look at chat_template in the tokenizer's folder, give it another, or set `prompt_format: plain`",
    )


def unreadable_template(error: Exception) -> DataError:
    """The refusal of a template that is no program at all."""
    return DataError(
        f"the chat template cannot be read: {error}",
        expected="a Jinja template",
        fix="mend chat_template in the tokenizer's folder, or set `prompt_format: plain`",
    )


@contextmanager
def _handler() -> Iterator[None]:
    def stop(signum: int, frame: Any) -> None:
        raise _Endless

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGVTALRM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGVTALRM, previous)


@contextmanager
def _memory() -> Iterator[None]:
    """The limit is of the process: the first of its threads sets it, the last one takes it back."""
    if sys.platform != "linux":
        yield
        return
    with _LOCK:
        _HOLDERS.append(_HOLDERS[0] if _HOLDERS else _lowered())
    try:
        yield
    finally:
        with _LOCK:
            limits = _HOLDERS.pop()
            if not _HOLDERS:
                resource.setrlimit(resource.RLIMIT_AS, limits)


def _lowered() -> tuple[int, int]:
    """The limits of memory before they were lowered."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm", encoding="ascii") as file:
        size = int(file.read().split()[0]) * resource.getpagesize() + _MEMORY
    lowest = min((limit for limit in (size, *limits) if limit != resource.RLIM_INFINITY), default=size)
    resource.setrlimit(resource.RLIMIT_AS, (lowest, limits[1]))
    return limits

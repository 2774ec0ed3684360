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

SECONDS = 5
_MEMORY = 2 * 2**30
_LONGEST = 64 * 2**20


class _Endless(BaseException):
    """Past everything that a template or a library might catch."""


@contextmanager
def limited() -> Iterator[None]:
    """Run what is inside within the limits.

    Raises:
        DataError: it did not end, or wanted too much memory.
    """
    try:
        with _time(), _memory():
            yield
    except _Endless:
        raise _absurd(f"does not end within {SECONDS} seconds of computing") from None
    except (MemoryError, RecursionError) as error:
        raise _absurd(f"does not end ({type(error).__name__})") from None


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
def _time() -> Iterator[None]:
    def stop(signum: int, frame: Any) -> None:
        raise _Endless

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, previous)


@contextmanager
def _memory() -> Iterator[None]:
    if sys.platform != "linux":
        yield
        return
    import resource

    limits = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm", encoding="ascii") as file:
        size = int(file.read().split()[0]) * resource.getpagesize() + _MEMORY
    lowest = min((limit for limit in (size, *limits) if limit != resource.RLIM_INFINITY), default=size)
    resource.setrlimit(resource.RLIMIT_AS, (lowest, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)

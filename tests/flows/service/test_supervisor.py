"""The supervisor hears of a stop, however often it is told."""

import os
import signal
from collections.abc import Iterator

import pytest

from flows.service.supervisor import stopped_by_signals

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@pytest.fixture
def restored() -> Iterator[None]:
    previous = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in previous.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("first", SIGNALS)
def test_told_once_or_twice_it_ends_in_order(restored: None, first: signal.Signals):
    stopped = stopped_by_signals()
    assert not stopped()
    os.kill(os.getpid(), first)
    os.kill(os.getpid(), signal.SIGTERM)  # as `timeout` does: to the process, and to its group
    assert stopped()

"""The outbox: newest state only, in order, again after a fault, never blocking, at an end in time."""

import threading
import time

import pytest

from flows.pages import outbox
from flows.pages.outbox import Outbox


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "_FIRST_PAUSE", 0.02)


class Server:
    """What came, and whether it answers."""

    def __init__(self) -> None:
        self.came: list[str] = []
        self.up = threading.Event()
        self.up.set()
        self.tries = 0

    def message(self, text: str) -> outbox.Send:
        def send() -> None:
            self.tries += 1
            if not self.up.is_set():
                raise ConnectionError
            self.came.append(text)

        return send


def make(refused: list[str]) -> Outbox:
    return Outbox(lambda error: isinstance(error, ConnectionError), lambda key, _: refused.append(key))


def test_a_dead_server_gets_the_newest_state_of_each_thing_when_it_is_back():
    server, refused = Server(), []
    box = make(refused)
    server.up.clear()
    for number in range(10_000):
        box.put("progress", server.message(f"progress {number}"))
        box.put(f"table {number % 3}", server.message(f"table {number}"))
    assert len(box) <= 4
    while server.tries < 3:
        time.sleep(0.01)
    server.up.set()
    assert box.close(5)
    assert sorted(server.came) == ["progress 9999", "table 9997", "table 9998", "table 9999"]
    assert not refused


def test_messages_go_out_in_the_order_of_their_first_state_and_a_refused_one_holds_up_nobody():
    server, refused = Server(), []
    box = make(refused)

    def bad() -> None:
        raise ValueError("too large")

    box.put("a", server.message("a"))
    box.put("bad", bad)
    box.put("b", server.message("b"))
    assert box.close(5)
    box.put("late", server.message("late"))
    assert len(box) == 0
    assert server.came == ["a", "b"]
    assert refused == ["bad"]


def test_closing_does_not_wait_for_a_server_that_hangs_or_refuses():
    server, hang = Server(), threading.Event()
    box = make([])
    box.put("hangs", lambda: hang.wait(30) and None)
    start = time.monotonic()
    box.put("later", server.message("later"))
    assert not box.close(0.2)
    assert time.monotonic() - start < 2
    hang.set()
    dead = make([])
    server.up.clear()
    dead.put("dead", server.message("dead"))
    assert not dead.close(5)
    assert time.monotonic() - start < 4


def test_putting_takes_microseconds_also_while_the_server_hangs():
    hang = threading.Event()
    box = make([])
    box.put("hangs", lambda: hang.wait(30) and None)
    start = time.perf_counter()
    for number in range(10_000):
        box.put(f"progress {number % 30}", lambda: None)
    seconds = (time.perf_counter() - start) / 10_000
    hang.set()
    assert seconds < 200e-6

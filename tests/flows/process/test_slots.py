"""The training slot: one at a time, the earliest in the pipeline first."""

import threading
import time

from flows.process.slots import Slots


def test_one_at_a_time_and_in_order() -> None:
    slots, order, inside = Slots(1), list[int](), []
    gate = threading.Event()

    def train(rank: int) -> None:
        with slots.take(rank):
            inside.append(rank)
            assert len(inside) == 1
            order.append(rank)
            gate.wait()
            time.sleep(0.01)
            inside.remove(rank)

    threads = []
    for rank in (5, 9, 7, 3):
        threads.append(threading.Thread(target=train, args=(rank,)))
        threads[-1].start()
        time.sleep(0.05)
    gate.set()
    for thread in threads:
        thread.join()
    assert order == [5, 3, 7, 9]


def test_the_earlier_one_that_is_about_to_ask_is_waited_for() -> None:
    slots, order = Slots(1), list[int]()
    asked = threading.Event()

    def train(rank: int, coming: bool) -> None:
        with slots.take(rank, coming=lambda: coming and not asked.is_set()):
            order.append(rank)

    late = threading.Thread(target=train, args=(2, True))
    late.start()
    time.sleep(0.05)
    first = threading.Thread(target=train, args=(1, False))
    first.start()
    first.join()
    asked.set()
    late.join()
    assert order == [1, 2]


def test_a_cancelled_run_waits_no_longer() -> None:
    slots, cancel = Slots(0), threading.Event()
    cancel.set()
    with slots.take(0, cancel):
        pass
    assert slots.free == 0

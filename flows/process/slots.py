"""Slots: how many stages may work at the same time, the earliest in the pipeline first.

Training stages share `runtime.max_parallel_stages` slots (two trainings on two cores are slower than
one after the other); the light ones share as many as there are processors. Order matters: with
plain semaphores the threads' start decided whether DPO or PPO came first.
"""

import bisect
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator

_PATIENCE = 2.0  # seconds


class Slots:
    """`count` places; among those that wait, the lowest rank goes first."""

    def __init__(self, count: int) -> None:
        self.free = count
        self._waiting: list[int] = []
        self._change = threading.Condition()

    @contextlib.contextmanager
    def take(
        self, rank: int, cancel: threading.Event | None = None, coming: Callable[[], bool] = lambda: False
    ) -> Iterator[None]:
        """Hold a place; without one the body runs only when `cancel` is set.

        Args:
            coming: whether a lower rank is about to ask; it gets a short wait.
        """
        patience = time.monotonic() + _PATIENCE
        while coming() and time.monotonic() < patience:
            time.sleep(0.02)
        entered = self._enter(rank, cancel)
        try:
            yield
        finally:
            if entered:
                with self._change:
                    self.free += 1
                    self._change.notify_all()

    def _enter(self, rank: int, cancel: threading.Event | None) -> bool:
        with self._change:
            bisect.insort(self._waiting, rank)
            try:
                while not (self.free and self._waiting[0] == rank):
                    if cancel is not None and cancel.is_set():
                        return False
                    self._change.wait(0.2)
                self.free -= 1
                return True
            finally:
                self._waiting.remove(rank)
                self._change.notify_all()


def light_slots() -> Slots:
    """Slots for stages that do not train."""
    return Slots(max(2, os.cpu_count() or 1))

"""Whether a run's Prefect server answers: looked at all the time, and told in one line when that changes.

Prefect drops what it cannot send within seconds. A run that knows that its server was away can tell the last
states once more when it is back.
"""

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import httpx

from flows.process.server_check import http_client

_LOOK = 2.0  # seconds between two looks at the server
_MISSES = 3  # looks without an answer after which it counts as gone


@dataclass
class Contact:
    """Whether the server answers, looked at all the time while the block runs."""

    url: str
    note: Callable[[str], None]
    lost: bool = False
    missed: bool = False
    """It was lost for some time."""
    _end: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @cached_property
    def _client(self) -> httpx.Client:
        return http_client(os.environ.get("PREFECT_API_AUTH_STRING"))

    def __enter__(self) -> "Contact":
        logging.raiseExceptions = False  # Prefect would write each line it cannot send to the terminal
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()

    def look(self, *, over: bool = False) -> None:
        """Look whether it answers now: it may have gone a moment ago; `over`: the run has ended."""
        self._know(any(self._answers() for _ in range(_MISSES)), over)

    def _watch(self) -> None:
        misses = 0
        while not self._end.wait(_LOOK):
            misses = 0 if self._answers() else misses + 1
            if misses in (0, _MISSES) and not self._end.is_set():
                self._know(misses == 0)

    def _know(self, answers: bool, over: bool = False) -> None:
        with self._lock:
            if self.lost != answers:
                return
            self.lost = not answers
            if answers:
                self.note("the Prefect server answers again")
                return
            self.missed = True
            trouble = f"the Prefect server at {self.url} does not answer: its pages"
            self.note(f"{trouble} {'may lack the last of it' if over else 'are blind, the run goes on'}")

    def _answers(self) -> bool:
        try:
            return self._client.get(f"{self.url}/health", timeout=_LOOK).is_success
        except httpx.HTTPError:
            return False

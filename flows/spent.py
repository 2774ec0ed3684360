"""The seconds that a stage has taken in all runs that worked on it: what a resumed one has cost.

They are noted in the partial, every few seconds and when a try ends, so that a kill loses few of them. What
was computed after the last checkpoint, and is computed again, took its time too.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tempering.artifacts.partial import note_seconds, seconds_spent

_GAP = 5.0  # seconds between two notes


@dataclass
class Spent:
    """The clock of one stage; `waited` says for how long it has had no device."""

    waited: Callable[[], float]
    earlier: float | None = None
    """Of the runs before this one."""

    def __post_init__(self) -> None:
        self._start = self._noted = time.monotonic()

    def open(self, partial: Path) -> None:
        """Read once what the runs before have noted."""
        self.earlier = seconds_spent(partial) if self.earlier is None else self.earlier

    @property
    def here(self) -> float:
        """In this run."""
        return time.monotonic() - self._start - self.waited()

    @property
    def total(self) -> float:
        """In all runs."""
        return (self.earlier or 0.0) + self.here

    def note(self, partial: Path, *, now: bool = False) -> None:
        """Keep it, if it is time to, or `now`."""
        if now or time.monotonic() - self._noted > _GAP:
            self._noted = time.monotonic()
            note_seconds(partial, self.total)

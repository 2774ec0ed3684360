"""Trying a stage again whose process was killed, or which the network failed: when, and how often.

Each wait is four times the one before, and a little by chance, so that the machines of a team do not come
back all at once. What fails by itself fails again: its first failure is the last.
"""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from flows.process.workers import Cancelled, StageCrashed
from tempering.credentials import masked
from tempering.printable import clock

FIRST_WAIT, GROWTH, LONGEST_WAIT = 5.0, 4.0, 300.0  # seconds


@dataclass
class Retries:
    """The tries of a run's stages, at most `most` more for each; `cancel` ends a wait."""

    most: int
    cancel: threading.Event
    crashes: dict[str, list[str]] = field(default_factory=dict)
    """Of each stage, how its tries so far have ended."""

    def of(self, node: str) -> list[str]:
        """How the tries of a stage before the one at hand have ended."""
        return self.crashes.setdefault(node, [])

    def wait(self, node: str, crash: StageCrashed, say: Callable[[str], None]) -> None:
        """Return when it is time for the next try.

        Raises:
            StageCrashed: `crash`, where there is no other try.
            Cancelled: the run was stopped meanwhile.
        """
        crashes = self.of(node)
        if not crash.again or len(crashes) >= self.most:
            raise crash
        crashes.append(masked(str(crash)))
        number = len(crashes)
        seconds = min(LONGEST_WAIT, FIRST_WAIT * GROWTH ** (number - 1)) * random.uniform(0.75, 1.25)
        say(f"{crashes[-1]}; try {number + 1} of {self.most + 1} begins in {clock(seconds)}")
        if self.cancel.wait(seconds):
            raise Cancelled("cancelled")

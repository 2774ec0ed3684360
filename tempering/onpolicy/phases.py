"""Where the time of a rollout goes: seconds by phase, for the log."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Phases:
    """Adds up seconds by the name of a phase."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Count what runs inside."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(phase, time.perf_counter() - start)

    def add(self, phase: str, seconds: float) -> None:
        """Count seconds that were measured elsewhere."""
        self._seconds[phase] += seconds

    def taken(self, tokens: int) -> dict[str, float]:
        """`PHASE_seconds` and `PHASE_tokens_per_second` since the last call.

        Args:
            tokens: prompt and completion tokens of the rollout that the phases worked on.
        """
        spent = dict(self._seconds)
        self._seconds.clear()
        return {f"{phase}_seconds": round(seconds, 6) for phase, seconds in spent.items()} | {
            f"{phase}_tokens_per_second": round(tokens / max(seconds, 1e-9), 1)
            for phase, seconds in spent.items()
        }

"""A process that the supervisor keeps up: started, looked at, started again, and ended in order.

One that ends soon after its start is given a pause before the next, twice as long each time up to a minute;
one that has lived that long begins anew. Its output goes to a log of its own, which does not fill the disk.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

LONGEST_PAUSE = 60.0  # seconds
_LOG_LIMIT = 20_000_000  # bytes


@dataclass
class Child:
    """One of the service's processes; `ask` is how it is told to end: a signal, or a byte on its stdin."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    log: Path
    descriptors: tuple[int, ...] = ()
    ask: signal.Signals | None = signal.SIGTERM
    process: "subprocess.Popen[bytes] | None" = None
    starts: int = 0
    pause: float = 0.0
    begun: float = 0.0
    due: float = 0.0
    """When it starts again, on the monotonic clock."""

    @property
    def pid(self) -> int | None:
        """Its process, while there is one."""
        return self.process.pid if self.process is not None else None

    def start(self) -> None:
        """Start the process, in a session of its own: Ctrl-C is the supervisor's."""
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command,
                env=dict(self.environment),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                pass_fds=self.descriptors,
                start_new_session=True,
            )
        self.starts += 1
        self.begun = time.monotonic()

    def look(self) -> str | None:
        """Start the process where it is due, see whether it has ended; a line about what has changed."""
        now = time.monotonic()
        if self.process is None:
            if now < self.due:
                return None
            try:
                self.start()
            except OSError as error:  # no memory, no disk: no reason to take the others down
                return self._wait(now, f"did not start ({error.strerror or error})")
            return f"{self.name}: started"
        code = self.process.poll()
        if code is None:
            return None
        self._close()
        lived = now - self.begun
        if lived > LONGEST_PAUSE:
            self.pause = 0.0
        return self._wait(now, f"ended ({_ending(code)}) after {lived:.0f} s")

    def end(self, patience: float) -> str | None:
        """Ask the process to end, and kill it when `patience` seconds are over; a line if it was killed."""
        if self.process is None:
            return None
        with contextlib.suppress(OSError):
            if self.ask is not None:
                self.process.send_signal(self.ask)
            elif self.process.stdin is not None:
                os.write(self.process.stdin.fileno(), b".")
        try:
            self.process.wait(patience)
            return None
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return f"{self.name}: did not end in {patience:.0f} s and was killed"
        finally:
            self._close()

    def trim(self) -> None:
        """Keep the log from filling the disk: its process appends, so it can be emptied under it."""
        with contextlib.suppress(OSError):
            if self.log.stat().st_size > _LOG_LIMIT:
                shutil.copyfile(self.log, self.log.with_suffix(".log.1"))
                os.truncate(self.log, 0)

    def _wait(self, now: float, why: str) -> str:
        self.pause = min(2 * self.pause or 1.0, LONGEST_PAUSE)
        self.due = now + self.pause
        return f"{self.name}: {why}, starts again in {self.pause:.0f} s"

    def _close(self) -> None:
        if self.process is not None and self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
        self.process = None


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"

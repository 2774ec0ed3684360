"""The highest resident memory of this process and its children while something runs, above its start."""

import threading
import time
from pathlib import Path


class Peak:
    """Samples `/proc` every 20 ms (Linux); `megabytes` is the peak above the memory at the start.

    Anonymous memory only: pages of mapped files can be dropped at any time and are no one's need.
    """

    def __init__(self) -> None:
        self.start = self.highest = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @property
    def megabytes(self) -> float:
        """Peak above the start."""
        return (self.highest - self.start) / 1024

    def __enter__(self) -> "Peak":
        self.start = self.highest = resident()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.highest = max(self.highest, resident())

    def _watch(self) -> None:
        while not self._stop.is_set():
            self.highest = max(self.highest, resident())
            time.sleep(0.02)


def resident() -> int:
    """Anonymous resident memory of this process and its children, in KB."""
    return sum(_anonymous(process) for process in _family())


def _family() -> list[str]:
    found = ["self"]
    for task in Path("/proc/self/task").iterdir():
        try:
            found += (task / "children").read_text().split()
        except OSError:
            continue
    return found


def _anonymous(process: str) -> int:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)

"""Progress of a run on stderr: a live table on a terminal, one plain line per event elsewhere.

Stages report from threads into a `Display`; the live one only keeps rows, which rich draws eight times per
second. Pipes, files and CI logs get lines without control codes.
"""

import sys
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

from tempering.credentials import masked
from tempering.printable import clock, count, headline, visible

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.table import Table

FINISHED = ("Cached", "done", "failed", "not run", "cancelled")
_STYLES = {
    "waiting": "dim",
    "queued": "dim",
    "running": "bold cyan",
    "resumed": "bold magenta",
    "Cached": "blue",
    "done": "green",
    "failed": "bold red",
    "not run": "yellow",
    "cancelled": "yellow",
}


@dataclass
class Row:
    """One stage's line in the table."""

    name: str
    state: str = "waiting"
    done: int = 0
    total: int | None = None
    unit: str = "tokens"
    headline: str = ""
    started: float | None = None
    seconds: float | None = None
    first: tuple[float, int] | None = None  # time and amount of the first report, for the rate

    def elapsed(self) -> float | None:
        """Seconds so far, or in total once it has finished."""
        if self.seconds is not None or self.started is None:
            return self.seconds
        return time.monotonic() - self.started

    def rate(self) -> float | None:
        """Units a second since the first report (a resumed stage starts above 0), a second after it."""
        if self.first is None:
            return None
        start, amount = self.first
        progress, seconds = self.done - amount, time.monotonic() - start
        return progress / seconds if progress > 0 and seconds > 1 else None

    def left(self) -> float | None:
        """Estimated seconds to go, by that rate."""
        if self.total is None or self.state in FINISHED or self.done >= self.total:
            return None
        rate = self.rate()
        return (self.total - self.done) / rate if rate else None


class Display:
    """Plain lines, for pipes, files and CI logs. Thread-safe."""

    def __init__(self, stream: IO[str] | None = None, *, verbose: bool = False) -> None:
        self.stream = stream or sys.stderr
        self.verbose = verbose
        self.rows: dict[str, Row] = {}
        self.lock = threading.RLock()

    def __enter__(self) -> "Display":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def add(self, names: Iterable[str]) -> None:
        """Add the stages to show, in order."""
        self.rows.update({name: Row(name) for name in names})

    def start(self, name: str, state: str = "running") -> None:
        """A stage starts working, or queues for the training slot or another run."""
        with self.lock:
            row = self.rows[name]
            row.state = state
            if state != "queued":
                row.started = time.monotonic()
                self.say(f"{name}: {state}")

    def progress(self, name: str, done: int, total: int | None, unit: str, live: Mapping[str, float]) -> None:
        """A stage's progress and its current numbers."""
        with self.lock:
            row = self.rows[name]
            row.first = row.first or (time.monotonic(), done)
            row.done, row.total, row.unit = done, total, unit
            row.headline = headline(live) or row.headline

    def end(self, name: str, state: str, *, seconds: float | None = None, shown: str = "") -> None:
        """A stage has finished: `state` is one of FINISHED, `shown` its headline or the reason."""
        with self.lock:
            row = self.rows.setdefault(name, Row(name))
            row.state, row.seconds, row.headline = state, seconds, shown
            duration = f" in {clock(seconds)}" if seconds is not None and state in ("done", "failed") else ""
            self.say(f"{name}: {state}{duration}" + (f" ({shown})" if shown else ""))

    def line(self, name: str, text: str) -> None:
        """A line that a stage printed, shown with -v."""
        if self.verbose and text.strip():
            self.note(f"{name} | {text}")

    def warn(self, name: str, text: str) -> None:
        """A stage's warning, which -v shows as one of its lines."""
        if not self.verbose:
            self.note(f"{name}: {text}")

    def note(self, text: str) -> None:
        """A line that is always shown."""
        self.say(text)

    def say(self, text: str) -> None:
        """Write a line; a closed stderr does not end the run."""
        try:
            self.stream.write(visible(masked(text), lines=True) + "\n")
            self.stream.flush()
        except (OSError, ValueError):
            pass


@dataclass(eq=False)
class _Renderable:
    display: "LiveDisplay" = field(repr=False)

    def __rich_console__(self, console: "Console", options: Any) -> Iterable["RenderableType"]:
        yield self.display.table(console.width, console.height)


class LiveDisplay(Display):
    """The live table. Lines go above it."""

    def __init__(self, stream: IO[str] | None = None, *, verbose: bool = False) -> None:
        from rich.console import Console

        super().__init__(stream, verbose=verbose)
        self.console = Console(file=self.stream, stderr=stream is None, highlight=False)
        self.live: Live | None = None

    def __enter__(self) -> "LiveDisplay":
        from rich.live import Live

        self.live = Live(
            _Renderable(self),
            console=self.console,
            refresh_per_second=8,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live is not None:
            self.live.stop()
            self.console.print(self.table(self.console.width, height=None))
            self.live = None

    def say(self, text: str) -> None:
        """Nothing: the table shows the states already."""

    def note(self, text: str) -> None:
        """A line above the table."""
        self.console.print(visible(masked(text), lines=True), markup=False, highlight=False)

    def table(self, width: int, height: int | None) -> "Table":
        """The stages as a table of at most `width` columns; finished ones fold where `height` is short."""
        from rich.table import Table

        wide = width >= 100
        table = Table(box=None, padding=(0, 1), header_style="dim", pad_edge=False)
        # Fixed widths: a table that is redrawn eight times per second must not jump.
        for title, min_width in (("stage", None), ("state", 8), ("progress", 12)):
            table.add_column(title, no_wrap=True, min_width=min_width)
        if wide:
            table.add_column("tokens", no_wrap=True, justify="right", min_width=13)
        room = 40 if wide else 19
        table.add_column("headline", no_wrap=True, overflow="ellipsis", min_width=room, max_width=room)
        for title in ("time", "left"):
            table.add_column(title, no_wrap=True, justify="right", min_width=6)
        # As many stages as fit; the last table, without a height, shows all.
        with self.lock:
            rows = list(self.rows.values())
            visible_rows, hidden = _fit(rows, None if height is None else height - 3)
            if hidden:
                table.add_row(f"... {hidden} more", style="dim")
            for row in visible_rows:
                table.add_row(*_cells(row, wide))
        return table


def make_display(*, verbose: bool = False, stream: IO[str] | None = None) -> Display:
    """The live table if stderr is a terminal that can move its cursor, else plain lines."""
    import os

    stream = stream or sys.stderr
    terminal = stream.isatty() and os.environ.get("TERM") != "dumb"
    return LiveDisplay(stream, verbose=verbose) if terminal else Display(stream, verbose=verbose)


def _fit(rows: list[Row], height: int | None) -> tuple[list[Row], int]:
    """The rows that fit, and the number of others: finished ones fold first, then waiting ones."""
    if height is None or len(rows) <= height:
        return rows, 0
    room = max(height - 1, 1)
    rank = {"running": 0, "resumed": 0, "failed": 1, "queued": 2, "waiting": 3}
    best = sorted(range(len(rows)), key=lambda index: (rank.get(rows[index].state, 4), index))[:room]
    return [rows[index] for index in sorted(best)], len(rows) - len(best)


def _cells(row: Row, wide: bool) -> list["RenderableType"]:
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    style = _STYLES.get(row.state, "")
    amount = ""
    bar: RenderableType = ""
    if row.total and row.state not in ("Cached", "not run"):
        colour = "red" if row.state == "failed" else "cyan"
        bar = ProgressBar(row.total, row.done, width=12, complete_style=colour, finished_style="green")
        amount = f"{count(row.done)}/{count(row.total)}" + ("" if row.unit == "tokens" else f" {row.unit}")
    elif row.state in ("running", "resumed") and row.done:
        bar = f"{count(row.done)} {row.unit}"
    name = Text(row.name, style="dim" if row.state in ("waiting", "queued") else "")
    middle: list[RenderableType] = [amount] if wide else []
    text = Text(row.headline, style="red" if row.state == "failed" else "")
    times = [clock(row.elapsed()), clock(row.left())]
    return [name, Text(row.state, style=style), bar, *middle, text, *times]

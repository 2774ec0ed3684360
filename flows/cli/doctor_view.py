"""An examination for people: the verdict first, then each data set and sample, then example rows.

Labels and levels are words in one column, so that nothing hangs on colour; what the data holds is never
taken for markup or for control codes.
"""

import io
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from flows.cli.doctor_facts import facts, spread_of
from flows.cli.doctor_rows import example_text, legend
from tempering.doctor.check import Level, rows
from tempering.doctor.dataset import Dataset
from tempering.doctor.sample import SampleFindings
from tempering.printable import count, visible

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

    from tempering.doctor.result import Examination, Examined

_MARKS = {Level.OK: "✓ fine", Level.NOTE: "· note", Level.WARNING: "! warning", Level.FATAL: "✗ fatal"}
_STYLES = {Level.OK: "green", Level.NOTE: "cyan", Level.WARNING: "bold yellow", Level.FATAL: "bold red"}
_ERROR = "  ✗ error"
_PIPE_WIDTH = 100
_LABELS = 11


def print_examination(done: "Examination") -> None:
    """Print all of it on stdout."""
    console = _console()
    with console.capture() as captured:
        _print_all(console, done)
    # Cells of a table are filled up with spaces.
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def _print_all(console: "Console", done: "Examination") -> None:
    console.print(_verdict(done))
    console.print(_grid(_general(done)))
    several = len(done.datasets) + len(done.samples) > 2
    if several:
        console.print()
        console.print(_overview(done))
    for one in done:
        console.print()
        _print_one(console, one)
    if several:
        console.print()
        console.print(_verdict(done))


def _console() -> "Console":
    """As wide as the terminal; into a pipe, as COLUMNS says."""
    from rich.console import Console

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # data may hold what the terminal's encoding does not
    made = Console(highlight=False, markup=False, emoji=False)
    if not made.is_terminal and not os.environ.get("COLUMNS", "").isdigit():
        made.width = _PIPE_WIDTH
    return made


def _verdict(done: "Examination") -> "Text":
    counts = {level: sum(check.level is level for one in done for check in one.checks) for level in Level}
    found = [
        rows(counts[level], word)
        for level, word in ((Level.FATAL, "fatal fault"), (Level.WARNING, "warning"), (Level.NOTE, "note"))
        if counts[level]
    ]
    failed = sum(one.failed for one in done)
    said = {
        "unreadable": f"{failed} of {len(list(done))} cannot be looked at",
        "meaningless": "training on this would be meaningless",
        "warnings": "usable, with warnings",
        "fine": "fine",
    }[done.verdict]
    level = {"unreadable": Level.FATAL, "meaningless": Level.FATAL, "warnings": Level.WARNING}.get(
        done.verdict, Level.OK
    )
    mark = _MARKS[level][0]
    more = f" ({', '.join(found)})" if found else ""
    return _text(f"{mark} {done.title}: {said}{more}", _STYLES[level])


def _general(done: "Examination") -> Iterator[tuple["Text", "Text"]]:
    if done.chosen is not None:
        about = "; numbers of tokens are approximate" if done.chosen.approximate else ""
        yield _label("tokenizer"), _text(f"{done.chosen.origin}{about}")
        for line in done.chosen.added:
            yield _label(""), _text(line, "dim")
    if any(isinstance(one.found, Dataset) and one.found.more for one in done):
        yield _label("rows"), _text(f"the first {done.most:,} of each data set (--rows 0: all)")
    for remark in done.remarks:
        yield _level(Level.NOTE), _text(remark)


def _overview(done: "Examination") -> "RenderableType":
    from rich.table import Table

    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
    table.add_column("  data set or sample")
    for title in ("rows", "tokens"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for one in done:
        found, spread = one.found, spread_of(one.found)
        seen = found.kept if isinstance(found, Dataset) else found.used
        more = "+" if found.more else ""
        kind = "" if isinstance(found, Dataset) else "sample "
        table.add_row(
            _text(f"  {kind}{found.name}"),
            "" if one.failed else f"{seen:,}{more}",
            "" if spread is None else f"{count(int(spread.total))}{more}",
            _text(_ERROR, "bold red") if one.failed else _level(one.level),
        )
    return table


def _print_one(console: "Console", one: "Examined") -> None:
    from rich.padding import Padding

    found = one.found
    console.print(_text(_title(found), "bold"))
    console.print(_grid([*_facts(one), *_findings(one, console.width - _LABELS - 1)]))
    if one.examples:
        coloured = _coloured(console)
        console.print(Padding(_text(legend(found, coloured=coloured), "dim"), (0, 0, 0, 2)))
        for number, example in enumerate(one.examples, 1):
            console.print(Padding(example_text(number, example, coloured=coloured), (0, 0, 0, 2)))


def _title(found: Dataset | SampleFindings) -> str:
    if isinstance(found, Dataset):
        return f"data set {found.name}"
    return f"used as {found.row_type} rows" if found.natural else f"sample {found.name}"


def _coloured(console: "Console") -> bool:
    return console.is_terminal and console.color_system is not None and not console.no_color


def _facts(one: "Examined") -> Iterator[tuple["Text", "Text"]]:
    if one.found.error is not None:
        yield _text(_ERROR, "bold red"), _text(str(one.found.error))
        return
    for name, text in facts(one.found):
        yield _label(name), _text(text)


def _findings(one: "Examined", width: int) -> Iterator[tuple["Text", "Text"]]:
    for check in sorted(one.checks, key=lambda check: -check.level):
        if check.level is Level.OK:
            continue
        text = _text(check.text)
        if check.fix:
            text.append(f"\n→ {visible(check.fix)}", "dim")
        for first in check.numbers.get("first", ()):
            if isinstance(first, dict):
                line = _text(f"{first['place']}: {visible(first['excerpt'])}", "dim")
                line.truncate(width, overflow="ellipsis")
                text.append("\n").append_text(line)
        yield _level(check.level), text
    fine = "; ".join(check.text for check in one.checks if check.level is Level.OK and not check.quiet)
    if fine:
        yield _level(Level.OK), _text(fine)


def _grid(lines: Any) -> "RenderableType":
    from rich.table import Table

    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=_LABELS, no_wrap=True)
    grid.add_column(overflow="fold")
    for label, text in lines:
        grid.add_row(label, text)
    return grid


def _label(name: str) -> "Text":
    return _text(f"  {name}", "dim")


def _level(level: Level) -> "Text":
    return _text(f"  {_MARKS[level]}", _STYLES[level])


def _text(text: str, style: str = "") -> "Text":
    from rich.text import Text

    return Text(visible(text, lines=True), style)

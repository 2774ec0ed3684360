"""An examination for people: the verdict first, then each data set and sample, then example rows.

Labels and levels are words in one column, so that nothing hangs on colour; what the data holds is never
taken for markup or for control codes.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from flows.cli.doctor_rows import example_row, legend
from flows.cli.output import console
from tempering.data.row_conversion import uses_of
from tempering.doctor.check import Level, rows
from tempering.doctor.dataset import Dataset, Schema
from tempering.doctor.sample import Sample
from tempering.printable import count, size, visible

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

    from tempering.doctor.examine import Examination

    Line = tuple[Text, Text]
    """A label, and what is said."""

_MARKS = {Level.OK: "✓ fine", Level.NOTE: "· note", Level.WARNING: "! warning", Level.FATAL: "✗ fatal"}
_STYLES = {Level.OK: "green", Level.NOTE: "cyan", Level.WARNING: "bold yellow", Level.FATAL: "bold red"}
_VERDICTS = {
    "meaningless": (Level.FATAL, "training on this would be meaningless"),
    "warnings": (Level.WARNING, "usable, with warnings"),
    "fine": (Level.OK, "fine"),
}
_COUNTED = {Level.FATAL: "fatal fault", Level.WARNING: "warning", Level.NOTE: "note"}
_ERROR = "  ✗ error"
_PIPE_WIDTH = 100
_LABELS = 11
_COLUMNS, _FILES, _NOTICES = 8, 3, 5


def print_examination(done: "Examination") -> None:
    """Print all of it on stdout; into a pipe as wide as COLUMNS says."""
    columns = os.environ.get("COLUMNS", "")
    out = console(int(columns) if columns.isdigit() else _PIPE_WIDTH)
    with out.capture() as captured:
        out.print(_verdict(done))
        out.print(_grid(_general(done)))
        several = len(list(done)) > 2
        if several:
            out.print()
            out.print(_overview(done))
        for examined in done:
            out.print()
            _print_one(out, examined)
        if several:
            out.print()
            out.print(_verdict(done))
    # Cells of a table are filled up with spaces.
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def _verdict(done: "Examination") -> "Text":
    levels = [check.level for examined in done for check in examined.checks]
    counts = [rows(levels.count(level), word) for level, word in _COUNTED.items() if level in levels]
    failed = sum(examined.error is not None for examined in done)
    unreadable = Level.FATAL, f"{failed} of {len(list(done))} cannot be looked at"
    level, text = _VERDICTS.get(done.verdict, unreadable)
    more = f" ({', '.join(counts)})" if counts else ""
    return _text(f"{_MARKS[level][0]} {done.title}: {text}{more}", _STYLES[level])


def _general(done: "Examination") -> Iterator["Line"]:
    """The tokenizer, how much was looked at, and remarks."""
    if done.chosen is not None:
        about = "; numbers of tokens are approximate" if done.chosen.approximate else ""
        yield _label("tokenizer"), _text(f"{done.chosen.origin}{about}")
        for line in done.chosen.added:
            yield _label(""), _text(line, "dim")
    if any(dataset.more for dataset in done.datasets):
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
    for examined in done:
        is_dataset = isinstance(examined, Dataset)
        number = examined.kept if isinstance(examined, Dataset) else examined.rows("train")
        spread, more = examined.counts.tokens.spread(), "+" if examined.more else ""
        failed = examined.error is not None
        table.add_row(
            _text(f"  {'' if is_dataset else 'sample '}{examined.name}"),
            "" if failed else f"{number:,}{more}",
            f"{count(int(spread['total']))}{more}" if spread else "",
            _text(_ERROR, "bold red") if failed else _level(examined.level),
        )
    return table


def _print_one(out: "Console", examined: Dataset | Sample) -> None:
    """Its title, what is known of it, the checks, and example rows."""
    from rich.padding import Padding

    if isinstance(examined, Dataset):
        title = f"data set {examined.name}"
    else:
        title = f"used as {examined.row_type} rows" if examined.natural else f"sample {examined.name}"
    out.print(_text(title, "bold"))
    if examined.error is not None:
        out.print(_grid([(_text(_ERROR, "bold red"), _text(str(examined.error)))]))
    else:
        facts = ((_label(name), _text(text)) for name, text in _facts(examined))
        out.print(_grid([*facts, *_checks(examined, out.width - _LABELS - 1)]))
    if examined.examples:
        coloured = out.is_terminal and out.color_system is not None and not out.no_color
        out.print(Padding(_text(legend(examined, coloured=coloured), "dim"), (0, 0, 0, 2)))
        for number, example in enumerate(examined.examples, 1):
            out.print(Padding(example_row(number, example, coloured=coloured), (0, 0, 0, 2)))


def _facts(examined: Dataset | Sample) -> Iterator[tuple[str, str]]:
    """What is known of it before it is judged: a name, and what is to be said."""
    yield from _of_dataset(examined) if isinstance(examined, Dataset) else _of_sample(examined)
    spread = examined.counts.tokens.spread()
    if spread:
        each = ", ".join(f"{name} {int(spread[name]):,}" for name in ("min", "median", "p95", "max"))
        yield "tokens", f"{each} a row; {int(spread['total']):,} in all"


def _of_dataset(dataset: Dataset) -> Iterator[tuple[str, str]]:
    schema, held_out = dataset.schema, dataset.totals.rows["eval"]
    assert schema is not None, "a data set that could be read has a schema"
    yield "schema", f"{schema.row_type} rows, {_how(schema)}"
    if schema.files:
        whole = size(sum(amount for _, amount in schema.files), rough=True)
        yield "files", f"{_listed([name for name, _ in schema.files], _FILES)}, {whole}"
    # That a form was recognised is said above.
    for notice in [text for text in dataset.notices if "recognised as kind" not in text][:_NOTICES]:
        yield "", notice
    if dataset.uses:
        yield "used for", ", ".join(sorted(dataset.uses))
    elif not uses_of(dataset.row_type):
        yield "used for", f"measuring: {dataset.row_type} rows are not trained on"
    seen = f"the first {dataset.seen:,}, there are more" if dataset.more else f"{dataset.seen:,}, all of them"
    yield "rows", f"{seen}; {dataset.kept:,} good" + (f" ({held_out:,} of them held out)" if held_out else "")


def _how(schema: Schema) -> str:
    columns = _listed(schema.columns, _COLUMNS)
    if schema.recognised:
        return f"recognised as kind {schema.kind}{f' by {columns}' if columns else ''}"
    return f"kind {schema.kind}{f', columns {columns}' if columns else ''}"


def _listed(names: "list[str] | tuple[str, ...]", most: int) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def _of_sample(sample: Sample) -> Iterator[tuple[str, str]]:
    config, held_out = sample.config, sample.rows("eval")
    kind = "" if sample.natural else f"{sample.row_type} rows, "
    yield "form", f"{kind}at most {config.max_length:,} tokens each, format {config.prompt_format}"
    if not sample.natural:
        yield "made of", ", ".join(config.datasets)
    limit = f", up to {config.token_limit:,} tokens" if config.token_limit else ""
    held_out_too = f"; {held_out:,} held out" if held_out else ""
    yield "rows", f"{sample.rows('train'):,} to train on{limit}{held_out_too}"


def _checks(examined: Dataset | Sample, width: int) -> Iterator["Line"]:
    """The worst first, with what to do and where; what is fine in one line."""
    for check in sorted(examined.checks, key=lambda check: -check.level):
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
    fine = [check.text for check in examined.checks if check.level is Level.OK and not check.quiet]
    if fine:
        yield _level(Level.OK), _text("; ".join(fine))


def _grid(lines: Iterable["Line"]) -> "RenderableType":
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

"""What a run shows: plain lines in a pipe, a table that fits 80 columns on a terminal."""

import io
import re
import time

import pytest
from rich.console import Console

from flows.cli.output import console
from flows.display import Display, LiveDisplay, make_display
from tempering.printable import clock, count, number, size


def test_a_pipe_gets_plain_lines() -> None:
    stream = io.StringIO()
    with make_display(stream=stream) as display:
        display.add(["sft", "ppo"])
        display.start("sft", "queued")
        display.start("sft")
        display.progress("sft", 5, 10, "tokens", {"loss": 1.0})
        display.line("sft", "noise of a library")
        display.end("sft", "done", seconds=65.0, shown="loss 0.5")
        display.end("ppo", "Cached", shown="gold_score 0.9")
    lines = ["sft: running", "sft: done in 1:05 (loss 0.5)", "ppo: Cached (gold_score 0.9)"]
    assert stream.getvalue().splitlines() == lines


def test_verbose_shows_what_stages_print() -> None:
    stream = io.StringIO()
    display = Display(stream, verbose=True)
    display.line("sft", "loading weights")
    assert stream.getvalue() == "sft | loading weights\n"


def test_a_closed_stderr_does_not_end_a_run() -> None:
    stream = io.StringIO()
    stream.close()
    Display(stream).note("lost")


def drawn(display: LiveDisplay, width: int, height: int | None) -> list[str]:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(display.table(width, height))
    return console.export_text().splitlines()


def live() -> LiveDisplay:
    display = LiveDisplay(io.StringIO())
    display.add(["sample[demonstrations]", "evaluate[reward_model]", "ppo", "rloo"])
    display.end("sample[demonstrations]", "Cached", shown="rows 12,000")
    display.start("ppo", "resumed")
    display.progress("ppo", 150_000, 3_000_000, "tokens", {"reward_of_the_learned_model": 1.23456789})
    display.end("rloo", "failed", seconds=4000, shown="OutOfMemoryError: " + "x" * 200)
    return display


def test_the_table_fits_80_columns() -> None:
    lines = drawn(live(), 80, 40)
    assert len(lines) == 5
    assert max(map(len, lines)) <= 80
    assert re.search(r"ppo +resumed +╸ *reward_of_the_lear", lines[3])
    assert "1:06:40" in lines[4]


def test_a_short_terminal_folds_what_is_finished() -> None:
    lines = drawn(live(), 80, 6)
    assert [line.split()[0] for line in lines] == ["stage", "...", "ppo", "rloo"]


def test_time_left_counts_from_where_it_was_resumed() -> None:
    display = live()
    row = display.rows["ppo"]
    assert row.left() is None
    row.first = (time.monotonic() - 10, 100_000)
    left = row.left()
    assert left is not None
    assert 560 < left < 580  # 50K in 10 s, 2.85M to go


def test_numbers_in_few_characters() -> None:
    assert [count(n) for n in (950, 36_200, 1_500_000, 3_000_000_000)] == ["950", "36.2K", "1.50M", "3.00B"]
    assert [clock(s) for s in (None, 0.42, 12.3, 185, 7385)] == ["", "0.4 s", "12 s", "3:05", "2:03:05"]
    assert [number(v) for v in (0.123456, 12000, "yes", True)] == ["0.1235", "12,000", "yes", "True"]
    assert [number(v, ".3f") for v in (0.123456, None)] == ["0.123", ""]
    amounts = (345, 1234, 12_345, 9_990_000, 340e6, 12.34e9, 2.5e15)
    assert [size(n) for n in amounts] == [
        *("345 B", "1.2 kB", "12 kB", "10.0 MB", "340 MB", "12.3 GB", "2,500.0 TB"),
    ]
    assert [size(n, least="MB") for n in (100, 4_100_000)] == ["0.0 MB", "4.1 MB"]
    assert [size(n, rough=True) for n in (1_400_000, 1.4e9)] == ["1 MB", "1.4 GB"]


def test_a_pipe_gets_whole_lines_and_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    line = "[bold]a name[/bold] :smile: " + "word " * 40
    console().print(line)
    assert capsys.readouterr().out == line + "\n"

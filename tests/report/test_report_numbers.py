"""Formatting, scales and curves, against values worked out by hand."""

import math
import re

import pytest

from tempering.report.lines import Curve, line_chart
from tempering.report.numbers import count, decimals, duration, interval, moment, number, visible
from tempering.report.svg import Scale, scale_for, tag, tick_label


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.91234, "0.912"),
        (12.345, "12.3"),
        (12345.6, "12,346"),
        (-1.3, "−1.30"),
        (0, "0.00"),
        (None, "–"),
        (math.nan, "–"),
        (-0.0, "0.00"),
        (3e-7, "3.00e-07"),
    ],
)
def test_number(value: float | None, text: str) -> None:
    assert number(value) == text


def test_numbers_of_a_row_line_up() -> None:
    places = decimals([0.9, 12.345])
    assert (number(0.9, places), interval(0.85, 12.345, places)) == ("0.9", "0.8 to 12.3")
    assert number(0.02, 2, sign=True) == "+0.02"
    assert number(-0.0001, 2, sign=True) == "0.00"
    assert interval(None, 1.0) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (950, "950"),
        (999.7, "1K"),
        (12345, "12.3K"),
        (999_999, "1M"),
        (1_250_000, "1.25M"),
        (3e9, "3B"),
    ],
)
def test_count(value: float, text: str) -> None:
    assert count(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.84, "0.8 s"),
        (42, "42 s"),
        (59.7, "1 min 00 s"),
        (185, "3 min 05 s"),
        (7800, "2 h 10 min"),
        (90000, "1 d 01 h"),
        (3599.8, "1 h 00 min"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_moment_keeps_what_it_cannot_read() -> None:
    assert moment("2026-11-21T10:15:30+00:00") == "21 November 2026, 10:15 UTC"
    assert moment("yesterday") == "yesterday"


def test_visible() -> None:
    assert visible("a\x00\u202eb\x7f\n") == "a␀b␡\n"
    assert visible("x" * 12, limit=10) == "x" * 10 + "… (2 more characters)"
    assert visible("\ud800") == "?"


def test_scale_and_ticks() -> None:
    scale = Scale(0.38, 0.92)
    assert scale.ticks() == [0.4, 0.6, 0.8]
    assert [tick_label(tick, scale.ticks()) for tick in scale.ticks()] == ["0.4", "0.6", "0.8"]
    assert Scale(-1, 1).percent(0) == 50
    assert Scale(0, 1).at(7) == "100.00%"
    assert tick_label(0.25, [0, 0.25, 0.5]) == "0.25"
    assert tick_label(-2500, [-2500, 0]) == "−2,500"


@pytest.mark.parametrize("values", [[], [None], [3.0], [0.0, 0.0], [math.inf, 1.0], [-5.0, -5.0]])
def test_a_scale_is_never_empty(values: list[float | None]) -> None:
    scale = scale_for(values)
    assert scale.low < scale.high
    assert len(scale.ticks()) >= 1


def test_the_scale_of_a_share_ends_at_its_bounds() -> None:
    constant = scale_for([1.0, 1.0], bounds=(0, 1))
    assert constant.low < 0
    assert 1 < constant.high < 1.05
    assert constant.ticks() == [0.0, 0.5, 1.0]
    narrow = scale_for([0.95, 1.0], bounds=(0, 1))
    assert narrow.low > 0.9
    assert 1 < narrow.high < 1.005
    assert max(narrow.ticks()) == 1.0


def test_labels_of_ticks_stay_in_the_plot() -> None:
    chart = line_chart([Curve("a", "m-sft", [0, 420_000], [1.0, 2.0])], title="t")
    last = re.search(r'x="95.24%"[^>]*text-anchor="(\w+)"[^>]*>400K<', chart)
    assert last is not None
    assert last[1] == "end"


def test_smoothing_keeps_constants_gaps_and_ends() -> None:
    curve = Curve("a", "m-sft", range(100), [2.0] * 50 + [math.nan] + [2.0] * 49)
    assert [y for _, y in curve.smooth if math.isfinite(y)] == pytest.approx([2.0] * 99)
    assert math.isnan(curve.smooth[50][1])
    assert curve.last == pytest.approx(2.0)
    assert Curve("a", "m-sft", [1], [5.0]).smooth == [(1.0, 5.0)]


def test_long_logs_make_short_paths_and_gaps_break_them() -> None:
    long = line_chart([Curve("a", "m-sft", range(50_000), [float(i % 7) for i in range(50_000)])], title="t")
    assert len(long) < 15_000
    gap = line_chart([Curve("a", "m-sft", range(4), [1.0, math.nan, 2.0, 2.0])], title="t")
    assert gap.count("M") == 4  # two runs, raw and smoothed
    assert "nan" not in gap


def test_svg_text_is_escaped() -> None:
    assert tag("text", "<&", x='"') == '<text x="&#34;">&lt;&amp;</text>'


def test_values_that_differ_by_rounding_alone_still_have_ticks() -> None:
    scale = scale_for([-1.761150836945, -1.761150836945 * (1 + 2e-16)])
    labels = [tick_label(tick, scale.ticks()) for tick in scale.ticks()]
    assert len(set(labels)) == len(labels) > 1

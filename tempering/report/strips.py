"""Dot-and-whisker strips: a value with its 95% interval, on a scale that a row or chart shares."""

from markupsafe import Markup

from tempering.report.numbers import guess, interval, number
from tempering.report.svg import Scale, picture, tag, tick_label

Numbers = tuple[float | None, float | None, float | None]
"""Value, low, high."""


def strip(
    numbers: Numbers,
    scale: Scale,
    *,
    color: str,
    name: str,
    baseline: float | None = None,
    height: int = 16,
    ticks: bool = False,
) -> Markup:
    """A dot, its whisker, the guess as a dashed line and, for large charts, the grid."""
    # The ground: a grid or a track, and the guess.
    value, low, high = numbers
    middle = height / 2
    marks = [_rule(scale.at(tick), height, "grid") for tick in (scale.ticks() if ticks else [])]
    if not ticks:
        marks.append(tag("line", x1="0%", x2="100%", y1=middle, y2=middle, cls="track"))
    if baseline is not None:
        marks.append(_rule(scale.at(baseline), height, "guess"))
    # The interval as a whisker with caps, then the value as a dot on top of it.
    if low is not None and high is not None:
        marks.append(tag("line", x1=scale.at(low), x2=scale.at(high), y1=middle, y2=middle, cls="whisker"))
        cap = height * 0.17
        marks += [
            tag("line", x1=scale.at(end), x2=scale.at(end), y1=middle - cap, y2=middle + cap, cls="cap")
            for end in (low, high)
        ]
    if value is not None:
        marks.append(tag("circle", cx=scale.at(value), cy=middle, r=6.0 if ticks else 4.0, cls="dot"))
    return picture(*marks, title=_words(name, value, low, high), cls=f"strip {color}", height=height)


def axis(scale: Scale, *, baseline: float | None, title: str) -> Markup:
    """The axis below a chart of strips; `title` says what it is, and its unit."""
    # The line, its ticks and below them what they are.
    ticks = scale.ticks()
    marks = [tag("line", x1="0%", x2="100%", y1=0.5, y2=0.5, cls="axis")]
    marks += [
        tag(
            "text",
            tick_label(tick, ticks),
            x=scale.at(tick),
            y=17,
            cls="tick",
            text_anchor=anchor(scale, tick),
        )
        for tick in ticks
    ]
    below = 35 if baseline is None else 51
    marks.append(tag("text", title, x="50%", y=below, cls="tick", text_anchor="middle"))
    # The guess has its label on a second line, clear of the ticks.
    if baseline is not None:
        where = anchor(scale, baseline)
        marks.append(
            tag("text", f"guess {guess(baseline)}", x=scale.at(baseline), y=33, cls="tick", text_anchor=where)
        )
    return picture(*marks, title=f"Axis: {title}", cls="strip-axis", height=below + 5)


def anchor(scale: Scale, value: float, margin: float = 3.5) -> str:
    """The text anchor of a label: nearer to an end than `margin` percent it points inwards."""
    percent = scale.percent(value)
    return "start" if percent < margin else "end" if percent > 100 - margin else "middle"


def _rule(at: str, height: float, cls: str) -> Markup:
    return tag("line", x1=at, x2=at, y1=0, y2=height, cls=cls)


def _words(name: str, value: float | None, low: float | None, high: float | None) -> str:
    bounds = interval(low, high)
    return f"{name}: {number(value)}" + (f", 95% interval {bounds}" if bounds else "")

"""A pair of axes with curves and dots in it, as wide as its place on the page.

Curves lie in a picture that stretches, with strokes that do not; dots and labels keep their size, so their
places are percentages across and pixels down.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from tempering.report.numbers import count
from tempering.report.strips import anchor
from tempering.report.svg import Scale, picture, tag, tick_label

HEIGHT = 172  # of the plot, px
_GUTTER = 46  # width of the vertical axis's labels, px
_CHARACTER = 1.75  # half the width of a label's character, in percent of the narrowest plot

Point = tuple[float, float]
"""across, up"""


@dataclass(frozen=True)
class Axes:
    """Two scales; `names` are labels of places on the axis across, which is else labelled with counts.

    `title` says what the axis across is, and its unit; what is up stands in the panel's heading.
    """

    across: Scale
    up: Scale
    title: str
    label: Callable[[float, list[float]], str] = lambda tick, ticks: count(tick)
    names: Sequence[tuple[float, str]] | None = None

    def y(self, value: float) -> float:
        """How far down `value` is, in pixels; clamped to the plot."""
        return HEIGHT * (1 - min(100.0, max(0.0, self.up.percent(value))) / 100)

    def line(self, points: Iterable[Point], cls: str) -> Markup:
        """A line through `points`."""
        corners = [f"{self.across.percent(x):.2f},{100 - self.up.percent(y):.2f}" for x, y in points]
        # A single point is a dot: a line to itself.
        steps = "L".join(corners if len(corners) > 1 else corners * 2)
        return tag("path", d=f"M{steps}", cls=cls, vector_effect="non-scaling-stroke")

    def dot(self, x: float, y: float, cls: str = "dot", radius: float = 4.0) -> Markup:
        """A point that keeps its size."""
        return tag("circle", cx=self.across.at(x), cy=self.y(y), r=radius, cls=cls)

    def whisker(self, x: float, low: float, high: float, cls: str = "whisker") -> Markup:
        """An upright interval."""
        place = self.across.at(x)
        return tag("line", x1=place, x2=place, y1=self.y(low), y2=self.y(high), cls=cls)

    def upright(self, x: float, cls: str) -> Markup:
        """A line from the bottom to the top."""
        return tag("line", x1=self.across.at(x), x2=self.across.at(x), y1=0, y2=HEIGHT, cls=cls)

    def level(self, y: float, cls: str) -> Markup:
        """A line from the left to the right."""
        return tag("line", x1="0%", x2="100%", y1=self.y(y), y2=self.y(y), cls=cls)


def numbers_across(tick: float, ticks: list[float]) -> str:
    """The label of a tick that counts nothing."""
    return tick_label(tick, ticks)


def plot(axes: Axes, curves: Sequence[Markup], marks: Sequence[Markup] = (), *, title: str) -> Markup:
    """The axes with `curves` (from `Axes.line`) and on top of them `marks`; `title` says what they show."""
    stretched = tag(
        "svg",
        *curves,
        viewBox="0 0 100 100",
        preserveAspectRatio="none",
        width="100%",
        height=HEIGHT,
        cls="plot-area",
    )
    height = HEIGHT + 42
    chart = picture(*_ground(axes), stretched, *marks, title=title, cls="lines", height=height)
    # Labels of the vertical axis have a fixed width; the chart takes the rest.
    labels = tag("svg", *_labels(axes), cls="upright", width=_GUTTER, height=height, aria_hidden="true")
    return tag("div", labels, chart, cls="chart")


def _ground(axes: Axes) -> list[Markup]:
    """Grid, axis and the labels below it."""
    marks = [axes.level(tick, "grid") for tick in axes.up.ticks(5)]
    marks.append(tag("line", x1="0%", x2="100%", y1=HEIGHT, y2=HEIGHT, cls="axis"))
    ticks = axes.across.ticks(5)
    named = axes.names
    if named is None:
        named = [(tick, axes.label(tick, ticks)) for tick in ticks]
    for tick, label in named:
        where = anchor(axes.across, tick, margin=_CHARACTER * len(label))
        x = axes.across.at(tick)
        marks.append(tag("line", x1=x, x2=x, y1=HEIGHT, y2=HEIGHT + 4, cls="axis"))
        marks.append(tag("text", label, x=x, y=HEIGHT + 17, cls="tick", text_anchor=where))
    below = HEIGHT + (35 if named else 19)
    marks.append(tag("text", axes.title, x="50%", y=below, cls="tick", text_anchor="middle"))
    return marks


def _labels(axes: Axes) -> list[Markup]:
    ticks = axes.up.ticks(5)
    return [
        tag("text", tick_label(tick, ticks), x=_GUTTER - 8, y=axes.y(tick) + 4, cls="tick", text_anchor="end")
        for tick in ticks
    ]

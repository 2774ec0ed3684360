"""Line charts over tokens: raw values faint, a smoothed line on top."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np
from markupsafe import Markup

from tempering.report.numbers import count
from tempering.report.strips import anchor
from tempering.report.svg import Bounds, Scale, picture, scale_for, tag, tick_label

_MAX_POINTS = 320  # per line: a screen cannot show more corners
_HEIGHT = 172  # of the plot, px
_GUTTER = 46  # width of the vertical axis's labels, px
_WINDOW = 1 / 30  # share of the run that the smoothing reaches over
_CHARACTER = 1.75  # half the width of a label's character, in percent of the narrowest plot

Point = tuple[float, float]
"""tokens, value"""


@dataclass(frozen=True)
class Curve:
    """One model's values; `x` in tokens, gaps are NaN."""

    name: str
    color: str
    x: Sequence[float]
    y: Sequence[float]

    @cached_property
    def points(self) -> list[Point]:
        """Means of neighbours, few enough to draw; a bucket of nothing but gaps stays a gap."""
        size = max(1, -(-len(self.x) // _MAX_POINTS))
        parts = [slice(start, start + size) for start in range(0, len(self.x), size)]
        return [(float(np.mean(self.x[part])), _mean(self.y[part])) for part in parts]

    @cached_property
    def smooth(self) -> list[Point]:
        """Gaussian-weighted mean of each point's neighbours."""
        values = np.asarray([y for _, y in self.points], dtype=float)
        sigma = max(0.6, len(values) * _WINDOW)
        reach = max(1, int(3 * sigma))
        kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
        valid = np.isfinite(values)
        # Divided by the weights of valid values only: no pull to zero at the ends or at gaps.
        total = np.convolve(np.where(valid, values, 0.0), kernel)[reach : reach + len(values)]
        weight = np.convolve(valid.astype(float), kernel)[reach : reach + len(values)]
        smoothed = np.divide(total, weight, out=np.full(len(values), np.nan), where=valid)
        return [(x, float(y)) for (x, _), y in zip(self.points, smoothed, strict=True)]

    @property
    def last(self) -> float | None:
        """The smoothed value at the end."""
        return next((y for _, y in reversed(self.smooth) if math.isfinite(y)), None)


def line_chart(curves: Sequence[Curve], *, title: str, bounds: Bounds | None = None) -> Markup:
    """Curves on one pair of axes; `title` says what they show, `bounds` what their values can be."""
    across = Scale(0, max((max(curve.x) for curve in curves), default=1) or 1)
    up = _vertical(curves, bounds)
    # Smooth lines lie over all raw ones.
    paths = [_path(curve, raw, across, up) for raw in (True, False) for curve in curves]
    plot = tag(
        "svg",
        *paths,
        viewBox="0 0 100 100",
        preserveAspectRatio="none",
        width="100%",
        height=_HEIGHT,
        cls="plot-area",
    )
    chart = picture(*_axes(across, up), plot, title=title, cls="lines", height=_HEIGHT + 24)
    # Labels of the vertical axis have a fixed width; the chart takes the rest.
    labels = tag("svg", *_labels(up), cls="upright", width=_GUTTER, height=_HEIGHT + 24, aria_hidden="true")
    return tag("div", labels, chart, cls="chart")


def _vertical(curves: Sequence[Curve], bounds: Bounds | None) -> Scale:
    """A scale for all smoothed and nearly all raw values: one spike must not flatten the rest."""
    raw = [value for curve in curves for _, value in curve.points if math.isfinite(value)]
    ends = [float(end) for end in np.quantile(raw, [0.005, 0.995])] if raw else []
    return scale_for([*ends, *(y for curve in curves for _, y in curve.smooth)], bounds=bounds)


def _axes(across: Scale, up: Scale) -> list[Markup]:
    marks = []
    for tick in up.ticks(5):
        y = _HEIGHT * (1 - up.percent(tick) / 100)
        marks.append(tag("line", x1="0%", x2="100%", y1=y, y2=y, cls="grid"))
    marks.append(tag("line", x1="0%", x2="100%", y1=_HEIGHT, y2=_HEIGHT, cls="axis"))
    for tick in across.ticks(5):
        label = count(tick)
        where = anchor(across, tick, margin=_CHARACTER * len(label))
        x = across.at(tick)
        marks.append(tag("line", x1=x, x2=x, y1=_HEIGHT, y2=_HEIGHT + 4, cls="axis"))
        marks.append(tag("text", label, x=x, y=_HEIGHT + 17, cls="tick", text_anchor=where))
    return marks


def _labels(up: Scale) -> list[Markup]:
    ticks = up.ticks(5)
    return [
        tag(
            "text",
            tick_label(tick, ticks),
            x=_GUTTER - 8,
            y=_HEIGHT * (1 - up.percent(tick) / 100) + 4,
            cls="tick",
            text_anchor="end",
        )
        for tick in ticks
    ]


def _path(curve: Curve, raw: bool, across: Scale, up: Scale) -> Markup:
    points = curve.points if raw else curve.smooth
    steps = []
    for valid, run in groupby(points, key=lambda point: math.isfinite(point[1])):
        if valid:
            corners = [f"{across.percent(x):.2f},{100 - up.percent(y):.2f}" for x, y in run]
            steps.append("M" + "L".join(corners if len(corners) > 1 else corners * 2))
    shade = "raw" if raw else "smooth"
    return tag("path", d="".join(steps), cls=f"{shade} {curve.color}", vector_effect="non-scaling-stroke")


def _mean(values: Sequence[float]) -> float:
    valid = [value for value in values if math.isfinite(value)]
    return sum(valid) / len(valid) if valid else math.nan

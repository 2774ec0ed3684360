"""Line charts over tokens: raw values faint, a smoothed line on top."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np
from markupsafe import Markup

from tempering.report.plot import Axes, Point, plot
from tempering.report.svg import Bounds, Scale, scale_for

_MAX_POINTS = 320  # per line: a screen cannot show more corners
_WINDOW = 1 / 30  # share of the run that the smoothing reaches over


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
    axes = Axes(across, _vertical(curves, bounds), "tokens trained on")
    # Smooth lines lie over all raw ones.
    return plot(axes, [_path(curve, raw, axes) for raw in (True, False) for curve in curves], title=title)


def _vertical(curves: Sequence[Curve], bounds: Bounds | None) -> Scale:
    """A scale for all smoothed and nearly all raw values: one spike must not flatten the rest."""
    raw = [value for curve in curves for _, value in curve.points if math.isfinite(value)]
    ends = [float(end) for end in np.quantile(raw, [0.005, 0.995])] if raw else []
    return scale_for([*ends, *(y for curve in curves for _, y in curve.smooth)], bounds=bounds)


def _path(curve: Curve, raw: bool, axes: Axes) -> Markup:
    points = curve.points if raw else curve.smooth
    shade = "raw" if raw else "smooth"
    runs = groupby(points, key=lambda point: math.isfinite(point[1]))
    cls = f"{shade} {curve.color}"
    return Markup("").join(axes.line(run, cls) for valid, run in runs if valid)


def _mean(values: Sequence[float]) -> float:
    valid = [value for value in values if math.isfinite(value)]
    return sum(valid) / len(valid) if valid else math.nan

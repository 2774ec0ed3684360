"""The little of SVG that the report needs.

Charts are fluid: the outer SVG has no viewBox and positions are percentages, so text keeps its
size on a phone; curves are in a nested SVG that stretches, with strokes that do not. Colours come
from CSS classes. All text goes through `escape`.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape


def tag(name: str, *children: object, **attributes: object) -> Markup:
    """An element; `_` in attribute names becomes `-`, `cls` is `class`; None leaves one out."""
    parts = [
        Markup(' {}="{}"').format("class" if key == "cls" else key.replace("_", "-"), _value(value))
        for key, value in attributes.items()
        if value is not None
    ]
    inside = Markup("").join(escape(child) for child in children)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), Markup("").join(parts), inside)


def picture(*children: object, title: str, cls: str, height: int, width: int | None = None) -> Markup:
    """An outer SVG with an accessible title."""
    return tag(
        "svg",
        tag("title", title),
        *children,
        cls=cls,
        role="img",
        aria_label=title,
        width=width or "100%",
        height=height,
    )


@dataclass(frozen=True)
class Scale:
    """Maps values from `low` to `high` to 0..100 percent."""

    low: float
    high: float

    def percent(self, value: float) -> float:
        """The position of `value`; outside 0..100 where it is out of range."""
        return 100 * (value - self.low) / (self.high - self.low)

    def at(self, value: float) -> str:
        """`percent` as an attribute, clamped to the picture."""
        return f"{min(100.0, max(0.0, self.percent(value))):.2f}%"

    def ticks(self, most: int = 5) -> list[float]:
        """At most `most` round values inside the range."""
        step = _round_step((self.high - self.low) / max(1, most - 1))
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(index * step, 12) for index in range(first, last + 1)]


_LINE = 0.015  # width of a line, as a share of the plot

Bounds = tuple[float, float]
"""The lowest and the highest value that there can be, such as 0 and 1 of a share."""


def scale_for(values: Iterable[float | None], *, pad: float = 0.06, bounds: Bounds | None = None) -> Scale:
    """A scale for all values with a little room, never so narrow that ticks coincide.

    With `bounds` it ends where they do, but for the width of a line; equal values get all of them.
    """
    valid = [value for value in values if value is not None and math.isfinite(value)]
    low, high = min(valid, default=0.0), max(valid, default=1.0)
    spread = high - low if high - low > 1e-6 * max(abs(low), abs(high)) else 0.0  # less is rounding
    if bounds is not None and not spread:
        (low, high), spread = bounds, bounds[1] - bounds[0]
    room = spread * pad or abs(high) * 0.1 or 1.0
    scale = Scale(low - room, high + room)
    if bounds is None:
        return scale
    edge = spread * _LINE
    return Scale(max(scale.low, bounds[0] - edge), min(scale.high, bounds[1] + edge))


def tick_label(value: float, ticks: list[float]) -> str:
    """A tick's value with as many decimals as the step between ticks needs."""
    step = min((b - a for a, b in pairwise(ticks)), default=abs(value) or 1.0)
    places = max(0, -math.floor(math.log10(step) + 1e-9)) if step < 1 else 0
    if round(step * 10**places, 6) % 1:
        places += 1
    text = f"{abs(value):,.{places}f}"
    return f"−{text}" if value < 0 and text.strip("0.,") else text


def _round_step(rough: float) -> float:
    size = 10.0 ** math.floor(math.log10(rough))
    return next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= rough * (1 - 1e-9))


def _value(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)

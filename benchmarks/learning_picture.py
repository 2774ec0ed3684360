"""Mean curves over seeds with their 95% intervals, as SVG files that stand alone.

Each seed's curve is put on one grid of tokens by linear interpolation; the band is the t interval of the
mean over seeds, so with one seed there is none.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from tempering.report.svg import Scale, scale_for, tag, tick_label

T975 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}
"""Degrees of freedom -> 97.5% quantile of Student's t."""
COLORS = {"ppo": "#3366cc", "rloo": "#c2571a", "dpo": "#2e8b57"}
GRID, SMOOTHED = 60, 3  # points of a curve; rollouts a point is the mean of
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 560, 300, 52, 34, 64, 40


@dataclass(frozen=True)
class Drawing:
    """One chart: which methods, which value of their points."""

    title: str
    column: str
    methods: tuple[str, ...]


DRAWINGS = {
    "gold": Drawing("Gold score, trained on the learned reward", "gold", ("ppo", "rloo", "dpo")),
    "score": Drawing("Learned reward of the training completions", "score", ("ppo", "rloo")),
    "kl": Drawing("KL to SFT, nats a completion, learned reward", "kl", ("ppo", "rloo")),
    "exact": Drawing("Gold score, trained on the gold score itself", "gold", ("ppo gold", "rloo gold")),
}


@dataclass(frozen=True)
class Band:
    """Mean and interval over `seeds` seeds."""

    name: str
    seeds: int
    x: np.ndarray
    mean: np.ndarray
    half: np.ndarray


def curves(seeds: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Name -> SVG."""
    drawn = {}
    for name, drawing in DRAWINGS.items():
        there = [name for name in drawing.methods if any(name in one["curves"] for one in seeds)]
        if not there:
            continue
        bands = [band(seeds, method, drawing.column) for method in there]
        drawn[name] = str(chart(drawing.title, bands))
    return drawn


def band(seeds: Sequence[dict[str, Any]], method: str, column: str) -> Band:
    """The curves of all seeds as one."""
    each = [
        [(p["tokens"], p[column]) for p in one["curves"][method]] for one in seeds if method in one["curves"]
    ]
    low = max(points[0][0] for points in each)
    high = min(points[-1][0] for points in each)
    x = np.linspace(low, high, GRID)
    rows = np.array([np.interp(x, *smoothed(points, method)) for points in each])
    count = len(rows)
    spread = rows.std(axis=0, ddof=1) if count > 1 else np.zeros(GRID)
    return Band(method, count, x, rows.mean(axis=0), T975.get(count - 1, 1.96) * spread / math.sqrt(count))


def smoothed(points: Sequence[tuple[float, float]], method: str) -> tuple[list[float], list[float]]:
    """Tokens, and means of a few neighbouring rollouts; checkpoints stay as they are."""
    reach = 0 if method == "dpo" else SMOOTHED // 2
    values = [value for _, value in points]
    means = [float(np.mean(values[max(0, at - reach) : at + reach + 1])) for at in range(len(values))]
    return [tokens for tokens, _ in points], means


def chart(title: str, bands: Sequence[Band]) -> Markup:
    """Axes, bands, lines, and each line's name at its end."""
    up = scale_for(float(end) for b in bands for end in (*(b.mean - b.half), *(b.mean + b.half)))
    across = Scale(0, max(float(b.x[-1]) for b in bands))
    seeds = bands[0].seeds
    said = f"{title}: " + (f"mean of {seeds} seeds, 95% interval" if seeds > 1 else "one seed")
    marks = [tag("rect", width=WIDTH, height=HEIGHT, fill="white"), text(said, LEFT, 20, "start", "#222")]
    marks += [part for tick in up.ticks() for part in upright(tick, up)]
    marks += [along(tick, across) for tick in across.ticks()]
    marks.append(text("tokens of training", (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, "middle"))
    taken: list[float] = []
    for one in sorted(bands, key=lambda one: float(one.mean[-1])):
        end = min([py(up, float(one.mean[-1])) + 4, *(place - 13 for place in taken)])
        taken.append(end)
        marks += line(one, across, up, end)
    return tag(
        "svg",
        tag("title", said),
        *marks,
        xmlns="http://www.w3.org/2000/svg",
        role="img",
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        font_family="system-ui, sans-serif",
        font_size=12,
    )


def line(one: Band, across: Scale, up: Scale, label: float) -> list[Markup]:
    """A band, its mean and, at the height `label`, its name."""
    color = COLORS[one.name.split()[0]]
    places = [px(across, value) for value in one.x]

    def path(values: Sequence[float]) -> list[str]:
        return [f"{x:.1f},{py(up, y):.1f}" for x, y in zip(places, values, strict=True)]

    around = path(one.mean + one.half) + path(one.mean - one.half)[::-1]
    name = one.name.split()[0].upper()
    return [
        tag("polygon", points=" ".join(around), fill=color, opacity="0.18"),
        tag("polyline", points=" ".join(path(one.mean)), fill="none", stroke=color, stroke_width="2"),
        text(name, places[-1] + 6, label, "start", color),
    ]


def upright(tick: float, up: Scale) -> list[Markup]:
    """A grid line with its label."""
    y = py(up, tick)
    rule = tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, stroke="#ddd")
    return [rule, text(tick_label(tick, up.ticks()), LEFT - 6, y + 4, "end")]


def along(tick: float, across: Scale) -> Markup:
    """A label of the axis below."""
    return text(f"{tick / 1000:.0f}K" if tick else "0", px(across, tick), HEIGHT - BOTTOM + 16, "middle")


def text(words: str, x: float, y: float, anchor: str, color: str = "#666") -> Markup:
    """Words at a place."""
    return tag("text", words, x=x, y=y, text_anchor=anchor, fill=color)


def px(across: Scale, value: float) -> float:
    """Pixels from the left."""
    return LEFT + across.percent(float(value)) / 100 * (WIDTH - LEFT - RIGHT)


def py(up: Scale, value: float) -> float:
    """Pixels from the top."""
    return HEIGHT - BOTTOM - up.percent(float(value)) / 100 * (HEIGHT - TOP - BOTTOM)

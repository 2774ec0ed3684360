"""The results of `benchmarks.learning` as Markdown."""

import math
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

from benchmarks.learning_measures import LEVELS
from benchmarks.learning_picture import T975

NAMES = {
    "ppo": "PPO",
    "rloo": "RLOO",
    "dpo": "DPO",
    "ppo gold": "PPO, exact reward",
    "rloo gold": "RLOO, exact reward",
}


def tables(seeds: Sequence[dict[str, Any]]) -> str:
    """Means over seeds, seconds to levels of gold, and the paired intervals of every seed."""
    return "\n\n".join([overview(seeds), times(seeds), paired(seeds, "reward"), paired(seeds, "gold")])


def overview(seeds: Sequence[dict[str, Any]]) -> str:
    """Held-out figures; SFT for comparison."""
    lines = [
        f"| mean of {len(seeds)} seeds, ± 95% | gold, held out | learned reward, held out "
        "| KL, nats a completion | tokens | seconds |",
        "|---|--:|--:|--:|--:|--:|",
        f"| SFT | {around([one['sft']['gold_score'] for one in seeds])} "
        f"| {around([one['sft']['reward'] for one in seeds])} | 0 | | |",
    ]
    for name, label in NAMES.items():
        made = [one["methods"][name] for one in seeds if name in one["methods"]]
        if not made:
            continue
        reward = around([one["reward"] for one in made]) if "reward" in made[0] else ""
        lines.append(
            f"| {named(label, made, seeds)} | {around([one['gold'] for one in made])} | {reward} "
            f"| {around([one['kl'] for one in made], 2)} | {fmean(one['tokens'] for one in made):,.0f} "
            f"| {around([one['seconds'] for one in made], 0)} |"
        )
    return "\n".join(lines)


def times(seeds: Sequence[dict[str, Any]]) -> str:
    """Seconds of training until the running mean of gold reached a level, and how high it came."""
    lines = [
        "| seconds of training until gold reached | " + " | ".join(map(str, LEVELS)) + " | highest |",
        "|---|" + "--:|" * (len(LEVELS) + 1),
    ]
    for name, label in NAMES.items():
        made = [one["methods"][name] for one in seeds if name in one["methods"]]
        if not made:
            continue
        cells = [reached([one["seconds_to"][str(level)] for one in made]) for level in LEVELS]
        lines.append(
            f"| {named(label, made, seeds)} | "
            + " | ".join(cells)
            + f" | {around([one['best_running_gold'] for one in made])} |"
        )
    return "\n".join(lines)


def named(label: str, made: Sequence[Any], seeds: Sequence[Any]) -> str:
    """The method, and how many seeds it has where that is not all of them."""
    return label if len(made) == len(seeds) else f"{label} ({len(made)} seed{'s' * (len(made) > 1)})"


def reached(seconds: Sequence[float | None]) -> str:
    """The mean of those that reached it, and how many did where not all."""
    there = [one for one in seconds if one is not None]
    if not there:
        return "never"
    return f"{fmean(there):.0f}" + (
        "" if len(there) == len(seconds) else f" ({len(there)} of {len(seconds)})"
    )


def paired(seeds: Sequence[dict[str, Any]], measure: str) -> str:
    """Difference to SFT on the same held-out prompts, with its bootstrap interval, seed by seed."""
    title = {"reward": "learned reward", "gold": "gold score"}[measure]
    prompts = seeds[0]["methods"]["ppo"][f"{measure}_gain"]["n"]
    lines = [
        f"| {title} minus SFT's, {prompts} held-out prompts | "
        + " | ".join(f"seed {one['seed']}" for one in seeds)
        + " |",
        "|---|" + "--:|" * len(seeds),
    ]
    for name in ("ppo", "rloo", "dpo"):
        gains = [one["methods"][name][f"{measure}_gain"] for one in seeds]
        cells = [f"{gain['mean']:+.3f} [{gain['low']:.3f}, {gain['high']:.3f}]" for gain in gains]
        lines.append(f"| {NAMES[name]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def around(values: Sequence[float], places: int = 3) -> str:
    """Mean and half of the t interval over seeds."""
    middle = f"{fmean(values):.{places}f}"
    if len(values) < 2:
        return middle
    return f"{middle} ± {T975.get(len(values) - 1, 1.96) * stdev(values) / math.sqrt(len(values)):.{places}f}"

"""Scoring completions: one reward, or the weighted sum of several.

A reward function is TRL's callable: `(prompts, completions, **columns) -> list[float | None]`, sync or async;
None or NaN means "could not be scored", which is kept as such and never becomes 0. Async ones run at the
same time.
"""

import asyncio
import inspect
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tempering.errors import ConfigError

Messages = list[dict[str, str]]
Scores = Sequence[float | None]
RewardFunction = Callable[..., Scores | Awaitable[Scores]]


@dataclass(frozen=True)
class Scored:
    """Scores of some completions, in their order; NaN = could not be scored.

    Attributes:
        scores: the weighted sum of the components.
        components: raw scores by component.
        extra: columns that a function logged besides, by name.
    """

    scores: list[float]
    components: dict[str, list[float]]
    extra: dict[str, list[Any]] = field(default_factory=dict)


class Rewards:
    """Callable: `(prompts, completions, **columns) -> Scored`.

    Args:
        parts: reward functions by component.
        weights: of the components.
        when_missing: what a completion is that one component cannot score: unscored, or the sum of the rest.
    """

    def __init__(
        self,
        parts: Mapping[str, RewardFunction],
        weights: Mapping[str, float] | None = None,
        when_missing: Literal["unscored", "skip"] = "unscored",
    ) -> None:
        self.parts, self.weights = parts, {name: (weights or {}).get(name, 1.0) for name in parts}
        self.when_missing = when_missing
        self._loop: asyncio.Runner | None = None  # one for the run: what a function keeps open lives on

    def __call__(self, prompts: list[Messages], completions: list[str], **columns: Any) -> Scored:
        given = {name: part(prompts, completions, **columns) for name, part in self.parts.items()}
        waiting = {name: one for name, one in given.items() if inspect.isawaitable(one)}
        if waiting:
            self._loop = self._loop or asyncio.Runner()
            given |= dict(zip(waiting, self._loop.run(_all(waiting.values())), strict=True))
        found = {name: numbers(name, one, len(completions)) for name, one in given.items()}
        extra: dict[str, list[Any]] = {}
        for part in self.parts.values():
            logged: dict[str, list[Any]] = getattr(part, "extra", {})
            for column in logged.keys() & extra.keys():
                raise ConfigError(f"two rewards log the column {column!r}", fix="give one another name")
            extra |= logged
        return Scored([self._sum(row) for row in zip(*found.values(), strict=True)], found, extra)

    def _sum(self, row: tuple[float, ...]) -> float:
        weighed = [weight * score for weight, score in zip(self.weights.values(), row, strict=True)]
        there = [score for score in weighed if not math.isnan(score)]
        if not there or (self.when_missing == "unscored" and len(there) < len(row)):
            return math.nan
        return math.fsum(there)

    def close(self) -> None:
        """Nothing more will be scored: parts that keep a table write it."""
        for part in self.parts.values():
            getattr(part, "close", lambda: None)()
        if self._loop is not None:
            self._loop.close()


async def _all(waiting: Any) -> list[Any]:
    return list(await asyncio.gather(*waiting))


def numbers(name: str, given: Any, count: int) -> list[float]:
    """What a reward function returned, as floats.

    Raises:
        ConfigError: it is not a number or None for each completion.
    """
    try:
        found = [_number(score) for score in given]
    except (TypeError, ValueError):
        found = []
    if len(found) != count:
        raise ConfigError(
            f"the reward {name!r} gave {str(given)[:80]} for {count} completions",
            expected="a list with one number or None for each completion",
            fix="correct the function's return value",
        )
    return [math.nan if math.isinf(score) else score for score in found]


def _number(score: Any) -> float:
    if isinstance(score, str | bytes):  # float() would read them
        raise TypeError("a text is no score")
    return math.nan if score is None else float(score)

"""Scoring completions: one reward, or the weighted sum of several.

A reward function is TRL's callable: `(prompts, completions, **columns) -> list[float | None]`, sync or async;
None or NaN means "could not be scored", stays so and never becomes 0. Async functions run concurrently.
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
        extra: further columns that a function logged, by name.
    """

    scores: list[float]
    components: dict[str, list[float]]
    extra: dict[str, list[Any]] = field(default_factory=dict)


class Rewards:
    """Callable: `(prompts, completions, **columns) -> Scored`.

    Args:
        parts: reward functions by component.
        weights: of the components.
        when_missing: the score where one component has none: unscored, or (skip) the sum of the others.
    """

    def __init__(
        self,
        parts: Mapping[str, RewardFunction],
        weights: Mapping[str, float] | None = None,
        when_missing: Literal["unscored", "skip"] = "unscored",
    ) -> None:
        self.parts, self.weights = parts, {name: (weights or {}).get(name, 1.0) for name in parts}
        self.when_missing = when_missing
        self._loop: asyncio.Runner | None = None  # one per run, so a function's connections stay open

    def __call__(self, prompts: list[Messages], completions: list[str], **columns: Any) -> Scored:
        outputs = {name: part(prompts, completions, **columns) for name, part in self.parts.items()}
        pending = {name: output for name, output in outputs.items() if inspect.isawaitable(output)}
        if pending:
            self._loop = self._loop or asyncio.Runner()
            outputs |= dict(zip(pending, self._loop.run(_all(pending.values())), strict=True))
        scores = {name: numbers(name, output, len(completions)) for name, output in outputs.items()}
        # Columns that the functions logged; two of one name would overwrite each other.
        extra: dict[str, list[Any]] = {}
        for part in self.parts.values():
            logged: dict[str, list[Any]] = getattr(part, "extra", {})
            for column in logged.keys() & extra.keys():
                raise ConfigError(f"two rewards log the column {column!r}", fix="rename it in one of them")
            extra |= logged
        return Scored([self._sum(row) for row in zip(*scores.values(), strict=True)], scores, extra)

    def _sum(self, row: tuple[float, ...]) -> float:
        terms = [weight * score for weight, score in zip(self.weights.values(), row, strict=True)]
        scored = [term for term in terms if not math.isnan(term)]
        if not scored or (self.when_missing == "unscored" and len(scored) < len(row)):
            return math.nan
        return math.fsum(scored)

    def close(self) -> None:
        """End scoring: parts that keep a table write it."""
        for part in self.parts.values():
            getattr(part, "close", lambda: None)()
        if self._loop is not None:
            self._loop.close()


async def _all(awaitables: Any) -> list[Any]:
    return list(await asyncio.gather(*awaitables))


def numbers(name: str, output: Any, count: int) -> list[float]:
    """A reward function's output as floats; None and infinities become NaN.

    Raises:
        ConfigError: it is not a number or None for each completion.
    """
    try:
        scores = [_number(score) for score in output]
    except (TypeError, ValueError):
        scores = []
    if len(scores) != count:
        raise ConfigError(
            f"the reward {name!r} returned {str(output)[:80]} for {count} completions",
            expected="a list with one number or None for each completion",
            fix="correct the function's return value",
        )
    return [math.nan if math.isinf(score) else score for score in scores]


def _number(score: Any) -> float:
    if isinstance(score, str | bytes):  # float() would read them
        raise TypeError("a string is not a score")
    return math.nan if score is None else float(score)

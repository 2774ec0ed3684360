"""Gates: what a model must reach before anything is made from it.

A gate compares the number itself; its 95% interval stands beside it in the message, so that a person sees how
sure the number is. A number that was not measured, or has no value, does not pass.
"""

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field, field_validator, model_validator

from tempering.config import Config
from tempering.errors import GateFailed
from tempering.printable import number

_SIGNS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
}
_CONDITION = re.compile(r"\s*(>=|<=|>|<)\s*(\S+)\s*")


class GateConfig(Config):
    """The conditions of one model: all of them must hold."""

    conditions: Mapping[str, str] = Field(
        min_length=1, description='BENCHMARK.METRIC -> sign and number, such as ">= 0.6"'
    )

    @model_validator(mode="before")
    @classmethod
    def _alone(cls, tree: Any) -> Any:
        """In a config they stand alone; an override's dots have made mappings of mappings."""
        return tree if not isinstance(tree, dict) or "conditions" in tree else {"conditions": _flat(tree)}

    @field_validator("conditions")
    @classmethod
    def _readable(cls, conditions: Mapping[str, str]) -> Mapping[str, str]:
        return {name: str(Condition.read(name, text)) for name, text in conditions.items()}


def _flat(tree: Mapping[Any, Any], at: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        place = f"{at}{key}"
        value = str(value) if isinstance(value, int | float) else value  # our message then says what is wrong
        flat |= _flat(value, f"{place}.") if isinstance(value, dict) else {place: value}
    return flat


@dataclass(frozen=True)
class Condition:
    """`metric` is `BENCHMARK.METRIC`, where the metric may be `NAME[PART]`."""

    metric: str
    sign: str
    bound: float

    @classmethod
    def read(cls, metric: str, text: str) -> "Condition":
        """The condition that `text` spells.

        Raises:
            ValueError: it is no sign and number.
        """
        match = _CONDITION.fullmatch(text)
        try:
            bound = float(match[2]) if match else math.nan
        except ValueError:
            bound = math.nan
        if match is None or not math.isfinite(bound):
            raise ValueError(f'{metric}: found {text!r}; expected a sign and a number, such as ">= 0.6"')
        return cls(metric, match[1], bound)

    def __str__(self) -> str:
        return f"{self.sign} {self.bound:g}"

    def holds(self, value: float | None) -> bool:
        """Whether a value passes; none, and NaN, never do."""
        return value is not None and _SIGNS[self.sign](value, self.bound)


def check_gate(config: GateConfig, metrics: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each condition with what was measured, as rows of a table.

    Args:
        metrics: the rows of an evaluation's `metrics`.

    Raises:
        GateFailed: naming each number that does not pass, with its interval.
    """
    figures = {f"{row['benchmark']}.{row['metric']}": row for row in metrics}
    rows, failures = [], []
    for name, text in config.conditions.items():
        condition, figure = Condition.read(name, text), figures.get(name)
        value = None if figure is None else figure["value"]
        if not condition.holds(value):
            failures.append(f"{name} {_measured(figure, figures)}, and the gate wants {condition}")
        elif figure is not None:
            numbers = {key: figure[key] for key in ("value", "low", "high", "n")}
            rows.append({"metric": name, "wants": str(condition), **numbers})
    if failures:
        raise GateFailed("; ".join(failures))
    return rows


def _measured(figure: Mapping[str, Any] | None, figures: Iterable[str]) -> str:
    if figure is None:
        return f"was not measured (but {', '.join(sorted(figures)) or 'nothing'} was)"
    value, low, high = (figure[key] for key in ("value", "low", "high"))
    if value is None or math.isnan(value):
        return "has no value: no row could be scored"
    known = low is not None and high is not None and not math.isnan(low + high)
    interval = f"95% interval {number(low)} to {number(high)}, " if known else ""
    return f"is {number(value)} ({interval}n {number(figure['n'])})"

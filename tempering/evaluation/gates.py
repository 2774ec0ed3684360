"""Gates: what a model must reach before anything is made from it.

A gate compares the number itself; its 95% interval stands beside it in the message, so that a person sees how
sure the number is. A number that was not measured, or has no value, does not pass.
"""

import difflib
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
_NUMBERS = ("value", "low", "high", "n")
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
        if tree == {}:
            raise ValueError('no condition; expected BENCHMARK.METRIC: ">= 0.6", or null for no gate')
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
        brief = f"{self.bound:g}"  # six digits, where they say it all
        return f"{self.sign} {brief if float(brief) == self.bound else repr(self.bound)}"

    def holds(self, value: float | None) -> bool:
        """Whether a value passes; none, and NaN, never do."""
        return value is not None and _SIGNS[self.sign](value, self.bound)


@dataclass(frozen=True)
class Check:
    """A condition beside what was measured: a row of `metrics`, or None where there is none of that name."""

    condition: Condition
    figure: Mapping[str, Any] | None
    measured: tuple[str, ...] = ()
    """What the same benchmark did measure."""

    @property
    def passes(self) -> bool:
        """Whether the number is good enough."""
        return self.figure is not None and self.condition.holds(self.figure["value"])

    def row(self) -> dict[str, Any]:
        """As a row of a table."""
        numbers = {key: None if self.figure is None else self.figure[key] for key in _NUMBERS}
        return {"metric": self.condition.metric, "wants": str(self.condition), **numbers}

    def __str__(self) -> str:
        return f"{self.condition.metric} {self._found()}"

    def _found(self) -> str:
        if self.figure is None:
            near = difflib.get_close_matches(self.condition.metric, self.measured, n=3, cutoff=0)
            return f"was not measured (but {', '.join(near) or 'nothing of its benchmark'} was)"
        value, low, high, n = (self.figure[key] for key in _NUMBERS)
        if value is None or math.isnan(value):
            return "has no value: no row could be scored"
        known = low is not None and high is not None and not math.isnan(low + high)
        interval = f"95% interval {number(low)} to {number(high)}, " if known else ""
        return f"is {number(value)} ({interval}n {number(n)})"


def checks(config: GateConfig, metrics: Iterable[Mapping[str, Any]]) -> list[Check]:
    """Each condition with its number.

    Args:
        metrics: the rows of an evaluation's `metrics`.
    """
    figures = {f"{row['benchmark']}.{row['metric']}": row for row in metrics}
    return [
        Check(
            Condition.read(name, text),
            figures.get(name),
            tuple(key for key, row in figures.items() if name.startswith(f"{row['benchmark']}.")),
        )
        for name, text in config.conditions.items()
    ]


def check_gate(config: GateConfig, metrics: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each condition with what was measured, as rows of a table.

    Raises:
        GateFailed: naming each number that does not pass, with its interval.
    """
    checked = checks(config, metrics)
    if failures := [check for check in checked if not check.passes]:
        raise GateFailed("; ".join(f"{check}, and the gate wants {check.condition}" for check in failures))
    return [check.row() for check in checked]

"""Rules: scores in [0, 1] that need no model. Words are what stands between spaces, without punctuation."""

import json
import re
from collections.abc import Callable
from typing import Any

from tempering.data.answers import exact_match
from tempering.errors import DataError
from tempering.rewards.config import RuleReward


class RuleScores:
    """Callable in TRL's signature."""

    def __init__(self, config: RuleReward) -> None:
        self.config = config

    def __call__(self, prompts: list[Any], completions: list[str], **columns: Any) -> list[float | None]:
        ended = columns.get("ended") or [True] * len(completions)
        values = self._column(columns, len(completions))
        rule = _RULES[self.config.rule]
        return [rule(self.config, *row) for row in zip(completions, ended, values, strict=True)]

    def _column(self, columns: dict[str, Any], count: int) -> list[Any]:
        name = self.config.column
        if self.config.rule == "length" and self.config.unit == "tokens":
            name = "completion_ids"
        if name is None:
            return [None] * count
        if name not in columns:
            raise DataError(
                f"rule {self.config.rule}: the prompts have no column {name!r}",
                expected=f"one of: {', '.join(sorted(columns))}",
                fix="correct `column`, or use a data set that has it",
            )
        return list(columns[name])


def words(text: str) -> list[str]:
    """Lower case, without punctuation."""
    return re.findall(r"[^\W_]+(?:'[^\W_]+)?", text.lower())


def _several(value: Any) -> list[str]:
    """The texts of a cell: one, a list of them, a number, or nothing."""
    if value is None:
        return []
    return [str(one) for one in value] if isinstance(value, list | tuple) else [str(value)]


def _length(config: RuleReward, text: str, ended: bool, ids: Any) -> float:
    """1 inside of the range; outside the distance to it counts as a share of its nearer end."""
    length = len(words(text)) if config.unit == "words" else len(ids)
    low, high = config.target or config.least or 0, config.target or config.most or length
    if length < low:
        return length / low
    return max(0.0, 1 - max(0, length - high) / high) if length else 1.0


def _regex(config: RuleReward, text: str, ended: bool, value: Any) -> float:
    assert config.pattern is not None
    return float((re.search(config.pattern, text) is None) == config.forbid)


def _keywords(config: RuleReward, text: str, ended: bool, value: Any) -> float | None:
    wanted = set(words(" ".join(_several(value))))
    return len(wanted & set(words(text))) / len(wanted) if wanted else None


def _distinct(config: RuleReward, text: str, ended: bool, value: Any) -> float:
    said = words(text)
    grams = [tuple(said[at : at + config.ngram]) for at in range(len(said) - config.ngram + 1)]
    return len(set(grams)) / len(grams) if grams else 1.0


def _ended(config: RuleReward, text: str, ended: bool, value: Any) -> float:
    return float(ended)


def _exact_match(config: RuleReward, text: str, ended: bool, value: Any) -> float | None:
    answers = _several(value)
    return exact_match(text, answers) if answers else None


def _json(config: RuleReward, text: str, ended: bool, value: Any) -> float:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return 0.0
    return 1.0


_RULES: dict[str, Callable[[RuleReward, str, bool, Any], float | None]] = {
    "length": _length,
    "regex": _regex,
    "keywords": _keywords,
    "distinct": _distinct,
    "ended": _ended,
    "exact_match": _exact_match,
    "json": _json,
}

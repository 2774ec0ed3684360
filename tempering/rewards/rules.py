"""Scores in [0, 1] without a model: rules, the world's gold score, noise.

Words are lower case and without punctuation.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from tempering.config import MOST_SEED, Readers, Tree
from tempering.data.answers import answer_words, exact_match
from tempering.errors import DataError
from tempering.rewards.base import Parts, Reward

if TYPE_CHECKING:
    from tempering.rewards.scoring import Messages, RewardFunction


class GoldReward(Reward):
    """The story world's exact score: for tests of the algorithms, never of the pipeline."""

    kind: Literal["gold"]

    def build(self, parts: Parts) -> "RewardFunction":
        """The world's score of each completion."""
        return gold_scores


class RandomReward(Reward):
    """Uniform noise in [0, 1): a baseline that no training can improve on."""

    kind: Literal["random"]
    seed: int = Field(0, ge=0, le=MOST_SEED, description="seed of the noise")

    def build(self, parts: Parts) -> "RewardFunction":
        """Noise."""
        return RandomScores(self.seed)


class RuleReward(Reward):
    """A score in [0, 1] by a rule, without a model. See docs/rewards.md."""

    read_by: ClassVar[Mapping[str, Readers]] = {
        "target": {"rule": ("length",)},
        "least": {"rule": ("length",)},
        "most": {"rule": ("length",)},
        "unit": {"rule": ("length",)},
        "pattern": {"rule": ("regex",)},
        "forbid": {"rule": ("regex",)},
        "column": {"rule": ("keywords", "exact_match")},
        "ngram": {"rule": ("distinct",)},
    }

    kind: Literal["rule"]
    rule: Literal["length", "regex", "keywords", "distinct", "ended", "exact_match", "json"] = Field(
        description="what to score"
    )
    target: int | None = Field(
        None, ge=1, description="length: the length that scores 1, in `unit`; or set a range"
    )
    least: int | None = Field(None, ge=1, description="length: the shortest that scores 1, in `unit`")
    most: int | None = Field(None, ge=1, description="length: the longest that scores 1, in `unit`")
    unit: Literal["words", "tokens"] = Field(
        "words", description="length: what to count; tokens are the policy's, EOS included"
    )
    pattern: str | None = Field(None, description="regex: Python's re.search")
    forbid: bool = Field(False, description="regex: a match scores 0 instead of 1")
    column: str | None = Field(
        None, description="keywords, exact_match: the prompts' column with the words or answers"
    )
    ngram: int = Field(
        3, ge=1, le=1000, description="distinct: words per n-gram; repeated n-grams lower the score"
    )

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> "RuleReward":
        required = {"regex": "pattern", "keywords": "column", "exact_match": "column"}.get(self.rule)
        if required is not None and getattr(self, required) is None:
            raise ValueError(f"rule {self.rule} needs `{required}`")
        if self.rule == "length":
            self._is_a_range()
        try:
            re.compile(self.pattern or "")
        except re.error as error:
            raise ValueError(f"pattern {self.pattern!r} is not a regular expression: {error}") from None
        return self

    def _is_a_range(self) -> None:
        bounds = self.least is not None or self.most is not None
        if (self.target is not None) == bounds:
            raise ValueError("rule length needs `target`, or `least`, `most` or both")
        if self.least is not None and self.most is not None and self.least > self.most:
            raise ValueError(f"least {self.least} is more than most {self.most}")

    def as_hashed(self, tree: Tree) -> Tree:
        """Rules that compare numbers and names have a version of their own: the others score as they did."""
        return {**tree, "version": 2} if self.rule in ("exact_match", "keywords") else tree

    def build(self, parts: Parts) -> "RewardFunction":
        """The rule."""
        return RuleScores(self)


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


def _names(text: str) -> set[str]:
    """Words, of which numbers keep sign and point (in one form), and names their last marks (C++)."""
    return {
        " ".join(answer_words(word)) if word[-1].isdecimal() else word for word in _NAME.findall(text.lower())
    }


_NAME = re.compile(r"(?<![\w.])[-−]?(?:\d[\d,]*)?\.?\d+(?!\w)|[^\W_]+(?:'[^\W_]+)?(?:[+#]+(?!\w))?")


def _texts_of(cell: Any) -> list[str]:
    """The texts of a cell: one, a list of them, a number, or nothing."""
    if cell is None:
        return []
    return [str(text) for text in cell if text is not None] if isinstance(cell, list | tuple) else [str(cell)]


def _length(config: RuleReward, text: str, ended: bool, ids: Any) -> float:
    """1 inside the range; outside, less by the distance as a share of the nearer end."""
    length = len(words(text)) if config.unit == "words" else len(ids)
    low, high = config.target or config.least or 0, config.target or config.most or length
    if length < low:
        return length / low
    return max(0.0, 1 - max(0, length - high) / high) if length else 1.0


def _regex(config: RuleReward, text: str, ended: bool, value: Any) -> float:
    assert config.pattern is not None
    return float((re.search(config.pattern, text) is None) == config.forbid)


def _keywords(config: RuleReward, text: str, ended: bool, value: Any) -> float | None:
    keywords = _names(" ".join(_texts_of(value)))
    return len(keywords & _names(text)) / len(keywords) if keywords else None


def _distinct(config: RuleReward, text: str, ended: bool, value: Any) -> float:
    text_words = words(text)
    starts = range(len(text_words) - config.ngram + 1)
    ngrams = [tuple(text_words[start : start + config.ngram]) for start in starts]
    return len(set(ngrams)) / len(ngrams) if ngrams else 1.0


def _ended(config: RuleReward, text: str, ended: bool, value: Any) -> float:
    return float(ended)


def _exact_match(config: RuleReward, text: str, ended: bool, value: Any) -> float | None:
    answers = _texts_of(value)
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


def gold_scores(
    prompts: list["Messages"], completions: list[str], ended: list[bool], **_: Any
) -> list[float]:
    """The world's gold score of each completion."""
    from tempering.world import gold_score

    return [
        gold_score(prompt[-1]["content"], text, has_ended).total
        for prompt, text, has_ended in zip(prompts, completions, ended, strict=True)
    ]


class RandomScores:
    """Noise that depends on the text and the seed alone, so a resumed run repeats it."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __call__(self, prompts: list["Messages"], completions: list[str], **_: Any) -> list[float]:
        return [self._score(repr(prompt) + text) for prompt, text in zip(prompts, completions, strict=True)]

    def _score(self, text: str) -> float:
        digest = hashlib.sha256(f"{self.seed}:{text}".encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8], "big") / 2**64

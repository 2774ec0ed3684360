"""Columns that judge an answer: told by their names, and read by their values.

A builder that does not read such a column would train on the bad answers as on the good ones, so a data set
that has one is refused (`columns`), unless its verdicts are read as unpaired feedback (`kto`) or the config
says that they may be passed over (`ignore_columns`). Names are compared word by word: `answer_label`,
`isCorrect` and `kto_tag` judge; `is_classification` and `language_score` describe. A word such as `rejected`
judges in any column, and objects are looked into (`metadata.label`).
"""

import math
import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any

from tempering.data.rows import RowType

_GOOD = frozenset(
    {"true", "1", "1.0", "+1", "yes", "y", "t", "good", "desirable", "chosen", "accepted", "accept"}
    | {"correct", "right", "positive", "pass", "passed", "approved", "like", "liked", "helpful", "safe"}
    | {"valid", "up", "thumb up", "thumbs up", "👍"}
)
_BAD = frozenset(
    {"false", "0", "0.0", "-1", "-1.0", "no", "n", "f", "bad", "undesirable", "rejected", "reject"}
    | {"incorrect", "wrong", "negative", "fail", "failed", "disapproved", "dislike", "disliked"}
    | {"unhelpful", "unsafe", "invalid", "harmful", "toxic", "down", "thumb down", "thumbs down", "👎"}
)
_NUMBERS: Mapping[float, bool] = {1: True, 0: False, -1: False}
# A column that is called so judges, whatever it holds; one of `_SAID` if it holds a verdict.
_LABELS = frozenset({"label", "labels", "verdict", "verdicts", "judgement", "judgment"})
_SAID = frozenset(
    {"feedback", "vote", "votes", "thumb", "thumbs", "up", "down", "upvote", "upvoted", "downvote"}
    | {"downvoted", "like", "dislike"}
)
_GOOD_NAMES = frozenset(
    {"good", "correct", "right", "helpful", "safe", "acceptable", "accepted", "approved", "desirable"}
    | {"preferred", "valid", "true", "ok", "useful", "relevant", "harmless", "truthful", "liked"}
    | {"passed", "positive"}
)
_BAD_NAMES = frozenset(
    {"bad", "incorrect", "wrong", "toxic", "toxicity", "harmful", "unsafe", "undesirable", "invalid"}
    | {"unhelpful", "flagged", "disliked", "hallucinated", "hallucination", "failed", "offensive"}
    | {"dislike", "dislikes", "downvote", "downvotes", "downvoted", "deleted", "spam", "rank", "ranking"}
)
_GRADES = frozenset(
    {"score", "scores", "rating", "ratings", "reward", "rewards", "quality", "grade", "grades", "star"}
    | {"stars", "rank", "ranking", "upvotes", "downvotes", "likes", "dislikes", "helpfulness"}
    | {"correctness", "accuracy"}
)
_FLAGS = frozenset(
    {"train", "trainable", "weight", "weights", "loss_mask", "loss_weight", "sample_weight", "train_mask"}
    | {"do_train", "train_on", "is_trainable", "is_train"}
)
_NAMES = _LABELS | _SAID | _GOOD_NAMES | _BAD_NAMES | _GRADES
# Words before such a name that leave its meaning: `answer_label`, `human_rating`, `overall_score`.
_QUALIFIERS = frozenset(
    {"answer", "response", "output", "completion", "reply", "human", "user", "annotator", "gold", "judge"}
    | {"model", "llm", "gpt", "gpt4", "final", "overall", "mean", "avg", "average", "total", "kto", "binary"}
)
# `is_...` of these describes a row; any other judges it.
_DESCRIPTIONS = frozenset(
    {"classification", "impossible", "english", "code", "coding", "math", "multi", "multiturn", "single"}
    | {"turn", "synthetic", "generated", "translated", "original", "duplicate", "question", "reasoning"}
    | {"test", "eval", "validation", "public", "private", "anonymous", "first", "last", "long", "short"}
    | {"open", "closed", "creative", "roleplay", "redacted", "edited", "tool", "system", "chat"}
)
# What no value says but a verdict, whatever its column is called; an answer may be one word, too.
_PLAINLY_BAD = frozenset(
    {"bad", "undesirable", "rejected", "incorrect", "wrong", "disapproved", "disliked", "unhelpful"}
    | {"thumbs down", "thumbs_down", "👎"}
)
_ANSWERS = frozenset(
    {"answer", "response", "completion", "output", "input", "text", "content", "reference", "target"}
    | {"chosen", "rejected", "prompt", "question", "title", "word"}
)
_WORD = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])")


def verdict(value: Any) -> bool | None:
    """Whether a value says good or bad: true and false, 1 and 0 (or -1), or a usual word; None: neither."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return _NUMBERS.get(value)
    if not isinstance(value, str):
        return None
    word = value.strip().lower()
    word = word if word in _BAD else re.sub(r"[\s_-]+", " ", word)
    return True if word in _GOOD else False if word in _BAD else None


@lru_cache(maxsize=4096)
def reads_as_label(column: str) -> bool:
    """Whether the verdicts of a column may be read as labels: true there means good."""
    words = _words(column)
    if "_".join(words) in _FLAGS or says_bad(column):
        return False
    if words[:1] == ("is",):
        return set(words[1:]) <= _GOOD_NAMES | {"chosen"}
    return words[-1:] == ("tag",) or _is_name(words)


def says_bad(column: str) -> bool:
    """Whether true in a column means that the answer is bad."""
    return not (_BAD_NAMES | {"rejected", "not"}).isdisjoint(_words(column))


def remedy(column: str, value: Any, row_type: RowType) -> str:
    """What to do about a column that judges and is not read; dots reach into objects."""
    name = column.rpartition(".")[2]
    kind, bad_rows = _kind(name), "leave the bad rows out"
    if kind == "flag":
        marks = "mark the turns themselves (`train: false`), or " if isinstance(value, list) else ""
        return f"{marks}leave out the rows that are not to be trained on"
    if row_type is RowType.PREFERENCE:
        return f"{bad_rows}, or exchange the sides where it says so"
    if row_type is RowType.TEXT:
        reading = f"read it as a label: kind: classification, columns: {{label: {column}}}"
    elif kind == "grade" and _is_number(value) and not says_bad(name):
        reading = f"read it as a score: kind: scored, columns: {{score: {column}}}"
    elif reads_as_label(name) and verdict(value) is not None:
        place = f", columns: {{label: {column}}}" if name != column else ""
        reading = f"read it as unpaired feedback, if it only says good or bad: kind: kto{place}"
    else:
        reading = "write a column `label` that is true for good answers: kind: kto"
    return f"{reading}; or {bad_rows}"


def is_judge(column: str) -> bool:
    """Whether a column may judge, by its name."""
    return bool(_kind(column))


def judging(column: str, value: Any, row_type: RowType) -> bool:
    """Whether a column that no builder read judges the answer of a row of this type."""
    kind = _kind(column)
    if isinstance(value, dict) or (isinstance(value, str) and not value.strip()):
        return False
    if not kind:
        return _is_plainly_bad(column, value)
    if kind == "flag":
        values = value if isinstance(value, list) else [value]
        return any(verdict(item) is not True for item in values)
    if row_type is RowType.PREFERENCE:  # its sides say which is better; scores say by how much
        return kind == "label" or is_good(column, value) is False
    if kind in ("said", "tag"):
        if verdict(value) is not None:  # what is good may be learnt
            return is_good(column, value) is not True
        return kind == "said" and _is_number(value)
    # A score beside a text says how good it is (FineWeb-Edu).
    return not (row_type is RowType.TEXT and kind == "grade" and _is_number(value))


def is_good(column: str, value: Any) -> bool | None:
    """What the verdict in a column says of an answer; None where there is none, or it may mean both."""
    good = verdict(value)
    if good is None or _kind(column) not in ("label", "said", "tag"):
        return None
    return not good if says_bad(column) else good if reads_as_label(column) else None


def judge_within(column: str, value: Any, row_type: RowType, passed_over: Collection[str]) -> str:
    """The key of an object that judges, such as `metadata.label`; or the column of a plain word; or ""."""
    if not isinstance(value, dict):
        return column if _is_plainly_bad(column, value) else ""
    for name, inner in value.items():
        place = f"{column}.{name}"
        if place in passed_over:
            continue
        found = judge_within(place, inner, row_type, passed_over) if isinstance(inner, dict) else ""
        if found or judging(name, inner, row_type):
            return found or place
    return ""


def _is_plainly_bad(column: str, value: Any) -> bool:
    if isinstance(value, bool):  # of one answer, where pairs have texts
        return {"chosen": False, "rejected": True}.get(column.lower()) is value
    if not isinstance(value, str) or value.strip().lower() not in _PLAINLY_BAD:
        return False
    words = _words(column)
    return _ANSWERS.isdisjoint(words[-1:]) or not _LABELS.isdisjoint(words)


@lru_cache(maxsize=4096)
def _kind(column: str) -> str:
    """flag: whether to train; label or grade: always judges; said or tag: if it holds a verdict; or ""."""
    words = _words(column)
    if "_".join(words) in _FLAGS:
        return "flag"
    if words[:1] == ("is",) and len(words) > 1:
        return "" if set(words[1:]) & _DESCRIPTIONS else "said"
    if _is_name(words):
        return "label" if words[-1] in _LABELS else "grade" if words[-1] in _GRADES else "said"
    return "tag" if words[-1:] == ("tag",) else ""


def _is_name(words: tuple[str, ...]) -> bool:
    while len(words) > 1 and words[0] in _QUALIFIERS:
        words = words[1:]
    return bool(words) and set(words) <= _NAMES


def _words(column: str) -> tuple[str, ...]:
    return tuple(word.lower() for word in _WORD.findall(column))


def _is_number(value: Any) -> bool:
    try:
        return not isinstance(value, bool) and math.isfinite(float(value))
    except (TypeError, ValueError, OverflowError):
        return False

"""What the keys of a turn say besides its role and content.

- thoughts (`reasoning_content`, `reasoning`, `thinking`, `thoughts`, `thought`) go before the answer, between
  `<think>` and `</think>`
- marks (`weight`, `loss_weight`, `loss`, `loss_mask`, `train`, `trainable`, `training`, `learn`): an answer
  with 0 or less, or false, is not learnt, nor one that its turn calls bad (`label: false`, `thumbs: down`)
- ids say nothing; any other key is not used, and noted by name

`<think>` is how Qwen3, DeepSeek R1 and those after them write thoughts, and what their templates look for in
the content. `mask` is not read: some mean by it what is learnt, others what is not.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from tempering.data.builders.record import BadRow, Note, called
from tempering.data.builders.verdicts import is_good

THOUGHTS = "thoughts put before their answer, between <think> and </think>"
THOUGHT_TWICE = "thoughts not used: their answer already holds </think>"
MORE_THOUGHTS = "further thoughts of an answer not used"
ALONE = "thoughts without an answer not used"
CALLED_BAD = "answers that their turn calls bad are not learnt"
WEIGHT = "the weight of an answer is not used"
OTHER_MARK = "marks to train on turns that are no answers are not used"
UNUSED = "keys of turns not used: "

_THOUGHTS = ("reasoning_content", "reasoning", "thinking", "thoughts", "thought")
_LEARNT = (
    "weight",
    "loss_weight",
    "loss",
    "loss_mask",
    "train",
    "trainable",
    "training",
    "learn",
    "do_train",
)
_READ = (("role", "from"), ("content", "value", "text"), ("tool_calls", "function_call"))
"""Of each the first that is there."""
_PLAIN = {"role", "content"}
_NAMES_ONLY = ("id", "tool_call_id", "call_id", "message_id", "parent_id", "uid", "uuid", "index", "idx")
_WORDS = {"true": 1, "yes": 1, "1": 1, "false": 0, "no": 0, "0": 0}
_TAGS = re.compile(r"^\s*<think>|</think>\s*$")
_SHOWN = re.compile(r"[A-Za-z_]{1,30}")


def is_learnt(turn: Mapping[str, Any], column: str, note: Note, *, answer: bool) -> bool:
    """Whether a turn may be trained on, by its marks; without any it may.

    Raises:
        BadRow: a mark is neither true, false nor a number, such as a mask of tokens.
    """
    marks = [_mark(turn[name], name, column) for name in _LEARNT if turn.get(name) is not None]
    if not answer:
        if any(marks):
            note(OTHER_MARK)
        return True
    if any(mark not in (0, 1) for mark in marks):
        note(WEIGHT)
    return all(mark > 0 for mark in marks)


def is_called_bad(turn: Mapping[str, Any], note: Note) -> bool:
    """Whether a key of an answer's turn says that the answer is bad."""
    bad = not turn.keys() <= _PLAIN and any(is_good(name, value) is False for name, value in turn.items())
    if bad:
        note(CALLED_BAD)
    return bad


def with_thoughts(turn: Mapping[str, Any], content: str, column: str, note: Note) -> str:
    """An answer after its thoughts, if it has any.

    Raises:
        BadRow: they are no text.
    """
    if turn.keys() <= _PLAIN:
        return content
    names = [name for name in _THOUGHTS if turn.get(name)]
    thoughts = turn[names[0]] if names else ""
    if not isinstance(thoughts, str):
        raise BadRow(f"{column}: {names[0]} of a turn is {called(thoughts)}, not a string")
    if any(turn[name] != thoughts for name in names[1:]):
        note(MORE_THOUGHTS)
    thoughts = _TAGS.sub("", thoughts)
    if not thoughts.strip():
        return content
    if not content.strip():
        note(ALONE)
        return content
    if "</think>" in content:
        note(THOUGHT_TWICE)
        return content
    note(THOUGHTS)
    return f"<think>\n{thoughts.strip()}\n</think>\n\n{content}"


def note_unused(
    turns: Iterable[Mapping[str, Any]], note: Note, answers: Iterable[bool], *, judged: bool
) -> None:
    """Say which keys of turns are passed over; empty ones say nothing.

    Args:
        judged: verdicts on answers are heeded (`is_called_bad`).
    """
    names = set[str]()
    for turn, answer in zip(turns, answers, strict=True):
        if turn.keys() <= _PLAIN:
            continue
        read = {next((name for name in group if turn.get(name) is not None), "") for group in _READ}
        used = {*read, *_NAMES_ONLY, *_LEARNT, *(_THOUGHTS if answer else ())}
        ignorable: tuple[Any, ...] = (None, "", [], {}, *(turn.get(name) for name in read))
        names |= {
            name
            for name, value in turn.items()
            if name not in used
            and value not in ignorable
            and not (judged and answer and is_good(name, value) is not None)
        }
    if names:
        # Keys that are data themselves would make a reason of each.
        shown = sorted(name for name in names if _SHOWN.fullmatch(name))
        others = ["others"] * (len(shown) < len(names) or len(shown) > 10)
        note(UNUSED + ", ".join([*shown[:10], *others]))


def _mark(value: Any, name: str, column: str) -> float:
    number = _WORDS.get(value.strip().lower()) if isinstance(value, str) else value
    if not isinstance(number, bool | int | float):
        raise BadRow(f"{column}: {name} of a turn is {called(value)}, not true, false or a number")
    return number

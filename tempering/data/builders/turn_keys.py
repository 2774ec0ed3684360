"""What the keys of a turn say besides its role and content.

- thoughts (`reasoning_content`, `reasoning`, `thinking`, `thoughts`, `thought`) go before the answer, between
  `<think>` and `</think>`
- marks (`weight`, `loss_weight`, `loss`, `loss_mask`, `train`, `trainable`, `training`, `learn`): an answer
  with 0 or false is not learnt
- ids say nothing; any other key is not used, and noted by name

`<think>` is how Qwen3, DeepSeek R1 and those after them write thoughts, and what their templates look for in
the content. `mask` is not read: some mean by it what is learnt, others what is not.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from tempering.data.builders.record import BadRow, Note, called

THOUGHTS = "thoughts put before their answer, between <think> and </think>"
THOUGHT_TWICE = "thoughts not used: their answer already holds </think>"
WEIGHT = "the weight of an answer is not used"
OTHER_MARK = "marks to train on turns that are no answers are not used"
UNUSED = "keys of turns not used: "

_THOUGHTS = ("reasoning_content", "reasoning", "thinking", "thoughts", "thought")
_LEARNT = ("weight", "loss_weight", "loss", "loss_mask", "train", "trainable", "training", "learn")
_READ = ("role", "from", "content", "value", "text", "tool_calls", "function_call")
_PLAIN = {"role", "content"}
_NAMES_ONLY = ("id", "tool_call_id", "call_id", "message_id", "parent_id", "uid", "uuid", "index", "idx")
_WORDS = {"true": 1, "yes": 1, "1": 1, "false": 0, "no": 0, "0": 0}
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
    return all(marks)


def with_thoughts(turn: Mapping[str, Any], content: str, column: str, note: Note) -> str:
    """An answer after its thoughts, if it has any.

    Raises:
        BadRow: they are no text.
    """
    name = next((name for name in _THOUGHTS if turn.get(name)), "")
    thoughts = turn[name] if name else ""
    if not isinstance(thoughts, str):
        raise BadRow(f"{column}: {name} of a turn is {called(thoughts)}, not a string")
    if not thoughts.strip() or not content.strip():
        return content
    if "</think>" in content:
        note(THOUGHT_TWICE)
        return content
    note(THOUGHTS)
    return f"<think>\n{thoughts.strip()}\n</think>\n\n{content}"


def note_unused(turns: Iterable[Mapping[str, Any]], note: Note, answers: Iterable[bool]) -> None:
    """Say which keys of turns are passed over; empty ones say nothing."""
    names = set[str]()
    for turn, answer in zip(turns, answers, strict=True):
        if turn.keys() <= _PLAIN:
            continue
        used = {*_READ, *_NAMES_ONLY, *_LEARNT, *(_THOUGHTS if answer else ())}
        names |= {
            name for name, value in turn.items() if name not in used and value not in (None, "", [], {})
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

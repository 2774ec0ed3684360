"""The canonical row types, and the check that every row passes at the door.

A row is a plain dict whose required columns are fixed by its type (TRL's standard types);
extra scalar columns are kept. Conversations are lists of `{role, content}`. A row that breaks a rule is
never fixed by guessing: `problem` names the rule, and the row is counted under it.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tempering.errors import DataError

Message = dict[str, str]
Values = dict[str, Any]
ROLES = ("system", "user", "assistant")
EMPTY_ANSWER: list[Message] = [{"role": "assistant", "content": ""}]
"""No answer: allowed only as the rejected side of a pair made by the corruption `empty`."""


class RowType(StrEnum):
    """What a row can be used for."""

    TEXT = "text"
    MESSAGES = "messages"
    PROMPT_COMPLETION = "prompt_completion"
    PREFERENCE = "preference"
    UNPAIRED_PREFERENCE = "unpaired_preference"
    PROMPT = "prompt"
    SCORED_CONVERSATION = "scored_conversation"
    CLASSIFICATION = "classification"
    QUESTION = "question"
    MINIMAL_PAIR = "minimal_pair"
    MULTIPLE_CHOICE = "multiple_choice"
    ANSWER_SET = "answer_set"
    CANDIDATES = "candidates"
    WORD_FORMS = "word_forms"
    READING_TIMES = "reading_times"


READING_PREDICTORS = ("frequency", "length", "context_length", "previous_length")
"""What reading times are explained by beside a word's surprisal."""
READING_TIMES = ("first_fixation", "first_pass", "go_past", "right_bounded", "self_paced")
"""Milliseconds on a word: four of eye tracking, and self-paced reading."""

COLUMNS: Mapping[RowType, Mapping[str, str]] = {
    RowType.TEXT: {"text": "string"},
    RowType.MESSAGES: {"messages": "messages"},
    RowType.PROMPT_COMPLETION: {"prompt": "prompt", "completion": "completion"},
    RowType.PREFERENCE: {"prompt": "prompt", "chosen": "completion", "rejected": "completion"},
    RowType.UNPAIRED_PREFERENCE: {"prompt": "prompt", "completion": "completion", "label": "boolean"},
    RowType.PROMPT: {"prompt": "prompt"},
    RowType.SCORED_CONVERSATION: {"messages": "messages", "score": "score", "reason": "any string"},
    RowType.CLASSIFICATION: {"text": "string", "text_pair": "any string", "label": "integer"},
    RowType.QUESTION: {
        "question": "string",
        "context": "any string",
        "answers": "strings",
        "baseline": "number",
    },
    RowType.MINIMAL_PAIR: {"sentence_good": "string", "sentence_bad": "string", "paradigm": "any string"},
    RowType.MULTIPLE_CHOICE: {"question": "string", "choices": "strings", "answer": "integer"},
    RowType.ANSWER_SET: {
        "prompt": "prompt",
        "answers": "strings",
        "num_right": "integer",
        "subset": "any string",
        "id": "any string",
    },
    RowType.CANDIDATES: {
        "contexts": "strings",
        "completions": "strings",
        "answer": "integer",
        "paradigm": "any string",
    },
    RowType.WORD_FORMS: {"forms": "strings", "ratio": "score", "paradigm": "any string"},
    RowType.READING_TIMES: {
        "context": "any string",
        "word": "string",
        "previous_context": "any string",
        "previous_word": "any string",
        **dict.fromkeys((*READING_PREDICTORS, *READING_TIMES), "number"),
    },
}

# What identifies a row when it is held out (unless its `group` says otherwise): rows that share it
# must never be on both sides.
GROUP_COLUMNS: Mapping[RowType, tuple[str, ...]] = {
    RowType.TEXT: ("text",),
    RowType.MESSAGES: ("messages",),
    RowType.PROMPT_COMPLETION: ("prompt",),
    RowType.PREFERENCE: ("prompt",),
    RowType.UNPAIRED_PREFERENCE: ("prompt",),
    RowType.PROMPT: ("prompt",),
    RowType.SCORED_CONVERSATION: ("messages",),
    RowType.CLASSIFICATION: ("text", "text_pair"),
    RowType.QUESTION: ("context",),
    RowType.MINIMAL_PAIR: ("sentence_good", "sentence_bad"),
    RowType.MULTIPLE_CHOICE: ("question",),
    RowType.ANSWER_SET: ("prompt",),
    RowType.CANDIDATES: ("contexts",),
    RowType.WORD_FORMS: ("forms",),
    RowType.READING_TIMES: ("context", "word"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One normalised row and where it came from.

    `line` is the row index where there are no lines. Rows of one `group` are held out together. `unused` are
    the columns of the file that are in no part of the row.
    """

    values: Values
    file: str = ""
    line: int = 0
    group: str = ""
    unused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that was left out, or (`kept`) changed and kept; counted by reason."""

    file: str
    line: int
    reason: str
    excerpt: str = ""
    kept: bool = False
    filter: str = ""
    """The quality filter that removed it; such a row is not a fault of the data and never fails the stage."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A finding while reading that a person should see: the schema, the split, the encoding."""

    text: str


def to_messages(value: object, role: str = "user") -> list[Message]:
    """Turn a string into one message of `role`; reduce a list of messages to role and content.

    Raises:
        DataError: it is neither.
    """
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    fault = _messages_problem(value)
    if fault:
        raise DataError(fault, expected="a string or a list of {role, content}")
    assert isinstance(value, list)
    return [{"role": message["role"], "content": message["content"]} for message in value]


def problem(row_type: RowType, values: Mapping[str, Any]) -> str | None:
    """Why `values` is not a row of `row_type`, or None. Reasons are few, so that they can be counted."""
    columns = COLUMNS[row_type]
    for name, kind in columns.items():
        if name == "rejected" and values.get("corruption") == "empty" and values.get(name) == EMPTY_ANSWER:
            continue
        fault = _column_problem(values.get(name), kind)
        if fault:
            return f"{name}: {fault}"
    for name, value in values.items():
        fault = None if name in columns else _extra_problem(value)
        if fault:
            return f"{name}: {fault}"
    return _meaning_problem(row_type, values)


def _meaning_problem(row_type: RowType, values: Mapping[str, Any]) -> str | None:
    """What is wrong with columns that are each valid by themselves."""
    if row_type is RowType.PREFERENCE and values["chosen"] == values["rejected"]:
        return "chosen and rejected are the same"
    if row_type is RowType.MINIMAL_PAIR and values["sentence_good"] == values["sentence_bad"]:
        return None if values.get("same") is True else "both sentences are the same"
    if row_type is RowType.MULTIPLE_CHOICE and not 0 <= values["answer"] < len(values["choices"]):
        return f"answer: is {values['answer']}, and there are {len(values['choices'])} choices"
    if row_type is RowType.ANSWER_SET and not 0 < values["num_right"] < len(values["answers"]):
        return f"num_right: is {values['num_right']}, and there are {len(values['answers'])} answers"
    if row_type is RowType.CANDIDATES:
        contexts, completions = len(values["contexts"]), len(values["completions"])
        if contexts != completions:
            return f"contexts: there are {contexts}, and {completions} completions"
        if not 0 <= values["answer"] < completions:
            return f"answer: is {values['answer']}, and there are {completions} candidates"
    if row_type is RowType.WORD_FORMS and len(values["forms"]) != 2:
        return f"forms: there are {len(values['forms'])}, not two"
    if row_type is RowType.CLASSIFICATION and values["label"] < 0:
        return f"label: is {values['label']}: hidden, as in a test split"
    return None


def texts(row_type: RowType, values: Mapping[str, Any]) -> Iterator[str]:
    """Every piece of running text in a row, once: what tokenizers are trained on and what is counted."""
    for name, kind in COLUMNS[row_type].items():
        value = values[name]
        if kind in ("prompt", "completion", "messages"):
            yield from (message["content"] for message in value)
        elif kind == "strings":
            yield from value
        elif kind.endswith("string"):
            yield value


def _column_problem(value: Any, kind: str) -> str | None:
    if kind in ("boolean", "integer", "score"):
        return _scalar_problem(value, kind)
    if kind == "number":
        return None if value is None or _is_finite(value) else f"is {_kind_of(value)}, not a finite number"
    if kind.endswith("string"):
        return _string_problem(value, blank_allowed=kind == "any string")
    if kind == "strings":
        return _strings_problem(value)
    if kind == "messages":
        return _messages_problem(value)
    return _messages_problem(value) or _turns_problem(value, "user" if kind == "prompt" else "assistant")


def _scalar_problem(value: Any, kind: str) -> str | None:
    if kind == "score":
        return None if _is_finite(value) else f"is {_kind_of(value)}, not a finite number"
    valid = isinstance(value, bool) if kind == "boolean" else type(value) is int and value.bit_length() < 64
    return (
        None if valid else f"is {_kind_of(value)}, not {'a boolean' if kind == 'boolean' else 'an integer'}"
    )


def _strings_problem(value: Any) -> str | None:
    if not isinstance(value, list):
        return f"is {_kind_of(value)}, not a list"
    if not value:
        return "is empty"
    return next((fault for item in value if (fault := _string_problem(item))), None)


def _messages_problem(value: Any) -> str | None:
    if not isinstance(value, list):
        return f"is {_kind_of(value)}, not a list of messages"
    if not value:
        return "is empty"
    for message in value:
        if not isinstance(message, dict):
            return f"a message is {_kind_of(message)}, not an object"
        if message.get("role") not in ROLES:
            return f"a message has the role {str(message.get('role'))[:30]!r}, not one of {', '.join(ROLES)}"
        fault = _string_problem(message.get("content"))
        if fault:
            return f"the content of a message {fault}"
    return None


def _turns_problem(messages: list[Message], last_role: str) -> str | None:
    if messages[-1]["role"] != last_role:
        return f"ends with a turn of the {messages[-1]['role']}, not of the {last_role}"
    if last_role == "assistant" and messages[0]["role"] != "assistant":
        return f"begins with a turn of the {messages[0]['role']}, not of the assistant"
    return None


def _string_problem(value: Any, *, blank_allowed: bool = False) -> str | None:
    if not isinstance(value, str):
        return f"is {_kind_of(value)}, not a string"
    if not blank_allowed and not value.strip():
        return "is empty"
    if "\x00" in value:
        return "holds a NUL character"
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return "holds a lone surrogate or invalid UTF-8"
    return None


def _extra_problem(value: Any) -> str | None:
    if isinstance(value, str):
        return _string_problem(value, blank_allowed=True)
    if value is None or isinstance(value, bool | int | float):
        return None
    return f"is {_kind_of(value)}, not a scalar"


def _is_finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return type(value) is int and value.bit_length() < 1024  # more does not fit a float


def _kind_of(value: Any) -> str:
    if value is None:
        return "missing or null"
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    names = {
        bool: "a boolean",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "an object",
        str: "a string",
    }
    return names.get(type(value), type(value).__name__)

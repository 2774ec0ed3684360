"""Conversations of any origin as lists of `{role, content}`, by these rules and no others.

| in a record | what becomes of it |
|---|---|
| role or from: human, user, prompter | user |
| gpt, assistant, bot, model, chatgpt, ai | assistant |
| function_call, tool_call, tool_calls | a turn of the assistant: the JSON of the call |
| tool, function, observation, ipython | a turn of the user: what the tool answered |
| any other role | the row is rejected, naming the role where it is a usual one |
| content, value or text: a list of parts | the texts of the parts, one a line; other parts: rejected |
| content null with `tool_calls` or `function_call` | the JSON of the calls |
| a `tools` column | end of the system turn, which is made if there is none |
| an empty turn | taken out, noted |
| a system turn after the first other turn | rejected |
| turns of one role in a row | one turn, joined with a blank line, noted |
| weight 0 on every answer | rejected where answers are learnt or judged: none is to be |
| any other weight of an answer than 1 | not used, noted: all answers are learnt from |
| turns before the first of the user | taken off, noted (kept in whole conversations) |
| turns after the last answer | taken off for training, noted (kept in whole conversations) |
| no answer | rejected for training |
| no answer, or an empty one, at the end | rejected where the last answer is what is judged |
"""

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from tempering.data.builders.record import BadRow, Note, Record, called
from tempering.data.rows import Message

EMPTY = "empty turns taken out"
JOINED = "turns of one role in a row joined"
HEAD = "turns before the first user turn taken off"
TAIL = "trailing turns after the last answer cut off"
WEIGHT = "the weight of an answer is not used"

_NAMES = {
    "user": ("user", "human", "prompter", "tool", "function", "observation", "ipython"),
    "assistant": (
        *("assistant", "gpt", "bot", "model", "chatgpt", "ai"),
        *("function_call", "tool_call", "tool_calls"),
    ),
    "system": ("system",),
}
_ROLES: Mapping[str, str] = {name: role for role, names in _NAMES.items() for name in names}
_PARTS = ("text", "input_text", "output_text")
# Reasons name only these, so that a column of people's names gives one reason, not thousands.
_OTHER_ROLES = (
    *("developer", "narrator", "context", "document", "thought", "reasoning", "critic", "moderator"),
    *("instruction", "input", "output", "prompt", "question", "answer", "response", "completion"),
    *("character", "speaker", "student", "teacher", "expert", "doctor", "patient", "environment"),
)
_OTHER_PARTS = (
    *_PARTS,
    *("image", "image_url", "input_image", "audio", "audio_url", "input_audio", "output_audio"),
    *("video", "video_url", "file", "input_file", "document", "refusal", "thinking", "reasoning"),
    *("tool_use", "tool_result", "tool_call", "tool_calls", "function_call"),
)


class Use(StrEnum):
    """What a conversation is for, which decides what may be taken off its ends."""

    TRAINING = "training"
    """Answers are learnt: it begins with the user and ends with an answer."""
    JUDGED = "judged"
    """Its last answer is preferred, rejected or labelled: that one must be there."""
    PROMPT = "prompt"
    """It ends with the user."""
    OPENED = "opened"
    """It begins with the user and ends with anyone: what precedes its last answer will be a prompt."""
    WHOLE = "whole"
    """It is rated or modelled as it is."""


def conversation(
    turns: object, note: Note, use: Use, *, tools: object = None, column: str = "messages"
) -> list[Message]:
    """Normalise the turns of a foreign conversation for a use.

    Args:
        note: called once with each kind of change.
        tools: the tools the assistant may call, as a string or as JSON values.
        column: the column of the turns, for reasons.

    Raises:
        BadRow: with the rule that is broken.
    """
    if not isinstance(turns, list):
        raise BadRow(f"{column}: is {called(turns)}, not a list of turns")
    messages = [_message(turn, column) for turn in turns]
    weights = [_weight(turn) for turn in turns if _ROLES[_role_name(turn)] == "assistant"]
    if weights and use in (Use.TRAINING, Use.JUDGED) and all(weight == 0 for weight in weights):
        raise BadRow(f"{column}: every answer has weight 0")
    if any(weight not in (None, 1) for weight in weights):
        note(WEIGHT)
    if use is Use.JUDGED:
        _require_last_answer(messages, column)
    messages = _joined(_filled(_with_tools(messages, tools), note), note)
    if any(message["role"] == "system" for message in messages[1:]):
        raise BadRow(f"{column}: a system turn after the first turn")
    return _ends(messages, note, use, column)


def with_system(record: Record, messages: list[Message]) -> list[Message]:
    """`messages` after the text of a `system` or `system_prompt` column, if there is one."""
    for name in ("system", "system_prompt"):
        text = record.get(name)
        if isinstance(text, str) and text.strip() and messages[0]["role"] != "system":
            return [{"role": "system", "content": text}, *messages]
    return messages


def has_turns_of(turns: object, role: str) -> bool:
    """Whether `turns` is a conversation with a turn of a canonical role."""
    items = turns if isinstance(turns, list) else []
    return any(isinstance(turn, dict) and _ROLES.get(_role_name(turn)) == role for turn in items)


def _message(turn: Any, column: str) -> Message:
    if not isinstance(turn, dict):
        raise BadRow(f"{column}: a turn is {called(turn)}, not an object")
    name = _role_name(turn)
    if name not in _ROLES:
        raise BadRow(f"{column}: the role of a turn is {_quoted_role(name)}")
    content = _first(turn, "content", "value", "text")
    text = _text(content, name, column) if content is not None else ""
    calls = _calls(turn)
    if content is None and not calls:
        raise BadRow(f"{column}: the content of a turn is missing or null")
    return {"role": _ROLES[name], "content": "\n\n".join(part for part in (text, calls) if part)}


def _quoted_role(name: str) -> str:
    if not name:
        return "missing"
    return f"{name!r}, which is unknown" if name in _OTHER_ROLES else "unknown"


def _role_name(turn: Mapping[str, Any]) -> str:
    name = _first(turn, "role", "from")
    return name.strip().lower() if isinstance(name, str) else ""


def _first(turn: Mapping[str, Any], *names: str) -> Any:
    return next((turn[name] for name in names if turn.get(name) is not None), None)


def _text(content: Any, role: str, column: str) -> str:
    if isinstance(content, str):
        return content
    if role not in ("user", "human", "prompter", "system", "assistant") and isinstance(content, dict):
        return _json(content)  # a call, or what a tool answered
    if not isinstance(content, list):
        raise BadRow(f"{column}: the content of a turn is {called(content)}, not a string")
    return "\n".join(_part(part, column) for part in content)


def _part(part: Any, column: str) -> str:
    if isinstance(part, str):
        return part
    kind = part.get("type", "text") if isinstance(part, dict) else called(part)
    text = _first(part, "text", "value", "content") if isinstance(part, dict) else None
    if kind not in _PARTS or not isinstance(text, str):
        nameable = not isinstance(part, dict) or kind in _OTHER_PARTS
        raise BadRow(f"{column}: a part of the content is {f'{kind!r}, ' if nameable else ''}not text")
    return text


def _calls(turn: Mapping[str, Any]) -> str:
    value = _first(turn, "tool_calls", "function_call")
    calls = value if isinstance(value, list) else [value] if value else []
    inner = [call.get("function") or call if isinstance(call, dict) else call for call in calls]
    if not inner:
        return ""
    return _json(inner[0] if len(inner) == 1 else inner)


def _weight(turn: Mapping[str, Any]) -> Any:
    return _first(turn, "loss_weight", "weight")


def _with_tools(messages: list[Message], tools: object) -> list[Message]:
    text = tools.strip() if isinstance(tools, str) else _json(tools) if tools else ""
    if text in ("", "[]", "{}", "null"):
        return messages
    count = int(bool(messages) and messages[0]["role"] == "system")
    system, rest = messages[:count], messages[count:]
    content = "\n\n".join([*(message["content"] for message in system), f"Tools: {text}"])
    return [{"role": "system", "content": content}, *rest]


def _filled(messages: list[Message], note: Note) -> list[Message]:
    filled = [message for message in messages if message["content"].strip()]
    if len(filled) < len(messages):
        note(EMPTY)
    return filled


def _joined(messages: list[Message], note: Note) -> list[Message]:
    joined: list[Message] = []
    for message in messages:
        if joined and joined[-1]["role"] == message["role"]:
            content = f"{joined.pop()['content']}\n\n{message['content']}"
            message = {"role": message["role"], "content": content}
        joined.append(message)
    if len(joined) < len(messages):
        note(JOINED)
    return joined


def _require_last_answer(messages: list[Message], column: str) -> None:
    if not messages or messages[-1]["role"] != "assistant":
        raise BadRow(f"{column}: does not end with an answer")
    if not messages[-1]["content"].strip():
        raise BadRow(f"{column}: the last answer is empty")


def _ends(messages: list[Message], note: Note, use: Use, column: str) -> list[Message]:
    if use is Use.WHOLE:
        if not messages:
            raise BadRow(f"{column}: is empty")
        return messages
    roles = [message["role"] for message in messages]
    if use in (Use.TRAINING, Use.JUDGED) and "assistant" not in roles:
        raise BadRow(f"{column}: no assistant turn")
    if "user" not in roles:
        raise BadRow(f"{column}: no user turn")
    system, start = messages[: roles[0] == "system"], roles.index("user")
    if start > len(system):
        note(HEAD)
    remaining = [*system, *messages[start:]]
    if use is Use.OPENED:
        return remaining
    return _prompt(remaining, column) if use is Use.PROMPT else _answered(remaining, note, column)


def _prompt(messages: list[Message], column: str) -> list[Message]:
    if messages[-1]["role"] != "user":
        raise BadRow(f"{column}: does not end with a turn of the user")
    return messages


def _answered(messages: list[Message], note: Note, column: str) -> list[Message]:
    end = len(messages)
    while end and messages[end - 1]["role"] != "assistant":
        end -= 1
    if not end:
        raise BadRow(f"{column}: no assistant turn after a user turn")
    if end < len(messages):
        note(TAIL)
    return messages[:end]


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)

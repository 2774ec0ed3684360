"""Conversations of any origin as lists of `{role, content}`, by these rules and no others.

| in a record | what becomes of it |
|---|---|
| the turns as a string of JSON | read |
| role or from: human, user, prompter | user |
| gpt, assistant, bot, model, chatgpt, ai | assistant |
| developer | system |
| function_call, tool_call, tool_calls | a turn of the assistant: the JSON of the call |
| arguments of a call as a string of JSON | as if they were objects |
| tool, function, observation, ipython | a turn of the user: what the tool answered |
| any other role | the row is rejected, naming the role where it is a usual one |
| content, value or text: a list of parts | the texts of the parts, one a line; other parts: rejected |
| content null with `tool_calls` or `function_call` | the JSON of the calls |
| a `tools` column | end of the system turn, which is made if there is none |
| an empty turn | taken out, noted |
| a system turn after the first other turn | rejected |
| turns of one role in a row | one turn, joined with a blank line, noted |
| thoughts of an answer, other keys of a turn | see `turn_keys` |
| an answer marked as not to be trained on | not learnt, noted; it is judged: rejected |
| an answer that a key of its turn calls bad | not learnt, noted |
| every answer marked so | rejected where answers are learnt |
| any other weight of an answer than 1 | not used, noted |
| turns before the first of the user | taken off, noted (kept in whole conversations) |
| turns after the last answer to be learnt | taken off for training, noted (kept in whole conversations) |
| no answer | rejected for training |
| no answer, or an empty one, at the end | rejected where the last answer is what is judged |
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from tempering.data.builders.record import BadRow, Note, Record, called
from tempering.data.builders.tool_text import calls_text, tools_text
from tempering.data.builders.turn_content import CALLS, TOOLS, content_text
from tempering.data.builders.turn_keys import is_called_bad, is_learnt, note_unused, with_thoughts
from tempering.data.files.values import parsed
from tempering.data.rows import Message

EMPTY = "empty turns taken out"
JOINED = "turns of one role in a row joined"
HEAD = "turns before the first user turn taken off"
TAIL = "trailing turns after the last answer cut off"
MASKED = "answers marked as not to be trained on are not learnt"

_NAMES = {
    "user": ("user", "human", "prompter", *TOOLS),
    "assistant": ("assistant", "gpt", "bot", "model", "chatgpt", "ai", *CALLS),
    "system": ("system", "developer"),
}
_ROLES: Mapping[str, str] = {name: role for role, names in _NAMES.items() for name in names}
_PLAIN_ROLES = {name: role for name, role in _ROLES.items() if name not in CALLS}
# Reasons name only these, so that a column of people's names gives one reason, not thousands.
_OTHER_ROLES = (
    *("narrator", "context", "document", "thought", "reasoning", "critic", "moderator"),
    *("instruction", "input", "output", "prompt", "question", "answer", "response", "completion"),
    *("character", "speaker", "student", "teacher", "expert", "doctor", "patient", "environment"),
)


class Use(StrEnum):
    """What a conversation is for, which decides what may be taken off its ends."""

    TRAINING = "training"
    """Answers are learnt: it begins with the user and ends with an answer."""
    JUDGED = "judged"
    """Its last answer is preferred, rejected or labelled: that one must be there."""
    ANSWER = "answer"
    """It is an answer, whose prompt is elsewhere."""
    PROMPT = "prompt"
    """It ends with the user."""
    OPENED = "opened"
    """It begins with the user and ends with anyone: what precedes its last answer will be a prompt."""
    WHOLE = "whole"
    """It is rated or modelled as it is."""


class Turn(NamedTuple):
    """One turn, and whether it may be trained on."""

    role: str
    content: str
    learnt: bool = True

    @property
    def message(self) -> Message:
        """The turn as rows have it."""
        return {"role": self.role, "content": self.content}


def conversation(
    turns: object, note: Note, use: Use, *, tools: object = None, column: str = "messages"
) -> list[Message]:
    """The messages of `turns_of`."""
    return [turn.message for turn in turns_of(turns, note, use, tools=tools, column=column)]


def turns_of(
    turns: object, note: Note, use: Use, *, tools: object = None, column: str = "messages"
) -> list[Turn]:
    """Normalise the turns of a foreign conversation for a use.

    Args:
        note: called once with each kind of change.
        tools: the tools the assistant may call, as a string or as JSON values.
        column: the column of the turns, for reasons.

    Raises:
        BadRow: with the rule that is broken.
    """
    items = parsed(turns)
    if not isinstance(items, list):
        raise BadRow(f"{column}: is {called(turns)}, not a list of turns")
    # Each turn by itself.
    normal = [_turn(item, column, note) for item in items]
    answers = [turn.role == "assistant" for turn in normal]
    note_unused(items, note, answers, judged=use is Use.TRAINING)
    if use is Use.TRAINING:
        normal = [
            Turn(turn.role, turn.content, False) if answer and is_called_bad(item, note) else turn
            for turn, answer, item in zip(normal, answers, items, strict=True)
        ]
    _check_marks(normal, note, use, column)
    if use is not Use.TRAINING:
        normal = [Turn(turn.role, turn.content) for turn in normal]
    if use is Use.JUDGED:
        _require_last_answer(normal, column)
    # Their order.
    normal = _joined(_filled(_with_tools(normal, tools), note), note)
    if any(turn.role == "system" for turn in normal[1:]):
        raise BadRow(f"{column}: a system turn after the first turn")
    return _ends(normal, note, use, column)


def as_turns(value: object) -> object:
    """The turns that a string is the JSON of; anything else as it is."""
    items = parsed(value)
    if not isinstance(items, list) or not items:
        return value
    return items if all(isinstance(item, dict) and _role_name(item) for item in items) else value


def with_system(record: Record, messages: list[Message]) -> list[Message]:
    """`messages` after the text of a `system` or `system_prompt` column, if there is one."""
    for name in ("system", "system_prompt"):
        text = record.get(name)
        if isinstance(text, str) and text.strip() and messages[0]["role"] != "system":
            return [{"role": "system", "content": text}, *messages]
    return messages


def after_history(record: Record, prompt: list[Message], note: Note) -> list[Message]:
    """`prompt` after the earlier turns in a `history` column: pairs of question and answer, or turns.

    A text of that name is an extra column like any other.

    Raises:
        BadRow: it is an object, or a list of something else.
    """
    history = parsed(record.get("history"))
    if isinstance(history, dict):
        raise BadRow("history: is an object, not a list of pairs of question and answer, nor of turns")
    if not isinstance(history, list) or not history:
        return prompt
    turns: list[Any] = []
    for item in history:
        if isinstance(item, list) and len(item) == 2:
            turns += [{"role": "user", "content": item[0]}, {"role": "assistant", "content": item[1]}]
        elif isinstance(item, dict) and _role_name(item):
            turns.append(item)
        else:
            raise BadRow("history: is not a list of pairs of question and answer, nor of turns")
    return conversation([*turns, *prompt], note, Use.PROMPT, column="history")


def has_turns_of(turns: object, role: str) -> bool:
    """Whether `turns` is a conversation with a turn of a canonical role."""
    items = turns if isinstance(turns, list) else []
    return any(isinstance(turn, dict) and _ROLES.get(_role_name(turn)) == role for turn in items)


def _turn(turn: Any, column: str, note: Note) -> Turn:
    if not isinstance(turn, dict):
        raise BadRow(f"{column}: a turn is {called(turn)}, not an object")
    # Most turns are no more than a role and a text.
    if len(turn) == 2:
        role, text = _PLAIN_ROLES.get(str(turn.get("role"))), turn.get("content")
        if role and isinstance(text, str):
            return Turn(role, text)
    name = _role_name(turn)
    if name not in _ROLES:
        raise BadRow(f"{column}: the role of a turn is {_quoted_role(name)}")
    # What is said, and what is called.
    role, content = _ROLES[name], _first(turn, "content", "value", "text")
    text = content_text(content, name, column) if content is not None else ""
    calls = calls_text(_first(turn, "tool_calls", "function_call"), column)
    if content is None and not calls:
        raise BadRow(f"{column}: the content of a turn is missing or null")
    text = "\n\n".join(part for part in (text, calls) if part)
    # What its other keys say.
    answer = role == "assistant"
    if answer:
        text = with_thoughts(turn, text, column, note)
    return Turn(role, text, is_learnt(turn, column, note, answer=answer))


def _check_marks(turns: list[Turn], note: Note, use: Use, column: str) -> None:
    """Heed which answers are not to be trained on."""
    answers = [turn.learnt for turn in turns if turn.role == "assistant"]
    if use is Use.TRAINING and answers and not any(answers):
        raise BadRow(f"{column}: every answer is marked as not to be trained on")
    if use in (Use.JUDGED, Use.ANSWER) and answers and not answers[-1]:
        raise BadRow(f"{column}: the last answer is marked as not to be trained on")
    if use in (Use.TRAINING, Use.WHOLE) and not all(answers):
        note(MASKED)


def _quoted_role(name: str) -> str:
    if not name:
        return "missing"
    return f"{name!r}, which is unknown" if name in _OTHER_ROLES else "unknown"


def _role_name(turn: Mapping[str, Any]) -> str:
    name = _first(turn, "role", "from")
    return name.strip().lower() if isinstance(name, str) else ""


def _first(turn: Mapping[str, Any], *names: str) -> Any:
    return next((turn[name] for name in names if turn.get(name) is not None), None)


def _with_tools(turns: list[Turn], tools: object) -> list[Turn]:
    text = tools_text(tools)
    if not text:
        return turns
    count = int(bool(turns) and turns[0].role == "system")
    system, rest = turns[:count], turns[count:]
    content = "\n\n".join([*(turn.content for turn in system), f"Tools: {text}"])
    return [Turn("system", content), *rest]


def _filled(turns: list[Turn], note: Note) -> list[Turn]:
    filled = [turn for turn in turns if turn.content.strip()]
    if len(filled) < len(turns):
        note(EMPTY)
    return filled


def _joined(turns: list[Turn], note: Note) -> list[Turn]:
    joined: list[Turn] = []
    for turn in turns:
        if joined and joined[-1].role == turn.role:
            before = joined.pop()
            turn = Turn(turn.role, f"{before.content}\n\n{turn.content}", before.learnt and turn.learnt)
        joined.append(turn)
    if len(joined) < len(turns):
        note(JOINED)
    return joined


def _require_last_answer(turns: list[Turn], column: str) -> None:
    if not turns or turns[-1].role != "assistant":
        raise BadRow(f"{column}: does not end with an answer")
    if not turns[-1].content.strip():
        raise BadRow(f"{column}: the last answer is empty")


def _ends(turns: list[Turn], note: Note, use: Use, column: str) -> list[Turn]:
    if use in (Use.WHOLE, Use.ANSWER):
        if not turns:
            raise BadRow(f"{column}: is empty")
        return turns
    roles = [turn.role for turn in turns]
    if use in (Use.TRAINING, Use.JUDGED) and "assistant" not in roles:
        raise BadRow(f"{column}: no assistant turn")
    if "user" not in roles:
        raise BadRow(f"{column}: no user turn")
    system, start = turns[: roles[0] == "system"], roles.index("user")
    if start > len(system):
        note(HEAD)
    remaining = [*system, *turns[start:]]
    if use is Use.OPENED:
        return remaining
    return _prompt(remaining, column) if use is Use.PROMPT else _answered(remaining, note, column)


def _prompt(turns: list[Turn], column: str) -> list[Turn]:
    if turns[-1].role != "user":
        raise BadRow(f"{column}: does not end with a turn of the user")
    return turns


def _answered(turns: list[Turn], note: Note, column: str) -> list[Turn]:
    learnt = [turn.role == "assistant" and turn.learnt for turn in turns]
    if not any(learnt):
        marked = any(turn.role == "assistant" for turn in turns)
        fault = "no assistant turn after a user turn"
        raise BadRow(f"{column}: {'every answer is marked as not to be trained on' if marked else fault}")
    end = len(turns) - learnt[::-1].index(True)
    if end < len(turns):
        note(TAIL)
    return turns[:end]

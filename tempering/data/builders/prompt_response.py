"""Prompts with answers, under any of the usual names; a pair's better answer makes one too.

Prompt: `prompt`, `question`, `query`, `instruction` or `input`; answer: `completion`, `response`,
`output`, `answer` or `chosen`, the first that is there of each (others by `columns`). Both may be
strings or turns; an answer may hold the whole conversation, or be a number. The `input` of an
instruction follows it. A `system` or `system_prompt` column goes before.
"""

import json
import math
from typing import ClassVar, Literal

from tempering.data.builders.alpaca import instructed
from tempering.data.builders.base import BadRow, Note, Record, scalars
from tempering.data.builders.conversations import after_history, with_system
from tempering.data.builders.pairs import AnswerConfig, Side, prompt_of, side
from tempering.data.rows import Values, to_messages

PROMPTS = ("prompt", "question", "query", "instruction", "input")
ANSWERS = ("completion", "response", "output", "answer", "chosen")


class PromptResponseConfig(AnswerConfig):
    """Rows of a prompt and its answer."""

    version: ClassVar[int] = 2
    kind: Literal["prompt_response"] = "prompt_response"

    def normalise(self, record: Record, note: Note) -> Values:
        """One row per answer."""
        (prompt, completion), used = answered(record, note)
        extras = scalars(record, *used, "rejected", "system", "system_prompt")
        return self.answered(with_system(record, prompt), completion, extras)


def answered(record: Record, note: Note) -> tuple[Side, list[str]]:
    """The prompt and the answer of a record, and the columns they are from.

    Raises:
        BadRow: one of them is missing, empty or of another form.
    """
    prompt, answer = present(record, PROMPTS), present(record, ANSWERS)
    if not answer:
        raise BadRow(f"no answer: none of {', '.join(ANSWERS)}")
    history, used = prompt_of(record[prompt], note, prompt) if prompt else None, [prompt, answer]
    if prompt == "instruction" and isinstance(record[prompt], str):
        history = to_messages(instructed(record, record.get("input")))
        used.append("input")
    sides = side(history, _one(record[answer], answer, note), note, answer)
    return (after_history(record, sides[0], note), sides[1]), used


def _one(value: object, column: str, note: Note) -> object:
    """One answer, a number as text.

    Raises:
        BadRow: there are several, or it is true, false or no number.
    """
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        raise BadRow(
            f"{column}: is a list of answers, not one: name one, as in columns: {{{column}: {column}.0}}"
        )
    if isinstance(value, bool | float) and (isinstance(value, bool) or not math.isfinite(value)):
        raise BadRow(f"{column}: is {json.dumps(value)}, not a text")
    if not isinstance(value, int | float):
        return value
    note("an answer that is a number read as text")
    return json.dumps(value)


def present(record: Record, names: tuple[str, ...]) -> str:
    """The first of these columns that holds something; "" if none does."""
    return next((name for name in names if record.get(name) is not None), "")

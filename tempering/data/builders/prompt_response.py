"""Prompts with answers, under any of the usual names; a pair's better answer makes one too.

Prompt: `prompt`, `question`, `query`, `instruction` or `input`; answer: `completion`, `response`,
`output`, `answer` or `chosen`, the first that is there of each (others by `columns`). Both may be
strings or turns; an answer may hold the whole conversation. A `system` or `system_prompt` column
goes before.
"""

from typing import ClassVar, Literal

from tempering.data.builders.base import BadRow, Note, Record, scalars
from tempering.data.builders.conversations import with_system
from tempering.data.builders.pairs import AnswerConfig, prompt_of, side
from tempering.data.rows import Values

PROMPTS = ("prompt", "question", "query", "instruction", "input")
ANSWERS = ("completion", "response", "output", "answer", "chosen")


class PromptResponseConfig(AnswerConfig):
    """Rows of a prompt and its answer."""

    version: ClassVar[int] = 2
    kind: Literal["prompt_response"] = "prompt_response"

    def normalise(self, record: Record, note: Note) -> Values:
        """One row per answer."""
        prompt_column, answer_column = present(record, PROMPTS), present(record, ANSWERS)
        history = prompt_of(record[prompt_column], note, prompt_column) if prompt_column else None
        if not answer_column:
            raise BadRow(f"no answer: none of {', '.join(ANSWERS)}")
        prompt, completion = side(history, record[answer_column], note, answer_column)
        extras = scalars(record, prompt_column, answer_column, "rejected", "system", "system_prompt")
        return self.answered(with_system(record, prompt), completion, extras)


def present(record: Record, names: tuple[str, ...]) -> str:
    """The first of these columns that holds something; "" if none does."""
    return next((name for name in names if record.get(name) is not None), "")

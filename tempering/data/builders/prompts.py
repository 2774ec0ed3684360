"""Prompts alone, for rollouts: no answer is read.

`prompt`, `question`, `query`, `instruction` (with its `input`), turns that end with the user, the first of
`turns` (MT-Bench, Zheng et al. 2023, https://arxiv.org/abs/2306.05685), or `text` if there is none of these.
Extra scalar columns are kept and passed to reward functions.
"""

from typing import ClassVar, Literal

from tempering.data.builders.alpaca import instructed
from tempering.data.builders.base import BadRow, FileBuilderConfig, Note, Record, scalars
from tempering.data.builders.conversations import after_history, with_system
from tempering.data.builders.pairs import prompt_of
from tempering.data.rows import Message, RowType, Values, to_messages

PROMPTS = ("prompt", "question", "query", "instruction", "messages", "turns", "text")


class PromptsConfig(FileBuilderConfig):
    """Rows of a prompt."""

    version: ClassVar[int] = 2
    kind: Literal["prompts"] = "prompts"

    @property
    def row_type(self) -> RowType:
        """Always prompts."""
        return RowType.PROMPT

    def normalise(self, record: Record, note: Note) -> Values:
        """One row per prompt."""
        prompt = with_system(record, after_history(record, _prompt(record, note), note))
        return {**scalars(record, *PROMPTS, "input", "system", "system_prompt"), "prompt": prompt}


def _prompt(record: Record, note: Note) -> list[Message]:
    column = next((name for name in PROMPTS if record.get(name) is not None), "")
    value = record.get(column)
    named = next((name for name in PROMPTS if name in record), "")
    if column == "text" and named != "text":
        raise BadRow(f"{named}: is missing or null, and a text beside it is no prompt")
    if not column:
        raise BadRow(f"no prompt: none of {', '.join(PROMPTS)}")
    if column == "instruction" and isinstance(value, str):
        return to_messages(instructed(record, record.get("input")))
    if column == "turns" and isinstance(value, list) and value and isinstance(value[0], str):
        if len(value) > 1:
            note("turns after the first not used")
        value = value[0]
    return prompt_of(value, note, column)

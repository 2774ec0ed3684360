"""What pairs of answers, and single answers, can be read as: the setting `rows`.

A builder of pairs finds each side; here the sides are put together. Pairs whose prompts differ are rejected,
since there is no shared prompt to compare answers to. Read as answers or prompts alone they need no rejected
side.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from tempering.data.builders.base import BadRow, FileBuilderConfig, Note, Record
from tempering.data.builders.conversations import Use, as_turns, conversation, has_turns_of
from tempering.data.rows import Message, RowType, Values, to_messages

Side = tuple[list[Message], list[Message]]
"""Prompt and completion."""

_TYPES: Mapping[str, RowType] = {
    "preference": RowType.PREFERENCE,
    "prompt_completion": RowType.PROMPT_COMPLETION,
    "prompts": RowType.PROMPT,
}
_IDEOGRAPHS = "\u2e80"
"""From here on there are no spaces between words."""


class PairConfig(FileBuilderConfig):
    """A prompt with a better and a worse answer."""

    rows: Literal["preference", "prompt_completion", "prompts"] = Field(
        default="preference", description="pairs; the better answers alone; or prompts alone"
    )

    @property
    def row_type(self) -> RowType:
        """As `rows` says."""
        return _TYPES[self.rows]

    def normalise(self, record: Record, note: Note) -> Values:
        """One row per pair."""
        prompt, chosen = self.chosen(record, note)
        extras = self.extras(record)
        if self.rows == "prompts":
            return {**extras, "prompt": prompt}
        if self.rows == "prompt_completion":
            return {**extras, "prompt": prompt, "completion": chosen}
        rejected_prompt, rejected = self.rejected(record, note)
        if prompt != rejected_prompt:
            raise BadRow("the prompts of chosen and rejected differ")
        return {**extras, "prompt": prompt, "chosen": chosen, "rejected": rejected}

    @abstractmethod
    def chosen(self, record: Record, note: Note) -> Side:
        """The prompt and the better answer.

        Raises:
            BadRow: the record lacks them.
        """

    @abstractmethod
    def rejected(self, record: Record, note: Note) -> Side:
        """The prompt and the worse answer.

        Raises:
            BadRow: the record lacks them.
        """

    def extras(self, record: Record) -> Values:
        """Extra columns to keep."""
        return {}


class AnswerConfig(FileBuilderConfig):
    """A prompt with an answer."""

    rows: Literal["prompt_completion", "prompts"] = Field(
        default="prompt_completion", description="prompts with answers, or prompts alone"
    )

    @property
    def row_type(self) -> RowType:
        """As `rows` says."""
        return _TYPES[self.rows]

    def answered(self, prompt: list[Message], completion: list[Message], extras: Values) -> Values:
        """A row of the configured type."""
        row: Values = {**extras, "prompt": prompt}
        return row if self.rows == "prompts" else {**row, "completion": completion}


def prompt_of(value: object, note: Note, column: str) -> list[Message]:
    """A prompt: a string, or turns that end with the user.

    Raises:
        BadRow: naming the column.
    """
    value = as_turns(value)
    if isinstance(value, str):
        if not value.strip():
            raise BadRow(f"{column}: is empty")
        return to_messages(value)
    return conversation(value, note, Use.PROMPT, column=column)


def side(history: list[Message] | None, value: Any, note: Note, column: str) -> Side:
    """Prompt and answer of one side: a string, one turn, answers, or the whole conversation.

    A list with a user turn is the whole conversation. The record's own prompt, if any, must then be the same
    prompt or one of its user turns (UltraFeedback repeats the first).

    Raises:
        BadRow: naming the column.
    """
    turns = [value] if isinstance(value, dict) else as_turns(value)
    if isinstance(turns, str):
        answer = to_messages(turns, "assistant")
    elif has_turns_of(turns, "user"):
        messages = conversation(turns, note, Use.JUDGED, column=column)
        if history is not None and not _repeats(history, messages[:-1]):
            raise BadRow(f"{column}: holds a conversation that is not the prompt's")
        return messages[:-1], messages[-1:]
    else:
        answer = conversation(turns, note, Use.ANSWER, column=column)
    if history is None:
        raise BadRow(f"there is no prompt: neither a column for it, nor a turn of the user in {column}")
    return history, answer


def common_beginning(chosen: object, rejected: object) -> tuple[str, str, str] | None:
    """What two texts begin with, up to a word, and what remains of each; None where that is nothing."""
    if not isinstance(chosen, str) or not isinstance(rejected, str):
        return None
    differ = (at for at, (left, right) in enumerate(zip(chosen, rejected, strict=False)) if left != right)
    end = next(differ, min(len(chosen), len(rejected)))
    while end and not (chosen[end - 1].isspace() or chosen[end - 1] >= _IDEOGRAPHS):
        end -= 1
    parts = chosen[:end].rstrip(), chosen[end:].rstrip(), rejected[end:].rstrip()
    return parts if all(part.strip() for part in parts) else None


def _repeats(history: list[Message], prompt: list[Message]) -> bool:
    questions = [message["content"].strip() for message in prompt if message["role"] == "user"]
    return history == prompt or (len(history) == 1 and history[0]["content"].strip() in questions)

"""Instruction and chat data as prompt-completion rows.

`alpaca`: instruction, optional input, output; the input follows the instruction after a blank
line. `chat`: a `messages` list; the last assistant turn is the completion, all before it the
prompt. A conversation that ends on a user turn (three quarters of Topical-Chat) loses that turn,
which is counted, since there is no answer to learn from it.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from tempering.data.builders.base import BadRow, FileBuilderConfig, normalise, string
from tempering.data.files import excerpt, read_json_objects
from tempering.data.rows import Message, Rejected, Row, RowType, Values, to_messages
from tempering.errors import DataError


class AlpacaConfig(FileBuilderConfig):
    """Rows of instruction, input and output, as a JSON array or JSONL."""

    kind: Literal["alpaca"] = "alpaca"

    @property
    def row_type(self) -> RowType:
        """Always prompt and completion."""
        return RowType.PROMPT_COMPLETION

    def read_file(self, path: Path) -> Iterator[Row | Rejected]:
        """One row an instruction."""
        for item in read_json_objects(path):
            yield item if isinstance(item, Rejected) else normalise(path, *item, _from_alpaca)


class ChatConfig(FileBuilderConfig):
    """Rows with a list of messages, as a JSON array or JSONL."""

    kind: Literal["chat"] = "chat"
    messages_column: str = Field(default="messages", description="the column with the list of messages")

    @property
    def row_type(self) -> RowType:
        """Always prompt and completion."""
        return RowType.PROMPT_COMPLETION

    def read_file(self, path: Path) -> Iterator[Row | Rejected]:
        """One row a conversation."""
        for item in read_json_objects(path):
            if isinstance(item, Rejected):
                yield item
                continue
            row = normalise(path, *item, self._split)
            yield row
            if isinstance(row, Row) and row.values.pop("_cut"):
                reason = "trailing turns after the last answer cut off"
                yield Rejected(path.name, item[0], reason, excerpt(item[1]), kept=True)

    def _split(self, item: dict[str, Any]) -> Values:
        try:
            messages = to_messages(item.get(self.messages_column))
        except DataError as error:
            raise BadRow(f"{self.messages_column}: {error.found}") from None
        prompt, completion, cut = split_last_answer(messages)
        return {"prompt": prompt, "completion": completion, "_cut": cut}


def split_last_answer(messages: list[Message]) -> tuple[list[Message], list[Message], int]:
    """`(prompt, completion, turns cut off after the answer)`; the completion is the last assistant turn.

    Raises:
        BadRow: when no assistant turn follows a user turn.
    """
    end = len(messages)
    while end and messages[end - 1]["role"] != "assistant":
        end -= 1
    start = end
    while start and messages[start - 1]["role"] == "assistant":
        start -= 1
    if start == end:
        raise BadRow("no assistant turn")
    if not start or messages[start - 1]["role"] != "user":
        raise BadRow("no user turn before the last answer")
    return messages[:start], messages[start:end], len(messages) - end


def _from_alpaca(item: dict[str, Any]) -> Values:
    given = item.get("input")
    if given is None or (isinstance(given, float) and math.isnan(given)):
        given = ""  # pandas writes an empty input as null or NaN
    if not isinstance(given, str):
        raise BadRow(f"input: is {type(given).__name__}, not a string")
    instruction = string(item, "instruction")
    if not instruction.strip():
        raise BadRow("instruction: is empty")
    prompt = f"{instruction}\n\n{given}" if given.strip() else instruction
    return {"prompt": to_messages(prompt), "completion": to_messages(string(item, "output"), "assistant")}

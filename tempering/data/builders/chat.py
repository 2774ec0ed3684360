"""Conversations as rows: complete for training on every answer, or cut at the last answer.

`chat` reads a list of turns in `messages` (SmolTalk, Ben Allal et al. 2025,
https://arxiv.org/abs/2502.02737, and most others). For the forms of turns and what becomes of them see
`tempering.data.builders.conversations`.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from tempering.data.builders.base import BadRow, FileBuilderConfig, Note, Record, scalars
from tempering.data.builders.conversations import Use, turns_of, with_system
from tempering.data.rows import RowType, Values

_TYPES: Mapping[str, RowType] = {
    "messages": RowType.MESSAGES,
    "prompt_completion": RowType.PROMPT_COMPLETION,
    "prompts": RowType.PROMPT,
}


class ConversationConfig(FileBuilderConfig):
    """What `chat` and `sharegpt` share: all but the column of the turns."""

    version: ClassVar[int] = 2
    # Not in finetune/: complete conversations are better there, since all their answers are learnt.
    folder_rows: ClassVar[Mapping[str, str]] = {"rl": "prompts"}

    rows: Literal["messages", "prompt_completion", "prompts"] = Field(
        default="messages",
        description="whole conversations; the last answer and what precedes it; or what precedes it alone",
    )

    @property
    def row_type(self) -> RowType:
        """As `rows` says."""
        return _TYPES[self.rows]

    def of_turns(self, record: Record, column: str, note: Note) -> Values:
        """A row of the configured type from the turns in `column`.

        `untrained_turns` lists the messages that are not to be learnt, such as "1,3"; a row without such has
        none.
        """
        tools, turns = record.get("tools"), record.get(column)
        extras = scalars(record, column, "tools", "system", "system_prompt")
        use = Use.OPENED if self.rows == "prompts" else Use.TRAINING
        normal = turns_of(turns, note, use, tools=tools, column=column)
        messages = with_system(record, [turn.message for turn in normal])
        if self.rows == "messages":
            first = len(messages) - len(normal)  # 1 after a system turn that was added
            untrained = [str(first + at) for at, turn in enumerate(normal) if not turn.learnt]
            if untrained:
                extras["untrained_turns"] = ",".join(untrained)
            return {**extras, "messages": messages}
        if self.rows == "prompt_completion":
            return {**extras, "prompt": messages[:-1], "completion": messages[-1:]}
        return {**extras, "prompt": _prompt(messages, column)}


class ChatConfig(ConversationConfig):
    """Conversations in a `messages` column."""

    kind: Literal["chat"] = "chat"

    def normalise(self, record: Record, note: Note) -> Values:
        """One row per conversation."""
        return self.of_turns(record, "messages", note)


def _prompt(messages: list[Any], column: str) -> list[Any]:
    """All up to the last answer, or everything if the user has the last turn."""
    prompt = messages[: -1 if messages[-1]["role"] == "assistant" else None]
    if not prompt or prompt[-1]["role"] != "user":
        raise BadRow(f"{column}: no turn of the user to answer")
    return prompt

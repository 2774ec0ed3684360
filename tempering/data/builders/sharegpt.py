"""ShareGPT: conversations of `from` and `value`, with tools if there are any.

Calls (`function_call`) are turns of the assistant, answers of tools (`observation`) turns of the user, and
the `tools` column ends the system turn: see `tempering.data.builders.conversations`.
"""

from typing import Literal

from tempering.data.builders.base import Note, Record
from tempering.data.builders.chat import ConversationConfig
from tempering.data.rows import Values


class ShareGPTConfig(ConversationConfig):
    """Conversations in a `conversations` (or `conversation`) column."""

    kind: Literal["sharegpt"] = "sharegpt"

    def normalise(self, record: Record, note: Note) -> Values:
        """One row per conversation."""
        names = ("conversations", "conversation")
        column = next((name for name in names if record.get(name) is not None), names[0])
        return self.of_turns(record, column, note)

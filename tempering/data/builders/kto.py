"""Unpaired feedback: an answer that was judged good or bad.

`messages, label`, where the last answer is judged; or `prompt, completion, label`. The label is
true or false (or 1 and 0). Ethayarajh et al. 2024, https://arxiv.org/abs/2402.01306.
"""

from typing import Literal

from tempering.data.builders.base import BadRow, FileBuilderConfig, Note, Record, scalars
from tempering.data.builders.conversations import Use, conversation, with_system
from tempering.data.builders.pairs import prompt_of, side
from tempering.data.builders.record import called
from tempering.data.rows import RowType, Values


class KTOConfig(FileBuilderConfig):
    """Answers with a label."""

    kind: Literal["kto"] = "kto"

    @property
    def row_type(self) -> RowType:
        """Always unpaired preferences."""
        return RowType.UNPAIRED_PREFERENCE

    def normalise(self, record: Record, note: Note) -> Values:
        """One row per judged answer."""
        extras = scalars(record, "messages", "prompt", "completion", "label", "system", "system_prompt")
        if record.get("messages") is not None:
            messages = conversation(record["messages"], note, Use.JUDGED)
            prompt, completion = messages[:-1], messages[-1:]
        else:
            history = prompt_of(record.get("prompt"), note, "prompt")
            prompt, completion = side(history, record.get("completion"), note, "completion")
        prompt = with_system(record, prompt)
        return {**extras, "prompt": prompt, "completion": completion, "label": _label(record.get("label"))}


def _label(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    raise BadRow(f"label: is {called(value)}, not true or false")

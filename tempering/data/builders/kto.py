"""Unpaired feedback: an answer that was judged good or bad.

`messages` (or `conversations`), whose last answer is judged; or a prompt and an answer under any of the names
that `prompt_response` reads, an instruction with its `input`. The verdict is in `label`, or in another column
that is called so (`kto_tag`, `is_correct`): true or false, 1 and 0 or -1, or a usual word, as text too.
Ethayarajh et al. 2024, https://arxiv.org/abs/2402.01306.
"""

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from tempering.data.builders.base import BadRow, FileBuilderConfig, Note, Record, scalars
from tempering.data.builders.conversations import Use, conversation, with_system
from tempering.data.builders.prompt_response import answered, present
from tempering.data.builders.record import called
from tempering.data.builders.verdicts import reads_as_label, says_bad, verdict
from tempering.data.rows import RowType, Values

TURNS = ("messages", "conversations", "conversation")


class KTOConfig(FileBuilderConfig):
    """Answers with a label."""

    version: ClassVar[int] = 2
    kind: Literal["kto"] = "kto"

    @model_validator(mode="after")
    def _true_means_good(self) -> Self:
        source = self.columns.get("label", "")
        if says_bad(source):
            raise ValueError(
                f"{source} is true for bad answers, and a label is true for good ones: write a column `label`"
            )
        return self

    @property
    def row_type(self) -> RowType:
        """Always unpaired preferences."""
        return RowType.UNPAIRED_PREFERENCE

    def normalise(self, record: Record, note: Note) -> Values:
        """One row per judged answer."""
        turns = present(record, TURNS)
        if turns:
            messages = conversation(record[turns], note, Use.JUDGED, tools=record.get("tools"), column=turns)
            prompt, completion = messages[:-1], messages[-1:]
            used = [turns, "tools"]
        else:
            (prompt, completion), used = answered(record, note)
        name = "label" if "label" in record else next(filter(reads_as_label, record), "label")
        extras = scalars(record, *used, name, "system", "system_prompt")
        prompt, label = with_system(record, prompt), _label(name, record.get(name), note)
        return {**extras, "prompt": prompt, "completion": completion, "label": label}


def _label(name: str, value: object, note: Note) -> bool:
    label = verdict(value)
    if label is None:
        empty = isinstance(value, str) and not value.strip()
        raise BadRow(f"{name}: is {'empty' if empty else called(value)}, not true or false")
    if isinstance(value, int | float | str) and str(value).strip().startswith("-1"):
        note(f"{name}: -1 read as bad, as 0 is")
    return label

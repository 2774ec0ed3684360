"""Questions with choices, of which one is right.

`question` or `input_prefix`; `choices` or `options`: a list, or `{text, label}` (ARC); and `answer`,
`label` or `answerKey`: an index from 0, a letter, the label of a choice, or the choice itself. If the right
one is always in the same place (entity tracking: the first; Kim & Schuster 2023,
https://arxiv.org/abs/2305.02363), `answer_index` says which. Its paradigm, as in the BabyLM pipeline, is the
name of the file and the number of operations: `regular_2_ops`.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from tempering.data.builders.base import BadRow, FileBuilderConfig, Item, Note, Record, scalars, string
from tempering.data.builders.columns import Columns
from tempering.data.builders.record import called
from tempering.data.rows import RowType, Values

QUESTIONS = ("question", "input_prefix")
CHOICES = ("choices", "options")
ANSWERS = ("answer", "label", "answerKey")


class MultipleChoiceConfig(FileBuilderConfig):
    """Rows of a question, its choices and the index of the right one."""

    kind: Literal["multiple_choice"] = "multiple_choice"
    answer_index: int | None = Field(
        default=None, ge=0, description="the right choice of every row, from 0; null: a column says it"
    )

    @property
    def row_type(self) -> RowType:
        """Always multiple choice."""
        return RowType.MULTIPLE_CHOICE

    def rows_of(self, path: Path, line: int, record: Record, columns: Columns) -> Iterator[Item]:
        """One question; that of entity tracking with its paradigm."""
        if "numops" in record and "paradigm" not in record:
            record = {**record, "paradigm": f"{path.name.split('.')[0]}_{record['numops']}_ops"}
        return super().rows_of(path, line, record, columns)

    def normalise(self, record: Record, note: Note) -> Values:
        """One row per question."""
        column = next((name for name in QUESTIONS if name in record), "question")
        choices, labels = _choices(_first(record, CHOICES))
        answer = self.answer_index
        if answer is None:
            answer = _answer(_first(record, ANSWERS), choices, labels)
        extras = scalars(record, *QUESTIONS, *ANSWERS)
        return {**extras, "question": string(record, column), "choices": choices, "answer": answer}


def _first(record: Record, names: tuple[str, ...]) -> Any:
    return next((record[name] for name in names if name in record), None)


def _choices(value: Any) -> tuple[list[str], list[str]]:
    """The choices and their labels, which are letters if the record has none."""
    labels = None
    if isinstance(value, dict):
        value, labels = value.get("text"), value.get("label")
    if not isinstance(value, list):
        raise BadRow(f"choices: is {called(value)}, not a list")
    if not isinstance(labels, list) or len(labels) != len(value):
        labels = [chr(ord("A") + index) for index in range(len(value))]
    return value, [str(label) for label in labels]


def _answer(value: object, choices: list[str], labels: list[str]) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not isinstance(value, str):
        raise BadRow(f"answer: is {called(value)}, not an index or a choice")
    indices = [places.index(value) for places in (labels, choices) if value in places]
    indices += [int(value)] if re.fullmatch(r"[0-9]{1,9}", value) and value not in labels else []
    if len(set(indices)) != 1:
        problem = "means several of the choices" if indices else "is none of the choices"
        raise BadRow(f"answer: {problem}")
    return indices[0]

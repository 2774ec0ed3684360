"""Sentences, or pairs of them, with a label: the forms of GLUE and SuperGLUE, and texts with labels.

Columns are recognised by their names, the fullest form first; `columns: {text: ..., text_pair: ...}` names
others. A label is a number, true or false, or a name that `labels` lists in order. Three columns become two:
the spans of WSC become a question about the text, question and answer of MultiRC one text.
Wang et al. 2019, https://arxiv.org/abs/1804.07461 and https://arxiv.org/abs/1905.00537.
"""

import math
import re
from typing import ClassVar, Literal

from pydantic import Field

from tempering.config import added_field
from tempering.data.builders.base import BadRow, FileBuilderConfig, Note, Record, scalars, string
from tempering.data.builders.record import called
from tempering.data.rows import RowType, Values

FORMS = (
    ("text", "text_pair"),
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("premise", "hypothesis"),
    ("text", "span1_text", "span2_text"),
    ("paragraph", "question", "answer"),
    ("question", "passage"),
    ("question", "sentence"),
    ("sentence",),
    ("text",),
)
_BOOLEANS = {"true": 1, "false": 0}


class ClassificationConfig(FileBuilderConfig):
    """Texts with labels."""

    version: ClassVar[int] = 2
    kind: Literal["classification"] = "classification"
    labels: tuple[str, ...] = Field(
        default=(), description="names of the labels, the first stands for 0; empty: labels are numbers"
    )

    wording: Literal["plain", "babylm"] = added_field(
        "plain",
        description="babylm: WSC and MultiRC as the BabyLM evaluation pipeline puts them, the question first",
    )

    @property
    def row_type(self) -> RowType:
        """Always classification."""
        return RowType.CLASSIFICATION

    def normalise(self, record: Record, note: Note) -> Values:
        """One row per text."""
        form = next((form for form in FORMS if all(name in record for name in form)), None)
        if form is None:
            raise BadRow("no text: none of " + ", ".join("+".join(form) for form in FORMS))
        label = label_of(record.get("label"), self.labels)
        text, pair = _pair(record, form, self.wording)
        return {**scalars(record, *form, "label"), "text": text, "text_pair": pair, "label": label}


def label_of(value: object, labels: tuple[str, ...]) -> int:
    """A label as a number.

    Raises:
        BadRow: it is missing, or a name or number that `labels` (if set) does not cover.
    """
    if isinstance(value, str) and value in labels:
        return labels.index(value)
    number = _number(value)
    if number >= len(labels) > 0:
        raise BadRow("label: is a number that is not below the number of `labels`")
    if number < 0:
        raise BadRow(
            f"label: is {number}: hidden, as in a test split" if number == -1 else "label: is below 0"
        )
    return number


def _number(value: object) -> int:
    if isinstance(value, int):  # true and false are 1 and 0
        return int(value)
    if isinstance(value, str):
        return _number_in(value.strip())
    if not isinstance(value, float) or not math.isfinite(value):
        raise BadRow(
            f"label: is {called(None if isinstance(value, float) else value)}, not a number or a name"
        )
    if not value.is_integer():
        raise BadRow("label: is a number with a fraction")
    return int(value)  # pandas writes integers with gaps as floats


def _number_in(text: str) -> int:
    """The label in a text: CSV and TSV hold nothing else."""
    if not text:
        raise BadRow("label: is empty")
    if text.lower() in _BOOLEANS:
        return _BOOLEANS[text.lower()]
    if re.fullmatch(r"-?[0-9]{1,9}(\.0*)?", text):
        return int(text.split(".")[0])
    if re.fullmatch(r"-?[0-9]*\.[0-9]+", text):
        raise BadRow("label: is a number with a fraction")
    raise BadRow("label: is a name that `labels` does not list")


def _pair(record: Record, form: tuple[str, ...], wording: str) -> tuple[str, str]:
    """Text and pair of a form; of three columns the longest text is the first, for BabyLM the second."""
    first, *others = (string(record, name) for name in form)
    if len(others) < 2:
        return first, " ".join(others)
    is_wsc = form[1:] == ("span1_text", "span2_text")
    question = f'Does "{others[1]}" refer to "{others[0]}"' if is_wsc else ""
    if wording == "babylm":
        asked = f"{question} in this passage?" if is_wsc else f"Question: {others[0]} Answer: {others[1]}"
        return asked, first
    return first, f"{question}?" if is_wsc else " ".join(others)

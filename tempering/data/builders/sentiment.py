"""Reviews with a sentiment: IMDB, and any set of texts with labels.

IMDB's `<br />` becomes a line end. Without labels (IMDB's unsupervised split, or prompts for PPO on
sentiment) reviews are read as text rows.
Maas et al. 2011, https://aclanthology.org/P11-1015.
"""

import re
from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from tempering.data.builders.base import BadRow, FileBuilderConfig, Note, Record, scalars, string
from tempering.data.builders.classification import label_of
from tempering.data.rows import RowType, Values

BREAK = re.compile(r"[ \t]*<br ?/?>[ \t]*", re.IGNORECASE)
_TEXTS = ("text", "review", "sentence")
_LABELS = ("label", "sentiment")


class SentimentConfig(FileBuilderConfig):
    """Texts with a positive or negative label."""

    folder_rows: ClassVar[Mapping[str, str]] = {"rl": "text"}

    version: ClassVar[int] = 2
    kind: Literal["sentiment"] = "sentiment"
    hub: str | None = Field(default="stanfordnlp/imdb", description="name of a data set on the Hub")
    rows: Literal["classification", "text"] = Field(
        default="classification", description="texts with labels, or texts alone"
    )
    labels: tuple[str, ...] = Field(
        default=("negative", "positive"), description="names of the labels, the first stands for 0"
    )

    @property
    def row_type(self) -> RowType:
        """As `rows` says."""
        return RowType.CLASSIFICATION if self.rows == "classification" else RowType.TEXT

    def normalise(self, record: Record, note: Note) -> Values:
        """One row per review."""
        column = next((name for name in _TEXTS if name in record), None)
        if column is None:
            raise BadRow(f"no text: none of {', '.join(_TEXTS)}")
        text = BREAK.sub("\n", string(record, column))
        # Of a text, not of an answer: where texts alone are asked for, it is one more column.
        label = next((record[name] for name in _LABELS if record.get(name) is not None), None)
        if self.rows == "text":
            return {**scalars(record, column), "text": text}
        extras = scalars(record, column, *_LABELS)
        return {**extras, "text": text, "text_pair": "", "label": label_of(label, self.labels)}

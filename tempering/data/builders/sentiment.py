"""Reviews with a sentiment: IMDB, and any set of texts with labels.

IMDB's `<br />` becomes a line end. Without labels (IMDB's unsupervised split, or prompts for PPO on
sentiment) reviews are read as text rows, or as their first words and how they go on. A review is held out
whichever of these it is read as.
Maas et al. 2011, https://aclanthology.org/P11-1015.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field

from tempering.config import Readers, added_field
from tempering.data.builders.base import BadRow, FileBuilderConfig, Item, Note, Record, scalars, string
from tempering.data.builders.classification import label_of
from tempering.data.rows import Row, RowType, Values, to_messages

BREAK = re.compile(r"[ \t]*<br ?/?>[ \t]*", re.IGNORECASE)
_TEXTS = ("text", "review", "sentence")
_LABELS = ("label", "sentiment")
_TYPES: Mapping[str, RowType] = {
    "classification": RowType.CLASSIFICATION,
    "text": RowType.TEXT,
    "continuations": RowType.PROMPT_COMPLETION,
}


class SentimentConfig(FileBuilderConfig):
    """Texts with a positive or negative label."""

    folder_rows: ClassVar[Mapping[str, str]] = {"rl": "text"}
    read_by: ClassVar[Mapping[str, Readers]] = {"prompt_words": {"rows": ("continuations",)}}

    version: ClassVar[int] = 2
    kind: Literal["sentiment"] = "sentiment"
    hub: str | None = Field(default="stanfordnlp/imdb", description="name of a data set on the Hub")
    rows: Literal["classification", "text", "continuations"] = Field(
        default="classification",
        description="texts with labels, texts alone, or the first words of a text as a prompt and the rest "
        "as its completion",
    )
    prompt_words: int = added_field(
        4, ge=1, le=1000, description="rows: continuations: words of a prompt; shorter texts are rejected"
    )
    labels: tuple[str, ...] = Field(
        default=("negative", "positive"), description="names of the labels, the first stands for 0"
    )

    @property
    def row_type(self) -> RowType:
        """As `rows` says."""
        return _TYPES[self.rows]

    def read(self, split: str | None) -> Iterator[Item]:
        """The rows; a text and its beginning have one place, held out or not."""
        for item in super().read(split):
            if self.rows == "continuations" and isinstance(item, Row):
                prompt, rest = (item.values[name][0]["content"] for name in ("prompt", "completion"))
                item = replace(item, group=f"{prompt} {rest}")
            yield item

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
        if self.rows == "continuations":
            return {**scalars(record, column), **self._continuation(text)}
        extras = scalars(record, column, *_LABELS)
        return {**extras, "text": text, "text_pair": "", "label": label_of(label, self.labels)}

    def _continuation(self, text: str) -> Values:
        """The first words as a prompt, and what follows them."""
        words = re.match(rf"\s*(?:\S+\s+){{{self.prompt_words}}}", text)
        rest = text[words.end() :] if words else ""
        if words is None or not rest:
            raise BadRow(f"the text has no more than {self.prompt_words} words")
        return {"prompt": to_messages(words[0].rstrip()), "completion": to_messages(rest, "assistant")}

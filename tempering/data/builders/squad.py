"""SQuAD-style reading comprehension: questions with gold answers, or training rows made from them.

Reads the v1.1 release (articles > paragraphs > questions, one JSON document of at most 64 MiB, held in
memory) and the flat form of the Hub (one question per row), distinguished by content. Equal answers of
several annotators are kept once. A question without an answer (v2.0) is rejected. Prompts have the form that
the evaluation uses (`world.question_prompt`). `rows: preferences` makes pairs of the right answer and a
corrupted one. Rajpurkar et al. 2016, https://arxiv.org/abs/1606.05250.
"""

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from tempering.config import added_field
from tempering.data.builders.base import BadRow, FileBuilderConfig, Item, Note, Record, string
from tempering.data.builders.corruptions import CorruptionConfig, corrupted_pairs
from tempering.data.files import read_document
from tempering.data.files.opening import head
from tempering.data.rows import RowType, Values, to_messages
from tempering.world import question_prompt

_TYPES: Mapping[str, RowType] = {
    "questions": RowType.QUESTION,
    "prompt_completion": RowType.PROMPT_COMPLETION,
    "preferences": RowType.PREFERENCE,
}
_ARTICLES = re.compile(rb'"data"\s*:\s*\[')
_PARAGRAPHS = re.compile(rb'"paragraphs"\s*:')


class SquadConfig(FileBuilderConfig):
    """Questions on a context, from SQuAD v1.1 or its flat form."""

    folder_rows: ClassVar[Mapping[str, str]] = {"finetune": "prompt_completion", "reward": "preferences"}

    kind: Literal["squad"] = "squad"
    rows: Literal["questions", "prompt_completion", "preferences"] = Field(
        default="questions",
        description="questions with gold answers; prompts with answers; or pairs with corrupted ones",
    )
    corruptions: CorruptionConfig | None = Field(
        default=None,
        description="how wrong answers are made, for rows: preferences; null: default shares",
    )

    keep_columns: tuple[str, ...] = added_field(
        (), description="further columns that questions keep, such as their type (for `by` of a benchmark)"
    )

    @classmethod
    def completed(cls, settings: Any) -> Any:
        """Add the default corruptions if pairs are to be made."""
        pairs = isinstance(settings, dict) and settings.get("rows") == "preferences"
        return {**settings, "corruptions": settings.get("corruptions") or {}} if pairs else settings

    @model_validator(mode="after")
    def _corruptions_of_preferences(self) -> "SquadConfig":
        if self.corruptions is not None and self.rows != "preferences":
            raise ValueError(f"corruptions is a setting of rows: preferences, not of rows: {self.rows}")
        return self

    @property
    def row_type(self) -> RowType:
        """As `rows` says."""
        return _TYPES[self.rows]

    def read(self, split: str | None) -> Iterator[Item]:
        """The rows of all files of a split."""
        return self.paired(super().read(split))

    def paired(self, items: Iterator[Item]) -> Iterator[Item]:
        """The items, with questions turned into pairs if `rows` says so."""
        return items if self.corruptions is None else corrupted_pairs(items, self.corruptions, self.seed)

    def read_file(self, path: Path) -> Iterator[Item]:
        """One row per question."""
        articles = nested(path)
        if articles is None:
            yield from super().read_file(path)
            return
        yield from self.rows_in(path, enumerate(_questions_in(articles)))

    def normalise(self, record: Record, note: Note) -> Values:
        """One row per question; pairs are made from it later."""
        question = _question(record, ("id", "title", *self.keep_columns))
        if self.rows != "prompt_completion":
            return question
        prompt = question_prompt(question["context"], question["question"])
        answer = to_messages(question["answers"][0], "assistant")
        return {"prompt": to_messages(prompt), "completion": answer}

    def group(self, record: Record) -> str:
        """All kinds of rows are held out by context: no context of an eval question is trained on."""
        return string(record, "context")


def nested(path: Path) -> list[Record] | None:
    """The articles of a document in the v1.1 form; None for another form.

    Raises:
        DataError: it is too long to be held in memory.
    """
    start = head(path, 2**16).lstrip()
    if not (start.startswith(b"{") and _ARTICLES.search(start) and _PARAGRAPHS.search(start)):
        return None  # decided by its beginning: the flat form may be large
    document = read_document(path)
    articles = document.get("data") if isinstance(document, dict) else None
    return _objects(articles) if isinstance(articles, list) else None


def _questions_in(articles: list[Record]) -> Iterator[Record]:
    """The questions of the nested form in the flat form; faulty ones become rows that are rejected later."""
    for article in articles:
        for paragraph in _objects(article.get("paragraphs")):
            for question in _objects(paragraph.get("qas")):
                yield {**question, "context": paragraph.get("context"), "title": article.get("title")}


def _objects(value: Any) -> list[Record]:
    items = value if isinstance(value, list) else [value]
    return [item if isinstance(item, dict) else {} for item in items]


def _question(record: Record, kept: tuple[str, ...]) -> Values:
    baseline = record.get("baseline")
    if isinstance(baseline, float) and math.isnan(baseline):
        baseline = None
    values = {
        "question": string(record, "question").strip(),
        "context": string(record, "context"),
        "answers": _answers(record.get("answers")),
        "baseline": baseline,
    }
    extras = {name: record[name] for name in kept if isinstance(record.get(name), str)}
    return {**values, **extras}


def _answers(value: Any) -> list[str]:
    """Accepts `{text: [...]}`, `[{text: ...}, ...]` and `[...]`."""
    if isinstance(value, dict):
        value = value.get("text")
    if not isinstance(value, list):
        raise BadRow("answers: is not a list")
    texts = [item.get("text") if isinstance(item, dict) else item for item in value]
    if not texts:
        raise BadRow("answers: there is none")
    answers = [item.strip() for item in texts if isinstance(item, str) and item.strip()]
    if len(answers) < len(texts):
        raise BadRow("answers: one is empty or not a string")
    return list(dict.fromkeys(answers))

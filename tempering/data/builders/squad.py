"""SQuAD-style reading comprehension: questions with gold answers, or prompts with completions.

Reads the v1.1 release (articles > paragraphs > questions, one JSON document) and the flat form
of the Hub (one question a row), told apart by content. Equal answers of several annotators are
kept once. A question without an answer (v2.0) is rejected by reason. Prompts have the form in which
the evaluation asks (`world.question_prompt`).
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from tempering.data.builders.base import BadRow, FileBuilderConfig, normalise, string
from tempering.data.files import read_json_document, read_json_objects
from tempering.data.rows import Rejected, Row, RowType, Values, to_messages
from tempering.world import question_prompt

_Item = tuple[int, dict[str, Any]] | Rejected


class SquadConfig(FileBuilderConfig):
    """Questions on a context, from SQuAD v1.1 or its flat form."""

    kind: Literal["squad"] = "squad"
    rows: Literal["questions", "prompt_completion"] = Field(
        default="questions", description="questions with gold answers, or prompts with the first answer"
    )

    @property
    def row_type(self) -> RowType:
        """Question or prompt-completion rows, as `rows` says."""
        return RowType.QUESTION if self.rows == "questions" else RowType.PROMPT_COMPLETION

    def read_file(self, path: Path) -> Iterator[Row | Rejected]:
        """One row a question."""
        document = read_json_document(path)
        if isinstance(document, dict) and "data" in document:
            items: Iterator[_Item] = enumerate(_nested(document["data"]))
        else:
            items = read_json_objects(path)
        for item in items:
            if isinstance(item, Rejected):
                yield item
                continue
            row = normalise(path, *item, self._normalise)
            # Both kinds of rows are held out by context: no context of an eval question is trained on.
            yield replace(row, group=item[1]["context"]) if isinstance(row, Row) else row

    def _normalise(self, item: dict[str, Any]) -> Values:
        question = _question(item)
        if self.rows == "questions":
            return question
        prompt = question_prompt(question["context"], question["question"])
        answer = to_messages(question["answers"][0], "assistant")
        return {"prompt": to_messages(prompt), "completion": answer}


def _nested(articles: Any) -> Iterator[dict[str, Any]]:
    """The questions of the nested form in the flat form; faults inside become rows that are rejected."""
    for article in _objects(articles):
        for paragraph in _objects(article.get("paragraphs")):
            for question in _objects(paragraph.get("qas")):
                yield {**question, "context": paragraph.get("context"), "title": article.get("title")}


def _objects(value: Any) -> list[dict[str, Any]]:
    items = value if isinstance(value, list) else [value]
    return [item if isinstance(item, dict) else {} for item in items]


def _question(item: dict[str, Any]) -> Values:
    baseline = item.get("baseline")
    if isinstance(baseline, float) and math.isnan(baseline):
        baseline = None
    values = {
        "question": string(item, "question").strip(),
        "context": string(item, "context"),
        "answers": _answers(item.get("answers")),
        "baseline": baseline,
    }
    kept = {name: item[name] for name in ("id", "title") if isinstance(item.get(name), str)}
    return {**values, **kept}


def _answers(value: Any) -> list[str]:
    """Accepts `{text: [...]}`, `[{text: ...}, ...]` and `[...]`."""
    if isinstance(value, dict):
        value = value.get("text")
    if not isinstance(value, list):
        raise BadRow("answers: is not a list")
    found = [item.get("text") if isinstance(item, dict) else item for item in value]
    if not found:
        raise BadRow("answers: there is none")
    answers = [item.strip() for item in found if isinstance(item, str) and item.strip()]
    if len(answers) < len(found):
        raise BadRow("answers: one is empty or not a string")
    return list(dict.fromkeys(answers))

"""The same prompts answered by every model, side by side.

The page shows the benchmark's first prompts, not hand-picked ones. Completions are hostile input:
they stay plain strings (the template escapes them), are cut, and show their control characters. In
the story world (rows with `gold`) the words that a prompt asks for are marked where they appear.
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tempering.artifacts.kinds import EvaluationArtifact
from tempering.report.names import Model
from tempering.report.numbers import finite, number, visible
from tempering.report.reading import Row, rows_of

_WORD = re.compile(r"\w+")
Pieces = Sequence[tuple[str, bool]]
"""A text in parts, each with whether to mark it."""


@dataclass(frozen=True)
class Answer:
    """One model's completion of one prompt; `scores` are (label, number)."""

    model: Model
    pieces: Pieces
    scores: Sequence[tuple[str, str]]
    ended: bool
    perfect: bool
    missing: Sequence[str]


@dataclass(frozen=True)
class Question:
    """One prompt with every model's answer."""

    prompt: str
    answers: Sequence[Answer]


@dataclass(frozen=True)
class SideBySide:
    """The prompts of one benchmark."""

    benchmark: str
    total: int
    marked: bool
    questions: Sequence[Question]


def side_by_side(
    evaluations: Mapping[str, EvaluationArtifact], cast: Mapping[str, Model], limit: int
) -> SideBySide | None:
    """The first `limit` prompts of the benchmark that most models answered, preferably one with gold."""
    tables = {key: rows_of(evaluations[key], "completions") for key in cast if key in evaluations}
    benchmark = _pick(tables)
    if benchmark is None or limit == 0:
        return None
    # The rows of that benchmark, and its prompts in their first order of appearance.
    tables = {key: [row for row in rows if _name(row) == benchmark] for key, rows in tables.items()}
    prompts = list(dict.fromkeys(str(row.get("prompt")) for rows in tables.values() for row in rows))
    # Words are marked where there is a gold score, but not those of the instruction itself.
    marked = any(finite(row.get("gold")) is not None for rows in tables.values() for row in rows)
    instruction = _template_words(prompts)
    by_prompt = {key: _by_prompt(rows) for key, rows in tables.items()}
    questions = []
    for prompt in prompts[:limit]:
        words = _requested_words(prompt, instruction) if marked else []
        rows_of_prompt = {key: rows[prompt] for key, rows in by_prompt.items() if prompt in rows}
        answers = [_answer(cast[key], row, words) for key, row in rows_of_prompt.items()]
        questions.append(Question(visible(prompt), answers))
    return SideBySide(benchmark, len(prompts), marked, questions)


def mark(text: str, words: Collection[str]) -> Pieces:
    """`text` split at every complete word that is one of `words` (lower case)."""
    pieces: list[tuple[str, bool]] = []
    end = 0  # of the last marked word
    for match in _WORD.finditer(text):
        if match.group().lower() in words:
            pieces += [(text[end : match.start()], False), (match.group(), True)]
            end = match.end()
    pieces.append((text[end:], False))
    return [piece for piece in pieces if piece[0]]


def _pick(tables: Mapping[str, Sequence[Row]]) -> str | None:
    models: Counter[str] = Counter()  # benchmark -> how many models answered it
    golden = set()
    for rows in tables.values():
        models.update({_name(row) for row in rows})
        golden |= {_name(row) for row in rows if finite(row.get("gold")) is not None}
    return min(models, key=lambda name: (name not in golden, -models[name], name), default=None)


def _name(row: Row) -> str:
    return str(row.get("benchmark") or "")


def _by_prompt(rows: Sequence[Row]) -> dict[str, Row]:
    return {str(row.get("prompt")): row for row in reversed(rows)}


def _template_words(prompts: Sequence[str]) -> set[str]:
    """Words that every prompt has: they belong to the instruction, not to what it asks for."""
    sets = [{word.lower() for word in _WORD.findall(prompt)} for prompt in prompts]
    return set.intersection(*sets) if len(sets) > 1 else set()


def _requested_words(prompt: str, instruction: Collection[str]) -> list[str]:
    return [word for word in dict.fromkeys(_WORD.findall(prompt)) if word.lower() not in instruction]


def _answer(model: Model, row: Row, requested: Sequence[str]) -> Answer:
    text = visible(_text(row.get("completion"))).strip()
    answer_words = {word.lower() for word in _WORD.findall(text)}
    scores = [
        (label, number(value, 2))
        for column, label in (("gold", "gold"), ("reward", "reward"))
        if (value := finite(row.get(column))) is not None
    ]
    missing = [visible(word) for word in requested if word.lower() not in answer_words]
    ended, perfect = row.get("ended") is not False, bool(row.get("perfect"))
    pieces = mark(text, {word.lower() for word in requested})
    return Answer(model, pieces, scores, ended, perfect, missing)


def _text(value: Any) -> str:
    return "" if value is None else str(value)

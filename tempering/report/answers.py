"""The same prompts answered by every model, side by side.

The first prompts of the benchmark are shown, not chosen ones. Completions are hostile input: they
stay plain strings (the template escapes them), are cut, and show their control characters. In
the embedded world (rows with `gold`) the words a prompt asks for are marked where they appear.
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
"""Text in parts, and whether to mark each."""


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
    """One prompt with everybody's answer."""

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
    """The first `limit` prompts of the benchmark that most models answered; gold ones go first."""
    tables = {key: rows_of(evaluations[key], "completions") for key in cast if key in evaluations}
    benchmark = _pick(tables)
    if benchmark is None or limit == 0:
        return None
    ours = {key: [row for row in rows if _name(row) == benchmark] for key, rows in tables.items()}
    prompts = list(dict.fromkeys(str(row.get("prompt")) for rows in ours.values() for row in rows))
    marked = any(finite(row.get("gold")) is not None for rows in ours.values() for row in rows)
    everywhere = _template_words(prompts)
    found = {key: _by_prompt(rows) for key, rows in ours.items()}
    questions = [
        Question(visible(prompt), [
            _answer(cast[key], rows[prompt], _wanted(prompt, everywhere) if marked else [])
            for key, rows in found.items() if prompt in rows
        ])
        for prompt in prompts[:limit]
    ]  # fmt: skip
    return SideBySide(benchmark, len(prompts), marked, questions)


def mark(text: str, words: Collection[str]) -> Pieces:
    """`text` cut at every whole word that is one of `words` (lower case)."""
    pieces: list[tuple[str, bool]] = []
    at = 0
    for match in _WORD.finditer(text):
        if match.group().lower() in words:
            pieces += [(text[at : match.start()], False), (match.group(), True)]
            at = match.end()
    pieces.append((text[at:], False))
    return [piece for piece in pieces if piece[0]]


def _pick(tables: Mapping[str, Sequence[Row]]) -> str | None:
    spread: Counter[str] = Counter()
    golden = set()
    for rows in tables.values():
        spread.update({_name(row) for row in rows})
        golden |= {_name(row) for row in rows if finite(row.get("gold")) is not None}
    return min(spread, key=lambda name: (name not in golden, -spread[name], name), default=None)


def _name(row: Row) -> str:
    return str(row.get("benchmark") or "")


def _by_prompt(rows: Sequence[Row]) -> dict[str, Row]:
    return {str(row.get("prompt")): row for row in reversed(rows)}


def _template_words(prompts: Sequence[str]) -> set[str]:
    """Words that every prompt has belong to the instruction, not to what is asked for."""
    sets = [{word.lower() for word in _WORD.findall(prompt)} for prompt in prompts]
    return set.intersection(*sets) if len(sets) > 1 else set()


def _wanted(prompt: str, everywhere: Collection[str]) -> list[str]:
    return [word for word in dict.fromkeys(_WORD.findall(prompt)) if word.lower() not in everywhere]


def _answer(model: Model, row: Row, wanted: Sequence[str]) -> Answer:
    text = visible(_text(row.get("completion"))).strip()
    said = {word.lower() for word in _WORD.findall(text)}
    scores = [
        (label, number(value, 2))
        for column, label in (("gold", "gold"), ("reward", "reward"))
        if (value := finite(row.get(column))) is not None
    ]
    missing = [visible(word) for word in wanted if word.lower() not in said]
    ended, perfect = row.get("ended") is not False, bool(row.get("perfect"))
    return Answer(model, mark(text, {word.lower() for word in wanted}), scores, ended, perfect, missing)


def _text(value: Any) -> str:
    return "" if value is None else str(value)

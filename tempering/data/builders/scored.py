"""Conversations with a score, for rating models and for curricula.

`conversation` or `messages`, `meta_eval_score` or `score`, and optionally `score_reason` or
`reason`; or `prompt, completion, score`, with a column map if need be. Conversations stay complete: a rating
covers all of their turns. Scores must be numbers: words are not turned into numbers here.
"""

from typing import ClassVar, Literal

from tempering.data.builders.base import BadRow, FileBuilderConfig, Note, Record, scalars
from tempering.data.builders.conversations import Use, conversation, with_system
from tempering.data.builders.pairs import prompt_of, side
from tempering.data.builders.record import called
from tempering.data.rows import Message, RowType, Values

_TURNS = ("conversation", "messages", "conversations")
_SCORES = ("score", "meta_eval_score")
_REASONS = ("reason", "score_reason")


class ScoredConfig(FileBuilderConfig):
    """Conversations with a score and the reason for it."""

    version: ClassVar[int] = 2
    kind: Literal["scored"] = "scored"

    @property
    def row_type(self) -> RowType:
        """Always scored conversations."""
        return RowType.SCORED_CONVERSATION

    def normalise(self, record: Record, note: Note) -> Values:
        """One row per conversation."""
        columns = (*_TURNS, *_SCORES, *_REASONS, "prompt", "completion", "system", "system_prompt")
        messages = with_system(record, _conversation(record, note))
        reason = next((record[name] for name in _REASONS if record.get(name) is not None), "")
        if not isinstance(reason, str):
            raise BadRow(f"reason: is {called(reason)}, not a string")
        return {
            **scalars(record, *columns),
            "messages": messages,
            "score": _score(record, note),
            "reason": reason,
        }


def _conversation(record: Record, note: Note) -> list[Message]:
    column = next((name for name in _TURNS if record.get(name) is not None), "")
    if column:
        return conversation(record[column], note, Use.WHOLE, column=column)
    if record.get("prompt") is None:
        raise BadRow(f"no conversation: none of {', '.join(_TURNS)}, nor prompt and completion")
    prompt = prompt_of(record["prompt"], note, "prompt")
    before, answer = side(prompt, record.get("completion"), note, "completion")
    return [*before, *answer]


def _score(record: Record, note: Note) -> object:
    value = next((record[name] for name in _SCORES if record.get(name) is not None), None)
    if isinstance(value, str):
        try:
            score = float(value)
        except ValueError:
            raise BadRow("score: is a string that is no number") from None
        if not all(isinstance(other, str) for other in record.values()):  # CSV and TSV hold only text
            note("a score that is text read as a number")
        return score
    return value

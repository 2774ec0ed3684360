"""Preference pairs of any of these forms, recognised row by row.

- `prompt, chosen, rejected`: strings, or lists of turns (TRL); the lists may hold the whole
  conversation (UltraFeedback), and then `prompt` may be missing
- `chosen, rejected` as strings: the prompt is what both begin with
- `conversations, chosen, rejected` (ShareGPT): the turns before, and one turn per side
- `instruction, output_1, output_2, preference` (AlpacaEval annotations,
  https://github.com/tatsu-lab/alpaca_eval): 1 or 2 is the better one; graded values below or above 1.5

A tie is rejected: there is nothing to learn from it.
"""

from typing import Any, ClassVar, Literal

from pydantic import Field

from tempering.data.builders.alpaca import instructed
from tempering.data.builders.base import BadRow, Note, Record, scalars
from tempering.data.builders.conversations import after_history, with_system
from tempering.data.builders.pairs import PairConfig, Side, common_beginning, prompt_of, side
from tempering.data.builders.record import called
from tempering.data.rows import Values, to_messages

_PROMPTS = ("prompt", "conversations", "instruction", "question", "query")
_SCORES = ("score_chosen", "score_rejected")


class PreferenceRowsConfig(PairConfig):
    """What `preference` and `ultrafeedback` share: all of it but their names."""

    may_lack_prompt: ClassVar[bool] = False
    """Whether two texts without a prompt have the one that both begin with."""

    def chosen(self, record: Record, note: Note) -> Side:
        """The prompt and the better answer."""
        return self._side(record, note, "chosen")

    def rejected(self, record: Record, note: Note) -> Side:
        """The prompt and the worse answer."""
        return self._side(record, note, "rejected")

    def extras(self, record: Record) -> Values:
        """Scalar columns, and the scores of both sides, from `metadata` too."""
        inner = record.get("metadata")
        metadata = inner if isinstance(inner, dict) else {}
        scores = {name: metadata[name] for name in _SCORES if name in metadata}
        columns = ("chosen", "rejected", "output_1", "output_2", "system", "system_prompt", *_PROMPTS)
        return {**scalars(scores), **scalars(record, "input", *columns)}

    def _side(self, record: Record, note: Note, side_name: str) -> Side:
        column = side_name if record.get(side_name) is not None else _judged(record, side_name)
        name = next((name for name in _PROMPTS if record.get(name) is not None), "")
        value = record.get(name)
        if name == "instruction" and isinstance(value, str):
            value = instructed(record, record.get("input"))
        history = prompt_of(value, note, name) if name else None
        if self.may_lack_prompt and history is None and isinstance(record.get(side_name), str):
            prompt, answer = _implicit(record, note, column)
        else:
            prompt, answer = side(history, record.get(column), note, column)
        return with_system(record, after_history(record, prompt, note)), answer


class PreferenceConfig(PreferenceRowsConfig):
    """Pairs of any form."""

    version: ClassVar[int] = 2
    may_lack_prompt: ClassVar[bool] = True
    kind: Literal["preference"] = "preference"


class UltraFeedbackConfig(PreferenceRowsConfig):
    """UltraFeedback, binarised (Cui et al. 2023, https://arxiv.org/abs/2310.01377): strings or chat lists."""

    kind: Literal["ultrafeedback"] = "ultrafeedback"
    hub: str | None = Field(
        default="HuggingFaceH4/ultrafeedback_binarized",
        description="name of a data set on the Hub, such as owner/name",
    )

    @classmethod
    def completed(cls, settings: Any) -> Any:
        """Add the split of the pairs if the rows come from this Hub set and no split is set."""
        if isinstance(settings, dict) and not {"path", "hub", "split", "train_split"} & settings.keys():
            return {**settings, "split": "train_prefs"}
        return settings


def _implicit(record: Record, note: Note, column: str) -> Side:
    """The prompt is what both texts begin with, as in TRL's pairs without a prompt."""
    parts = common_beginning(record.get("chosen"), record.get("rejected"))
    if parts is None:
        raise BadRow("there is no prompt: no column for it, and chosen and rejected share no beginning")
    note("the prompt is what chosen and rejected begin with")
    prompt, chosen, rejected = parts
    return to_messages(prompt), to_messages(chosen if column == "chosen" else rejected, "assistant")


def _judged(record: Record, name: str) -> str:
    """The column of the chosen or rejected answer, by a judgement between `output_1` and `output_2`."""
    if "output_1" not in record or "output_2" not in record:
        return name
    value = record.get("preference")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadRow(f"preference: is {called(value)}, not 1 or 2")
    if value in (0, 1.5):
        raise BadRow("a tie")
    if not 1 <= value <= 2:
        raise BadRow("preference: is a number that is not between 1 and 2")
    better = 1 if value < 1.5 else 2
    return f"output_{better if name == 'chosen' else 3 - better}"

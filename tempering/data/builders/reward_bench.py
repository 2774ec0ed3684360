"""RewardBench 2 (Malik et al. 2025, https://arxiv.org/abs/2506.01937): a prompt, right and wrong answers.

`prompt`, `chosen` and `rejected` as lists of texts, `num_correct`, `subset`, and `id`, which in the subset
Ties is `ref:N` or `tied:N`: a question with one right answer, and with several that are equally right.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from tempering.data.builders.base import BadRow, FileBuilderConfig, Note, Record, scalars
from tempering.data.builders.conversations import with_system
from tempering.data.builders.pairs import prompt_of
from tempering.data.builders.record import called
from tempering.data.rows import RowType, Values


class RewardBenchConfig(FileBuilderConfig):
    """Rows of a prompt and its answers, the right ones first."""

    folder_rows: ClassVar[Mapping[str, str]] = {}
    kind: Literal["reward_bench"] = "reward_bench"

    @property
    def row_type(self) -> RowType:
        """Always sets of answers."""
        return RowType.ANSWER_SET

    def normalise(self, record: Record, note: Note) -> Values:
        """One row per prompt."""
        right, wrong = _answers(record, "chosen"), _answers(record, "rejected")
        count = record.get("num_correct", len(right))
        if count != len(right):
            raise BadRow(f"num_correct: is not the number of chosen answers, {len(right)}")
        return {
            **scalars(record, "num_correct", "num_incorrect", "total_completions", "system", "system_prompt"),
            "prompt": with_system(record, prompt_of(record.get("prompt"), note, "prompt")),
            "answers": [*right, *wrong],
            "num_right": len(right),
            "subset": str(record.get("subset", "")),
            "id": str(record.get("id", "")),
        }

    def group(self, record: Record) -> str:
        """Both forms of a question of Ties are held out together."""
        form, _, number = str(record.get("id", "")).partition(":")
        return f"ties:{number}" if form in ("ref", "tied") else ""


def _answers(record: Record, column: str) -> list[Any]:
    value = record.get(column)
    if not isinstance(value, list):
        raise BadRow(f"{column}: is {called(value)}, not a list of answers")
    return value

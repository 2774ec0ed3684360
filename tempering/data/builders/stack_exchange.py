"""Stack Exchange, paired: a question with a better answer (`response_j`) and a worse one (`response_k`).

Beeching et al. 2023, https://huggingface.co/datasets/lvwerra/stack-exchange-paired. The better
answers alone serve for fine-tuning, as in StackLLaMA.
"""

from typing import Literal

from tempering.data.builders.base import Note, Record, scalars, string
from tempering.data.builders.pairs import PairConfig, Side
from tempering.data.rows import Values, to_messages


class StackExchangeConfig(PairConfig):
    """Questions with answers j (better) and k (worse)."""

    kind: Literal["stack_exchange"] = "stack_exchange"

    def chosen(self, record: Record, note: Note) -> Side:
        """The question and the better answer."""
        return _answered(record, "response_j")

    def rejected(self, record: Record, note: Note) -> Side:
        """The question and the worse answer."""
        return _answered(record, "response_k")

    def extras(self, record: Record) -> Values:
        """The source of the question."""
        return scalars(record, "question", "response_j", "response_k")


def _answered(record: Record, column: str) -> Side:
    question, answer = string(record, "question"), string(record, column)
    return to_messages(question), to_messages(answer, "assistant")

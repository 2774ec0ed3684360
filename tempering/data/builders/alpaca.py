"""Alpaca: instruction, optional input, output; and self-instruct tasks with several instances.

The input follows the instruction after a blank line; earlier questions and answers in `history` precede it.
A self-instruct task (`instruction, instances: [{input, output}]`) gives one row per instance.
Taori et al. 2023, https://github.com/tatsu-lab/stanford_alpaca; Wang et al. 2023,
https://arxiv.org/abs/2212.10560.
"""

import math
from collections.abc import Iterator
from typing import ClassVar, Literal

from tempering.data.builders.base import BadRow, Note, Record, scalars, string
from tempering.data.builders.conversations import after_history, with_system
from tempering.data.builders.pairs import AnswerConfig
from tempering.data.builders.record import called
from tempering.data.files.values import parsed
from tempering.data.rows import Values, to_messages


class AlpacaConfig(AnswerConfig):
    """Rows of instruction, input and output."""

    version: ClassVar[int] = 2
    kind: Literal["alpaca"] = "alpaca"

    def normalise(self, record: Record, note: Note) -> Iterator[Values]:
        """One row per instruction, or per instance of it."""
        extras = scalars(record, "instruction", "input", "output", "system", "system_prompt")
        for instance in _instances(record):
            prompt = to_messages(instructed(record, instance.get("input")))
            prompt = with_system(record, after_history(record, prompt, note))
            answer = "" if self.rows == "prompts" else string(instance, "output")
            yield self.answered(prompt, to_messages(answer, "assistant"), extras)

    def group(self, record: Record) -> str:
        """The instances of an instruction are held out together."""
        return string(record, "instruction") if record.get("instances") is not None else ""


def instructed(record: Record, context: object) -> str:
    """The instruction, followed by its input if there is one.

    Raises:
        BadRow: the instruction is missing, or the input is not a string.
    """
    if context is None or (isinstance(context, float) and math.isnan(context)):
        context = ""  # pandas writes an empty input as null or NaN
    if not isinstance(context, str):
        raise BadRow(f"input: is {called(context)}, not a string")
    instruction = string(record, "instruction")
    if not instruction.strip():
        raise BadRow("instruction: is empty")
    return f"{instruction}\n\n{context}" if context.strip() else instruction


def _instances(record: Record) -> list[Record]:
    instances = parsed(record.get("instances"))
    if instances is None:
        return [record]
    if (
        not isinstance(instances, list)
        or not instances
        or not all(isinstance(instance, dict) for instance in instances)
    ):
        raise BadRow("instances: is not a list of objects")
    return instances

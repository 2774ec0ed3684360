"""Anthropic's HH-RLHF: pairs of transcripts that share all but the last answer.

A transcript is one string of `\\n\\nHuman: ` and `\\n\\nAssistant: ` turns. The prompt is all up to
the last answer; turns of one speaker in a row are one turn. A few pairs differ in their prompts or
end on an empty answer: those are rejected by reason, since there is no shared prompt to compare on.
Bai et al. 2022, https://arxiv.org/abs/2204.05862.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from tempering.data.builders.base import BadRow, FileBuilderConfig, normalise, string
from tempering.data.files import read_json_objects
from tempering.data.rows import Message, Rejected, Row, RowType, Values

_TURN = re.compile(r"\n\n(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}


class HHConfig(FileBuilderConfig):
    """Preference pairs, or their prompts alone, from HH-RLHF transcripts."""

    kind: Literal["hh"] = "hh"
    rows: Literal["preference", "prompts"] = Field(
        default="preference", description="pairs, or prompts alone"
    )

    @property
    def row_type(self) -> RowType:
        """Preference or prompt rows, as `rows` says."""
        return RowType.PREFERENCE if self.rows == "preference" else RowType.PROMPT

    def read_file(self, path: Path) -> Iterator[Row | Rejected]:
        """One row a pair."""
        normaliser = _pair if self.rows == "preference" else _prompt
        for item in read_json_objects(path):
            yield item if isinstance(item, Rejected) else normalise(path, *item, normaliser)


def _pair(item: dict[str, Any]) -> Values:
    good, bad = string(item, "chosen"), string(item, "rejected")
    prompt, chosen = _transcript(good, "chosen")
    other, rejected = _transcript(bad, "rejected")
    # Compared before turns are joined: joining would hide an answer that runs on into a dialogue.
    if _before_last_answer(good) != _before_last_answer(bad) or prompt != other:
        raise BadRow("the prompts of chosen and rejected differ")
    return {"prompt": prompt, "chosen": [chosen], "rejected": [rejected]}


def _prompt(item: dict[str, Any]) -> Values:
    return {"prompt": _transcript(string(item, "chosen"), "chosen")[0]}


def _before_last_answer(text: str) -> str:
    return text[: text.rfind("\n\nAssistant:")]


def _transcript(text: str, column: str) -> tuple[list[Message], Message]:
    """`(turns up to the last answer, the last answer)`."""
    before, *pieces = _TURN.split("\n\n" + text.lstrip("\n"))
    if before.strip() or not pieces:
        raise BadRow(f"{column}: does not begin with Human: or Assistant:")
    messages: list[Message] = []
    for speaker, said in zip(pieces[::2], pieces[1::2], strict=True):
        role, content = _ROLES[speaker], said.strip()
        if messages and messages[-1]["role"] == role:
            content = "\n\n".join(part for part in (messages.pop()["content"], content) if part)
        messages.append({"role": role, "content": content})
    last = messages.pop()
    if last["role"] != "assistant":
        raise BadRow(f"{column}: does not end with an answer")
    if not last["content"]:
        raise BadRow(f"{column}: the last answer is empty")
    return messages, last

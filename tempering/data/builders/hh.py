"""Anthropic's HH-RLHF: pairs of transcripts that share all but the last answer.

A transcript is one string of `\\n\\nHuman: ` and `\\n\\nAssistant: ` turns, with line ends of any kind. The
prompt is all up to the last answer; consecutive turns of one speaker are one turn. A few pairs differ in
their prompts or end on an empty answer: those are rejected, since there is no shared prompt to compare
answers to.
Bai et al. 2022, https://arxiv.org/abs/2204.05862.
"""

import re
from typing import ClassVar, Literal

from tempering.data.builders.base import BadRow, Note, Record, string
from tempering.data.builders.pairs import PairConfig, Side
from tempering.data.rows import Message

_TURN = re.compile(r"\n\n(Human|Assistant):")
_BETWEEN = re.compile(r"\n[^\S\n]*\n[^\S\n]*(?=(?:Human|Assistant):)")
"""A blank line may hold blanks."""
_NOTHING = "".join(map(chr, range(33))) + "\x85\xa0\u2028\u2029\u3000\u200b\ufeff"
_ROLES = {"Human": "user", "Assistant": "assistant"}


class HHConfig(PairConfig):
    """Preference pairs, their better answers, or their prompts alone, from HH-RLHF transcripts."""

    version: ClassVar[int] = 2
    kind: Literal["hh"] = "hh"

    def chosen(self, record: Record, note: Note) -> Side:
        """The prompt and the better answer."""
        return _turns(_transcript(record, "chosen"), "chosen")

    def rejected(self, record: Record, note: Note) -> Side:
        """The prompt and the worse answer."""
        transcript = _transcript(record, "rejected")
        worse = _turns(transcript, "rejected")
        # Compared before turns are joined: joining would hide an answer that continues as a dialogue.
        if _before_last_answer(_transcript(record, "chosen")) != _before_last_answer(transcript):
            raise BadRow("the prompts of chosen and rejected differ")
        return worse


def _transcript(record: Record, column: str) -> str:
    """The transcript in a column, without what precedes its first turn."""
    text = re.sub(r"\r\n?", "\n", string(record, column)).lstrip(_NOTHING)
    if not text:
        raise BadRow(f"{column}: is empty")
    return _BETWEEN.sub("\n\n", text)


def _before_last_answer(text: str) -> str:
    return text[: text.rfind("\n\nAssistant:")]


def _turns(transcript: str, column: str) -> Side:
    """The turns up to the last answer, and the last answer."""
    before, *pieces = _TURN.split("\n\n" + transcript)
    if before.strip() or not pieces:
        raise BadRow(f"{column}: does not begin with Human: or Assistant:")
    messages: list[Message] = []
    for speaker, text in zip(pieces[::2], pieces[1::2], strict=True):
        role, content = _ROLES[speaker], text.strip()
        if messages and messages[-1]["role"] == role:
            content = "\n\n".join(part for part in (messages.pop()["content"], content) if part)
        messages.append({"role": role, "content": content})
    last = messages.pop()
    if last["role"] != "assistant":
        apart = re.search(r"(?m)^\s*Assistant:", last["content"]) is None
        fault = "does not end with an answer" if apart else "no blank line precedes Assistant:"
        raise BadRow(f"{column}: {fault}")
    if not last["content"]:
        raise BadRow(f"{column}: the last answer is empty")
    return messages, [last]

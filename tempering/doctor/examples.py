"""Example rows as pieces of text: what is context, what is trained on, what is a special token.

Token rows are decoded, so that what is shown is what a model is given, template and special tokens
included. Long pieces lose their middle: how a row begins and how it ends is what tells a fault.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

from tempering.data.rows import RowType, Values

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Role = Literal["context", "trained", "rejected"]
"""rejected: the side that is not wanted; in a minimal pair the bad sentence, in a choice a wrong one."""
_PIECE = 360
_SEGMENTS = 9


@dataclass(frozen=True)
class Segment:
    """A run of text of one role. `left_out` characters were cut out after it."""

    text: str
    role: Role = "context"
    special: bool = False
    left_out: int = 0

    def to_json(self) -> dict[str, Any]:
        """By name; what is false or 0 is left out."""
        special = {"special": True} if self.special else {}
        cut = {"left_out": self.left_out} if self.left_out else {}
        return {"text": self.text, "role": self.role, **special, **cut}


@dataclass(frozen=True)
class Piece:
    """Segments that belong together under a name, such as `prompt` or `chosen`."""

    label: str
    segments: tuple[Segment, ...]

    def to_json(self) -> dict[str, Any]:
        """By name."""
        return {"label": self.label, "segments": [segment.to_json() for segment in self.segments]}


Example = list[Piece]


def token_example(tokenizer: "PreTrainedTokenizerBase", values: Values) -> Example:
    """A row of a sample."""
    if "chosen_ids" in values:
        return [
            _piece(tokenizer, "prompt", values["prompt_ids"], "context"),
            _piece(tokenizer, "chosen", values["chosen_ids"], "trained"),
            _piece(tokenizer, "rejected", values["rejected_ids"], "rejected"),
        ]
    ids = values["input_ids"]
    if "completion_mask" in values:
        return [Piece("", _decoded(tokenizer, ids, values["completion_mask"]))]
    return [_piece(tokenizer, "prompt" if "query" in values else "", ids,
                   "context" if "query" in values else "trained")]  # fmt: skip


def text_example(row_type: RowType, values: Mapping[str, Any]) -> Example:
    """A row of a data set that no sample is made of."""
    if row_type is RowType.MINIMAL_PAIR:
        return [_plain("good", values["sentence_good"], "trained"),
                _plain("bad", values["sentence_bad"], "rejected")]  # fmt: skip
    if row_type is RowType.MULTIPLE_CHOICE:
        right = values["answer"]
        choices = [_plain(f"({at})", text, "trained" if at == right else "rejected")
                   for at, text in enumerate(values["choices"])]  # fmt: skip
        return [_plain("question", values["question"]), *choices]
    if row_type is RowType.QUESTION:
        context = [_plain("context", values["context"])] if values["context"].strip() else []
        answers = _plain("answers", " | ".join(values["answers"]), "trained")
        return [*context, _plain("question", values["question"]), answers]
    return list(_columns(values))


def _columns(values: Mapping[str, Any]) -> Iterator[Piece]:
    """Conversations turn by turn, then what they are judged by."""
    roles: Mapping[str, Role] = {"completion": "trained", "chosen": "trained", "rejected": "rejected"}
    for name in ("messages", "prompt", "completion", "chosen", "rejected"):
        for message in values.get(name) or []:
            answer = name == "messages" and message["role"] == "assistant"
            role: Role = "trained" if answer else roles.get(name, "context")
            label = message["role"] if name in ("messages", "prompt") else name
            yield _plain(label, message["content"], role)
    for name in ("text", "text_pair"):
        if values.get(name):
            yield _plain(name, values[name])
    for name in ("label", "score", "reason"):
        if values.get(name) not in (None, ""):
            yield _plain(name, str(values[name]), "trained")


def _plain(label: str, text: str, role: Role = "context") -> Piece:
    return Piece(label, tuple(_shortened([Segment(text, role)])))


def _piece(tokenizer: "PreTrainedTokenizerBase", label: str, ids: list[int], role: Role) -> Piece:
    found = _decoded(tokenizer, ids, [False] * len(ids))
    return Piece(label, tuple(Segment(one.text, role, one.special, one.left_out) for one in found))


def _decoded(tokenizer: "PreTrainedTokenizerBase", ids: list[int], mask: list[bool]) -> tuple[Segment, ...]:
    special = set(tokenizer.all_special_ids)
    kinds = [(learnt, token in special) for learnt, token in zip(mask, ids, strict=True)]
    segments: list[Segment] = []
    start, before = 0, ""
    for (learnt, is_special), run in groupby(kinds):
        start += len(list(run))
        # Up to here each time: some decoders treat the beginning of a text in their own way.
        upto = tokenizer.decode(ids[:start], skip_special_tokens=False, clean_up_tokenization_spaces=False)
        segments.append(Segment(upto[len(before) :], "trained" if learnt else "context", is_special))
        before = upto
    return tuple(_shortened(segments))


def _shortened(segments: list[Segment]) -> list[Segment]:
    """The first and last segments, and of each its beginning and end."""
    if len(segments) > _SEGMENTS:
        first, last = segments[: _SEGMENTS // 2], segments[-(_SEGMENTS // 2) :]
        between = segments[len(first) : -len(last)]
        segments = [*first, Segment("", left_out=sum(len(one.text) for one in between)), *last]
    return [short for one in segments for short in _cut(one)]


def _cut(segment: Segment) -> list[Segment]:
    over = len(segment.text) - _PIECE
    if over <= 0:
        return [segment]
    half = _PIECE // 2
    head, tail = segment.text[:half], segment.text[-half:]
    return [
        Segment(head, segment.role, segment.special, over),
        Segment(tail, segment.role, segment.special, segment.left_out),
    ]

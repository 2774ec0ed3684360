"""Example rows as pieces of text: what is context, what is trained on, what is a special token.

Token rows are decoded, so that what is shown is what a model is given, template and special tokens
included. Long pieces lose their middle: how a row begins and how it ends is what tells a fault.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

from tempering.data.rows import RowType, Values

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Role = Literal["context", "trained", "rejected"]
"""rejected: the side that is not wanted; in a minimal pair the bad sentence, in a choice a wrong one."""
_PIECE = 360
_SEGMENTS = 9
_ROLES: Mapping[str, Role] = {"completion": "trained", "chosen": "trained", "rejected": "rejected"}


@dataclass(frozen=True)
class Segment:
    """A run of text of one role. `left_out` characters were cut out after it."""

    text: str
    role: Role = "context"
    special: bool = False
    left_out: int = 0

    def to_json(self) -> dict[str, Any]:
        """By name; what is false or 0 is left out."""
        return {name: value for name, value in vars(self).items() if value or name == "text"}


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
        sides: Mapping[str, Role] = {"prompt": "context", "chosen": "trained", "rejected": "rejected"}
        return [_decoded(tokenizer, side, values[f"{side}_ids"], role) for side, role in sides.items()]
    ids = values["input_ids"]
    if "completion_mask" in values:
        roles: list[Role] = ["trained" if learnt else "context" for learnt in values["completion_mask"]]
        return [_decoded(tokenizer, "", ids, roles)]
    if "query" in values:
        return [_decoded(tokenizer, "prompt", ids, "context")]
    return [_decoded(tokenizer, "", ids, "trained")]


def text_example(row_type: RowType, values: Values) -> Example:
    """A row of a data set that no sample is made of."""
    if row_type is RowType.MINIMAL_PAIR:
        good, bad = values["sentence_good"], values["sentence_bad"]
        return [_plain("good", good, "trained"), _plain("bad", bad, "rejected")]
    if row_type is RowType.MULTIPLE_CHOICE:
        pieces = [_plain("question", values["question"])]
        for number, text in enumerate(values["choices"]):
            pieces.append(
                _plain(f"({number})", text, "trained" if number == values["answer"] else "rejected")
            )
        return pieces
    if row_type is RowType.ANSWER_SET:
        right = values["num_right"]
        pieces = [_plain(turn["role"], turn["content"]) for turn in values["prompt"]]
        for number, text in enumerate(values["answers"]):
            pieces.append(_plain(f"({number})", text, "trained" if number < right else "rejected"))
        return pieces
    if row_type is RowType.CANDIDATES:
        pairs = enumerate(zip(values["contexts"], values["completions"], strict=True))
        return [_candidate(number, *pair, right=number == values["answer"]) for number, pair in pairs]
    if row_type is RowType.WORD_FORMS:
        pieces = [_plain("", form) for form in values["forms"]]
        return [*pieces, _plain("ratio", str(values["ratio"]), "trained")]
    if row_type is RowType.READING_TIMES:
        return [_plain("context", values["context"]), _plain("word", values["word"], "trained")]
    if row_type is RowType.QUESTION:
        context = [_plain("context", values["context"])] if values["context"].strip() else []
        answers = _plain("answers", " | ".join(values["answers"]), "trained")
        return [*context, _plain("question", values["question"]), answers]
    return list(_columns(values))


def _candidate(number: int, context: str, completion: str, *, right: bool) -> Piece:
    """A candidate behind its context."""
    text = Segment(completion.lstrip(), "trained" if right else "rejected")
    return Piece(f"({number})", tuple(_shortened([Segment(f"{context} "), text])))


def _columns(values: Values) -> Iterator[Piece]:
    """Conversations turn by turn, then what they are judged by."""
    for name in ("messages", "prompt", "completion", "chosen", "rejected"):
        for message in values.get(name) or []:
            answer = name == "messages" and message["role"] == "assistant"
            label = message["role"] if name in ("messages", "prompt") else name
            yield _plain(label, message["content"], "trained" if answer else _ROLES.get(name, "context"))
    for name in ("text", "text_pair"):
        if values.get(name):
            yield _plain(name, values[name])
    for name in ("label", "score", "reason"):
        if values.get(name) not in (None, ""):
            yield _plain(name, str(values[name]), "trained")


def _plain(label: str, text: str, role: Role = "context") -> Piece:
    return Piece(label, tuple(_shortened([Segment(text, role)])))


def _decoded(
    tokenizer: "PreTrainedTokenizerBase", label: str, ids: list[int], roles: Role | Sequence[Role]
) -> Piece:
    """Token ids as a piece; the roles are those of each token, or one for all."""
    special = set(tokenizer.all_special_ids)
    of_tokens = [roles] * len(ids) if isinstance(roles, str) else roles
    kinds = [(role, token in special) for role, token in zip(of_tokens, ids, strict=True)]
    segments: list[Segment] = []
    end, before = 0, ""
    for (role, is_special), run in groupby(kinds):
        end += len(list(run))
        # Up to here each time: some decoders treat the beginning of a text in their own way.
        upto = tokenizer.decode(ids[:end], skip_special_tokens=False, clean_up_tokenization_spaces=False)
        segments.append(Segment(upto[len(before) :], role, is_special))
        before = upto
    return Piece(label, tuple(_shortened(segments)))


def _shortened(segments: list[Segment]) -> Iterator[Segment]:
    """The first and last segments, and of each its beginning and end."""
    if len(segments) > _SEGMENTS:
        first, last = segments[: _SEGMENTS // 2], segments[-(_SEGMENTS // 2) :]
        left_out = sum(len(segment.text) for segment in segments[len(first) : -len(last)])
        role = segments[0].role if len({segment.role for segment in segments}) == 1 else "context"
        segments = [*first, Segment("", role, left_out=left_out), *last]
    for segment in segments:
        over = len(segment.text) - _PIECE
        if over <= 0:
            yield segment
        else:
            yield replace(segment, text=segment.text[: _PIECE // 2], left_out=over)
            yield replace(segment, text=segment.text[-(_PIECE // 2) :])

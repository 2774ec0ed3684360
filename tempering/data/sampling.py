"""Mixing data sets by weight and cutting the mix to a token limit.

The token is the unit of account: the next row comes from the source that is furthest behind its
share of tokens, so the shares hold at every point of the sample, not only at its end. Rows are
encoded as they are needed, so a small limit on a large data set costs little. The order of a
source hangs on seed, name and row index alone (hashes, not a library's generator).
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field, field_validator

from tempering.config import Config
from tempering.data.encode import Encoded, Encoder, PromptFormat, Unfit, convert
from tempering.data.rows import COLUMNS, RowType, Values
from tempering.errors import DataError

TOKEN_TYPES = (RowType.TEXT, RowType.PROMPT_COMPLETION, RowType.PREFERENCE, RowType.PROMPT)


class SampleConfig(Config):
    """Which rows a training stage sees, in which order, as tokens."""

    datasets: Mapping[str, float] = Field(
        min_length=1, description="data set -> weight; shares of tokens are weight / sum of weights"
    )
    row_type: Literal["auto", "text", "prompt_completion", "preference", "prompt"] = Field(
        default="auto", description="what the rows are used as; auto: what they are"
    )
    token_limit: int | None = Field(
        default=None, ge=1, description="tokens of the train part; null = all rows"
    )
    eval_token_limit: int | None = Field(
        default=None, ge=1, description="tokens of the eval part; null = all rows"
    )
    max_length: int = Field(
        default=512,
        ge=2,
        description="longest row in tokens; prompts lose their beginning, documents are cut up",
    )
    max_prompt_length: int | None = Field(
        default=None, ge=1, description="longest prompt in tokens; null = as max_length allows"
    )
    prompt_format: PromptFormat = Field(
        default="chat", description="chat: the chat template; plain: prompt, space, completion"
    )
    max_rejected_fraction: float = Field(
        default=0.1, ge=0, le=1, description="fails when a larger share is too long or holds special tokens"
    )
    seed: int = Field(default=0, ge=0, description="decides the order of the rows")

    @field_validator("datasets")
    @classmethod
    def _positive(cls, weights: Mapping[str, float]) -> Mapping[str, float]:
        for name, weight in weights.items():
            if not 0 < weight < float("inf"):
                raise ValueError(f"the weight of {name} is {weight}, not a positive number")
        return weights


@dataclass
class Source:
    """One data set of a mix, and what became of its rows."""

    name: str
    row_type: RowType
    rows: Sequence[Values]
    weight: float = 1.0
    used: int = 0
    tokens: int = 0
    truncated: int = 0
    rejected: int = 0
    reasons: dict[str, int] = field(default_factory=dict)

    def summary(self, part: str) -> Values:
        """A row of `metadata/sources.parquet`."""
        counts = {
            "rows": self.used,
            "tokens": self.tokens,
            "truncated": self.truncated,
            "rejected": self.rejected,
        }
        return {"source": self.name, "part": part, **counts, "reasons": ", ".join(sorted(self.reasons))}


@dataclass
class Mixed:
    """Token rows in training order, how each source fared, and what a person should know."""

    rows: list[Values]
    tokens: int
    sources: list[Source]
    warnings: list[str]


def common_row_type(config: SampleConfig, types: Mapping[str, RowType]) -> RowType:
    """What the rows of all data sets will be used as.

    Raises:
        DataError: when a data set has not the columns for it, or types are mixed without a word.
    """
    wanted = set(types.values()) if config.row_type == "auto" else {RowType(config.row_type)}
    if len(wanted) > 1:
        held = ", ".join(f"{name} holds {kind} rows" for name, kind in types.items())
        raise DataError(
            f"the data sets cannot be mixed: {held}", fix="set `row_type`, or mix data sets of one type"
        )
    target = next(iter(wanted))
    for name, kind in types.items():
        uses = _uses(kind)
        if target not in uses:
            raise DataError(
                f"data set {name} holds {kind} rows ({', '.join(COLUMNS[kind])})",
                expected=f"{target} rows ({', '.join(COLUMNS[target])})" if uses else "rows to train on",
                fix=f"use {name} as {' or '.join(uses)}, or choose another data set or `rows:` of its builder"
                if uses else f"name {name} in an evaluation; {kind} rows are not trained on",
            )  # fmt: skip
    return target


def mix(sources: list[Source], encoder: Encoder, limit: int | None, seed: int) -> Mixed:
    """Interleave the encoded rows of `sources` by weight until `limit` tokens are reached.

    The total is at least `limit` and less than `limit` + the last row; less, with a warning, when
    the data does not suffice. Without a limit all rows are used.
    """
    mixed = Mixed([], 0, sources, [])
    streams = {source.name: _encoded(source, encoder, seed) for source in sources}
    left = list(sources)
    while left and (limit is None or mixed.tokens < limit):
        source = min(left, key=lambda one: (one.tokens / one.weight, one.name))
        encoded = next(streams[source.name], None)
        if encoded is None:
            left.remove(source)
            if limit is not None and left:
                mixed.warnings.append(
                    f"{source.name} is used up after {source.tokens} tokens; the others go on"
                )
            continue
        source.used += 1
        source.tokens += encoded.num_tokens
        source.truncated += encoded.truncated
        mixed.tokens += encoded.num_tokens
        mixed.rows.append(encoded.values)
    if limit is not None and mixed.tokens < limit:
        mixed.warnings.append(f"all rows together have {mixed.tokens} tokens, less than the limit of {limit}")
    return mixed


def _encoded(source: Source, encoder: Encoder, seed: int) -> Iterator[Encoded]:
    for index in shuffled(len(source.rows), f"{seed}/{source.name}"):
        try:
            yield from encoder.encode(convert(source.rows[index], source.row_type, encoder.row_type))
        except Unfit as error:
            source.rejected += 1
            source.reasons[str(error)] = source.reasons.get(str(error), 0) + 1


def check_rejected(mixed: Mixed, fraction: float) -> None:
    """Refuse a mix of which a source lost more than `fraction` of its rows.

    Raises:
        DataError: with the reasons and their counts.
    """
    for source in mixed.sources:
        if source.rejected > fraction * (source.used + source.rejected):
            reasons = ", ".join(f"{count} x {reason}" for reason, count in source.reasons.items())
            raise DataError(
                f"{source.rejected} of {source.used + source.rejected} rows of {source.name} cannot be used: "
                f"{reasons}",
                expected=f"at most {fraction:.2%} (max_rejected_fraction of the sample)",
                fix="raise max_length, or max_rejected_fraction",
            )


def shuffled(count: int, key: str) -> list[int]:
    """0 .. count-1 in an order that `key` decides, the same in every version of every library."""
    state = hashlib.blake2b(key.encode("utf-8"), digest_size=16)

    def place(index: int) -> bytes:
        mine = state.copy()
        mine.update(index.to_bytes(8, "big"))
        return mine.digest()

    return sorted(range(count), key=place)


def _uses(kind: RowType) -> list[RowType]:
    found = [kind] if kind in TOKEN_TYPES else []
    if "prompt" in COLUMNS[kind]:
        found += [RowType.PROMPT] if kind is not RowType.PROMPT else []
        found += [RowType.PROMPT_COMPLETION] if kind is RowType.PREFERENCE else []
    return found

"""Mixing data sets by weight and cutting the mix to a token limit.

The token is the unit of account: the next row comes from the source that is furthest behind its
share of tokens, so the shares hold at every point of the sample, not only at its end. Rows are
encoded a batch at a time as they are needed, so a small limit on a large data set costs little, and
nothing but that batch is in memory. The order of a source hangs on seed and name alone.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from math import ceil
from pathlib import Path
from typing import Protocol

from tempering.data.encode import Encoded
from tempering.data.formats import Unfit
from tempering.data.rows import RowType, Values
from tempering.data.sampling import SourceConfig
from tempering.data.shards import count_rows, shuffled, shuffled_rows
from tempering.data.uses import convert
from tempering.errors import DataError

BATCH = 256


class Encodes(Protocol):
    """What turns rows into token rows: an `Encoder`."""

    @property
    def row_type(self) -> RowType:
        """What the rows become."""

    def encode_batch(self, rows: Sequence[Values]) -> list[list[Encoded] | Unfit]:
        """For each row its token rows, or why there are none."""


@dataclass
class Source:
    """One data set of a mix, and what became of its rows.

    Args:
        rows: the folder of a part, or rows in memory.
        config: how much of it is used.
    """

    name: str
    row_type: RowType
    rows: Path | Sequence[Values]
    config: SourceConfig = field(default_factory=SourceConfig)
    used: int = 0
    tokens: int = 0
    truncated: int = 0
    rejected: int = 0
    left_out: int = 0
    """Rows that are not meant for this use, such as answers that were judged bad: no fault of the data."""
    reasons: Counter[str] = field(default_factory=Counter)

    def read(self, seed: int) -> Iterator[Values]:
        """The rows that may be used, in random order."""
        key = f"{seed}/{self.name}"
        if isinstance(self.rows, Path):
            count, rows = count_rows(self.rows), shuffled_rows(self.rows, key)
        else:
            held = self.rows
            count, rows = len(held), (held[index] for index in shuffled(len(held), key))
        yield from islice(rows, ceil(self.config.fraction * count))

    @property
    def full(self) -> bool:
        """Whether its own limits are reached."""
        limit, rows = self.config.token_limit, self.config.rows
        return (limit is not None and self.tokens >= limit) or (rows is not None and self.used >= rows)

    def summary(self, part: str) -> Values:
        """A row of `metadata/sources.parquet`."""
        counts = {
            "rows": self.used,
            "tokens": self.tokens,
            "truncated": self.truncated,
            "rejected": self.rejected,
            "left_out": self.left_out,
        }
        reasons = ", ".join(f"{count} x {reason}" for reason, count in self.reasons.most_common())
        return {"source": self.name, "part": part, **counts, "reasons": reasons}


@dataclass
class Mix:
    """Token rows in training order, one by one; how each source fared fills up as they are taken.

    The total is at least `limit` and less than `limit` + the last row; less, with a warning, when
    the data does not suffice. Without a limit all rows are used.
    """

    sources: Sequence[Source]
    encoder: Encodes
    limit: int | None
    seed: int
    difficulty_column: str | None = None
    tokens: int = 0
    rows: int = 0
    warnings: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[Values]:
        streams = {source.name: self._encoded(source) for source in self.sources}
        left = list(self.sources)
        while left and (self.limit is None or self.tokens < self.limit):
            source = min(left, key=lambda one: (one.tokens / one.config.weight, one.name))
            encoded = None if source.full else next(streams[source.name], None)
            if encoded is None:
                left.remove(source)
                self._note_end(source, left)
                continue
            source.used += 1
            source.tokens += encoded.num_tokens
            source.truncated += encoded.truncated
            self.tokens += encoded.num_tokens
            self.rows += 1
            yield encoded.values
        if self.limit is not None and self.tokens < self.limit:
            what = "all rows that may be used" if any(source.full for source in self.sources) else "all rows"
            self.warnings.append(
                f"{what} together have {self.tokens} tokens, less than the limit of {self.limit}"
            )

    def _note_end(self, source: Source, left: list[Source]) -> None:
        if self.limit is not None and left and not source.full:
            self.warnings.append(f"{source.name} is used up after {source.tokens} tokens; the others go on")

    def _encoded(self, source: Source) -> Iterator[Encoded]:
        rows = source.read(self.seed)
        while batch := list(islice(rows, BATCH)):
            for found in self._encode(batch, source):
                if isinstance(found, Unfit):
                    source.rejected += 1
                    source.reasons[str(found)] += 1
                else:
                    yield from found

    def _encode(self, batch: list[Values], source: Source) -> Iterable[list[Encoded] | Unfit]:
        meant: list[Values] = []
        difficulties: list[float | None] = []
        for values in batch:
            converted = convert(values, source.row_type, self.encoder.row_type)
            if converted is None:
                source.left_out += 1
                continue
            meant.append(converted)
            difficulties.append(_number(values, self.difficulty_column, source.name))
        found = self.encoder.encode_batch(meant)
        if self.difficulty_column is not None:
            for pieces, difficulty in zip(found, difficulties, strict=True):
                for piece in pieces if isinstance(pieces, list) else []:
                    piece.values["difficulty"] = difficulty
        return found


def _number(values: Values, column: str | None, source: str) -> float | None:
    if column is None:
        return None
    found = values.get(column)
    if column not in values or isinstance(found, str):
        numbers = sorted(name for name, value in values.items() if type(value) in (int, float))
        raise DataError(
            f"the rows of data set {source} have no numeric column {column!r} to order by",
            expected=f"one of {numbers}" if numbers else "a column of numbers",
            fix="correct curriculum.column, or order by length or loss",
        )
    return None if found is None else float(found)


def check_rejected(mix: Mix, fraction: float) -> None:
    """Refuse a mix of which a source lost more than `fraction` of its rows.

    Raises:
        DataError: with the reasons and their counts.
    """
    for source in mix.sources:
        total = source.used + source.rejected
        if source.rejected > fraction * total:
            reasons = ", ".join(f"{count} x {reason}" for reason, count in source.reasons.most_common())
            raise DataError(
                f"{source.rejected} of {total} rows of {source.name} cannot be used: {reasons}",
                expected=f"at most {fraction:.2%} (max_rejected_fraction of the sample)",
                fix="raise max_length, or max_rejected_fraction",
            )

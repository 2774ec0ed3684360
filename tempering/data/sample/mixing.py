"""Mixing data sets by weight and cutting the mix to a token limit.

The token is the unit of account: the next row comes from the source that is furthest behind its
share of tokens, so the shares hold at every point of the sample, not only at its end. Rows are
encoded a batch at a time as they are needed, so a small limit on a large data set costs little, and
nothing but that batch is in memory. The order of a source hangs on seed and name alone.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from math import ceil
from pathlib import Path
from typing import Any, Protocol

from tempering.data.files import excerpt
from tempering.data.prompt_format import Unfit
from tempering.data.row_conversion import convert
from tempering.data.rows import Rejected, RowType, Values
from tempering.data.sample.config import SourceConfig
from tempering.data.sample.encode import Encoded
from tempering.data.shards import count_rows, shuffled, shuffled_rows, size_of
from tempering.errors import DataError

BATCH_ROWS, BATCH_SIZE = 256, 1 << 20
"""Rows that are encoded together, and characters from which there are fewer of them."""


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
    pieces: int = 0
    """Token rows; a long document gives several."""
    tokens: int = 0
    truncated: int = 0
    unlearnt: int = 0
    """Answers inside of conversations that cannot be trained on, since the template writes them otherwise."""
    rejected: int = 0
    left_out: int = 0
    """Rows that are not meant for this use, such as answers that were judged bad: no fault of the data."""
    reasons: Counter[str] = field(default_factory=Counter)
    first: dict[str, int] = field(default_factory=dict)

    def read(self, seed: int) -> Iterator[tuple[int, Values]]:
        """The rows that may be used with their numbers, in random order."""
        key = f"{seed}/{self.name}"
        if isinstance(self.rows, Path):
            count, rows = count_rows(self.rows), shuffled_rows(self.rows, key)
        else:
            held = self.rows
            count, rows = len(held), ((index, held[index]) for index in shuffled(len(held), key))
        yield from islice(rows, ceil(self.config.fraction * count))

    @property
    def full(self) -> bool:
        """Whether its own token limit is reached."""
        return self.config.token_limit is not None and self.tokens >= self.config.token_limit

    @property
    def complete(self) -> bool:
        """Whether it has given as many rows as it may."""
        return self.config.rows is not None and self.used >= self.config.rows

    def summary(self, part: str) -> Values:
        """A row of `metadata/sources.parquet`."""
        counts = {
            "rows": self.used,
            "pieces": self.pieces,
            "tokens": self.tokens,
            "truncated": self.truncated,
            "rejected": self.rejected,
            "left_out": self.left_out,
            "unlearnt_answers": self.unlearnt,
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
    on_rejected: Callable[[Rejected], None] = lambda item: None
    """Called with each row that cannot be encoded: the source's name, the row's number in its part."""
    tokens: int = 0
    rows: int = 0
    warnings: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[Values]:
        streams = {source.name: self._encoded(source) for source in self.sources}
        left = list(self.sources)
        # The next row comes from the source that is furthest behind its weight.
        while left and (self.limit is None or self.tokens < self.limit):
            source = min(left, key=lambda source: (source.tokens / source.config.weight, source.name))
            encoded = None if source.full else next(streams[source.name], None)
            if encoded is None:
                left.remove(source)
                self._note_end(source, left)
                continue
            source.pieces += 1
            source.tokens += encoded.num_tokens
            source.truncated += encoded.truncated
            source.unlearnt += encoded.unlearnt
            self.tokens += encoded.num_tokens
            self.rows += 1
            yield encoded.values
        # All sources have ended before the limit.
        if self.limit is not None and self.tokens < self.limit:
            bounded = any(source.full or source.complete for source in self.sources)
            what = "all rows that may be used" if bounded else "all rows"
            self.warnings.append(
                f"{what} together have {self.tokens} tokens, less than the limit of {self.limit}"
            )

    def _note_end(self, source: Source, left: list[Source]) -> None:
        if self.limit is not None and left and not source.full and not source.complete:
            self.warnings.append(f"{source.name} is used up after {source.tokens} tokens; the others go on")

    def _encoded(self, source: Source) -> Iterator[Encoded]:
        for batch in _batches(source.read(self.seed)):
            for number, values, encoded in self._encode(batch, source):
                if source.complete:
                    return
                if isinstance(encoded, Unfit):
                    source.rejected += 1
                    source.reasons[str(encoded)] += 1
                    source.first.setdefault(str(encoded), number)
                    self.on_rejected(Rejected(source.name, number, str(encoded), excerpt(values)))
                else:
                    source.used += 1
                    yield from encoded

    def _encode(
        self, batch: list[tuple[int, Values]], source: Source
    ) -> Iterator[tuple[int, Values, list[Encoded] | Unfit]]:
        meant: list[tuple[int, Values, float | None]] = []
        for number, values in batch:
            converted = convert(values, source.row_type, self.encoder.row_type)
            if converted is None:
                source.left_out += 1
            else:
                difficulty = _number(values, self.difficulty_column, source.name)
                meant.append((number, converted, difficulty))
        token_rows = self.encoder.encode_batch([converted for _, converted, _ in meant])
        for (number, converted, difficulty), pieces in zip(meant, token_rows, strict=True):
            if self.difficulty_column is not None and not isinstance(pieces, Unfit):
                for piece in pieces:
                    piece.values["difficulty"] = difficulty
            yield number, converted, pieces


def _parsed(value: Any) -> Any:
    """A number that a CSV file wrote as text, as a number."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _batches(rows: Iterator[tuple[int, Values]]) -> Iterator[list[tuple[int, Values]]]:
    """Rows in batches of a bounded number and size."""
    batch, size = list[tuple[int, Values]](), 0
    for number, values in rows:
        batch.append((number, values))
        size += size_of(values)
        if len(batch) == BATCH_ROWS or size >= BATCH_SIZE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _number(values: Values, column: str | None, source: str) -> float | None:
    if column is None:
        return None
    number = _parsed(values.get(column))
    if column not in values or not (number is None or type(number) in (int, float)):
        numbers = sorted(name for name, value in values.items() if type(_parsed(value)) in (int, float))
        raise DataError(
            f"the rows of data set {source} have no numeric column {column!r} to order by",
            expected=f"one of {numbers}" if numbers else "a column of numbers",
            fix="correct curriculum.column, or order by length or loss",
        )
    return None if number is None else float(number)


def check_rejected(mix: Mix, fraction: float) -> None:
    """Refuse a mix of which a source lost more than `fraction` of its rows.

    Raises:
        DataError: with the reasons and their counts.
    """
    for source in mix.sources:
        total = source.used + source.rejected
        if source.rejected > fraction * total:
            counts = source.reasons.most_common()
            reasons = ", ".join(
                f"{count} x {reason} (the first: row {source.first[reason]})" for reason, count in counts
            )
            raise DataError(
                f"{source.rejected} of {total} rows of {source.name} cannot be used: {reasons}",
                expected=f"at most {fraction:.2%} (max_rejected_fraction of the sample)",
                fix=_mend(source.reasons),
            )


def _mend(reasons: Counter[str]) -> str:
    """What helps against the most frequent reason."""
    most = next(iter(reasons.most_common(1)), ("", 0))[0]
    mends = {
        "leaves no room": "raise max_length",
        "special token": "take the special tokens out of the texts",
        "query_min_length": "lower query_min_length",
        "chat template": "take another chat template, or another prompt_format",
        "role marker": "take another prompt_format",
    }
    mend = next((mend for part, mend in mends.items() if part in most), "correct these rows")
    return f"{mend}, or raise max_rejected_fraction; metadata/rejected.parquet of a sample lists its rows"

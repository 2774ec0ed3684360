"""Divide a data set into its two parts, train and eval, on disk, and count every rejection.

Rows are checked, filtered, assigned to a part and written one by one. Memory does not grow with the data
set, apart from what duplicate search must remember (see `quality`).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tempering.artifacts.atomic import whole_file
from tempering.data.builders import build
from tempering.data.builders.base import BuilderConfig
from tempering.data.holdout import is_held_out
from tempering.data.quality.filters import Filters
from tempering.data.rows import Notice, Rejected, Row, RowType, Values, texts
from tempering.data.schemas import rejected_schema, row_schema, to_table
from tempering.data.shards import ShardWriter, writing
from tempering.errors import DataError
from tempering.printable import visible

if TYPE_CHECKING:
    import pyarrow.parquet as pq

PARTS = ("train", "eval")
_SHOWN = 10
_PROGRESS_ROWS = 2_000


@dataclass
class Totals:
    """What became of the rows of a data set."""

    row_type: RowType
    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PARTS, 0))
    characters: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PARTS, 0))
    dropped: Counter[str] = field(default_factory=Counter)
    filtered: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    unused: Counter[str] = field(default_factory=Counter)
    """Column of the files that is in no part of a row -> the rows that hold something there."""
    first: list[Rejected] = field(default_factory=list)
    quality: list[Values] = field(default_factory=list)

    def take(self, part: str, row: Row) -> None:
        """Count a row of a part."""
        self.rows[part] += 1
        self.characters[part] += sum(map(len, texts(self.row_type, row.values)))
        if row.unused:
            self.unused.update(row.unused)

    def count(self, item: Rejected) -> None:
        """Count a row that was left out, filtered, or changed."""
        if item.filter:
            self.filtered[item.reason] += 1
        elif item.kept:
            self.changed[item.reason] += 1
        else:
            self.dropped[item.reason] += 1
            self.first += [item] if len(self.first) < _SHOWN else []

    @property
    def reasons(self) -> Counter[str]:
        """All rows that were left out, filtered or changed, by reason."""
        return self.dropped + self.filtered + self.changed

    def summary(self) -> list[Values]:
        """A row per part (its rows, characters of running text), one for rejected, one for filtered."""
        parts: list[Values] = [
            {"part": part, "rows": self.rows[part], "characters": self.characters[part]} for part in PARTS
        ]
        removed = {"rejected": self.dropped, "filtered": self.filtered}
        return parts + [
            {"part": name, "rows": counts.total(), "characters": 0} for name, counts in removed.items()
        ]


def build_parts(
    config: BuilderConfig,
    rows: Path,
    rejected: Path,
    evaluation_texts: Iterable[str] = (),
    *,
    say: Callable[[str], None] = lambda text: None,
    progress: Callable[[int], None] = lambda rows: None,
) -> Totals:
    """Read, check, filter and split a data set.

    Args:
        rows: folder for `train/` and `eval/`, shards of Parquet.
        rejected: Parquet file for every row that was left out or changed.
        evaluation_texts: running text that the train part must not contain (`quality.decontaminate`).

    Raises:
        DataError: a file is missing, no row is left, or a larger share than `max_rejected_fraction` was
            rejected (the first ten rows are shown).
    """
    # What the rows pass through.
    totals, kind = Totals(config.row_type), config.row_type
    filters = Filters(config.quality, kind, evaluation_texts)
    parts = {part: ShardWriter(rows / part, row_schema(kind)) for part in PARTS}
    # One pass over the source, or one per split: every row is written to a part or to the log.
    with writing(**parts), RejectedLog(rejected) as log:
        for split, held_out_share in config.passes():
            for item in divide(config, filters, split, held_out_share):
                if isinstance(item, Notice):
                    say(item.text)
                elif isinstance(item, Rejected):
                    totals.count(item)
                    log.add(item)
                else:
                    part, row = item
                    parts[part].add(row.values)
                    totals.take(part, row)
                    if totals.rows[part] % _PROGRESS_ROWS == 0:
                        progress(sum(totals.rows.values()))
    # Too little left is an error, after the log has been written.
    totals.quality = filters.table()
    check_totals(totals, config)
    return totals


def divide(
    config: BuilderConfig, filters: Filters, split: str | None, held_out_share: float
) -> Iterator[tuple[str, Row] | Rejected | Notice]:
    """One pass over a source: each row with its part, each rejection, each notice.

    It ends after `max_rows` rows that passed the filters.
    """
    kind, rows = config.row_type, 0
    for item in build(config, split):
        if not isinstance(item, Row):
            yield item
            continue
        held_out = is_held_out(kind, item, held_out_share, config.seed)
        removed = filters.removed(item, held_out=held_out)
        yield removed or (PARTS[held_out], item)
        rows += removed is None
        if rows == config.max_rows:
            return


def check_totals(totals: Totals, config: BuilderConfig) -> None:
    """Refuse a data set that is empty, or too much of which was rejected.

    Raises:
        DataError: with the reasons, their counts and the first ten rows.
    """
    # Too many rejections: of all rows, rejected and filtered ones included.
    rows, dropped = sum(totals.rows.values()), totals.dropped.total()
    if dropped > config.max_rejected_fraction * (rows + dropped + totals.filtered.total()):
        lines = [f"    {row.file}:{row.line}: {row.reason}: {row.excerpt[:60]}" for row in totals.first]
        reasons = ", ".join(f"{count} x {reason}" for reason, count in totals.dropped.most_common(5))
        raise DataError(
            f"{dropped} of {rows + dropped + totals.filtered.total()} rows were rejected ({reasons})\n"
            "  The first:\n" + "\n".join(map(visible, lines)),
            expected=f"at most {config.max_rejected_fraction:.2%} (max_rejected_fraction)",
            fix="correct these rows, choose another `kind` or `encoding`, or raise max_rejected_fraction",
        )
    # Nothing left, for whatever reasons.
    if not rows:
        counts = {"rejected": dropped, "removed by filters": totals.filtered.total()}
        losses = ", ".join(f"{count} {cause}" for cause, count in counts.items() if count)
        reasons = ", ".join(f"{count} x {reason}" for reason, count in totals.reasons.most_common(5))
        raise DataError(
            f"the data set of kind {config.kind} holds no rows"
            + (f": {losses} ({reasons})" if losses else ""),
            fix="check `path`, `split` and its contents, or choose another `kind`"
            if not totals.filtered
            else "loosen its `quality` filters",
        )


class RejectedLog:
    """`rejected.parquet`, written as rows are rejected; it gets its name when it is complete."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: list[dict[str, Any]] = []
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> "RejectedLog":
        import pyarrow.parquet as pq

        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = whole_file(self.path)
        self._writer = pq.ParquetWriter(self._file.__enter__(), rejected_schema(), compression="zstd")
        return self

    def add(self, item: Rejected) -> None:
        """Append a rejected row."""
        self._rows.append(asdict(item))
        if len(self._rows) == _PROGRESS_ROWS:
            self._flush()

    def __exit__(self, *error: Any) -> None:
        assert self._writer is not None
        self._flush()
        self._writer.close()
        self._file.__exit__(*error)

    def _flush(self) -> None:
        assert self._writer is not None
        if self._rows:
            self._writer.write_table(to_table(self._rows, rejected_schema()))
        self._rows.clear()

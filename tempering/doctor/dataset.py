"""One data set under examination: read once as the pipeline reads it, then measured in tokens.

The rows that are good go to a temporary folder, in the form and the parts that the stage `dataset`
gives them, so that samples are then made by the very code that makes them in a pipeline, and memory
does not grow with the data (but for the counters in `tally`).
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tempering.data.builders.auto import AutoConfig
from tempering.data.builders.base import BuilderConfig, FileBuilderConfig
from tempering.data.files import file_format, read_records, require_file
from tempering.data.prepare import PARTS, Totals, divide
from tempering.data.quality.filters import Filters
from tempering.data.rows import Notice, Rejected, Row, RowType, Values, texts
from tempering.data.schemas import row_schema
from tempering.data.shards import ShardWriter, iter_rows, writing
from tempering.doctor.counters import Digests, Openings
from tempering.doctor.text_defects import Blemishes
from tempering.doctor.value_checks import Content, Nothing, content_of
from tempering.errors import DataError, UserError

if TYPE_CHECKING:
    from tempering.doctor.counters import Tokens

EXAMPLES = 3
_PROGRESS_ROWS = 1_000
Progress = Callable[[str, int], None]
"""Called with what is being done and how many rows are done."""


@dataclass(frozen=True)
class Schema:
    """What the rows were recognised as, or said to be.

    Args:
        columns: of the file, where it has columns; of a form that was recognised, those that told so.
        files: name and bytes of each file.
    """

    kind: str
    row_type: RowType
    recognised: bool = False
    columns: tuple[str, ...] = ()
    files: tuple[tuple[str, int], ...] = ()


@dataclass
class Dataset:
    """A data set and what was found out about it.

    Args:
        uses: what a pipeline uses it for (training, tokenizer, evaluation, decontamination); empty: unknown.
        folder: where its parts lie while it is examined.
        error: why it could not be read; nothing else is known then.
        more: whether there are rows that were not looked at.
    """

    name: str
    config: BuilderConfig
    uses: frozenset[str]
    folder: Path
    error: UserError | None = None
    schema: Schema | None = None
    totals: Totals = field(default_factory=lambda: Totals(RowType.TEXT))
    more: bool = False
    notices: list[str] = field(default_factory=list)
    digests: Digests = field(default_factory=lambda: Digests(RowType.TEXT))
    openings: dict[str, Openings] = field(default_factory=dict)
    blemishes: Blemishes = field(default_factory=Blemishes)
    content: Content = field(default_factory=Nothing)
    examples: list[Values] = field(default_factory=list)
    tokens: "Tokens | None" = None
    leaks: dict[str, int] = field(default_factory=dict)
    """Data set that is trained on -> rows held out here that open as one of its rows does."""

    @property
    def row_type(self) -> RowType:
        """The type of its rows."""
        return self.totals.row_type

    @property
    def kept(self) -> int:
        """Rows in both parts."""
        return sum(self.totals.rows.values())

    @property
    def seen(self) -> int:
        """Rows that were looked at: kept, rejected and filtered."""
        return self.kept + self.totals.dropped.total() + self.totals.filtered.total()

    @property
    def measured_part(self) -> str:
        """The part that an evaluation reads: what is held out, or everything."""
        return "eval" if self.totals.rows["eval"] else "train"

    def rows(self, part: str) -> Iterator[Values]:
        """The good rows of a part."""
        return iter_rows(self.folder / part)

    def running_text(self, part: str) -> Iterator[str]:
        """The texts of a part."""
        for row in self.rows(part):
            yield from texts(self.row_type, row)


def read_dataset(
    name: str,
    config: BuilderConfig,
    folder: Path,
    *,
    uses: Iterable[str] = (),
    most: int | None = None,
    against: Sequence[Dataset] = (),
    progress: Progress = lambda what, done: None,
) -> Dataset:
    """Read a data set as the stage `dataset` does, but for its refusals.

    Args:
        folder: for the good rows.
        most: rows to look at in each pass over the source; None: all.
        against: what `quality.decontaminate` names.
    """
    found = Dataset(name, config, frozenset(uses), folder)
    try:
        found.schema = schema_of(config)
        _read(
            found, most, (text for one in against for text in one.running_text(one.measured_part)), progress
        )
    except UserError as error:
        found.error = error
    return found


def schema_of(config: BuilderConfig) -> Schema:
    """How a builder reads its files.

    Raises:
        DataError: when a file is missing, or fits no schema.
    """
    if not isinstance(config, FileBuilderConfig):
        return Schema(config.kind, config.row_type)
    paths = dict.fromkeys(path for split, _ in config.passes() for path in config.files(split))
    files = tuple((path.name, require_file(path).stat().st_size) for path in paths)
    first = next(iter(paths))
    if isinstance(config, AutoConfig):
        form = config.recognised(config.first_file())
        return Schema(form.kind, config.row_type, True, form.columns, files)
    return Schema(config.kind, config.row_type, False, _columns(config, first), files)


def _columns(config: FileBuilderConfig, path: Path) -> tuple[str, ...]:
    """The columns of the first record; none for running text, or where nothing can be read as a record."""
    try:
        if (file_format(path) if config.format == "auto" else config.format) == "text":
            return ()
        records = islice(read_records(path, config.reading), 100)
        return next((tuple(item[1]) for item in records if not isinstance(item, Rejected)), ())
    except DataError:  # a document, such as that of SQuAD, which its builder can read
        return ()


def _read(found: Dataset, most: int | None, against: Iterable[str], progress: Progress) -> None:
    config, kind = found.config, found.config.row_type
    found.totals, found.digests, found.content = Totals(kind), Digests(kind), content_of(kind)
    found.openings = {part: Openings(kind) for part in PARTS}
    filters, chosen = Filters(config.quality, kind, against), _Examples()
    writers = {part: ShardWriter(found.folder / part, row_schema(kind)) for part in PARTS}
    with writing(**writers):
        for split, held_out_share in config.passes():
            items = divide(config, filters, split, held_out_share)
            for part, row in _good(found, items, most, progress):
                writers[part].add(row.values)
                _look(found, part, row)
                chosen.offer(found.digests.digests[-1], row.values)
    found.totals.quality = filters.table()
    found.examples = chosen.rows()


def _good(
    found: Dataset,
    items: Iterable[tuple[str, Row] | Rejected | Notice],
    most: int | None,
    progress: Progress,
) -> Iterator[tuple[str, Row]]:
    """The good rows of one pass; what else there is is counted, up to `most` rows of all sorts."""
    seen = 0
    for item in items:
        if isinstance(item, Notice):
            found.notices.append(item.text)
            continue
        if not isinstance(item, Rejected) or not item.kept:
            if seen == most:
                found.more = True
                return
            seen += 1
            if seen % _PROGRESS_ROWS == 0:
                progress(f"reading {found.name}", seen)
        if isinstance(item, Rejected):
            found.totals.count(item)
        else:
            yield item


def _look(found: Dataset, part: str, row: Row) -> None:
    found.totals.take(part, row)
    found.digests.add(row)
    found.openings[part].add(row)
    found.blemishes.add(row, texts(found.row_type, row.values))
    found.content.add(row.values)


class _Examples:
    """A few rows from anywhere in a stream, always the same ones: those with the smallest digests."""

    def __init__(self) -> None:
        self._held: list[tuple[int, Mapping[str, Any]]] = []

    def offer(self, number: int, values: Values) -> None:
        """Keep a row if it is among the smallest so far, and not there yet."""
        if len(self._held) == EXAMPLES and -number <= self._held[0][0]:
            return
        if all(held != -number for held, _ in self._held):
            heapq.heappush(self._held, (-number, values))
            if len(self._held) > EXAMPLES:
                heapq.heappop(self._held)

    def rows(self) -> list[Values]:
        """The rows, smallest digest first."""
        return [dict(values) for _, values in sorted(self._held, key=lambda one: -one[0])]

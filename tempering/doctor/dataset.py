"""One data set under examination: read once as the pipeline reads it, then measured in tokens.

The rows that are good go to a temporary folder, in the form and the parts that the stage `dataset`
gives them, so that samples are then made by the very code that makes them in a pipeline, and memory
does not grow with the data (but for the counters in `counters`).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from tempering.data.builders.auto import AutoConfig
from tempering.data.builders.base import BuilderConfig, FileBuilderConfig
from tempering.data.files import file_format, read_records, require_file
from tempering.data.prepare import PARTS, Totals, divide
from tempering.data.quality.filters import Filters
from tempering.data.rows import COLUMNS, Notice, Rejected, Row, RowType, Values, texts
from tempering.data.schemas import row_schema
from tempering.data.shards import ShardWriter, iter_rows, writing
from tempering.doctor.check import Examined
from tempering.doctor.contradictions import Contradictions
from tempering.doctor.counters import Digests, RowDigests, opening
from tempering.doctor.examples import text_example
from tempering.doctor.text_defects import count_traces
from tempering.doctor.value_checks import count_values
from tempering.errors import DataError, UserError

EXAMPLES = 3
PROGRESS_ROWS = 1_000
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
class Dataset(Examined):
    """A data set and what was found out about it.

    Args:
        uses: what a pipeline uses it for (training, tokenizer, evaluation, decontamination); empty: unknown.
        folder: where its parts lie while it is examined.
        leaks: data set that is trained on -> rows held out here that open as one of its rows does.
        extras: the columns that are kept beside what rows are trained on.
    """

    config: BuilderConfig
    uses: frozenset[str] = frozenset()
    folder: Path = Path()
    schema: Schema | None = None
    totals: Totals = field(default_factory=lambda: Totals(RowType.TEXT))
    notices: list[str] = field(default_factory=list)
    digests: RowDigests = field(default_factory=lambda: RowDigests(RowType.TEXT))
    contradictions: Contradictions = field(default_factory=lambda: Contradictions(RowType.TEXT))
    openings: dict[str, Digests] = field(default_factory=lambda: {part: Digests() for part in PARTS})
    leaks: dict[str, int] = field(default_factory=dict)
    extras: set[str] = field(default_factory=set)

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

    def running_text(self, parts: Iterable[str] = PARTS) -> Iterator[str]:
        """The texts of some parts."""
        for part in parts:
            for row in self.rows(part):
                yield from texts(self.row_type, row)

    def called(self) -> dict[str, Any]:
        """Its name and uses."""
        return {"name": self.name, "used_for": sorted(self.uses)}

    def known(self) -> dict[str, Any]:
        """Its schema, files, rows and tokens."""
        schema, totals = self.schema, self.totals
        assert schema is not None, "a data set that could be read has a schema"
        return {
            "kind": schema.kind,
            "recognised": schema.recognised,
            "row_type": str(schema.row_type),
            "columns": list(schema.columns),
            "files": [{"name": name, "bytes": size} for name, size in schema.files],
            "extra_columns": sorted(self.extras),
            "unused_columns": dict(totals.unused.most_common()),
            "notices": self.notices,
            "rows": {
                "seen": self.seen,
                "all_seen": not self.more,
                **totals.rows,
                "rejected": totals.dropped.total(),
                "filtered": totals.filtered.total(),
                "changes": totals.changed.total(),
            },
            "tokens": self.counts.tokens.spread() or None,
        }


def read_dataset(
    dataset: Dataset,
    most: int | None = None,
    against: Sequence[Dataset] = (),
    progress: Progress = lambda what, done: None,
) -> None:
    """Read a data set as the stage `dataset` does, but for its refusals.

    Args:
        most: rows to look at in each pass over the source; None: all.
        against: what `quality.decontaminate` names.
    """
    held_out = (text for other in against for text in other.running_text([other.measured_part]))
    try:
        dataset.schema = schema_of(dataset.config)
        _read(dataset, most, held_out, progress)
    except UserError as error:
        dataset.error = error


def schema_of(config: BuilderConfig) -> Schema:
    """How a builder reads its files.

    Raises:
        DataError: when a file is missing, or fits no schema.
    """
    if not isinstance(config, FileBuilderConfig):
        return Schema(config.kind, config.row_type)
    paths = dict.fromkeys(path for split, _ in config.passes() for path in config.files(split))
    files = tuple((path.name, require_file(path).stat().st_size) for path in paths)
    if isinstance(config, AutoConfig):
        form = config.recognised(config.first_file())
        return Schema(form.kind, config.row_type, True, form.columns, files)
    return Schema(config.kind, config.row_type, False, _columns(config, next(iter(paths))), files)


def _columns(config: FileBuilderConfig, path: Path) -> tuple[str, ...]:
    """The columns of the first record; none for running text, or where nothing can be read as a record."""
    try:
        if (file_format(path) if config.format == "auto" else config.format) == "text":
            return ()
        records = islice(read_records(path, config.reading), 100)
        return next((tuple(item[1]) for item in records if not isinstance(item, Rejected)), ())
    except DataError:  # a document, such as that of SQuAD, which its builder can read
        return ()


def _read(dataset: Dataset, most: int | None, against: Iterable[str], progress: Progress) -> None:
    config, kind = dataset.config, dataset.config.row_type
    dataset.totals, dataset.digests = Totals(kind), RowDigests(kind)
    dataset.contradictions = Contradictions(kind)
    filters = Filters(config.quality, kind, against)
    examples: dict[int, Values] = {}
    writers = {part: ShardWriter(dataset.folder / part, row_schema(kind)) for part in PARTS}
    with writing(**writers):
        for split, held_out_share in config.passes():
            items = divide(config, filters, split, held_out_share)
            for part, row in _good(dataset, items, most, progress):
                writers[part].add(row.values)
                _look(dataset, part, row)
                _offer(examples, dataset.digests.numbers[-1], row.values)
    dataset.examples = [text_example(kind, values) for _, values in sorted(examples.items())]


def _good(
    dataset: Dataset,
    items: Iterable[tuple[str, Row] | Rejected | Notice],
    most: int | None,
    progress: Progress,
) -> Iterator[tuple[str, Row]]:
    """The good rows of one pass; what else there is is counted, up to `most` rows of all sorts."""
    seen = 0
    for item in items:
        if isinstance(item, Notice):
            dataset.notices.append(item.text)
            continue
        # A row that was rejected and kept all the same is not one more row.
        if not isinstance(item, Rejected) or not item.kept:
            if seen == most:
                dataset.more = True
                return
            seen += 1
            if seen % PROGRESS_ROWS == 0:
                progress(f"reading {dataset.name}", seen)
        if isinstance(item, Rejected):
            dataset.totals.count(item)
        else:
            yield item


def _look(dataset: Dataset, part: str, row: Row) -> None:
    """Count what a good row has."""
    dataset.totals.take(part, row)
    dataset.extras |= row.values.keys() - COLUMNS[dataset.row_type].keys()
    dataset.digests.add_row(row)
    dataset.contradictions.add_row(row)
    opens = opening(dataset.row_type, row)
    if opens.strip():
        dataset.openings[part].add(opens)
    count_traces(dataset.counts, row, texts(dataset.row_type, row.values))
    count_values(dataset.counts, dataset.row_type, row.values)


def _offer(examples: dict[int, Values], digest: int, values: Values) -> None:
    """Keep the rows with the smallest digests: a few from anywhere, always the same ones."""
    examples.setdefault(digest, values)
    if len(examples) > EXAMPLES:
        del examples[max(examples)]

"""Rows on disk: one folder of Parquet shards per part, written and read in bounded memory.

Rows are gathered into groups of about a megabyte of text at most (the unit of reading and of shuffling),
and groups into shards. The type of an extra column is that of its values so far; if a later group needs a
wider one, earlier shards are rewritten at the end, so that all files of a part agree. The same rows give
the same bytes.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tempering.artifacts.atomic import whole_file
from tempering.data.rows import Values
from tempering.data.schemas import extra_types, full_schema, to_table, wider

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

GROUP_ROWS, GROUP_SIZE = 2_000, 1 << 20
"""Rows, and size (about characters or tokens), after which a group is written."""
SHARD_GROUPS = 128
POOL_GROUPS = 16
"""Groups that are shuffled together, and in memory while rows are read in random order."""


class ShardWriter:
    """Writes rows into `folder/00000.parquet`, `folder/00001.parquet` and so on, at least one shard.

    Args:
        fixed: the columns every row has; extra ones are added as rows bring them.
    """

    def __init__(self, folder: Path, fixed: "pa.Schema") -> None:
        self.folder, self.fixed = folder, fixed
        self.rows = 0
        self.extras: dict[str, pa.DataType] = {}
        self.folder.mkdir(parents=True, exist_ok=True)
        for leftover in self.folder.glob("*.parquet"):  # of an attempt that was killed
            leftover.unlink()
        self._group: list[Mapping[str, Any]] = []
        self._size = self._groups = 0
        self._schemas: list[pa.Schema] = []  # of each shard
        self._writer: pq.ParquetWriter | None = None

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a row."""
        self._group.append(row)
        self.rows += 1
        self._size += size_of(row)
        if len(self._group) >= GROUP_ROWS or self._size >= GROUP_SIZE:
            self.flush()

    def flush(self) -> None:
        """Write the pending rows as a group; the first group even if it is empty."""
        if not self._group and self._schemas:
            return
        self.extras = wider(self.extras, extra_types(self._group, self.fixed.names))
        schema = full_schema(self.fixed, self.extras)
        if self._groups == SHARD_GROUPS or (self._schemas and schema != self._schemas[-1]):
            self.end_shard()
        if self._writer is None:
            self._schemas.append(schema)
            self._writer = _writer(self._path(len(self._schemas) - 1), schema)
        self._writer.write_table(to_table(self._group, schema))
        self._groups += 1
        self._group, self._size = [], 0

    def end_shard(self) -> None:
        """Close the file that is being written."""
        if self._writer is not None:
            self._writer.close()
        self._writer, self._groups = None, 0

    def align(self, extras: Mapping[str, "pa.DataType"]) -> None:
        """Give every shard the columns `extras`; shards that have them already stay as they are."""
        schema = full_schema(self.fixed, extras)
        for number, current in enumerate(self._schemas):
            if current != schema:
                self._rewrite(self._path(number), schema)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:05d}.parquet"

    def _rewrite(self, path: Path, schema: "pa.Schema") -> None:
        with whole_file(path) as temporary, _writer(temporary, schema) as writer:
            for group in groups_of(path):
                writer.write_table(to_table(group.to_pylist(), schema))


@contextmanager
def writing(**writers: ShardWriter) -> Iterator[dict[str, ShardWriter]]:
    """Write several parts that end with the same columns. On an error the files are closed and left."""
    try:
        yield writers
        for writer in writers.values():
            writer.flush()
    finally:
        for writer in writers.values():
            writer.end_shard()
    extras: dict[str, pa.DataType] = {}
    for writer in writers.values():
        extras = wider(extras, writer.extras)
    for writer in writers.values():
        writer.align(extras)


def shards_of(place: Path) -> list[Path]:
    """The Parquet files of a part, in order."""
    return sorted(place.glob("[0-9]*.parquet"))


def count_rows(place: Path) -> int:
    """Rows of a part, from the files' own metadata."""
    import pyarrow.parquet as pq

    return sum(pq.read_metadata(path).num_rows for path in shards_of(place))


def iter_rows(place: Path, columns: Iterable[str] | None = None) -> Iterator[Values]:
    """All rows of a part in order, one group at a time in memory."""
    names = None if columns is None else list(columns)
    for path in shards_of(place):
        for group in groups_of(path, names):
            yield from group.to_pylist()


def shuffled_rows(place: Path, key: str) -> Iterator[tuple[int, Values]]:
    """All rows of a part with their numbers, in an order that `key` decides, in bounded memory.

    Groups are taken in random order, `POOL_GROUPS` at a time, and their rows shuffled together: a part of
    up to that many groups (some megabytes of text) is shuffled as a whole, a larger one in such pools.
    Orders come from hashes, so they are the same with every version of every library.
    """
    import pyarrow.parquet as pq

    groups = list(_numbered_groups(place))
    order = shuffled(len(groups), f"{key}/groups")
    if len(groups) <= POOL_GROUPS:
        order = sorted(order)  # the order then depends only on the rows, not on their grouping
    for start in range(0, len(groups), POOL_GROUPS):
        pool: list[tuple[int, Values]] = []
        for index in order[start : start + POOL_GROUPS]:
            path, group, first = groups[index]
            with pq.ParquetFile(path) as file:
                pool += enumerate(file.read_row_group(group).to_pylist(), start=first)
        for index in shuffled(len(pool), key if not start else f"{key}/{start}"):
            yield pool[index]


def _numbered_groups(place: Path) -> Iterator[tuple[Path, int, int]]:
    """`(file, group, number of its first row)` of every group of a part."""
    import pyarrow.parquet as pq

    first = 0
    for path in shards_of(place):
        metadata = pq.read_metadata(path)
        for group in range(metadata.num_row_groups):
            yield path, group, first
            first += metadata.row_group(group).num_rows


def shuffled(count: int, key: str) -> list[int]:
    """0 .. count-1 in an order that `key` decides, the same with every version of every library."""
    state = hashlib.blake2b(key.encode("utf-8"), digest_size=16)

    def place(index: int) -> bytes:
        digest = state.copy()
        digest.update(index.to_bytes(8, "big"))
        return digest.digest()

    return sorted(range(count), key=place)


def size_of(value: Any) -> int:
    """The approximate size of a row: characters of its texts plus items of its lists of numbers."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(size_of(item) for item in value.values()) + 8
    if isinstance(value, list):
        nested = bool(value) and isinstance(value[0], str | Mapping | list)
        return sum(size_of(item) for item in value) if nested else len(value)
    return 8


def groups_of(path: Path, columns: list[str] | None = None) -> Iterator["pa.Table"]:
    """The groups of one file, one by one."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            yield file.read_row_group(number, columns=columns)


def _writer(path: Path, schema: "pa.Schema") -> "pq.ParquetWriter":
    import pyarrow.parquet as pq

    return pq.ParquetWriter(path, schema, compression="zstd")

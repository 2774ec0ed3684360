"""Rows of Parquet and Arrow files, a small batch at a time.

Values come as JSON would have them: dates and times as text (ISO), decimals as numbers, maps as objects,
what a dictionary stands for as itself. So they may lie outside of what Python's own types hold. Bytes stay
bytes: whether a row can use them is for its builder to say. Arrow files are read rather than mapped into
memory, since mapped pages count as memory in use although they can be let go.

A few bytes can stand for any number of equal strings, so files that unpack to absurd sizes are refused.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from tempering.data.files.lines import excerpt
from tempering.data.files.opening import check_expansion, is_packed, require_file
from tempering.data.rows import Rejected
from tempering.errors import DataError

Item = tuple[int, dict[str, Any]] | Rejected
_BATCH = 32
_BUFFER = 2**20


def read_parquet(path: Path) -> Iterator[Item]:
    """Rows of a Parquet file; of a large row group only some pages are in memory."""
    _require_unpacked(path)
    with _damage(path, "Parquet"):
        import pyarrow.parquet as pq

        with pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False) as file:
            _require_distinct(path, file.schema_arrow.names)
            for number in range(file.num_row_groups):
                group = file.metadata.row_group(number)
                for column in map(group.column, range(group.num_columns)):
                    check_expansion(path, column.total_uncompressed_size)
            yield from _rows(path, file.iter_batches(batch_size=_BATCH, use_threads=False))


def read_arrow(path: Path) -> Iterator[Item]:
    """Rows of an Arrow file, in the file format or the stream format (`save_to_disk` writes the latter)."""
    _require_unpacked(path)
    with _damage(path, "Arrow"):
        import pyarrow as pa

        with pa.OSFile(str(path)) as source:
            in_file_format = source.read(6) == b"ARROW1"
            source.seek(0)
            reader = pa.ipc.open_file(source) if in_file_format else pa.ipc.open_stream(source)
            _require_distinct(path, reader.schema.names)
            batches = map(reader.get_batch, range(reader.num_record_batches)) if in_file_format else reader
            pieces = (piece for batch in batches for piece in _pieces(batch))
            # Offsets in a damaged file would lead anywhere in memory.
            yield from _rows(path, pieces, check=True)


def _pieces(batch: Any) -> Iterator[Any]:
    for start in range(0, batch.num_rows, _BATCH):
        yield batch.slice(start, _BATCH)


def _rows(path: Path, batches: Iterator[Any], check: bool = False) -> Iterator[Item]:
    index = size = 0
    for batch in batches:
        try:
            if check:
                batch.validate(full=True)
            plain = _plain(batch)
            size += plain.nbytes
            check_expansion(path, size)
            yield from enumerate(_records(plain), start=index)
        except (ValueError, OverflowError, KeyError):  # a string that is not UTF-8, a map with a key twice
            yield from _one_by_one(path, batch, index)
        index += batch.num_rows


def _one_by_one(path: Path, batch: Any, start: int) -> Iterator[Item]:
    for index in range(batch.num_rows):
        row = batch.slice(index, 1)
        values: dict[str, Any] = {}
        for name in row.schema.names:
            try:
                row.select([name]).validate(full=True)
                values |= _records(_plain(row.select([name])))[0]
            except (ValueError, OverflowError, KeyError) as error:
                yield _unreadable(path, start + index, name, error)
                break
        else:
            yield start + index, values


def _unreadable(path: Path, index: int, column: str, error: Exception) -> Rejected:
    """A row that is left out since one of its values cannot be read.

    Raises:
        ArrowInvalid: the file itself is damaged.
    """
    import pyarrow as pa

    not_utf8 = isinstance(error, UnicodeDecodeError) or "UTF8" in str(error)
    if isinstance(error, pa.ArrowInvalid) and not not_utf8 and "cast" not in str(error).lower():
        raise error
    reason = "invalid UTF-8" if not_utf8 else f"a value that cannot be read ({type(error).__name__})"
    return Rejected(path.name, index, f"{column}: {reason}", excerpt(str(error)))


def _plain(batch: Any) -> Any:
    """A batch whose columns have types that JSON has."""
    import pyarrow as pa

    kinds = [_plain_type(kind) for kind in batch.schema.types]
    if kinds == batch.schema.types:
        return batch
    columns = [
        column if column.type == kind else column.cast(kind)
        for column, kind in zip(batch.columns, kinds, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _records(batch: Any) -> list[dict[str, Any]]:
    """The rows of a batch; maps as objects, which takes a way that is ten times as slow for all columns."""
    maps = any(map(_holds_map, batch.schema.types))
    rows: list[dict[str, Any]] = batch.to_pylist(maps_as_pydicts="strict") if maps else batch.to_pylist()
    return rows


@lru_cache(maxsize=1024)
def _holds_map(kind: Any) -> bool:
    import pyarrow.types as types

    return types.is_map(kind) or any(_holds_map(kind.field(number).type) for number in range(kind.num_fields))


@lru_cache(maxsize=1024)
def _plain_type(kind: Any) -> Any:
    """The type as which values of `kind` are read."""
    import pyarrow as pa
    import pyarrow.types as types

    # Containers: by what they hold.
    if types.is_dictionary(kind):
        return _plain_type(kind.value_type)
    if types.is_map(kind):
        return pa.map_(kind.key_type, _plain_type(kind.item_type))
    if types.is_struct(kind):
        return pa.struct([(field.name, _plain_type(field.type)) for field in kind])
    if types.is_list(kind) or types.is_fixed_size_list(kind):
        return pa.list_(_plain_type(kind.value_type))
    if types.is_large_list(kind):
        return pa.large_list(_plain_type(kind.value_type))
    # Single values: times as text, but durations as whole numbers of their unit.
    if types.is_duration(kind):
        return pa.int64()
    if types.is_temporal(kind):
        return pa.string()
    return pa.float64() if types.is_decimal(kind) or types.is_float16(kind) else kind


@contextmanager
def _damage(path: Path, form: str) -> Iterator[None]:
    import pyarrow as pa

    require_file(path)
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, KeyError, EOFError) as error:
        raise DataError(
            f"{path} is not a readable {form} file: {excerpt(str(error))}",
            expected=f"a complete {form} file",
            fix="fetch the file again, or set `format`",
        ) from None


def _require_unpacked(path: Path) -> None:
    if is_packed(path):
        raise DataError(
            f"{path} is packed as a whole",
            expected="Parquet and Arrow as they are (they are compressed inside)",
            fix="unpack it",
        )


def _require_distinct(path: Path, names: list[str]) -> None:
    doubled = sorted(name for name, count in Counter(names).items() if count > 1)
    if doubled:
        raise DataError(
            f"{path} has several columns called {', '.join(map(repr, doubled))}",
            expected="one column per name",
            fix="rename the columns",
        )

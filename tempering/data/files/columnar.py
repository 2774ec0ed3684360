"""Rows of Parquet and Arrow files, a small batch at a time.

Values stay the Python values that Arrow makes of them (dates, decimals, bytes): whether a row can
hold them is for the row check to say. Arrow files are read rather than mapped into memory, since
mapped pages count as memory in use although they can be let go.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tempering.data.files.lines import excerpt
from tempering.data.files.opening import is_packed, require_file
from tempering.data.rows import Rejected
from tempering.errors import DataError

Item = tuple[int, dict[str, Any]] | Rejected
_BATCH = 256
_BUFFER = 2**20


def read_parquet(path: Path) -> Iterator[Item]:
    """Rows of a Parquet file; of a large row group only some pages are in memory."""
    _require_unpacked(path)
    with _damage(path, "Parquet"):
        import pyarrow.parquet as pq

        with pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False) as file:
            _require_distinct(path, file.schema_arrow.names)
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
    index = 0
    for batch in batches:
        try:
            if check:
                batch.validate(full=True)
            yield from enumerate(batch.to_pylist(), start=index)
        except (ValueError, OverflowError):  # a date after the year 9999, a string that is not UTF-8
            yield from _one_by_one(path, batch, index)
        index += batch.num_rows


def _one_by_one(path: Path, batch: Any, start: int) -> Iterator[Item]:
    import pyarrow as pa

    for index in range(batch.num_rows):
        row = batch.slice(index, 1)
        try:
            row.validate(full=True)
            yield start + index, row.to_pylist()[0]
        except (ValueError, OverflowError) as error:
            not_utf8 = isinstance(error, UnicodeDecodeError) or "UTF8" in str(error)
            if isinstance(error, pa.ArrowInvalid) and not not_utf8:
                raise
            reason = f"a value that Python cannot hold ({type(error).__name__})"
            if not_utf8:
                reason = "invalid UTF-8"
            yield Rejected(path.name, start + index, reason, excerpt(str(error)))


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
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise DataError(
            f"{path} has several columns called {', '.join(map(repr, doubled))}",
            expected="one column per name",
            fix="rename the columns",
        )

"""Parquet out: rows, frames and tables, in a file that is complete or absent.

Rows need not have the same keys (training logs do not): a missing one is null.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tempering.artifacts.atomic import whole_file


def to_table(rows: Any, schema: Any = None) -> Any:
    """A pyarrow Table from a Table, a pandas DataFrame, a mapping of columns or an iterable of rows."""
    import pyarrow as pa

    if isinstance(rows, pa.Table):
        return rows
    if isinstance(rows, Mapping):
        return pa.table(dict(rows), schema=schema)
    if hasattr(rows, "columns") and hasattr(rows, "iloc"):
        return pa.Table.from_pandas(rows, schema=schema, preserve_index=False)
    return _from_rows(list(rows), schema)


def _from_rows(rows: list[Mapping[str, Any]], schema: Any) -> Any:
    import pyarrow as pa

    if schema is not None:
        return pa.Table.from_pylist(rows, schema=schema)
    columns = dict.fromkeys(key for row in rows for key in row)
    return pa.table({key: pa.array([row.get(key) for row in rows]) for key in columns})


def write_parquet(path: Path, rows: Any, schema: Any = None) -> Path:
    """Write `rows` (see `to_table`) to `path`, whole or not at all. Same rows, same bytes."""
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        pq.write_table(to_table(rows, schema), temporary, compression="zstd")
    return path


def read_rows(path: Path, columns: Iterable[str] | None = None) -> list[dict[str, Any]]:
    """All rows of a Parquet file, or of a folder of them, as dictionaries."""
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = pq.read_table(path, columns=list(columns) if columns else None).to_pylist()
    return rows

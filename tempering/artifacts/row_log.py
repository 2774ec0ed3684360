"""An append-only log of rows that survives a crash and a resume.

While a stage runs, rows are JSON lines: each is on disk as soon as it is written, and a torn
last line is dropped. A resume cuts the rows that are newer than its checkpoint, so the Parquet
file written at the end holds neither gaps nor duplicates.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tempering.artifacts.atomic import sync, write_atomic
from tempering.artifacts.partial import remove
from tempering.artifacts.tables import read_rows, write_parquet

Row = dict[str, Any]


class RowLog:
    """Rows appended to `path` (JSON lines)."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path

    def append(self, rows: Iterable[Row]) -> None:
        """Write rows and flush them to the operating system (they survive a killed process)."""
        with self.path.open("a", encoding="utf-8") as file:
            file.writelines(map(_line, rows))

    def rows(self) -> list[Row]:
        """All whole rows, in order."""
        return [row for row in self._lines() if row is not None]

    def _lines(self) -> list[Row | None]:
        """A row for each line, None for one that is malformed."""
        if not self.path.exists():
            return []
        lines = [_row(line) for line in self.path.read_bytes().split(b"\n")]
        return lines if lines[-1] else lines[:-1]  # the empty end, or a line torn by a kill: it comes again

    def cut(self, after_step: int) -> int:
        """Drop the rows whose `step` is later than `after_step`; atomic.

        Returns:
            how many lines were no rows: the log has been damaged.
        """
        lines = self._lines()
        rows = [row for row in lines if row is not None and isinstance(row.get("step"), int)]
        self._write([row for row in rows if row["step"] <= after_step])
        return len(lines) - len(rows)

    def begin(self) -> None:
        """Start anew."""
        remove(self.path)
        if self._parquet.is_dir():
            remove(self._parquet)

    def sync(self) -> None:
        """Bring the rows to the disk, where a checkpoint that counts on them will be."""
        if self.path.exists():
            sync(self.path)

    def mend(self) -> None:
        """Drop a line that a kill tore, so that the next row is not glued to it; atomic."""
        rows = self.rows()
        if rows:
            self._write(rows)
        else:
            self.path.unlink(missing_ok=True)

    def to_parquet(self) -> None:
        """Write the rows beside as Parquet and remove the JSON lines."""
        write_parquet(self._parquet, self.rows())
        self.path.unlink(missing_ok=True)

    def restore(self) -> None:
        """Undo `to_parquet`, for a stage killed after it that resumes; a damaged table has no rows."""
        if self.path.is_dir():
            remove(self.path)
        if not self.path.exists() and self._parquet.exists():
            try:
                self._write(read_rows(self._parquet))
            except (OSError, ValueError):  # pyarrow's own is a ValueError
                self.begin()

    def _write(self, rows: list[Row]) -> None:
        write_atomic(self.path, "".join(map(_line, rows)).encode())

    @property
    def _parquet(self) -> Path:
        return self.path.with_suffix(".parquet")


def _row(line: bytes) -> Row | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _line(row: Row) -> str:
    return json.dumps(row, ensure_ascii=True) + "\n"

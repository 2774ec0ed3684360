"""An append-only log of rows that survives a crash and a resume.

While a stage runs, rows are JSON lines: each is on disk as soon as it is written, and a torn
last line is dropped. A resume cuts the rows that are newer than its checkpoint, so the Parquet
file written at the end holds neither gaps nor duplicates.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tempering.artifacts.atomic import write_atomic
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
        if not self.path.exists():
            return []
        rows = []
        for line in self.path.read_text(encoding="utf-8").split("\n"):
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                continue  # the empty end, or a line torn by a kill; a resume writes it again
        return rows

    def cut(self, after_step: int) -> None:
        """Drop the rows whose `step` is later than `after_step`; atomic."""
        self._write([row for row in self.rows() if row["step"] <= after_step])

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
        """Undo `to_parquet`, for a stage that was killed after it and resumes."""
        if not self.path.exists() and self._parquet.exists():
            self._write(read_rows(self._parquet))

    def _write(self, rows: list[Row]) -> None:
        write_atomic(self.path, "".join(map(_line, rows)).encode())

    @property
    def _parquet(self) -> Path:
        return self.path.with_suffix(".parquet")


def _line(row: Row) -> str:
    return json.dumps(row, ensure_ascii=True) + "\n"

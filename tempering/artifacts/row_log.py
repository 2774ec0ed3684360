"""An append-only log of rows that survives a crash and a resume.

While a stage runs, rows are JSON lines: each is on disk as soon as it is written, and a torn
last line is dropped. A resume cuts the rows that are newer than its checkpoint, so the Parquet
file written at the end holds neither gaps nor duplicates.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tempering.artifacts.tables import read_rows, write_parquet

Row = dict[str, Any]


class RowLog:
    """Rows with a `step`, appended to `path` (JSON lines)."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path

    def append(self, rows: Iterable[Row]) -> None:
        """Write rows and flush them to the operating system (they survive a killed process)."""
        with self.path.open("a", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps(row, ensure_ascii=True) + "\n")

    def rows(self) -> list[Row]:
        """All whole rows, in order."""
        if not self.path.exists():
            return []
        found = []
        for line in self.path.read_text(encoding="utf-8").split("\n"):
            try:
                found.append(json.loads(line))
            except json.JSONDecodeError:
                continue  # the empty end, or a line torn by a kill; a resume writes it again
        return found

    def cut(self, after_step: int) -> None:
        """Drop the rows of later steps than `after_step`; atomic."""
        self._write([row for row in self.rows() if row["step"] <= after_step])

    def _write(self, rows: list[Row]) -> None:
        temporary = self.path.with_suffix(".tmp")
        with temporary.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=True) + "\n" for row in rows)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path)

    def to_parquet(self) -> None:
        """Write the rows beside as Parquet and remove the JSON lines."""
        write_parquet(self._parquet, self.rows())
        self.path.unlink(missing_ok=True)

    def restore(self) -> None:
        """Undo `to_parquet`, for a stage that was killed after it and goes on."""
        if self.path.exists() or not self._parquet.exists():
            return
        rows = read_rows(self._parquet)
        self._write([{key: value for key, value in row.items() if value is not None} for row in rows])

    @property
    def _parquet(self) -> Path:
        return self.path.with_suffix(".parquet")

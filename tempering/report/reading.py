"""Lenient reading of artifacts' tables: a report shows what exists and never fails over what does not."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tempering.artifacts.kinds import Artifact
from tempering.artifacts.tables import read_rows

Row = Mapping[str, Any]


def rows_of(artifact: Artifact, name: str) -> list[dict[str, Any]]:
    """Rows of `metadata/<name>.parquet`; none where the artifact has no such table."""
    path: Path = artifact.path / "metadata" / f"{name}.parquet"
    return read_rows(path) if path.is_file() else []

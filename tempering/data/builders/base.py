"""What all builders share: their configuration and the row they may be refused for.

A builder is a config class with a `kind`, a `row_type` and a `read` that yields rows in the
canonical columns, or `Rejected`. It raises `BadRow` for what it cannot normalise. Checking,
counting, limiting and splitting happen once, in `builders.build` and `parts`, never in a builder.
The path is not part of the identity: the bytes of the files are.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from tempering.config import Config, runtime_field
from tempering.data.files import excerpt, require_file
from tempering.data.rows import Rejected, Row, RowType, Values


class BadRow(Exception):
    """This foreign row cannot be normalised; the message is the reason it is counted under."""


class BuilderConfig(Config):
    """A data set: where its rows come from and how they are split."""

    kind: str
    eval_fraction: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="share of the rows held out into the eval part; 1.0 = all of them",
    )
    max_rows: int | None = Field(default=None, ge=1, description="stop after so many good rows; null = all")
    max_rejected_fraction: float = Field(
        default=0.01, ge=0, le=1, description="the stage fails when a larger share of the rows is rejected"
    )
    seed: int = Field(default=0, ge=0, description="decides which rows are held out")

    @property
    @abstractmethod
    def row_type(self) -> RowType:
        """The type of all rows this builder yields."""

    @abstractmethod
    def read(self) -> Iterator[Row | Rejected]:
        """All rows in file order, in canonical columns, not yet checked."""


class FileBuilderConfig(BuilderConfig):
    """A data set that is read from local files."""

    path: Path | tuple[Path, ...] = runtime_field(
        ..., description="local file or list of files, plain or gzipped; their bytes are the identity"
    )

    @property
    def files(self) -> tuple[Path, ...]:
        """The files in the order in which they are read."""
        return self.path if isinstance(self.path, tuple) else (self.path,)

    def external_files(self) -> tuple[Path, ...]:
        """All files, each of which must exist (so that planning already says what is missing)."""
        return tuple(require_file(path) for path in self.files)

    def read(self) -> Iterator[Row | Rejected]:
        """The rows of all files, one file after the other."""
        for path in self.external_files():
            yield from self.read_file(path)

    @abstractmethod
    def read_file(self, path: Path) -> Iterator[Row | Rejected]:
        """The rows of one file."""


def normalise(
    path: Path, line: int, item: dict[str, Any], normaliser: Callable[[dict[str, Any]], Values]
) -> Row | Rejected:
    """`normaliser(item)` as a row, or its `BadRow` as a rejection with file and line."""
    try:
        return Row(normaliser(item), path.name, line)
    except BadRow as error:
        return Rejected(path.name, line, str(error), excerpt(item))


def string(item: dict[str, Any], column: str) -> str:
    """The string in `column`.

    Raises:
        BadRow: naming the column when it is missing, null or of another type.
    """
    value = item.get(column)
    if not isinstance(value, str):
        found = "missing or null" if value is None else type(value).__name__
        raise BadRow(f"{column}: is {found}, not a string")
    return value

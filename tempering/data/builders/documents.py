"""Running text: lines gathered into documents, or one document per record.

A text file does not say where a document ends, so its builder must. A line that cannot be read costs the
whole document: a text with a gap is not a document.
"""

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path

from tempering.data.builders.base import FileBuilderConfig, Item, Note, Record, scalars, string
from tempering.data.files import file_format, read_lines
from tempering.data.rows import Rejected, Row, RowType, Values
from tempering.errors import DataError


class DocumentsConfig(FileBuilderConfig):
    """Text rows from text files or from records with a `text` column."""

    @property
    def row_type(self) -> RowType:
        """Always text."""
        return RowType.TEXT

    def read_file(self, path: Path) -> Iterator[Item]:
        """One row per document."""
        return self.documents_of(path) if self.is_text(path) else super().read_file(path)

    def is_text(self, path: Path) -> bool:
        """Whether a file holds running text, not records."""
        return (file_format(path) if self.format == "auto" else self.format) == "text"

    @abstractmethod
    def documents_of(self, path: Path) -> Iterator[Item]:
        """The documents of a text file."""

    def normalise(self, record: Record, note: Note) -> Values:
        """One row per record."""
        return {**scalars(record, "text"), "text": string(record, "text")}


class Document:
    """Lines gathered since the last end of a document."""

    def __init__(self, path: Path, extras: Values | None = None) -> None:
        self.path, self.extras = path, extras or {}
        self.parts: list[str] = []
        self.start, self.torn = 0, False

    def add(self, line: int, text: str) -> None:
        """Append a line; the document begins at the first that is not blank."""
        self.start = self.start or (line if text.strip() else 0)
        self.parts.append(text)

    def take(self, text: str | None = None) -> Iterator[Row]:
        """The document as a row; nothing if it is empty or a line of it is missing."""
        text = "\n".join(self.parts).strip() if text is None else text
        if text and not self.torn:
            yield Row({**self.extras, "text": text}, self.path.name, self.start)


def separated(path: Path, encoding: str, separator: str) -> Iterator[Item]:
    """The documents between separators, which may be anywhere in a line.

    Raises:
        DataError: a file of several lines has no separator: it would be one endless document.
    """
    document, ends, lines = Document(path), 0, 0
    for item in read_lines(path, encoding):
        lines += 1
        if isinstance(item, Rejected):
            yield item
            document.torn = True
            continue
        # The first piece of a line continues a document; each further one begins another.
        first, *others = item[1].split(separator)
        document.add(item[0], first)
        for other in others:
            yield from document.take()
            document, ends = Document(path), ends + 1
            document.add(item[0], other)
    # Without a separator the last document is all of the file.
    if not ends and lines > 1:
        raise DataError(
            f"{path} has {lines} lines, none with the separator {separator!r}",
            expected="documents between separators",
            fix="read it with `kind: text` and set `separator`, or `documents: blank_line`, `line` or `file`",
        )
    yield from document.take()

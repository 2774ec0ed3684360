"""Plain text for language modelling: one row a document.

How documents are told apart must be said, since no file says it itself: by a separator such as
`<|endoftext|>`, by blank lines, one a line, or one a file. JSONL files with a text column need
no separator. A file in which the separator never occurs is refused: it would silently become
one endless document.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from tempering.data.builders.base import FileBuilderConfig, normalise, string
from tempering.data.files import read_json_objects, read_lines
from tempering.data.rows import Rejected, Row, RowType, Values
from tempering.errors import DataError


class TextConfig(FileBuilderConfig):
    """Documents from text or JSONL files."""

    kind: Literal["text"] = "text"
    format: Literal["text", "jsonl"] = Field(
        default="text", description="text or JSONL; taken from the name (.jsonl, .json) where it is not given"
    )
    documents: Literal["separator", "blank_line", "line", "file"] = Field(
        default="separator", description="what ends a document in a text file"
    )
    separator: str = Field(
        default="<|endoftext|>", min_length=1, description="the separator, for documents: separator"
    )
    text_column: str = Field(default="text", description="the column with the text, for JSONL")

    @model_validator(mode="before")
    @classmethod
    def _format_from_name(cls, given: Any) -> Any:
        # The format decides the rows while the path is no part of the identity, so it is written down.
        if not isinstance(given, dict) or "format" in given or "path" not in given:
            return given
        path = given["path"]
        names = [
            str(item).removesuffix(".gz") for item in (path if isinstance(path, list | tuple) else [path])
        ]
        formats = {"jsonl" if name.endswith((".jsonl", ".json")) else "text" for name in names}
        if len(formats) > 1:
            raise ValueError("text and JSONL files are mixed; make two data sets, or set `format`")
        return {**given, "format": formats.pop() if formats else "text"}

    @property
    def row_type(self) -> RowType:
        """Always language modelling rows."""
        return RowType.TEXT

    def read_file(self, path: Path) -> Iterator[Row | Rejected]:
        """One row a document."""
        return self._objects(path) if self.format == "jsonl" else self._documents(path)

    def _objects(self, path: Path) -> Iterator[Row | Rejected]:
        for item in read_json_objects(path):
            yield item if isinstance(item, Rejected) else normalise(path, *item, self._text)

    def _text(self, item: dict[str, Any]) -> Values:
        return {"text": string(item, self.text_column)}

    def _documents(self, path: Path) -> Iterator[Row | Rejected]:
        document, bad, ends = _Document(path), False, 0
        for item in read_lines(path):
            if isinstance(item, Rejected):
                yield item
                bad = self.documents != "line"
                continue
            for piece in self._pieces(item[1]):
                if piece is None:
                    yield from [] if bad else document.take()
                    document, bad, ends = _Document(path), False, ends + 1
                else:
                    document.add(item[0], piece)
        if self.documents == "separator" and not ends and document.lines > 1:
            raise DataError(
                f"{path} has {document.lines} lines, and the separator {self.separator!r} is in none of them",
                expected="documents that are told apart",
                fix="set `separator`, or `documents: blank_line`, `line` or `file`",
            )
        yield from [] if bad else document.take()

    def _pieces(self, line: str) -> Iterator[str | None]:
        """The parts of one line; None where a document ends."""
        if self.documents == "line":
            yield from (line, None)
        elif self.documents == "blank_line":
            yield line if line.strip() else None
        elif self.documents == "separator" and self.separator in line:
            first, *others = line.split(self.separator)
            yield first
            for other in others:
                yield None
                yield other
        else:
            yield line


class _Document:
    """Lines gathered since the last end of a document."""

    def __init__(self, path: Path) -> None:
        self.path, self.parts, self.lines, self.start = path, list[str](), 0, 0

    def add(self, line: int, text: str) -> None:
        self.lines += 1
        self.start = self.start or (line if text.strip() else 0)
        self.parts.append(text)

    def take(self) -> Iterator[Row]:
        text = "\n".join(self.parts).strip()
        if text:  # what lies between two ends in a row is no document
            yield Row({"text": text}, self.path.name, self.start)

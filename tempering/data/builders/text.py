"""Plain text for language modelling: one row per document.

The config says what ends a document in a text file: a separator such as `<|endoftext|>`, a blank line, the
end of a line, or the end of the file. A file without the separator is refused: it would silently become one
endless document. Records (JSONL, Parquet, ...) need no separator; `columns: {text: ...}` names their text.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from tempering.config import Readers
from tempering.data.builders.base import Item
from tempering.data.builders.documents import Document, DocumentsConfig, separated
from tempering.data.files import read_lines
from tempering.data.rows import Rejected


class TextConfig(DocumentsConfig):
    """Documents from text files or records."""

    read_by: ClassVar[Mapping[str, Readers]] = {"separator": {"documents": ("separator",)}}

    kind: Literal["text"] = "text"
    documents: Literal["separator", "blank_line", "line", "file"] = Field(
        default="separator", description="what ends a document in a text file"
    )
    separator: str = Field(
        default="<|endoftext|>", min_length=1, description="the separator, for documents: separator"
    )

    def documents_of(self, path: Path) -> Iterator[Item]:
        """The documents of a text file."""
        if self.documents == "separator":
            return separated(path, self.encoding, self.separator)
        return self._between_lines(path)

    def _between_lines(self, path: Path) -> Iterator[Item]:
        document = Document(path)
        for item in read_lines(path, self.encoding):
            if isinstance(item, Rejected):
                yield item
                document.torn = self.documents != "line"
                continue
            line, text = item
            if self.documents == "blank_line" and not text.strip():
                yield from document.take()
                document = Document(path)
                continue
            document.add(line, text)
            if self.documents == "line":
                yield from document.take()
                document = Document(path)
        yield from document.take()

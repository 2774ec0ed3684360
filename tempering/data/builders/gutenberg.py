"""Books of Project Gutenberg: without its header and licence, and with whole paragraphs.

A book is between `*** START OF ...` and `*** END OF ...`, or between the `= = = PG123 = = =` marks of
BabyLM. The source wraps lines near 70 columns: those of a paragraph are joined, otherwise a model would
learn to break lines. Verse and tables, which are indented, stay as they are.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from tempering.data.builders.base import Item, Note
from tempering.data.builders.documents import Document
from tempering.data.files import excerpt, read_lines
from tempering.data.rows import Rejected

LICENCE = "header or licence of Project Gutenberg taken off"
START = re.compile(
    r"\*\*\* ?START OF (?:THE |THIS )?PROJECT GUTENBERG (?:EBOOK|ETEXT)?\s*(.{0,300}?)\s*(?:\*\*\*|$)", re.I
)
END = re.compile(r"\*\*\* ?END OF (?:THE |THIS )?PROJECT GUTENBERG", re.I)
_MARK = re.compile(r"= = = (PG\d+|[^=]+?) = = =")
_WRAPPED = 100
"""A longer line was not wrapped: it is a paragraph by itself."""


def books(path: Path, encoding: str) -> Iterator[Item]:
    """The books of a text file, one row each, with a note per book whose header was removed."""
    book, outside = Document(path), False
    for item in read_lines(path, encoding):
        if isinstance(item, Rejected):
            yield item
            book.torn = True
            continue
        line, text = item
        # A mark of BabyLM ends a book and begins the next.
        if mark := _MARK.search(text):
            yield from _take(book)
            book, outside = Document(path, {"id": mark[1]}), False
            book.add(line, text[mark.end() :])
        elif start := START.search(text):
            # What precedes this mark is a header, or the previous licence, whose end is not marked.
            book, outside = Document(path, {**book.extras, "title": start[1]}), False
            yield Rejected(path.name, line, LICENCE, excerpt(text), kept=True)
        elif END.search(text):  # the licence follows
            yield from _take(book)
            book, outside = Document(path), True
        elif not outside:
            book.add(line, text)
    if not outside:
        yield from _take(book)


def without_licence(text: str, note: Note) -> str:
    """The text of one book without the marks of Project Gutenberg and what is outside of them."""
    start, end = START.search(text), END.search(text)
    if not start and not end:
        return text
    note(LICENCE)
    return text[start.end() if start else 0 : end.start() if end else None].strip()


def unwrapped(lines: Iterable[str]) -> str:
    """Paragraphs of hard-wrapped lines as one line each, with a blank line between them."""
    groups = (list(group) for blank, group in groupby(lines, key=lambda line: not line.strip()) if not blank)
    return "\n\n".join(_paragraph(group) for group in groups)


def _paragraph(lines: list[str]) -> str:
    if any(line[0].isspace() or len(line) > _WRAPPED for line in lines):
        return "\n".join(line.rstrip() for line in lines)
    text = lines[0].strip()
    for line in lines[1:]:
        # A dash at the end of a line belongs to both words.
        text += ("" if text.endswith(("-", "—")) else " ") + line.strip()
    return text


def _take(book: Document) -> Iterator[Item]:
    yield from book.take(unwrapped(book.parts))

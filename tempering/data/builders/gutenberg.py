"""Books of Project Gutenberg: without its header and licence, and with whole paragraphs.

A book is between `*** START OF ...` and `*** END OF ...`, or between the `= = = PG123 = = =` marks of
BabyLM. Marks may stand anywhere in a line, several in one: what is between them is read as lines would be.
The source wraps lines near 70 columns: those of a paragraph are joined, otherwise a model would learn to
break lines. Verse and tables, which are indented, stay as they are.
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
UNENDED = "a book without END: it may hold its licence and the next one's header"
START = re.compile(r"\*\*\* ?START OF (?:THE |THIS )?PROJECT GUTENBERG(?: EBOOK| ETEXT)?", re.I)
_MARKS = re.compile(
    rf"(?P<start>{START.pattern})|(?P<end>\*\*\* ?END OF (?:THE |THIS )?PROJECT GUTENBERG)"
    r"|= = = (?P<mark>PG\d+|[^=]+?) = = =",
    re.I,
)
_LONGEST_TITLE = 300
_WRAPPED = 100
"""A longer line was not wrapped: it is a paragraph by itself."""


def books(path: Path, encoding: str) -> Iterator[Item]:
    """The books of a text file, one row each, with a note per book whose header or licence was removed."""
    reader = _Books(path)
    for item in read_lines(path, encoding):
        if isinstance(item, Rejected):
            yield item
            reader.book.torn = True
        else:
            yield from reader.line(*item)
    if not reader.outside:
        yield from reader.take()


def without_licence(text: str, note: Note) -> str:
    """The text of one record without the marks of Project Gutenberg and what is outside of them.

    Books that share a record stay together.
    """
    kept, begun, outside, licence = [""], False, False, False
    for mark, value in _cut(text):
        if mark == "start":
            kept, begun, licence = (kept if begun else []), True, True
        elif mark == "end":
            licence = True
        elif mark == "mark":
            value = f"= = = {value} = = ="  # of BabyLM's files, not of records: a text like any other
        if not mark and not outside:
            kept.append(value)
        outside = mark == "end" or (outside and mark != "start")
    if licence:
        note(LICENCE)
    return "\n\n".join(piece.strip() for piece in kept if piece.strip()) if licence else text


class _Books:
    """The book that is being read.

    Args:
        begun: it has a START.
        outside: after an END, in the licence.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.book = path, Document(path)
        self.begun = self.outside = False

    def line(self, number: int, text: str) -> Iterator[Item]:
        """The books that end in a line."""
        pieces = list(_cut(text))
        for mark, value in pieces:
            if mark:
                yield from self._at_mark(number, mark, value, text)
            elif not self.outside and (len(pieces) == 1 or value.strip()):
                self.book.add(number, value if len(pieces) == 1 else value.strip())

    def _at_mark(self, number: int, mark: str, value: str, text: str) -> Iterator[Item]:
        note = Rejected(self.path.name, number, LICENCE, excerpt(text), kept=True)
        if mark == "mark":  # of BabyLM: it ends a book and begins the next
            yield from () if self.outside else self.take()
            self._next({"id": value})
        elif mark == "start" and self.begun:
            yield from self.take()
            yield Rejected(self.path.name, number, UNENDED, excerpt(text), kept=True)
            self._next({"title": value}, begun=True)
        elif mark == "start":  # what precedes it is a header
            self._next({**self.book.extras, "title": value}, begun=True)
            yield note
        elif not self.outside:  # the licence follows
            yield from self.take()
            yield from () if self.begun else (note,)
            self._next({}, outside=True)

    def _next(self, extras: dict[str, str], *, begun: bool = False, outside: bool = False) -> None:
        self.book, self.begun, self.outside = Document(self.path, extras), begun, outside

    def take(self) -> Iterator[Item]:
        """The book as a row."""
        yield from self.book.take(unwrapped(self.book.parts))


def _cut(text: str) -> Iterator[tuple[str, str]]:
    """The text between the marks as `("", text)`, and the marks as `(start or end, title)`, `(mark, id)`."""
    at = 0
    while match := _MARKS.search(text, at):
        yield "", text[at : match.start()]
        at, kind = match.end(), match.lastgroup or ""
        value = match["mark"] or ""
        if kind != "mark":
            value, length = _title(text[at : at + _LONGEST_TITLE + 3])
            at += length
        yield kind, value
    yield "", text[at:]


def _title(text: str) -> tuple[str, int]:
    """The title after a mark, up to `***` or the end of the line, and how far it reaches; "" if too far."""
    line = text.partition("\n")[0]
    before, stars, _ = line.partition("***")
    if stars or len(line) <= _LONGEST_TITLE:
        return before.strip(), len(before) + len(stars)
    return "", 0


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

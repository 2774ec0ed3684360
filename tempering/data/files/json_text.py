"""JSON read piece by piece from a stream, so that an array of any length needs little memory.

`json` has no streaming parser, but its decoder says where a value ends. A value that is not there
yet in full is tried again when as much again has been read, so the tries cost at most twice the
length of a value. Bytes that are not UTF-8 become lone surrogates: only the rows that hold them
are rejected (later, by the row check), not the file.
"""

import codecs
import json
import re
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from tempering.data.files.opening import LONGEST
from tempering.errors import DataError

_CHUNK = 2**16
_BLANK = re.compile(r"[ \t\r\n]*")
_BRACKET = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}"]', re.DOTALL)
_BARE = re.compile(r"[^,\]}\s]*")
_UNFINISHED = re.compile(r"\\?[-+.\w]*\s*")  # tru, -1., -Infin, \\ud8 or nothing at all
_CLOSED = frozenset(']}"el')  # what a value ends with (e: true, l: null); a number might go on
_NEAR = 12  # an error this near the end of what was read may be a value that goes on
_decode = json.JSONDecoder().raw_decode


class Malformed(Exception):
    """What stands here is not JSON; the message says what and in which line."""


class CutOff(Exception):
    """The file ends within a value, and now all of it is read; the message is the value's beginning."""


class Skipped(Exception):
    """A well-formed value that Python cannot hold was passed over; the message is its beginning."""


class JsonText:
    """The values in a stream of JSON text, one after the other."""

    def __init__(self, path: Path, stream: BinaryIO, encoding: str = "utf-8") -> None:
        codec = "utf-8-sig" if encoding == "utf-8" else encoding
        self.path, self._stream = path, stream
        self._decoder = codecs.getincrementaldecoder(codec)("surrogateescape")
        self._text, self._at, self._ended, self._lines = "", 0, False, 1

    def peek(self) -> str:
        """The next character that is not blank; "" at the end of the file."""
        while True:
            found = _BLANK.match(self._text, self._at)
            assert found is not None
            self._at = found.end()
            if self._at < len(self._text):
                return self._text[self._at]
            if self._ended:
                return ""
            self._more()

    def take(self) -> None:
        """Pass over the character that `peek` gave."""
        self._at += 1

    @property
    def line(self) -> int:
        """The line that is being read, from 1."""
        return self._lines + self._text.count("\n", 0, self._at)

    @property
    def rest(self) -> str:
        """The beginning of what comes next."""
        return self._text[self._at : self._at + 1000]

    def value(self) -> Any:
        """The next JSON value.

        Raises:
            Malformed, CutOff, Skipped: see there.
            DataError: when it is longer than any row can be.
        """
        self.peek()
        while True:
            try:
                value, end = _decode(self._text, self._at)
            except json.JSONDecodeError as error:
                self._retry(error)
                continue
            except (ValueError, RecursionError):  # a number of 5,000 digits, a thousand brackets
                self._skip()
            if end < len(self._text) or (self._ended and self._text[-1] in _CLOSED):
                self._at = end
                return value
            if self._ended:
                raise self._cut_off()
            self._more()

    def _retry(self, error: json.JSONDecodeError) -> None:
        cut = error.msg.startswith("Unterminated") or bool(_UNFINISHED.fullmatch(self._text, error.pos))
        if cut and self._ended:
            raise self._cut_off() from None
        if not cut and (self._ended or error.pos < len(self._text) - _NEAR):
            line = self._lines + self._text.count("\n", 0, error.pos)
            raise Malformed(f"{error.msg} in line {line}") from None
        self._more()

    def _cut_off(self) -> CutOff:
        beginning, self._at = self.rest, len(self._text)
        return CutOff(beginning)

    def _skip(self) -> NoReturn:
        beginning = self.rest
        while (end := _end_of_value(self._text, self._at)) is None:
            if self._ended:
                raise self._cut_off() from None
            self._more()
        self._at = end
        raise Skipped(beginning) from None

    def _more(self) -> None:
        """Read on: at least as much as is still unread."""
        self._lines = self.line
        unread = self._text[self._at :]
        if len(unread) > LONGEST:
            raise DataError(
                f"{self.path}: one JSON value (from line {self._lines}) is longer than {LONGEST >> 20} MiB",
                expected="rows: JSONL, or one JSON array of objects",
                fix="turn it into JSONL; a document such as SQuAD has a builder of its own",
            )
        data = self._stream.read(max(_CHUNK, len(unread)))
        self._ended = not data
        self._text, self._at = unread + self._decoder.decode(data, not data), 0


def _end_of_value(text: str, start: int) -> int | None:
    """Where a value ends, by brackets and strings alone; None where that is not in `text`."""
    if text[start] not in "[{":
        found = _BARE.match(text, start)
        return found.end() if found and found.end() < len(text) else None
    depth = 0
    for token in _BRACKET.finditer(text, start):
        if token[0] == '"':
            return None
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token[0], 0)
        if depth == 0:
            return token.end()
    return None

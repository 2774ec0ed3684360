"""JSON read piece by piece from a stream, so that an array of any length needs little memory.

`json` has no streaming parser, but its decoder says where a value ends. A value that cannot be decoded is
tried again when as much again has been read, until its brackets close: so the tries cost at most twice
the length of a value. Bytes that are not UTF-8 become lone surrogates: only the rows that hold them
are rejected (later, by the row check), not the file.
"""

import codecs
import json
import re
from pathlib import Path
from typing import Any, BinaryIO

from tempering.data.files.opening import LONGEST
from tempering.errors import DataError

_CHUNK = 2**16
_BLANK = re.compile(r"[ \t\r\n]*")
_BRACKET = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}"]', re.DOTALL)
_BARE = re.compile(r"[^,\]}\s]*")
_UNFINISHED = re.compile(r"\\?[-+.\w]*\s*")  # tru, -1., -Infin, \\ud8 or nothing at all
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
        self._text, self._at, self._at_end, self._lines = "", 0, False, 1

    def peek(self) -> str:
        """The next character that is not blank; "" at the end of the file."""
        while True:
            blank = _BLANK.match(self._text, self._at)
            assert blank is not None
            self._at = blank.end()
            if self._at < len(self._text):
                return self._text[self._at]
            if self._at_end:
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
            error: Exception | None = None
            try:
                value, end = _decode(self._text, self._at)
            except (ValueError, RecursionError) as fault:
                error = fault
            else:
                # A number at the end of what was read might continue.
                if end < len(self._text) or type(value) not in (int, float):
                    self._at = end
                    return value
            # It is incomplete so far; or complete, and cannot be decoded.
            end_of_value = _end_of_value(self._text, self._at)
            if end_of_value is not None or self._at_end or len(self._text) - self._at > LONGEST:
                raise self._fault(error, end_of_value) from None
            self._more()

    def _fault(self, error: Exception | None, end: int | None) -> Exception:
        """Why there is no value here; `end` is the end of a complete value."""
        # Complete JSON that is wrong all the same.
        if isinstance(error, json.JSONDecodeError):
            cut = error.msg.startswith("Unterminated") or _UNFINISHED.fullmatch(self._text, error.pos)
            if not cut:
                line = self._lines + self._text.count("\n", 0, error.pos)
                return Malformed(f"{error.msg} in line {line}")
        # A number of 5,000 digits, a thousand brackets.
        elif end is not None:
            beginning, self._at = self.rest, end
            return Skipped(beginning)
        # A value without its end.
        if self._at_end:
            beginning, self._at = self.rest, len(self._text)
            return CutOff(beginning)
        return DataError(
            f"{self.path}: one JSON value (from line {self.line}) is longer than {LONGEST >> 20} MiB",
            expected="rows: JSONL, or one JSON array of objects",
            fix="turn it into JSONL; a document such as SQuAD has a builder of its own",
        )

    def _more(self) -> None:
        """Read on: at least as much as is still unread."""
        self._lines = self.line
        unread = self._text[self._at :]
        data = self._stream.read(max(_CHUNK, len(unread)))
        self._at_end = not data
        self._text, self._at = unread + self._decoder.decode(data, not data), 0


def _end_of_value(text: str, start: int) -> int | None:
    """Where a value ends, by brackets and strings alone; None where that is not in `text`."""
    if text[start : start + 1] not in ("[", "{", '"'):
        bare = _BARE.match(text, start)
        return bare.end() if bare and bare.end() < len(text) else None
    depth = 0
    for token in _BRACKET.finditer(text, start):
        if token[0] == '"':  # a string that is not closed
            return None
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token[0], 0)
        if depth == 0:
            return token.end()
    return None

"""Rows of CSV and TSV files, as dicts of strings.

CSV may be separated by semicolons, tabs or bars, as its header tells. It is read strictly: a stray or
unclosed quote is a fault, and every line that it swallowed is rejected by itself, so that the count says how
much is lost. Going on inside such a record would make rows out of the middle of texts. TSV has no quoting at
all: the original GLUE and CoLA files hold stray double quotes. Row indices count from 0 and leave the header
out.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tempering.data.files.lines import excerpt, raw_lines, undecodable
from tempering.data.rows import Rejected
from tempering.errors import DataError

_LONGEST_FIELD = 2**24
_REASONS = {
    "unexpected end of data": "a quote is not closed",
    "field larger": f"a quote is not closed, or a field is longer than {_LONGEST_FIELD >> 20} MiB",
    "expected after": "a stray quote",
}


@dataclass(frozen=True)
class _Fault:
    """A physical line that is in no row."""

    reason: str
    text: str


_Fields = list[str] | _Fault


def read_csv(path: Path, encoding: str, header: bool) -> Iterator[tuple[int, dict[str, str]] | Rejected]:
    """Rows of a file with quotes, separated by commas, or by what its header is separated by instead."""
    return _rows(path, _quoted(path, encoding, _separator(path, encoding, header)), header)


def read_tsv(path: Path, encoding: str, header: bool) -> Iterator[tuple[int, dict[str, str]] | Rejected]:
    """Rows of a tab-separated file in which a quote is a character like any other."""
    return _rows(path, _plain(path, encoding), header)


def _separator(path: Path, encoding: str, header: bool) -> str:
    """A comma, unless the first line has none, but semicolons (spreadsheets of many countries), tabs or bars.

    Without a header the first line is a text like any other, and tells only if all of its fields are quoted.
    """
    line, _ = next(_text_lines(path, encoding), ("", ""))
    bare = re.sub(r'"[^"]*"', "", line).strip("\ufeff\r\n ")
    others = [mark for mark in ";\t|" if mark in bare and (header or not bare.strip(mark))]
    return others[0] if others and "," not in bare else ","


def _rows(
    path: Path, records: Iterator[_Fields], header: bool
) -> Iterator[tuple[int, dict[str, str]] | Rejected]:
    names = _header(path, records) if header else None
    for index, fields in enumerate(records):
        if isinstance(fields, _Fault):
            yield Rejected(path.name, index, fields.reason, excerpt(fields.text))
            continue
        names = names or [str(place) for place in range(len(fields))]
        if len(fields) == len(names):
            yield index, dict(zip(names, fields, strict=True))
        else:
            reason = f"has {_counted(len(fields), 'field')}, and there are {_counted(len(names), 'column')}"
            yield Rejected(path.name, index, reason, excerpt(",".join(fields)))


def _header(path: Path, records: Iterator[_Fields]) -> list[str] | None:
    names = next(records, None)
    if isinstance(names, _Fault):
        raise DataError(
            f"{path}: the header cannot be read: {names.reason}: {excerpt(names.text)}",
            expected="the names of the columns in the first row",
            fix="mend the first line; where it is a row already, set `header: false`",
        )
    doubled = sorted(name for name, count in Counter(names).items() if count > 1)
    if doubled:
        raise DataError(
            f"{path}: the header names {', '.join(map(repr, doubled))} more than once",
            expected="one column per name",
            fix="rename the columns; where the first row is a row of data, set `header: false`",
        )
    return names


def _plain(path: Path, encoding: str) -> Iterator[_Fields]:
    for line, fault in _text_lines(path, encoding):
        text = line.rstrip("\r\n")
        if fault:
            yield _Fault(fault, text)
        elif text:
            yield text.split("\t")


def _quoted(path: Path, encoding: str, separator: str) -> Iterator[_Fields]:
    # A limit of the whole process; without it one unclosed quote would take in the rest of the file.
    csv.field_size_limit(_LONGEST_FIELD)
    lines = _Lines(_text_lines(path, encoding))
    reader = csv.reader(lines, delimiter=separator, strict=True)
    while True:
        reason = ""
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            reason = next(
                (reason for message, reason in _REASONS.items() if message in str(error)), str(error)
            )
        reason = reason or lines.fault
        if reason:
            yield from (_Fault(reason, text) for text in lines.record)
        elif fields:
            yield fields
        lines.clear()


@dataclass
class _Lines:
    """The lines of a file, of which those of the record being read are kept."""

    lines: Iterator[tuple[str, str]]
    record: list[str] = field(default_factory=list)
    fault: str = ""

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        text, fault = next(self.lines)
        self.record.append(text)
        self.fault = self.fault or fault
        return text

    def clear(self) -> None:
        self.record, self.fault = [], ""


def _text_lines(path: Path, encoding: str) -> Iterator[tuple[str, str]]:
    """`(line with its end, what is wrong with its bytes or "")`."""
    for item in raw_lines(path):
        if isinstance(item, Rejected):
            yield item.excerpt, item.reason
            continue
        try:
            yield item[1].decode(encoding), ""
        except UnicodeDecodeError as error:
            yield item[1].decode(encoding, "backslashreplace"), undecodable(encoding, error)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"

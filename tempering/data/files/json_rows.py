"""Objects of JSON files: JSONL, one array, or one document, told apart by content.

A faulty line of JSONL costs one row. An array can be cut off (what is complete stays) but not
mended: after a fault in its middle nobody knows where the next row begins, so that is an error.
"""

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, Literal

from tempering.data.files.json_text import CutOff, JsonText, Malformed, Skipped
from tempering.data.files.lines import excerpt, read_lines
from tempering.data.files.opening import BOM, LONGEST, head, opened
from tempering.data.rows import Rejected
from tempering.errors import DataError

Item = tuple[int, Any] | Rejected
_TOO_MUCH = "malformed JSON (too large or too deep)"
_CUT_OFF = "the JSON is cut off"
_FIRST_LINE = 2**20
# Under these names one object holds the rows of a whole file.
_ROWS = ("data", "rows", "examples", "records", "items")


def read_json_objects(path: Path, encoding: str = "utf-8") -> Iterator[tuple[int, dict[str, Any]] | Rejected]:
    """Objects by line (JSONL) or by row index from 0 (one array, or objects that span lines).

    Raises:
        DataError: when the file is one document rather than rows, or an array with a fault inside.
    """
    forms = {"lines": _lines, "array": _array, "values": _values}
    yield from _objects(path, forms[_form(path, encoding)](path, encoding))


def read_json_lines(path: Path, encoding: str = "utf-8") -> Iterator[tuple[int, dict[str, Any]] | Rejected]:
    """Objects of a JSONL file, whatever it looks like."""
    yield from _objects(path, _lines(path, encoding))


def read_document(path: Path) -> Any | None:
    """The whole file as one JSON value, or None where it is not one (then it may be JSONL).

    JSONL is told by its first line, so that only a document is ever held in memory. Bytes that are
    not UTF-8 become lone surrogates, so that only the rows that hold them are rejected.

    Raises:
        DataError: when the document is longer than any JSON value may be.
    """
    with opened(path) as stream:
        line = stream.readline(LONGEST + 1)
        more = stream.read(_FIRST_LINE)
        if more.strip() and _is_json(line.removeprefix(BOM)):
            return None
        data = line + more + stream.read(max(LONGEST + 1 - len(line) - len(more), 0))
    if len(data) > LONGEST:
        raise DataError(
            f"{path} is one JSON document of more than {LONGEST >> 20} MiB; a document must fit into memory",
            expected="rows that are read one by one: JSONL, or one JSON array of objects",
            fix="write its rows as JSONL, or cut it into several documents",
        )
    text = data.removeprefix(BOM).decode("utf-8", "surrogateescape")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _objects(path: Path, items: Iterator[Item]) -> Iterator[tuple[int, dict[str, Any]] | Rejected]:
    for item in items:
        if isinstance(item, Rejected) or isinstance(item[1], dict):
            yield item
        else:
            yield Rejected(path.name, item[0], "not a JSON object", excerpt(item[1]))


def _form(path: Path, encoding: str) -> Literal["lines", "array", "values"]:
    start = head(path, _FIRST_LINE).lstrip()
    if start[:1] == b"[":
        line, _, more = start.partition(b"\n")
        return "lines" if more.strip() and _is_json(line) else "array"
    return _form_of_objects(path, encoding) if start[:1] == b"{" else "lines"


def _form_of_objects(path: Path, encoding: str) -> Literal["lines", "values"]:
    """How objects follow each other, told by the first one."""
    with opened(path) as stream:
        text = JsonText(path, stream, encoding)
        text.peek()
        start = text.line
        try:
            value = text.value()
        except (Malformed, CutOff, Skipped):
            return "lines"
        end, lone = text.line, text.peek() == ""
        if lone and isinstance(value, dict):
            _refuse_document(path, value)
        return "lines" if start == end and (lone or text.line > end) else "values"


def _refuse_document(path: Path, value: dict[str, Any]) -> None:
    if any(suffix in path.suffixes for suffix in (".jsonl", ".ndjson")):
        return
    names = [name for name, rows in value.items() if _are_rows(rows) and (name in _ROWS or len(value) == 1)]
    if names:
        raise DataError(
            f"{path} is one document whose rows lie inside, under {names[0]!r}",
            expected="rows: JSONL, or one JSON array of objects",
            fix=f"a SQuAD document has its own builder (`kind: squad`); else write {names[0]!r} as JSONL",
        )


def _are_rows(value: Any) -> bool:
    if not (isinstance(value, list) and value and all(isinstance(item, dict) for item in value)):
        return False
    return not any(name in value[0] for name in ("role", "from"))  # the turns of one conversation


def _lines(path: Path, encoding: str) -> Iterator[Item]:
    for item in read_lines(path, encoding):
        if isinstance(item, Rejected):
            yield item
        elif item[1].strip():
            yield _parse(path, *item)


def _parse(path: Path, number: int, text: str) -> Item:
    try:
        return number, json.loads(text)
    except json.JSONDecodeError as error:
        return Rejected(path.name, number, f"malformed JSON ({error.msg})", excerpt(text))
    except (ValueError, RecursionError):  # a number of 5,000 digits, a thousand brackets
        return Rejected(path.name, number, _TOO_MUCH, excerpt(text))


def array_items(text: JsonText) -> Iterator[Item]:
    """The elements of the array that `text` begins with, whatever they are, by row index.

    Raises:
        DataError: when there is a fault inside, or something after the array.
    """
    # Past the bracket, then element and comma in turn.
    text.peek()
    text.take()
    for index in count():
        if text.peek() == "]":
            break
        item = _value(text, index)
        yield item
        if text.peek() == ",":
            text.take()
        elif text.peek() == "":
            # The file ends early: what is complete stays, the cut counts once.
            if not _is_cut(item):
                yield Rejected(text.path.name, index + 1, _CUT_OFF)
            return
        elif text.peek() != "]":
            raise _broken(text.path, index + 1, f"a comma is missing in line {text.line}")
    # Nothing may follow: a second array would be lost.
    text.take()
    if text.peek():
        raise DataError(
            f"{text.path} continues after its JSON array, in line {text.line}",
            expected="one array, or JSONL",
            fix="split it into one file per array, or turn it into JSONL",
        )


def _array(path: Path, encoding: str) -> Iterator[Item]:
    with opened(path) as stream:
        yield from array_items(JsonText(path, stream, encoding))


def _values(path: Path, encoding: str) -> Iterator[Item]:
    with opened(path) as stream:
        text = JsonText(path, stream, encoding)
        for index in count():
            if not text.peek():
                return
            yield _value(text, index)


def _value(text: JsonText, index: int) -> Item:
    try:
        return index, text.value()
    except CutOff as beginning:
        return Rejected(text.path.name, index, _CUT_OFF, excerpt(str(beginning)))
    except Skipped as beginning:
        return Rejected(text.path.name, index, _TOO_MUCH, excerpt(str(beginning)))
    except Malformed as fault:
        raise _broken(text.path, index, str(fault)) from None


def _is_cut(item: Item) -> bool:
    return isinstance(item, Rejected) and item.reason == _CUT_OFF


def _broken(path: Path, index: int, fault: str) -> DataError:
    return DataError(
        f"{path}: the JSON breaks off at row {index}: {fault}; where the next row begins cannot be told",
        expected="well-formed JSON, or JSONL, where a fault costs one line",
        fix=f"look at it with `python -m json.tool {path.name}` and mend the row",
    )


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True

"""Reading local text files so that every fault has a file and a line.

Files are read as bytes and cut at `\\n` alone (`str.splitlines` would also cut at U+2028 and
friends, which occur inside JSON strings). A byte order mark and carriage returns are taken off;
gzip is recognised by its first bytes, so a file's meaning never hangs on its name.
"""

import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from tempering.data.rows import Rejected
from tempering.errors import DataError

_EXCERPT = 120
_BOM = b"\xef\xbb\xbf"


def require_file(path: Path) -> Path:
    """The path itself, if it is a readable file.

    Raises:
        DataError: when there is none; names of Hub data sets end up here as well.
    """
    if path.is_file():
        return path
    what = "is a folder" if path.is_dir() else "does not exist"
    raise DataError(
        f"the data file {path} {what} (looked in {Path.cwd()})",
        expected="a local file; data sets cannot be named by their Hub name here",
        fix="put the file there (data/ is meant for it) or correct `path`",
    )


def excerpt(value: object) -> str:
    """The beginning of a faulty row, safe to store and print."""
    text = value if isinstance(value, str) else repr(value)
    short = text[:_EXCERPT] + ("…" if len(text) > _EXCERPT else "")
    return short.encode("utf-8", "backslashreplace").decode("utf-8").replace("\x00", "\\x00")


def read_lines(path: Path) -> Iterator[tuple[int, str] | Rejected]:
    """`(line number from 1, text without its line end)`; a line that is not UTF-8 comes as `Rejected`."""
    with _opened(path) as stream:
        for number, raw in enumerate(stream, start=1):
            data = raw.removeprefix(_BOM) if number == 1 else raw
            data = data.removesuffix(b"\n").removesuffix(b"\r")
            try:
                yield number, data.decode("utf-8")
            except UnicodeDecodeError as error:
                shown = excerpt(data.decode("utf-8", "backslashreplace"))
                yield Rejected(path.name, number, f"invalid UTF-8 ({error.reason})", shown)


def read_json_objects(path: Path) -> Iterator[tuple[int, dict[str, Any]] | Rejected]:
    """Objects of a JSONL file (by line) or of one JSON array (by row index from 0), told apart by content."""
    items = _array_items(path) if _first_byte(path) == b"[" else _line_items(path)
    for item in items:
        if isinstance(item, Rejected) or isinstance(item[1], dict):
            yield item
        else:
            yield Rejected(path.name, item[0], "not a JSON object", excerpt(item[1]))


def read_json_document(path: Path) -> Any | None:
    """The whole file as one JSON value, or None where it is not one (then it may be JSONL).

    Bytes that are not UTF-8 become lone surrogates, so that only the rows that hold them are rejected.
    """
    with _opened(path) as stream:
        text = stream.read().removeprefix(_BOM).decode("utf-8", "surrogateescape")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _line_items(path: Path) -> Iterator[tuple[int, Any] | Rejected]:
    for item in read_lines(path):
        if isinstance(item, Rejected):
            yield item
        elif item[1].strip():
            yield _parse(path, *item)


def _parse(path: Path, number: int, text: str) -> tuple[int, Any] | Rejected:
    try:
        return number, json.loads(text)
    except json.JSONDecodeError as error:
        return Rejected(path.name, number, f"malformed JSON ({error.msg})", excerpt(text))
    except (ValueError, RecursionError):  # a number of 5,000 digits, a thousand brackets
        return Rejected(path.name, number, "malformed JSON (too large or too deep)", excerpt(text))


def _array_items(path: Path) -> Iterator[tuple[int, Any]]:
    document = read_json_document(path)
    if not isinstance(document, list):
        raise DataError(
            f"{path} begins like a JSON array but cannot be parsed",
            expected="one complete JSON array, or JSONL",
            fix=f"find the fault with `python -m json.tool {path.name}`",
        )
    yield from enumerate(document)


def _first_byte(path: Path) -> bytes:
    with _opened(path) as stream:
        return stream.read(4096).removeprefix(_BOM).lstrip()[:1]


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with require_file(path).open("rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    with cast(BinaryIO, gzip.open(path, "rb") if packed else path.open("rb")) as stream:
        try:
            yield stream
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"{path} is a damaged gzip file: {error}", fix="fetch the file again") from None

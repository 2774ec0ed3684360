"""Lines of text, so that every fault has a file and a line.

Files are read as bytes and cut at `\\n` alone (`str.splitlines` would also cut at U+2028 and
friends, which occur inside JSON strings). A byte order mark and carriage returns are taken off.
Lines count from 1.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tempering.data.files.opening import BOM, LONGEST, opened
from tempering.data.rows import Rejected
from tempering.printable import visible

_EXCERPT = 120


def excerpt(value: object) -> str:
    """The beginning of a faulty row, safe to store and to send to a terminal."""
    text = value if isinstance(value, str) else repr(value)
    return visible(text[:_EXCERPT] + ("…" if len(text) > _EXCERPT else ""))


def read_lines(path: Path, encoding: str = "utf-8") -> Iterator[tuple[int, str] | Rejected]:
    """`(line number from 1, text without its line end)`; a line in another encoding comes as `Rejected`."""
    for item in raw_lines(path):
        if isinstance(item, Rejected):
            yield item
            continue
        number, raw = item
        data = raw.removesuffix(b"\n").removesuffix(b"\r")
        try:
            yield number, data.decode(encoding)
        except UnicodeDecodeError as error:
            text = excerpt(data.decode("utf-8", "backslashreplace"))
            yield Rejected(path.name, number, undecodable(encoding, error), text)


def raw_lines(path: Path) -> Iterator[tuple[int, bytes] | Rejected]:
    """`(line number from 1, bytes with their line end)`; only a line that is too long is rejected."""
    with opened(path) as stream:
        for number, raw in enumerate(iter(lambda: stream.readline(LONGEST), b""), start=1):
            data = raw.removeprefix(BOM) if number == 1 else raw
            if len(raw) == LONGEST and not raw.endswith(b"\n"):
                _skip_line(stream)
                text = excerpt(data[:1000].decode("utf-8", "backslashreplace"))
                yield Rejected(path.name, number, f"a line longer than {LONGEST >> 20} MiB", text)
            else:
                yield number, data


def undecodable(encoding: str, error: UnicodeDecodeError) -> str:
    """The reason under which bytes that are not `encoding` are counted."""
    return f"invalid {'UTF-8' if encoding == 'utf-8' else encoding} ({error.reason})"


def _skip_line(stream: BinaryIO) -> None:
    while (piece := stream.readline(LONGEST)) and not piece.endswith(b"\n"):
        pass

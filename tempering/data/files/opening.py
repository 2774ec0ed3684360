"""Any data file as a stream of plain bytes.

What a file is packed with is told by its first bytes, so that its meaning never hangs on its name:
gzip and Zstandard are unpacked on the way; other archives, Git LFS pointers and UTF-16 are refused
by name, since read as text they would give nothing but broken rows.
"""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from tempering.errors import DataError

BOM = b"\xef\xbb\xbf"
LONGEST = 64 * 2**20
"""The longest line or JSON value in memory, in bytes or characters."""

_BLOCK = 2**18
_UNSUSPECTED, _EXPANSION = 2**30, 200
_ARCHIVES = {
    b"PK\x03\x04": "a zip archive",
    b"\xfd7zXZ\x00": "packed with xz",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"\x04\x22\x4d\x18": "packed with lz4",
}


def require_file(path: Path) -> Path:
    """The path itself, if it is a file.

    Raises:
        DataError: when there is none.
    """
    if path.is_file():
        return path
    state = "is not a regular file" if path.exists() else "does not exist"
    fault = "is a folder" if path.is_dir() else state
    raise DataError(
        f"the data file {path} {fault} (looked in {Path.cwd()})",
        expected="a local file",
        fix="put it there (data/ is meant for it) or correct `path`; a data set on the Hub is named by `hub`",
    )


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The bytes of a file, unpacked where it is packed.

    Raises:
        DataError: when it is missing, damaged, or not a data file at all.
    """
    try:
        with require_file(path).open("rb") as stream:
            start = stream.read(64)
    except PermissionError:
        raise DataError(
            f"{path} cannot be read: permission denied", fix="give yourself the right to read it"
        ) from None
    _refuse(path, start)
    with _unpacked(path, start) as stream:
        try:
            yield stream
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise _damaged(path, "gzip", error) from None


def check_expansion(path: Path, size: int) -> None:
    """Refuse a file that has already given `size` bytes, if so few bytes cannot hold so much that differs.

    Text is packed to about a tenth, logs to a hundredth; what goes far beyond is one thing again and again,
    and reading it to its end could take days.
    """
    if size > _UNSUSPECTED and size > _EXPANSION * path.stat().st_size:
        raise DataError(
            f"{path} unpacks to more than {size >> 20:,} MiB, over {_EXPANSION} times its own size",
            expected="data: files that unpack to so much repeat one thing over and over",
            fix="look at what is in it; if it is meant, unpack it and keep what differs",
        )


def head(path: Path, size: int = 4096) -> bytes:
    """The first bytes of what a file holds, without a byte order mark."""
    with opened(path) as stream:
        return stream.read(size).removeprefix(BOM)


def is_packed(path: Path) -> bool:
    """Whether a file is packed with gzip or Zstandard."""
    with require_file(path).open("rb") as stream:
        start = stream.read(4)
    return _is_gzip(start) or _is_zstd(start)


def _is_gzip(start: bytes) -> bool:
    return start.startswith(b"\x1f\x8b")


def _is_zstd(start: bytes) -> bool:
    # A frame, or one that is to be skipped: pzstd begins its files so.
    return start.startswith(b"\x28\xb5\x2f\xfd") or (start[1:4] == b"\x2a\x4d\x18" and start[0] >> 4 == 5)


def _unpacked(path: Path, start: bytes) -> BinaryIO:
    if _is_gzip(start):
        return io.BufferedReader(_Measured(path, gzip.open(path, "rb")), _BLOCK)
    if _is_zstd(start):
        return io.BufferedReader(_Measured(path, _Zstd(path)), _BLOCK)
    return path.open("rb", buffering=_BLOCK)


class _Measured(io.RawIOBase):
    """What a packed file gives, as long as it is not absurdly much."""

    def __init__(self, path: Path, stream: Any) -> None:
        self._path, self._stream, self._size = path, stream, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count: int = self._stream.readinto(buffer)
        self._size += count
        check_expansion(self._path, self._size)
        return count

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()


class _Zstd(io.RawIOBase):
    """A Zstandard file of one or more frames."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa

        self._path, self._faults = path, (OSError, pa.ArrowException)
        self._stream: Any = pa.CompressedInputStream(pa.OSFile(str(path)), "zstd")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._stream.read(len(buffer))
        except self._faults as error:
            raise _damaged(self._path, "Zstandard", error) from None
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()


def _damaged(path: Path, packing: str, error: BaseException) -> DataError:
    return DataError(f"{path} is a damaged {packing} file: {error}", fix="fetch the file again")


def _refuse(path: Path, start: bytes) -> None:
    # Read as text, each of these would give nothing but broken rows.
    if start.startswith(b"version https://git-lfs.github.com/spec/"):
        raise DataError(
            f"{path} is a Git LFS pointer, not the data itself",
            expected="the file it stands for",
            fix="fetch it with `git lfs pull`, or download it from its page",
        )
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError(
            f"{path} is UTF-16",
            expected="UTF-8",
            fix=f"convert it: `iconv -f utf-16 -t utf-8 {path.name}`",
        )
    packing = next((name for magic, name in _ARCHIVES.items() if start.startswith(magic)), None)
    if start.startswith(b"BZh") and start[4:10] == b"1AY&SY":
        packing = "packed with bzip2"
    if packing:
        raise DataError(
            f"{path} is {packing}",
            expected="a plain file, gzip (.gz) or Zstandard (.zst)",
            fix="unpack it first",
        )

"""Writing so that a crash leaves the old file or folder or the new one, never half of one.

It is written beside its place, under a name that begins with `.tmp-`, and renamed when it is complete. An
old folder stands aside as `.old-` meanwhile. What a killed process left there goes with the next writing; of
a process on another machine or in another container nobody can tell, and it goes after a day.
"""

import errno
import glob
import hashlib
import os
import shutil
import socket
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from tempering.errors import StoreError

_LARGEST = 1 << 28  # bytes; a manifest of ten thousand files has a hundredth of it
_LONG = 24 * 3600.0  # seconds in which whoever writes adds a file at least
_SPACE, _RIGHTS = "free space there", "change the owner or the rights there"
_AWAY, _OTHER = "move it away", "use another disk or a shorter name"
_REASONS = {
    errno.ENOSPC: ("the disk is full", _SPACE),
    errno.EDQUOT: ("the disk quota is used up", _SPACE),
    errno.EROFS: ("the file system is read-only", _RIGHTS),
    errno.EACCES: ("permission denied", _RIGHTS),
    errno.EPERM: ("permission denied", _RIGHTS),
    errno.ENOTDIR: ("a part of the path is a file", _AWAY),
    errno.EEXIST: ("a part of the path is a file", _AWAY),
    errno.EISDIR: ("a folder is in the place of a file", _AWAY),
    errno.ESPIPE: ("a pipe or a device is in the place of a file", _AWAY),
    errno.ELOOP: ("its links lead in a circle", _AWAY),
    errno.EIO: ("the disk has an error", _OTHER),
    errno.ENAMETOOLONG: ("the name is too long", _OTHER),
}
_TEXTS = {"No space left on device": errno.ENOSPC, "Disk quota exceeded": errno.EDQUOT}


@contextmanager
def whole_file(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """An empty file beside `path` that takes its place when the block ends well, and goes when it does not.

    Args:
        durable: it is on the disk, and its new name too, when the block has ended.
    """
    temporary = beside(path)
    sweep(path)  # also of a process that had our numbers
    temporary.touch(exist_ok=False)  # writes through no link that somebody has put there
    try:
        yield temporary
        if durable:
            sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    if durable:
        sync(path.parent)


def write_atomic(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write `content` to `path`, whole or not at all."""
    with whole_file(path, durable=durable) as temporary:
        temporary.write_bytes(content)


def publish_folder(temporary: Path, folder: Path, *, durable: bool = False) -> None:
    """Give the written folder `temporary` the name `folder`, replacing an existing one; all may read it.

    Args:
        durable: all of it is on the disk, and its new name too, when this returns.
    """
    # All of it is readable, and on the disk, before it has its name.
    for path in (temporary, *temporary.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
        if durable:
            sync(path)
    # An existing one moves aside, intact, until the new one has its place.
    previous = beside(folder, "old")
    shutil.rmtree(previous, ignore_errors=True)
    try:
        if folder.exists():
            folder.rename(previous)
        temporary.rename(folder)
    except BaseException:  # a stop comes at any moment
        if previous.exists() and not folder.exists():
            previous.rename(folder)
        raise
    if durable:
        sync(folder.parent)
    shutil.rmtree(previous, ignore_errors=True)


def beside(place: Path, mark: str = "tmp") -> Path:
    """The name beside `place` that this thread may write under; `sweep` knows it."""
    return place.with_name(f".{mark}-{place.name}.{here()}-{os.getpid()}.{threading.get_native_id()}")


@cache
def here() -> str:
    """Where our process numbers mean something: this machine, and the container in it."""
    numbers = ""  # of Linux alone
    with suppress(OSError):
        numbers = str(Path("/proc/self/ns/pid").readlink())
    return hashlib.sha256(f"{socket.gethostname()} {numbers}".encode()).hexdigest()[:8]


def sweep(place: Path) -> None:
    """Clear what killed processes left beside `place`.

    A folder that stood aside gets its place back where no new one has it; half of a new one goes.
    """
    for mark in ("old", "tmp"):
        for leftover in place.parent.glob(f".{mark}-{glob.escape(place.name)}.*"):
            if not _is_left(leftover, leftover.name.removeprefix(f".{mark}-{place.name}.")):
                continue
            if mark == "old" and not place.exists():
                leftover.rename(place)
            else:
                _clear(leftover)


def sweep_all(folder: Path, mark: str = "tmp") -> None:
    """Clear the half-written files and folders of killed processes in `folder`, whatever their places."""
    for leftover in folder.glob(f".{mark}-*.*.*"):
        if _is_left(leftover, ".".join(leftover.name.rsplit(".", 2)[1:])):
            _clear(leftover)


def _clear(path: Path) -> None:
    with suppress(OSError):  # a leftover that may not be removed is no reason not to write
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _is_left(leftover: Path, writer: str) -> bool:
    """Whether the `writer` of a name from `beside` is no more."""
    process, _, thread = writer.partition(".")
    place, _, number = process.rpartition("-")
    if not (number.isdigit() and thread.isdigit()):
        return False  # beside another place, whose name begins alike
    if place != here():
        with suppress(OSError):
            return time.time() - leftover.lstat().st_mtime > _LONG
        return False
    if int(number) == os.getpid():  # in a container a run after a kill may well have the same number
        others = {each.native_id for each in threading.enumerate()} - {threading.get_native_id()}
        return int(thread) not in others
    return not process_exists(int(number))


def read_file(path: Path) -> bytes:
    """The content of a small file; a pipe is never opened, since reading it might never end.

    Raises:
        OSError: it cannot be read, or is no file.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(errno.ESPIPE, "Is a pipe or a device", str(path))
    if path.stat().st_size > _LARGEST:
        raise OSError(errno.EFBIG, "It is far too large", str(path))
    return path.read_bytes()


def probe(folder: Path) -> None:
    """Raise the OSError that writing into `folder` would."""
    place = beside(folder / "probe")
    place.write_bytes(b"x")
    place.unlink()


def process_exists(pid: int) -> bool:
    """Whether this host has a process of that number, whoever owns it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def process_birth(pid: int) -> str:
    """What tells a process from an earlier or later one of its number; "" where that cannot be known."""
    with suppress(OSError, IndexError):  # of Linux alone
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "ended" if fields[0] in "ZX" else f"{boot} {fields[19]}"
    return ""


def sync(path: Path) -> None:
    """fsync a file or a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def store_errors(failure: str) -> Iterator[None]:
    """Turn a full disk, missing rights and the like into a StoreError that says what to do."""
    try:
        yield
    except OSError as error:
        trouble = file_trouble(error, failure)
        if trouble is None:
            raise
        raise trouble from error


def file_trouble(error: BaseException, failure: str = "") -> StoreError | None:
    """What to tell people where an error comes from the disk, the rights or the names there, else None.

    Args:
        failure: what could not be done (default: the path).
    """
    number = error.errno if isinstance(error, OSError) else None
    # Libraries of C++ and Rust tell of a full disk in words of their own.
    number = next((known for text, known in _TEXTS.items() if text in str(error)), number)
    if number not in _REASONS:
        return None
    reason, fix = _REASONS[number]
    # Of two names, as in a copy, the second one is written to.
    place = (
        getattr(error, "filename2", None)
        or getattr(error, "filename", None)
        or getattr(error, "strerror", None)
        or error
    )
    return StoreError(
        f"{failure}: {reason} ({place})" if failure else f"{place}: {reason}",
        expected="a place that this user can read and write, with space left",
        fix=f"{fix}, or choose another store with --store",
    )

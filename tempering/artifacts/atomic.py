"""Writing so that a crash leaves the old file or folder or the new one, never half of one.

It is written beside its place, under a name that begins with `.tmp-`, and renamed when it is complete.
"""

import errno
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tempering.errors import StoreError

_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.ENOTDIR: "a part of the path is a file",
    errno.EEXIST: "a part of the path is a file",
}


@contextmanager
def whole_file(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """An empty file beside `path` that takes its place when the block ends well, and goes when it does not.

    Args:
        durable: it is on the disk, and its new name too, when the block has ended.
    """
    # Two threads may write the same file; a process before this one may have had both numbers.
    temporary = path.with_name(f".tmp-{path.name}-{os.getpid()}-{threading.get_native_id()}")
    temporary.unlink(missing_ok=True)
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
    previous = folder.with_name(f".tmp-{folder.name}-old-{os.getpid()}")
    shutil.rmtree(previous, ignore_errors=True)
    if folder.exists():
        folder.rename(previous)
    try:
        temporary.rename(folder)
    except OSError:
        if previous.exists():
            previous.rename(folder)
        raise
    if durable:
        sync(folder.parent)
    shutil.rmtree(previous, ignore_errors=True)


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
        reason = _REASONS.get(error.errno or 0)
        if reason is None:
            raise
        raise StoreError(
            f"{failure}: {reason} ({error.filename or error.strerror})",
            expected="a folder this user can write to, with space left",
            fix="free space or change the rights there, or choose another store with --store",
        ) from error

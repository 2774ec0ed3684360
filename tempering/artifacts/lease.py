"""Leases: at most one process works on a fingerprint; a second one waits and then reuses.

`flock` on a small file: the kernel frees it at once when the holder dies, whatever killed it. The file
holds who has it, for the waiting message. It is removed on release, therefore a taken lock is
checked to be still the file under that name. A lease is taken once and handed on: whoever asks for it
a second time waits, even in the same process.
"""

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tempering.errors import StoreError

POLL = 0.05  # seconds between two tries
Waiting = Callable[[str], None]
"""Called before each new try with "pid N on host H", or "" where that is not known; may raise to give up."""


class Lease:
    """The right to write one partial. Made by `acquire`; given back by `release` or `with`."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor: int | None = descriptor

    def check(self) -> None:
        """Make sure the lease is still ours, just before a commit.

        Raises:
            StoreError: somebody removed or replaced the lock file meanwhile.
        """
        if self._descriptor is None or not _same_file(self._descriptor, self.path):
            raise StoreError(
                f"the lease {self.path} was lost while the stage was running",
                expected="the lock file to stay until the stage ends",
                fix="see that nobody removes files under .locks; run again, the checkpoints are kept",
            )

    def release(self) -> None:
        """Give the lease back; a second call does nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            if _same_file(descriptor, self.path):
                self.path.unlink(missing_ok=True)
            os.close(descriptor)

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def acquire(path: Path, *, waiting: Waiting = lambda holder: None) -> Lease:
    """Take the lease at `path`, waiting while somebody has it.

    Raises:
        StoreError: the file system has no `flock`.
    """
    while (descriptor := _try_lock(path)) is None:
        waiting(_holder(path))
        time.sleep(POLL)
    return Lease(path, descriptor)


def free_locks(folder: Path) -> None:
    """Remove the lock files of killed holders."""
    for path in folder.glob("*.lock"):
        with suppress(OSError, StoreError):
            if (descriptor := _try_lock(path)) is not None:
                Lease(path, descriptor).release()


def _try_lock(path: Path) -> int | None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return None
        raise StoreError(
            f"cannot lock {path}: {error.strerror}",
            expected="a file system with flock",
            fix="put the store on a local disk",
        ) from None
    if not _same_file(descriptor, path):  # released and removed between open and flock
        os.close(descriptor)
        return None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), 0)
    return descriptor


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def _holder(path: Path) -> str:
    try:
        tree = json.loads(path.read_text())
        return holder_name(tree["pid"], tree["host"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def holder_name(pid: int, host: str) -> str:
    """What `Waiting` is told of a holder."""
    return f"pid {pid} on host {host}"

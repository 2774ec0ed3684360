"""Leases: at most one process works on a fingerprint; a second one waits and then reuses.

`flock` on a small file: the kernel frees it at once when the holder dies, whatever killed it. The file
holds who has it, for the waiting message. It is removed on release, therefore a taken lock is
checked to be still the file under that name. A thread may take its own lease again; another
thread of the same process waits like another process does.
"""

import errno
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tempering.errors import StoreError

POLL = 0.05  # seconds between two tries
Waiting = Callable[[str], None]
"""Called once per holder with "waiting for pid N on host H"."""


@dataclass
class _Held:
    descriptor: int
    owner: int
    count: int = 1


_held: dict[Path, _Held] = {}
_guard = threading.Lock()


def _forget() -> None:
    # A forked child owns none of its parent's leases; closing its copies leaves the parent's locks alone.
    global _guard
    _guard = threading.Lock()
    for held in _held.values():
        os.close(held.descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_forget)


class Lease:
    """The right to write one partial. Made by `acquire`; given back by `release` or `with`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open = True

    def check(self) -> None:
        """Make sure the lease is still ours, just before a commit.

        Raises:
            StoreError: somebody removed or replaced the lock file meanwhile.
        """
        held = _held.get(self.path)
        if not self._open or held is None or not _same_file(held.descriptor, self.path):
            raise StoreError(
                f"the lease {self.path} was lost while the stage was running",
                expected="the lock file to stay until the stage ends",
                fix="see that nobody removes files under .locks; run again, the checkpoints are kept",
            )

    def release(self) -> None:
        """Give the lease back; a second call does nothing."""
        with _guard:
            held = _held.get(self.path)
            if not self._open or held is None:
                return
            self._open = False
            held.count -= 1
            if held.count == 0:
                del _held[self.path]
                if _same_file(held.descriptor, self.path):
                    self.path.unlink(missing_ok=True)
                os.close(held.descriptor)

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def acquire(path: Path, *, waiting: Waiting | None = None, timeout: float | None = None) -> Lease:
    """Take the lease at `path`, waiting while another process or thread has it.

    Raises:
        StoreError: still taken after `timeout` seconds, or the file system has no `flock`.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    told = ""
    while True:
        if _take(path):
            return Lease(path)
        holder = _holder(path)
        if waiting is not None and holder and holder != told:
            waiting(f"waiting for {holder}")
            told = holder
        if deadline is not None and time.monotonic() >= deadline:
            raise StoreError(f"{path} is held by {holder or 'another process'}", fix="wait for it to end")
        time.sleep(POLL)


def _take(path: Path) -> bool:
    me = threading.get_ident()
    with _guard:
        held = _held.get(path)
        if held is not None:
            if held.owner == me:
                held.count += 1
            return held.owner == me
        descriptor = _try_lock(path)
        if descriptor is None:
            return False
        _held[path] = _Held(descriptor, me)
        return True


def _try_lock(path: Path) -> int | None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
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
        return f"pid {tree['pid']} on host {tree['host']}"
    except (OSError, ValueError, KeyError):
        return ""

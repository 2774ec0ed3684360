"""One accelerator, one stage: a lock per GPU, taken in the process that uses it.

It is the kernel's (`flock`), so it goes when its holder ends, however it ends; Prefect's slots can be lost
or refused after a crash. A stage asks when it first needs its device, and takes one a process, the first
free ones that it can see, all or none: whoever waits holds nothing, so no two wait for each other. Which
GPUs there are is asked without CUDA, since the ranks are forked later. A CPU has no lease: its cores can be
shared.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import re
import socket
import stat
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flows.process.child import Send
from tempering.artifacts.draft import Draft
from tempering.artifacts.lease import holder_name
from tempering.errors import ConfigError, StoreError
from tempering.printable import visible
from tempering.runtime import RuntimeConfig

FOLDER = "TEMPER_DEVICE_LOCKS"
"""Variable that names the folder of the locks: in containers one that the host shares with all of them."""
_SHARED = (Path("/run/lock"), Path("/tmp"))  # not TMPDIR, which may be a user's or a job's own
_POLL = 0.2  # seconds between two tries


class Devices:
    """The accelerators of one stage; they are held until its process ends."""

    def __init__(self, draft: Draft, count: int, send: Send) -> None:
        self.draft, self.count, self.send = draft, count, send
        self.asked = False

    def take(self) -> None:
        """Hold as many accelerators as the stage has processes, and let it see no others.

        Raises:
            ConfigError: this machine has fewer.
            StoreError: a lock cannot be opened.
        """
        runtime = self.draft.runtime
        if self.asked or not runtime.device_lease:
            return
        self.asked = True
        # Which there are.
        names = accelerators(runtime, self.count)
        if not names:
            return
        if len(names) < self.count:
            raise ConfigError(
                f"runtime.processes is {self.count}, and a stage sees {len(names)} GPU(s) here",
                expected="a GPU for each process",
                fix=f"set runtime.processes={len(names)}, or change CUDA_VISIBLE_DEVICES",
            )
        named = names[0].startswith(("GPU-", "MIG-"))  # as CUDA can be told; else it takes the first ones
        if not named:
            names = names[: self.count]
        # Wait for enough of them; the runner shows it, and leaves the wait out of the stage's time.
        start, holders = time.monotonic(), set[str]()

        def waiting(holder: str) -> None:
            if not holders:
                self.send(("queued",))
            if holder not in holders:
                holders.add(holder)
                self.draft.warn(f"waiting for {holder}")

        taken = take_locks(names, self.count, work=self._work(), waiting=waiting)
        if holders:
            self.send(("working", time.monotonic() - start))
        if named and len(names) > self.count:
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(taken)

    def _work(self) -> str:
        node = self.draft.ticket.node if self.draft.ticket else self.draft.path.name
        return f"{node} of {self.draft.name}" if self.draft.name else node


def accelerators(runtime: RuntimeConfig, count: int = 1) -> list[str]:
    """The accelerators that a stage can see, in CUDA's order: UUIDs, or `gpu0` and so on where none is known.

    Several processes of GPUs that are not NVIDIA's have no lease: counting those could start their driver.
    """
    if runtime.device == "mps":
        return ["mps"]
    torch = sys.modules.get("torch")  # a stage that has not imported it uses no device
    if runtime.device == "cpu" or torch is None:
        return []
    uuids = _uuids()
    if (count > 1 and not uuids) or not torch.cuda.is_available():
        return []
    seen = chosen(uuids, os.environ.get("CUDA_VISIBLE_DEVICES"))
    return seen or [f"gpu{number}" for number in range(torch.cuda.device_count())]


def chosen(uuids: Sequence[str], choice: str | None) -> list[str]:
    """Those of `uuids` that CUDA_VISIBLE_DEVICES chooses, by number or by the begin of a UUID.

    As CUDA does, it ends at the first that does not exist.
    """
    seen: list[str] = []
    for name in list(uuids) if choice is None else choice.split(","):
        name = name.strip()
        if name.isdigit():
            matches = list(uuids[int(name) : int(name) + 1])
        else:
            matches = [name] if name.startswith("MIG-") else [uuid for uuid in uuids if uuid.startswith(name)]
        if len(matches) != 1:
            break
        seen += matches
    return seen


def take_locks(
    names: Sequence[str], count: int, *, work: str = "", waiting: Callable[[str], None] = lambda holder: None
) -> list[str]:
    """Lock the first `count` free ones of `names` for the rest of this process's life.

    Args:
        work: what they are taken for, shown to those that wait.
        waiting: called before each new try with which device is taken, and by whom.

    Raises:
        StoreError: a lock cannot be opened.
    """
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "work": work}
    while True:
        held: dict[str, int] = {}
        taken: list[str] = []
        for name in names:
            if len(held) == count or len(taken) > len(names) - count:
                break
            descriptor = _lock(name)
            if descriptor is None:
                taken.append(name)
            else:
                held[name] = descriptor
        if len(held) == count:
            for descriptor in held.values():
                _sign(descriptor, holder)
            return list(held)
        # All or none: whoever waits with one in hand may be waited for.
        for descriptor in held.values():
            os.close(descriptor)
        waiting("; ".join(f"{name}, held by {_holder(name)}" for name in taken))
        time.sleep(_POLL)


def lock_file(name: str) -> Path:
    """The lock of an accelerator, the same for all users and runs of this machine."""
    choice = os.environ.get(FOLDER)
    shared = next((folder for folder in _SHARED if folder.is_dir() and folder.stat().st_mode & 0o002), None)
    folder = Path(choice) if choice else shared or Path("/tmp")
    return folder / f"tempering-{re.sub(r'[^A-Za-z0-9.-]', '-', name)}.lock"


def _lock(name: str) -> int | None:
    """A locked descriptor, or None where somebody else has the lock."""
    path = lock_file(name)
    try:
        descriptor = _open(path)
    except OSError as error:
        raise StoreError(
            f"the lock of the accelerator {name} cannot be opened: {path}: {error.strerror}",
            expected="a folder in which all users of this machine may make files",
            fix=f"set {FOLDER} to one, or runtime.device_lease=false",
        ) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _open(path: Path) -> int:
    # Others can write there: through no link, and not into a pipe. An existing file is opened without
    # O_CREAT, which kernels refuse in /tmp where it is another user's.
    flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, os.O_RDWR | flags)
    except PermissionError:
        descriptor = os.open(path, os.O_RDONLY | flags)  # enough for the lock
    except FileNotFoundError:
        with contextlib.suppress(FileExistsError):
            fresh = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | flags, 0o666)
            os.fchmod(fresh, 0o666)  # whatever the umask is
            return fresh
        return _open(path)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        os.close(descriptor)
        raise OSError(0, "it is no plain file")
    return descriptor


def _sign(descriptor: int, holder: Mapping[str, Any]) -> None:
    """Write into the lock who holds it, where this user may."""
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)


def _holder(name: str) -> str:
    try:
        with lock_file(name).open("rb") as file:
            tree = json.loads(file.read(4096))
        return visible(f"{holder_name(int(tree['pid']), str(tree['host']))} ({tree['work']})")
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _uuids() -> list[str]:
    """The UUIDs of NVIDIA's GPUs in the order of `nvidia-smi`, asked of its library; CUDA stays untouched."""
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return []
    count, handle, text = ctypes.c_uint(), ctypes.c_void_p(), ctypes.create_string_buffer(96)
    if library.nvmlInit_v2() or library.nvmlDeviceGetCount_v2(ctypes.byref(count)):
        return []
    uuids = []
    for number in range(count.value):
        failed = library.nvmlDeviceGetHandleByIndex_v2(number, ctypes.byref(handle))
        if failed or library.nvmlDeviceGetUUID(handle, text, len(text)):
            return []
        uuids.append(text.value.decode("ascii"))
    return uuids

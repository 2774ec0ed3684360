"""The supervisor of a service: the one process that keeps the others up, until it is told to end.

It imports no Prefect and does nothing but hold the port, start what has ended, and write down who is who. The
port is bound here and handed to each Prefect server in turn: while a new one starts, requests wait instead of
failing, and nobody can take the port. The children end with the supervisor (`tied`), so the next `temper up`
finds a clear field.
"""

import contextlib
import fcntl
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

from flows.process.prefect_server import prepare_database
from flows.service.child import Child
from flows.service.location import LOCK, RECORD
from flows.service.settings import Settings
from tempering.artifacts.atomic import store_errors, write_atomic
from tempering.errors import UserError

READY = "ready"
"""A file that the worker makes when it takes runs."""
DRAIN = 45.0  # seconds that the worker may take to end its runs
_LOOK = 0.5  # seconds between looks at the children
_TRIM = 60.0


def supervise(settings: Settings) -> int:
    """Keep the service of `settings` up until SIGTERM or Ctrl-C; the exit code.

    Raises:
        UserError: another one runs, or a port is in use.
        StoreError: the store cannot be written, or the database is damaged.
    """
    settings.keep()
    logs = settings.folder / "logs"
    logs.mkdir(exist_ok=True)
    with _alone(settings.folder), listen(settings.host, settings.port) as listener:
        listen(settings.host, settings.reports_port).close()  # is it free?
        if settings.database is None:
            prepare_database(settings.folder / "prefect.db", "deployments, schedules and what the pages show")
        children = _children(settings, listener, logs)
        stopped = stopped_by_signals()
        try:
            _keep_up(settings, children, stopped)
        finally:
            _end(children)
            (settings.folder / RECORD).unlink(missing_ok=True)
            (settings.folder / READY).unlink(missing_ok=True)
    return 0


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there.

    Raises:
        UserError: the port is in use, or the host is not this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise UserError(
            f"port {port} on {host} cannot be used: {reason or error}",
            fix="end the program that holds it, or choose other ports with --port and --reports-port",
        ) from None


def _children(settings: Settings, listener: socket.socket, logs: Path) -> list[Child]:
    python, descriptor = sys.executable, listener.fileno()
    tied = [python, "-m", "flows.service.tied"]
    server = [python, "-m", "flows.process.prefect_server_main", str(descriptor)]
    limit = [] if settings.limit is None else [str(settings.limit)]
    worker = [*tied, "flows.service.worker", *limit]
    address = ["--host", settings.host, "--port", str(settings.reports_port)]
    reports = [*tied, "flows.service.reports", *address]
    client = settings.client_environment()
    return [
        Child("server", server, settings.server_environment(), logs / "server.log", (descriptor,), ask=None),
        Child("worker", worker, client, logs / "worker.log"),
        Child("reports", reports, client, logs / "reports.log"),
    ]


def _keep_up(settings: Settings, children: Sequence[Child], stopped: Callable[[], bool]) -> None:
    trimmed = 0.0
    while not stopped():
        lines = [line for child in children if (line := child.look())]
        for line in lines:
            _say(line)
        if lines:
            _record(settings, children)
        if time.monotonic() > trimmed + _TRIM:
            trimmed = time.monotonic()
            for child in children:
                child.trim()
        time.sleep(_LOOK)


def _end(children: Sequence[Child]) -> None:
    """The worker first, which ends its runs and says so to the server; the server last."""
    patience = {"worker": DRAIN, "reports": 5.0, "server": 6.0}
    for name, limit in patience.items():
        child = next(child for child in children if child.name == name)
        if child.process is not None:
            _say(f"{name}: ending")
        line = child.end(limit)
        if line:
            _say(line)


def _record(settings: Settings, children: Sequence[Child]) -> None:
    facts = {
        "url": settings.url,
        "reports_url": settings.reports_url,
        "pid": os.getpid(),
        "host": settings.host,
        "port": settings.port,
        "reports_port": settings.reports_port,
        "children": {child.name: {"pid": child.pid, "starts": child.starts} for child in children},
    }
    with contextlib.suppress(OSError):  # a full disk ends no service; the next change writes again
        write_atomic(settings.folder / RECORD, json.dumps(facts, indent=1).encode(), durable=False)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the lock of the folder."""
    with store_errors(f"{folder} cannot be used"):
        lock = (folder / LOCK).open("wb")
    with lock:
        for patience in (0.2, 0.2, 0.2, 0.0):  # who only looks holds it for a moment
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not patience:
                    raise UserError(
                        f"a service runs in {folder} already",
                        fix="see `temper status`; `temper down` ends it",
                    ) from None
                time.sleep(patience)
        yield


def stopped_by_signals() -> Callable[[], bool]:
    """Whether SIGTERM or Ctrl-C has come; ending in order takes longer than a stopped command may."""
    signals: list[int] = []  # no Event, whose lock the handler could find taken by its own thread

    def note(number: int, frame: object) -> None:
        if signals and number == signal.SIGINT:
            os._exit(130)  # the children end with us
        signals.append(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, note)
    return lambda: bool(signals)


def _say(line: str) -> None:
    with contextlib.suppress(OSError):
        print(f"{datetime.now():%Y-%m-%d %H:%M:%S} {line}", file=sys.stderr, flush=True)

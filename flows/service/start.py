"""`temper up` and `temper down` from the outside: start the supervisor and wait for it, tell it to end.

Starting twice is no mistake: what runs is mended. What a killed service has left is cleared first; the runs
of its worker go on, and the new worker knows them.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from flows.service.client import connected
from flows.service.location import MARK, Service, has_supervisor, read_secret, running, service_folder
from flows.service.settings import Settings
from flows.service.supervisor import DRAIN, READY, listen
from tempering.artifacts.atomic import store_errors
from tempering.errors import StageFailed, UserError

if TYPE_CHECKING:
    from psutil import Process

_START_LIMIT = 240.0  # seconds; PostgreSQL's first migrations, on a busy machine
_STOP_LIMIT = DRAIN + 30.0
_BEGIN = 20.0
_TRIES = 2  # times that a server may end before it answers: what is wrong does not pass by itself
_LOOK = 0.1


def start(settings: Settings) -> int:
    """Start the service in the background and wait until it takes runs; mend it where it runs already.

    Raises:
        UserError: a port is in use, the store cannot be written, or the database is damaged; or the
            service that runs has other settings.
        StageFailed: it did not come up.
    """
    service = _service(settings.store)
    if service is not None:
        return _mend(settings, service)
    # A clear field: the secrets in their place, the ports free.
    settings.keep()
    _clear(settings.folder)
    for port in (settings.port, settings.reports_port):
        listen(settings.host, port).close()
    # The supervisor is the same command in the foreground; the secrets lie in its folder.
    command = [sys.executable, "-m", "flows.cli.main", "up", "--foreground", *settings.arguments()]
    with store_errors(f"{settings.folder} cannot be used"):
        (settings.folder / READY).unlink(missing_ok=True)
        log = (settings.folder / "service.log").open("ab")
    with log:
        begin = log.tell()
        process = subprocess.Popen(
            command,
            env={**os.environ, MARK: str(settings.folder)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    # Wait until it takes runs, or has said why it does not.
    print("starting ...", file=sys.stderr, flush=True)
    store = settings.store
    _until(lambda: process.poll() is not None or _is_ready(store) or _fails(store), _START_LIMIT)
    service = running(store)
    if process.poll() == 2:
        with (settings.folder / "service.log").open() as said:
            said.seek(begin)
            raise UserError(said.read().strip().removeprefix("error: "))
    if service is None or not _is_ready(store):
        raise StageFailed(_trouble(settings.folder, begin, process.poll()))
    print(_welcome(service))
    return 0


def stop(store: Path) -> int:
    """End the service of a store, and whatever is left of one that was killed; the exit code."""
    folder = service_folder(store)
    service = _service(store)
    if service is None:
        count = _clear(folder, runs=True)
        left = f"; ended {count} processes that a killed one had left" if count else ""
        print(f"no service runs for the store {store}{left}")
        return 0
    print("ending the runs and the service ...", file=sys.stderr, flush=True)
    with contextlib.suppress(ProcessLookupError):
        os.kill(service.pid, signal.SIGTERM)
    if not _until(lambda: running(store) is None, _STOP_LIMIT):
        with contextlib.suppress(ProcessLookupError):
            os.kill(service.pid, signal.SIGKILL)
    _clear(folder, runs=True)
    print("the service has ended")
    return 0


def _service(store: Path) -> Service | None:
    """The service of a store; one that has just begun gets the time to write its record."""
    _until(lambda: running(store) is not None or not has_supervisor(store), _BEGIN)
    return running(store)


def _mend(settings: Settings, service: Service) -> int:
    """Wait until the service that runs answers, and make what it lacks; its settings stay."""
    changes = _changes(settings, service)
    if changes:
        raise UserError(
            f"the service runs already, with another {' and '.join(changes)}",
            fix="`temper down`, then this command again; runs stop at a checkpoint",
        )
    if not _until(lambda: _is_ready(settings.store), _START_LIMIT):
        raise StageFailed(f"the service runs and does not answer; see {settings.folder / 'logs'}")
    with connected(service) as client:
        from flows.service.provision import provision

        for line in provision(client, settings.limit):
            print(line)
    print(f"runs already\n{_welcome(service)}")
    return 0


def _changes(settings: Settings, service: Service) -> list[str]:
    """What was asked for and would need another start."""
    facts, folder = service.facts, service.folder
    pairs = {
        "--host": (settings.host, facts.get("host")),
        "--port": (settings.port, facts.get("port")),
        "--reports-port": (settings.reports_port, facts.get("reports_port")),
        "auth string": (settings.auth, read_secret(folder, "auth")),
        "database": (settings.database, read_secret(folder, "database")),
    }
    return [name for name, (new, old) in pairs.items() if new != old]


def _clear(folder: Path, *, runs: bool = False) -> int:
    """Kill what a killed service has left, its flow runs only with `runs`; how many processes."""
    if not folder.exists():
        return 0
    from flows.service.processes import kill, of_service

    def left() -> "list[Process]":
        return [process for process, run in of_service(folder) if runs or run is None]

    count = len(found := left())
    kill(found)
    _until(lambda: not left(), 10.0)
    return count


def _is_ready(store: Path) -> bool:
    service = running(store)
    return service is not None and (service.folder / READY).exists() and service.answers()


def _fails(store: Path) -> bool:
    """Whether the server has ended more than once: it cannot reach its database, or write, say."""
    service = running(store)
    server = service.facts["children"]["server"] if service is not None else {}
    return int(server.get("starts", 0)) - bool(server.get("pid")) >= _TRIES


def _until(condition: Callable[[], bool], limit: float) -> bool:
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(_LOOK)
    return condition()


def _trouble(folder: Path, begin: int, code: int | None) -> str:
    what = "has not come up" if code is None else f"ended with exit code {code}"
    lines = []
    for name in ("service.log", "logs/server.log", "logs/worker.log"):
        with contextlib.suppress(OSError):
            text = (folder / name).read_bytes()
            tail = text[begin:] if name == "service.log" else text[-2000:]
            words = [line for line in tail.decode(errors="replace").splitlines() if line.strip()]
            lines += [f"  {name}: {line}" for line in words[-4:]]
    if code is None:
        lines.append("  fix: mend that; it tries again by itself (`temper status`) until `temper down`")
    return "\n".join([f"the service {what}; its logs in {folder} end with:", *lines])


def _welcome(service: Service) -> str:
    pages = service.url.removesuffix("/api")
    return f"Prefect:  {pages}\nreports:  {service.reports_url}\nlogs:     {service.folder}"

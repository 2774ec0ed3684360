"""The Prefect server of a run: the one PREFECT_API_URL names, the store's service, or our own for the run.

Without a URL Prefect would start a temporary server by itself, late, and leave it behind when it is
killed. Ours starts early, in the background; it answers on a socket that we have bound, so no port
is ever raced for; its database stays in `<store>/.prefect/`. It watches a pipe on its stdin and ends
when that closes, which is when its parent dies. Two runs on one store take a database each, held
by `flock`, since a shared server would die with the run that started it. Creating the tables takes
ten seconds of Prefect's migrations, so an empty migrated database is kept for the next store.
"""

import contextlib
import fcntl
import importlib.metadata
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from flows.process.own_pages import origins
from flows.service.location import Service, answers, running
from tempering.artifacts.atomic import probe, store_errors, whole_file
from tempering.errors import StoreError, UserError

_START_LIMIT = 120.0  # seconds; the first start ever migrates the database
STOP_LIMIT = 3.0
_UNUSED_SERVICES = (
    "CANCELLATION_CLEANUP",
    "CLEANUP_RECONCILER",
    "DB_VACUUM",
    "EVENT_LOGGER",
    "FOREMAN",
    "LATE_RUNS",
    "PAUSE_EXPIRATIONS",
    "REPOSSESSOR",
    "SCHEDULER",
    "TRIGGERS",
)


@dataclass
class Server:
    """An API that a run reports to; `process` is None for a server that is not ours.

    Attributes:
        service: the store's service, where it is its server.
        note: what people should know about the choice.
    """

    url: str
    process: "subprocess.Popen[bytes] | None" = None
    log: Path | None = None
    lock: IO[bytes] | None = None
    service: Service | None = None
    note: str = ""

    def wait(self) -> None:
        """Return when the server answers.

        Raises:
            StoreError: it ended, or took more than two minutes.
        """
        if self.process is None:
            return
        deadline = time.monotonic() + _START_LIMIT
        while time.monotonic() < deadline:
            if answers(f"{self.url}/health"):
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise self.trouble("it did not start")

    def trouble(self, what: str) -> StoreError:
        """What to tell people when the server does not answer as it should."""
        if self.service is not None:
            return StoreError(
                f"the Prefect server of the service at {self.url} failed: {what}",
                fix="see `temper status`; `temper up` mends it, and without a service a run brings its own",
            )
        if self.log is None:
            return StoreError(
                f"the Prefect server at {self.url} failed: {what}",
                expected="a running server of the installed version",
                fix="start it, correct PREFECT_API_URL, or unset it: a run then brings its own",
            )
        code = self.process.poll() if self.process is not None else None
        if code is not None and code < 0:
            return StoreError(
                f"the embedded Prefect server failed: signal {-code} killed it",
                expected="a server that runs as long as the run does",
                fix="run again; SIGKILL (9) may come from the system where memory is short",
            )
        tail = self.log.read_text(errors="replace").strip().splitlines()[-3:]
        last = f"; {self.log} ends with:" if tail else ""
        return StoreError(
            "\n".join([f"the embedded Prefect server failed: {what}{last}", *tail]),
            expected=f"space and the right to write in {self.log.parent}",
            fix="free space there; else remove it: it holds what Prefect's pages show of earlier runs",
        )

    def stop(self) -> None:
        """End our server, giving it a moment to write what it still holds."""
        if self.process is not None:
            assert self.process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.write(b".")
                self.process.stdin.flush()
            try:
                self.process.wait(STOP_LIMIT)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            with contextlib.suppress(BrokenPipeError):  # what a killed server has not read
                self.process.stdin.close()
        if self.lock is not None:
            self.lock.close()
        self.process = self.lock = None


def start_server(store: Path, port: int | None = None) -> Server:
    """Use the server that PREFECT_API_URL names, or the service's, else start one; `wait` before you use it.

    Args:
        store: root of the artifact store; the database lies in its folder `.prefect`.
        port: a fixed port on 127.0.0.1, where Prefect's web pages are shown too; any free one if None.

    Raises:
        UserError: the port is in use.
        StoreError: the store cannot be written, or Prefect's database there is damaged.
        OSError: a file there cannot be read or written.
    """
    url = os.environ.get("PREFECT_API_URL")
    if url:
        if port is not None:
            raise UserError(
                f"--port {port} and PREFECT_API_URL={url} are both set",
                fix="leave out --port, or unset PREFECT_API_URL to start a server",
            )
        return Server(url)
    # The service of the store shows its runs beside those of its deployments.
    service = running(store) if port is None else None
    if service is not None and service.answers():
        return Server(service.url, service=service)
    note = f"the service at {service.url} does not answer: this run brings a server" if service else ""
    # The socket is bound here, so that nobody can take the port before the server listens.
    listener = _listen(port)
    with listener:
        home = _make_home(store)
        database, lock = _take_database(home)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/api"
        log = database.with_suffix(".log")
        process = _spawn(listener, lock, log, environment(home, database, url, web=port is not None))
    return Server(url, process, log, lock, note=note)


def use_server(server: Server, store: Path) -> None:
    """Make Prefect in this process a client of `server`, also where a module has imported it before."""
    os.environ.update(client_environment(server, store))
    if "prefect.context" in sys.modules:  # it read its settings then, and would start a server of its own
        sys.modules["prefect.context"].refresh_global_settings_context()


def client_environment(server: Server, store: Path) -> dict[str, str]:
    """Settings for Prefect in this process."""
    quiet = {
        "PREFECT_API_URL": server.url,
        "PREFECT_HOME": str(store / ".prefect"),
        "PREFECT_LOGGING_LEVEL": "INFO",  # stages' lines go to the server ...
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # ... and not to the terminal
        "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_CLI_COLORS": "false",
    }
    chosen = {name: os.environ.get(name, value) for name, value in quiet.items()}
    # An auth string of the user's is for another server than the service's.
    return {**chosen, **(server.service.environment() if server.service is not None else {})}


def _listen(port: int | None) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port or 0))
    except (OSError, OverflowError) as error:
        listener.close()
        raise UserError(
            f"port {port} on 127.0.0.1 cannot be used: {getattr(error, 'strerror', None) or error}",
            fix="choose another --port, leave it out for a free one, or end the program that holds it",
        ) from None
    listener.listen(128)
    return listener


def _make_home(store: Path) -> Path:
    home = store.absolute() / ".prefect"
    with store_errors(f"{home} cannot be used"):
        home.mkdir(parents=True, exist_ok=True)
        probe(home)
    return home


def _take_database(home: Path) -> tuple[Path, IO[bytes]]:
    """The first database that no other run holds, and the lock that holds it."""
    for number in range(1, 1000):
        database = home / ("prefect.db" if number == 1 else f"prefect-{number}.db")
        lock = database.with_suffix(".lock").open("wb")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            continue
        try:
            prepare_database(database)
        except BaseException:
            lock.close()
            raise
        return database, lock
    raise StoreError(f"{home}: a thousand databases are in use", fix="end the runs that hold them")


def prepare_database(database: Path, holds: str = "what Prefect's pages show of earlier runs") -> None:
    """Make the database, or see that it is one: else the server would not start, or fail in the run."""
    if not database.exists():
        if template().exists():
            with whole_file(database) as scratch:
                shutil.copyfile(template(), scratch)
        return
    with database.open("r+b"):
        pass
    try:
        with contextlib.closing(sqlite3.connect(database)) as connection:
            fault = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.OperationalError as error:
        raise StoreError(
            f"Prefect's database {database} cannot be used: {error}",
            expected=f"space and the right to write in {database.parent}",
            fix="free space there, or change the owner or the rights",
        ) from None
    except sqlite3.Error as error:
        fault = str(error)
    if fault != "ok":
        raise StoreError(
            f"Prefect's database {database} is damaged: {fault.splitlines()[-1]}",
            expected="a database that SQLite can read",
            fix=f"restore it from a copy, or remove it: it holds {holds}, nothing else",
        )


def template() -> Path:
    """An empty, migrated database of the installed Prefect, kept beside the installation."""
    version = importlib.metadata.version("prefect")
    return Path(sys.prefix) / "share" / "tempering" / f"prefect-{version}.db"


def environment(home: Path, database: Path, url: str, *, web: bool) -> dict[str, str]:
    """The environment of a server's process; none of the user's Prefect settings go in."""
    services = {f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false" for name in _UNUSED_SERVICES}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return {
        **inherited,
        **services,
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{database}",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        "PREFECT_SERVER_UI_ENABLED": str(web).lower(),
        "PREFECT_UI_API_URL": url,
        # The pages may be opened as localhost, and then ask 127.0.0.1.
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": ",".join(origins(urlsplit(url).port or 80)),
        "PREFECT_UI_STATIC_DIRECTORY": str(home / "ui"),
        "PREFECT__SERVER_FINAL": "1",
        "PREFECT__SERVER_EPHEMERAL": "" if web else "1",
    }


def _spawn(
    listener: socket.socket, lock: IO[bytes], log: Path, environment: dict[str, str]
) -> "subprocess.Popen[bytes]":
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "flows.process.prefect_server_main", str(listener.fileno())],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            pass_fds=(listener.fileno(), lock.fileno()),  # the lock lasts as long as the longer-lived
            start_new_session=True,  # Ctrl-C is for the parent, which then stops us in order
        )

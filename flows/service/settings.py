"""What a service is started with, and the environments of its processes.

Two of its settings are secrets: the auth string, and the database's URL, which may hold a password. They come
from the environment or a file, never from the command line, which `ps` shows. They are kept in files that
the owner alone may read, so that a later `temper up`, after a reboot say, has them still: a server that had a
password never comes back without one.
"""

import argparse
import os
import shlex
import sys
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flows.process.prefect_server import environment
from flows.service.location import MARK, read_secret, running, service_folder
from flows.service.secret_files import read_line
from flows.store_choice import DEFAULT_STORE, given_store
from tempering.artifacts.atomic import store_errors
from tempering.errors import UserError

PORT, REPORTS_PORT = 4200, 4201
LOCAL = ("127.0.0.1", "localhost", "::1")
HEARTBEAT = 30  # seconds, the least that Prefect takes
AUTH, DATABASE = "PREFECT_SERVER_API_AUTH_STRING", "PREFECT_SERVER_DATABASE_CONNECTION_URL"
_SCHEMES = ("sqlite+aiosqlite", "postgresql+asyncpg")
_ON, _OFF = "true", "false"


@dataclass(frozen=True)
class Settings:
    """A service as it was asked for. Ports are on `host`; `limit` is of runs at the same time."""

    store: Path
    host: str = "127.0.0.1"
    port: int = PORT
    reports_port: int = REPORTS_PORT
    limit: int | None = None
    database: str | None = field(default=None, repr=False)
    auth: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, args: argparse.Namespace) -> "Settings":
        """The settings that the command line, the environment and the folder of the service give.

        What is not given is as it is in the service that runs, if one does.

        Raises:
            UserError: one of them is malformed, or the service would be open to others.
        """
        store = Path(given_store(args) or DEFAULT_STORE).absolute()
        folder = service_folder(store)
        service = running(store)
        facts = service.facts if service is not None else {}
        settings = cls(
            store,
            args.host or facts.get("host", cls.host),
            facts.get("port", PORT) if args.port is None else args.port,
            facts.get("reports_port", REPORTS_PORT) if args.reports_port is None else args.reports_port,
            args.limit,
            _database(args.database) or read_secret(folder, "database"),
            _auth(args.auth_file) or read_secret(folder, "auth"),
        )
        _check(settings)
        return settings

    @property
    def folder(self) -> Path:
        """Where the service keeps its files."""
        return service_folder(self.store)

    @property
    def url(self) -> str:
        """The API's URL on this machine."""
        return f"{_base(self.host, self.port)}/api"

    @property
    def reports_url(self) -> str:
        """The report server's URL on this machine."""
        return _base(self.host, self.reports_port)

    def keep(self) -> None:
        """Make the folder, and keep the secrets there."""
        with store_errors(f"{self.folder} cannot be used"):
            self.folder.mkdir(parents=True, exist_ok=True)
            self.folder.chmod(0o700)
            for name, secret in (("auth", self.auth), ("database", self.database)):
                if secret and secret != read_secret(self.folder, name):
                    path = self.folder / name
                    path.unlink(missing_ok=True)
                    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                        file.write(secret)

    def server_environment(self) -> dict[str, str]:
        """The environment of the Prefect server: scheduler, triggers and pages are on."""
        ours = environment(self.folder, self.folder / "prefect.db", self.url, web=True)
        # Runs' own servers do without these.
        inherited = {name: value for name, value in ours.items() if "_SERVICES_" not in name}
        del inherited["PREFECT_SERVER_REGISTER_BLOCKS_ON_START"]  # automations use blocks
        leases = "prefect.server.concurrency.lease_storage.filesystem"  # they outlive the server
        more = {
            MARK: str(self.folder),
            "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": _ON,
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": leases,
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": _OFF,
        }
        if self.host not in LOCAL:
            more["PREFECT_UI_API_URL"] = "/api"  # a browser elsewhere knows the machine by another name
        if self.database:
            more[DATABASE] = self.database
        if self.auth:
            more[AUTH] = self.auth
        return {**inherited, **more}

    def client_environment(self) -> dict[str, str]:
        """The environment of the worker, its flow runs and the report server: without the database's URL."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        settings = {
            MARK: str(self.folder),
            "TEMPER_STORE": str(self.store),
            "PREFECT_API_URL": self.url,
            "PREFECT_HOME": str(self.folder),
            "DO_NOT_TRACK": "1",
            "PYTHONUNBUFFERED": "1",
        }
        if self.auth:
            settings["PREFECT_API_AUTH_STRING"] = self.auth
            settings["TEMPER_REPORTS_AUTH_FILE"] = str(self.folder / "auth")
        return {**inherited, **settings}

    def arguments(self) -> list[str]:
        """The command line of `temper up` that means this service, without its secrets."""
        return [
            *("--store", str(self.store), "--host", self.host, "--port", str(self.port)),
            *("--reports-port", str(self.reports_port)),
            *(["--limit", str(self.limit)] if self.limit is not None else []),
        ]


def job_variables(store: Path, folder: Path) -> dict[str, object]:
    """How a worker starts a deployed run: in `folder`, with the settings that it must outlive the worker.

    A configured command starts it three seconds earlier than Prefect's own. Its console is a pipe to the
    worker: a line of Prefect's on a broken pipe would end the run.
    """
    settings: Mapping[str, str] = {
        "TEMPER_STORE": str(store.absolute()),
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT),
    }
    command = shlex.join([sys.executable, "-m", "prefect.engine"])
    return {"working_dir": str(folder.absolute()), "command": command, "env": dict(settings)}


def _base(host: str, port: int) -> str:
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def _auth(path: str | None) -> str | None:
    """The auth string of a file, else the environment's."""
    text = os.environ.get(AUTH, "").strip() if path is None else read_line(path, "--auth-file", login=True)
    if text and not (all(text.partition(":")) and text.isprintable() and text.isascii()):
        raise UserError(f"{path or AUTH} holds no auth string", expected="one line of ASCII: user:password")
    return text or None


def _database(url: str | None) -> str | None:
    """The database of the command line, which may hold no password, else the environment's."""
    given, source = (url, "--database") if url else (os.environ.get(DATABASE), DATABASE)
    given = (given or "").strip()
    if not given:
        return None
    expected = "postgresql+asyncpg://user@host:5432/prefect, or sqlite+aiosqlite:////path/prefect.db"
    try:
        parts = urllib.parse.urlsplit(given)
        _ = parts.port
    except ValueError:  # its text may hold a part of a password
        fault = "is no URL: its host or its port is malformed; :/?#[]@ in a password are written as %XX"
        raise UserError(f"{source} {fault}", expected=expected) from None
    if parts.scheme not in _SCHEMES:
        raise UserError(
            f"{source} is no URL that Prefect knows: it begins with {parts.scheme or 'no scheme'}",
            expected=expected,
        )
    if url and parts.password:
        raise UserError(
            "--database holds a password, which `ps` would show",
            fix=f"set {DATABASE} to the URL instead; it is kept in a file that only you can read",
        )
    return given


def _check(settings: Settings) -> None:
    for name, port in (("--port", settings.port), ("--reports-port", settings.reports_port)):
        if not 0 < port < 65536:
            raise UserError(f"{name} {port} is no port", expected="a number from 1 to 65535")
    if settings.port == settings.reports_port:
        raise UserError(f"--port and --reports-port are both {settings.port}", expected="two ports")
    if settings.limit is not None and settings.limit < 1:
        raise UserError(f"--limit {settings.limit} lets no run start", expected="1 or more")
    if settings.host not in LOCAL and settings.auth is None:
        raise UserError(
            f"--host {settings.host} would let everyone in the network run pipelines here",
            expected="a user and a password for all but this machine",
            fix=f"give --auth-file a file with one line user:password, or set {AUTH}",
        )

"""PostgreSQL and Redis for tests: Debian's, each on a free port of 127.0.0.1 and with a folder of its own.

Each can be killed and started again: what it has written stays. PostgreSQL refuses to run as root, so a test
that does gives it to the user postgres.
"""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.flows.conftest import free_port

BINARIES = Path("/usr/lib/postgresql/15/bin")
LIMIT = 60.0  # seconds for one to start or end


def wait_until(condition: Callable[[], object], what: str, limit: float = LIMIT) -> float:
    """Return the seconds until `condition` held; it is asked each fifth of a second."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < limit, f"{limit:.0f} s have passed without this: {what}"
        time.sleep(0.2)
    return time.monotonic() - start


def program(path: Path, package: str) -> str:
    """The path of a program that must be there."""
    assert path.exists(), f"{path} is missing: apt-get install {package}"
    return str(path)


@dataclass
class Database:
    """A database in a process of its own."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    def command(self) -> list[str]:
        """What starts it in the foreground."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Whether it takes queries."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, cwd=self.folder)
        wait_until(lambda: self.answers() or self._ended(), f"{type(self).__name__} answers")
        assert not self._ended(), (self.folder / "log").read_text()[-2000:]

    def kill(self) -> None:
        """End it as a power failure does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in order."""
        self._end(signal.SIGINT)  # for PostgreSQL: without waiting for its clients

    def _end(self, number: int) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)
            self.process.wait(LIMIT)
            self.process = None

    def _ended(self) -> bool:
        return self.process is None or self.process.poll() is not None


@dataclass
class Postgres(Database):
    """PostgreSQL with a user and a database `prefect`, passwords by scram."""

    password: str = field(default_factory=lambda: secrets.token_hex(16))

    def make(self) -> None:
        """Make the cluster, start it and make the database."""
        pwfile = self.folder / "pwfile"
        pwfile.write_text(self.password)
        if os.geteuid() == 0:
            for path in (self.folder, pwfile):
                shutil.chown(path, "postgres", "postgres")
        program(BINARIES / "initdb", "postgresql")
        files = ("-D", str(self.folder / "data"), f"--pwfile={pwfile}")
        self._run("initdb", *files, "-A", "scram-sha-256", "-U", "prefect", "--no-sync")
        pwfile.unlink()
        self.start()
        self.run("createdb", "prefect")

    def command(self) -> list[str]:
        where = ("-D", self.folder / "data", "-p", self.port, "-k", self.folder)
        words = (*map(str, where), "-c", "listen_addresses=127.0.0.1")
        return [*_as_postgres(), str(BINARIES / "postgres"), *words]

    def answers(self) -> bool:
        words = [str(BINARIES / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(words, check=False).returncode == 0

    def run(self, name: str, *words: str) -> str:
        """One of PostgreSQL's clients, as the user prefect; its output."""
        return self._run(name, "-h", "127.0.0.1", "-p", str(self.port), "-U", "prefect", *words)

    def query(self, text: str) -> str:
        """The answer to a query, without frills."""
        return self.run("psql", "-d", "prefect", "-Atc", text).strip()

    def dump(self) -> str:
        """All that is in the database."""
        return self.run("pg_dump", "prefect")

    def _run(self, name: str, *words: str) -> str:
        known = {**os.environ, "PGPASSWORD": self.password}
        command = [*_as_postgres(), str(BINARIES / name), *words]
        done = subprocess.run(command, env=known, cwd="/", capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{name}: {done.stderr}"
        return done.stdout


@dataclass
class Redis(Database):
    """Redis that writes each second what it holds."""

    def command(self) -> list[str]:
        server = program(Path("/usr/bin/redis-server"), "redis-server")
        options = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder))
        return [server, *options, "--appendonly", "yes", "--maxmemory-policy", "noeviction"]

    def answers(self) -> bool:
        words = ["redis-cli", "-p", str(self.port), "ping"]
        return subprocess.run(words, capture_output=True, check=False).stdout.strip() == b"PONG"


@contextlib.contextmanager
def postgres() -> Iterator[Postgres]:
    """A running PostgreSQL, gone with all its files when the block ends."""
    with _folder() as folder:
        database = Postgres(folder)
        try:
            database.make()
            yield database
        finally:
            database.stop()


@contextlib.contextmanager
def redis() -> Iterator[Redis]:
    """A running Redis, gone with all its files when the block ends."""
    with _folder() as folder:
        database = Redis(folder)
        try:
            database.start()
            yield database
        finally:
            database.stop()


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    # Not below pytest's folder, which other users may not enter.
    with tempfile.TemporaryDirectory(prefix="temper-db-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def _as_postgres() -> list[str]:
    if os.geteuid() != 0:
        return []
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]

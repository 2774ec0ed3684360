"""The stack of docker-compose.yml without containers: its commands and its environments, on this machine.

Only what containers decide is replaced: names of hosts, ports, the folders of volumes and secrets. A setting
that is wrong in the file is therefore wrong here.
"""

import base64
import contextlib
import http.client
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.flows.conftest import free_port
from tests.services.databases import Postgres, Redis, postgres, redis, wait_until

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
_MARK = "TEMPER_TEST_STACK"
_ENTRYPOINT = ["python", "-m", "flows.service.secret_files"]  # the image's, see Dockerfile


@dataclass
class Answer:
    """An HTTP answer; `value` is its JSON, if it is any."""

    code: int
    text: str
    headers: Any

    @property
    def value(self) -> Any:
        return json.loads(self.text)


@dataclass
class Stack:
    """Databases and the processes of the compose services, by name."""

    folder: Path
    postgres: Postgres
    redis: Redis
    api_port: int = field(default_factory=free_port)
    reports_port: int = field(default_factory=free_port)
    worker_port: int = field(default_factory=free_port)
    planted: dict[str, str] = field(default_factory=dict)
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("store", "secrets", "home"):
            (self.folder / name).mkdir()
        self.planted = {
            "postgres_password": self.postgres.password,
            "api_auth": f"team:{secrets.token_hex(16)}",
            "reports_auth": f"team:{secrets.token_hex(16)}",
        }
        for name, secret in self.planted.items():
            (self.folder / "secrets" / name).write_text(f"{secret}\n")

    # -- what compose says -------------------------------------------------------------------------

    def environment(self, service: str) -> dict[str, str]:
        """That of the service, for this machine; of the test's own nothing that could help it."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        path = os.pathsep.join([str(ROOT), str(HERE), str(HERE.parent / "flows")])
        more = {"PYTHONPATH": path, "TEMPER_PRELOAD": "pandas pyarrow.parquet", "PYTHONUNBUFFERED": "1"}
        more |= {_MARK: f"{self.folder}/{service}"}
        given = SERVICES[service].get("environment", {})
        ours = {name: self._here(name, str(value), service) for name, value in given.items()}
        return {**own, **more, **ours}

    def _here(self, name: str, value: str, service: str) -> str:
        places = {
            "/run/secrets/": f"{self.folder}/secrets/",
            "/tmp/prefect": f"{self.folder}/home/{service}",
            "http://api:4200": f"http://127.0.0.1:{self.api_port}",
            "redis://redis:6379": f"redis://127.0.0.1:{self.redis.port}",
        }
        words = {
            "PREFECT_SERVER_DATABASE_HOST": "127.0.0.1",
            "PREFECT_SERVER_DATABASE_PORT": str(self.postgres.port),
            "PREFECT_REDIS_MESSAGING_HOST": "127.0.0.1",
            "PREFECT_REDIS_MESSAGING_PORT": str(self.redis.port),
            "PREFECT_WORKER_WEBSERVER_PORT": str(self.worker_port),
            "TEMPER_SERVICE": str(self.folder / "home"),
            "TEMPER_STORE": str(self.folder / "store"),
        }
        for place, here in places.items():
            value = value.replace(place, here)
        return words.get(name, value)

    def command(self, words: Sequence[str]) -> list[str]:
        """The command with this machine's ports and Python."""
        places = {"0.0.0.0": "127.0.0.1", "4200": str(self.api_port), "4201": str(self.reports_port)}
        here = [places.get(word, word) for word in words]
        for port, own in (("4200", self.api_port), ("4201", self.reports_port), ("8080", self.worker_port)):
            here = [word.replace(f"127.0.0.1:{port}/", f"127.0.0.1:{own}/") for word in here]
        return [sys.executable, *(["-m"] if here[0] != "python" else []), *here[here[0] == "python" :]]

    # -- processes ---------------------------------------------------------------------------------

    def start(self, *services: str) -> None:
        """Start services as their containers would, and wait until they are healthy."""
        for service in services:
            with (self.folder / f"{service}.log").open("ab") as log:
                self.processes[service] = subprocess.Popen(
                    self.command([*_ENTRYPOINT, *self.command(SERVICES[service]["command"])]),
                    env=self.environment(service),
                    cwd=self.folder,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        for service in services:
            self._await(service)

    def _await(self, service: str) -> None:
        wait_until(lambda: self._ended(service) or self.healthy(service), f"{service} is healthy", 120)
        assert not self._ended(service), self.log(service)

    def run(self, service: str, *words: str) -> str:
        """`docker compose run --rm SERVICE WORDS`; its output."""
        command = self.command([*_ENTRYPOINT, *self.command(words or SERVICES[service]["command"])])
        options: Any = {"env": self.environment(service), "cwd": self.folder, "timeout": 180}
        done = subprocess.run(command, **options, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def healthy(self, service: str) -> bool:
        """Whether the service's own health check holds."""
        check = SERVICES[service]["healthcheck"]["test"]
        assert check[0] == "CMD"
        environment = self.environment(service)
        command = self.command(check[1:])
        return subprocess.run(command, env=environment, cwd=self.folder, check=False).returncode == 0

    def kill(self, service: str) -> None:
        """End the container of a service: its process and all that it has started."""
        process = self.processes.pop(service)
        self._kill_all(service)
        process.wait()

    def stop(self, service: str) -> int:
        """`docker compose stop SERVICE`; its exit code."""
        process = self.processes.pop(service)
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(60)
        finally:
            self._kill_all(service)

    def log(self, service: str) -> str:
        """The end of what it has printed."""
        return (self.folder / f"{service}.log").read_text(errors="replace")[-4000:]

    def _ended(self, service: str) -> bool:
        return self.processes[service].poll() is not None

    def close(self) -> None:
        """End all that still runs."""
        for service in list(self.processes):
            self.kill(service)

    def _kill_all(self, service: str) -> None:
        """End whatever has the mark of the service: a container has no more processes once it ends."""
        mark = f"{_MARK}={self.folder}/{service}\0".encode()
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                with contextlib.suppress(OSError):
                    if mark in (folder / "environ").read_bytes():
                        os.kill(int(folder.name), signal.SIGKILL)

    # -- requests ----------------------------------------------------------------------------------

    def ask(self, path: str, body: Any = None, *, auth: bool = True, csrf: bool = True) -> Answer:
        """One request to the API, a POST with `body`; with password and CSRF token unless told otherwise."""
        headers = {"Content-Type": "application/json"}
        if auth:
            word = base64.b64encode(self.planted["api_auth"].encode()).decode()
            headers["Authorization"] = f"Basic {word}"
        if csrf and body is not None:
            token = self.ask("/csrf-token?client=test").value["token"]
            headers |= {"Prefect-Csrf-Token": token, "Prefect-Csrf-Client": "test"}
        data = None if body is None else json.dumps(body)
        return request(self.api_port, "GET" if data is None else "POST", f"/api{path}", data, headers)

    def flow_run(self, run: str) -> dict[str, Any]:
        """What the API knows of a flow run."""
        found: dict[str, Any] = self.ask(f"/flow_runs/{run}").value
        return found


def request(port: int, method: str, path: str, body: str | None = None, headers: Any = None) -> Answer:
    """One request to a port of this machine."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return Answer(answer.status, answer.read().decode(errors="replace"), answer.headers)
    finally:
        connection.close()


@contextlib.contextmanager
def stack(folder: Path) -> Iterator[Stack]:
    """The whole stack, started in the order of compose; ended with all its processes."""
    with postgres() as database, redis() as broker:
        whole = Stack(folder, database, broker)
        try:
            whole.run("migrate")
            for services in (("api", "services", "reports"), ("worker",)):
                whole.start(*services)
            yield whole
        finally:
            whole.close()

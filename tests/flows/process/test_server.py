"""The Prefect server of a run: whose it is, where it keeps its rows, when it ends."""

import fcntl
import json
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from flows.process.prefect_server import Server, _take_database, client_environment, start_server
from tempering.errors import StoreError, UserError


def test_a_known_server_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://prefect.example/api")
    server = start_server(tmp_path)
    assert server.url == "http://prefect.example/api"
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match="--port"):
        start_server(tmp_path, 4200)


class _Healthy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/api/health" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HTTPServer]:
    """What a service leaves for others to see: a lock that is held, a record, an auth string, a server."""
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    folder = tmp_path / ".service"
    folder.mkdir()
    (folder / "auth").write_text("ann:secret")
    with HTTPServer(("127.0.0.1", 0), _Healthy) as server, (folder / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        url = f"http://127.0.0.1:{server.server_port}"
        facts = {"url": f"{url}/api", "reports_url": url, "pid": 1}
        (folder / "service.json").write_text(json.dumps(facts))
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_a_service_of_the_store_is_used(
    service: HTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "bob:for-another-server")
    server = start_server(tmp_path)
    assert server.process is None
    assert server.note == ""
    environment = client_environment(server, tmp_path)
    assert environment["PREFECT_API_URL"] == f"http://127.0.0.1:{service.server_port}/api"
    assert environment["PREFECT_API_AUTH_STRING"] == "ann:secret"
    assert "temper status" in str(server.trouble("401"))
    # PREFECT_API_URL goes before it.
    monkeypatch.setenv("PREFECT_API_URL", "http://prefect.example/api")
    assert start_server(tmp_path).url == "http://prefect.example/api"


def test_prefect_that_was_imported_before_is_a_client_too(
    service: HTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import sys, pathlib, prefect.settings as s; from flows.process.prefect_server import *; "
    code += "use_server(start_server(pathlib.Path(sys.argv[1])), pathlib.Path(sys.argv[1])); "
    code += "print(s.PREFECT_API_URL.value())"
    answer = subprocess.run(
        [sys.executable, "-c", code, tmp_path], check=True, capture_output=True, text=True
    )
    assert answer.stdout.strip() == f"http://127.0.0.1:{service.server_port}/api"


def test_a_service_that_does_not_answer(
    service: HTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.shutdown()
    service.server_close()
    server = start_server(tmp_path)
    try:
        assert "does not answer" in server.note
        assert server.process is not None
        assert server.url not in server.note
    finally:
        assert server.process is not None
        server.process.kill()
        server.stop()


def test_two_runs_take_a_database_each(tmp_path: Path) -> None:
    first, lock = _take_database(tmp_path)
    second, other = _take_database(tmp_path)
    assert (first.name, second.name) == ("prefect.db", "prefect-2.db")
    lock.close()
    again, third = _take_database(tmp_path)
    assert again == first
    other.close()
    third.close()


def test_a_store_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    (tmp_path / ".prefect").write_text("a file")
    with pytest.raises(StoreError, match="a part of the path is a file"):
        start_server(tmp_path)


def test_a_server_that_was_killed_is_an_error_and_can_be_stopped(tmp_path: Path) -> None:
    """A pipe that nobody reads is no reader of ours that has gone, which would be exit code 0."""
    log = tmp_path / "prefect.log"
    log.touch()
    server = Server("http://127.0.0.1:9/api", subprocess.Popen(["sleep", "60"], stdin=subprocess.PIPE), log)
    assert server.process is not None
    server.process.kill()
    server.process.wait()
    with pytest.raises(StoreError, match="the embedded Prefect server failed: signal 9 killed it\n"):
        server.wait()
    server.stop()

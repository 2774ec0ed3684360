"""Whether a service runs is the lock's word: a record that a killed one has left says nothing."""

import fcntl
import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from flows.service.location import answers, has_supervisor, read_secret, running, service_folder

FACTS = {"url": "http://127.0.0.1:1/api", "reports_url": "http://127.0.0.1:2", "pid": 1}


def test_a_service_holds_its_lock(tmp_path: Path) -> None:
    assert running(tmp_path) is None
    folder = service_folder(tmp_path)
    folder.mkdir()
    (folder / "service.json").write_text(json.dumps(FACTS))
    with (folder / "lock").open("wb") as lock:
        assert running(tmp_path) is None  # killed
        fcntl.flock(lock, fcntl.LOCK_EX)
        service = running(tmp_path)
        assert service is not None
        assert service.url == FACTS["url"]
        assert not service.answers()
    assert running(tmp_path) is None


def test_a_record_that_is_half_there(tmp_path: Path) -> None:
    folder = service_folder(tmp_path)
    folder.mkdir()
    with (folder / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for text in ("", "{", "[]", '{"url": 1}'):
            (folder / "service.json").write_text(text)
            assert running(tmp_path) is None
            assert has_supervisor(tmp_path)


def test_clients_get_the_auth_string(tmp_path: Path) -> None:
    folder = service_folder(tmp_path)
    folder.mkdir()
    (folder / "service.json").write_text(json.dumps(FACTS))
    with (folder / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        service = running(tmp_path)
        assert service is not None
        assert service.environment() == {"PREFECT_API_URL": FACTS["url"]}
        (folder / "auth").write_text("ann:secret\n")
        assert service.environment()["PREFECT_API_AUTH_STRING"] == "ann:secret"


def test_a_secret_that_cannot_be_read_is_not_taken_for_none(tmp_path: Path) -> None:
    assert read_secret(tmp_path, "auth") is None
    (tmp_path / "auth").mkdir()
    with pytest.raises(OSError, match="auth"):
        read_secret(tmp_path, "auth")


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/well" else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_answers() -> None:
    with HTTPServer(("127.0.0.1", 0), _Page) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert answers(f"{url}/well")
        assert not answers(f"{url}/ill")
        server.shutdown()
    assert not answers(url)

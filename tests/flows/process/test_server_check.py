"""A server that somebody names: each fault is one message, before anything is computed."""

import importlib.metadata
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from flows.process import server_check
from flows.process.server_check import check_server, require_server, without_login
from tempering.errors import UserError

OURS = importlib.metadata.version("prefect")
LOGIN = "dXNlcjpzZWNyZXQtb2YtYS1zZXJ2ZXI="  # user:secret-of-a-server
Answers = Mapping[str, tuple[int, object]]


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings of Prefect around."""
    for name in ("API_URL", "API_AUTH_STRING", "API_KEY", "HOME", "PROFILES_PATH"):
        monkeypatch.delenv(f"PREFECT_{name}", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Start a server that gives these answers by path, and 404 elsewhere; its URL."""
    servers = []

    def begin(answers: Answers, login: str = "") -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, content = answers.get(self.path.partition("?")[0], (404, {"detail": "Not Found"}))
                closed = login and self.path.startswith("/api") and "ready" not in self.path
                if closed and self.headers["Authorization"] != f"Basic {login}":
                    status, content = 401, {"exception_message": "Unauthorized"}
                body = (content if isinstance(content, str) else json.dumps(content)).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/api"

    yield begin
    for server in servers:
        server.shutdown()
        server.server_close()


def prefect(version: str = OURS) -> Answers:
    return {"/api/admin/version": (200, f'"{version}"'), "/api/ready": (200, {"message": "OK"})}


def test_a_good_server(serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    url = serve(prefect(), LOGIN)
    assert require_server() == ""
    assert check_server(url, "user:secret-of-a-server") == ""
    assert check_server(url.replace("127", "user:secret-of-a-server@127")) == ""
    monkeypatch.setenv("PREFECT_API_URL", f"{url}/")
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "user:secret-of-a-server")
    assert require_server() == ""


def test_the_last_number_of_the_version_may_differ(serve: Callable[..., str]) -> None:
    other = f"{OURS.rpartition('.')[0]}.99"
    assert f"has version {other}, this client {OURS}" in check_server(serve(prefect(other)))


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (prefect("2.20.1"), f"has version 2.20.1, this client {OURS}"),
        (prefect("3.99.0"), f"has version 3.99.0, this client {OURS}"),
        ({"/api/admin/version": (200, "<html>hello</html>")}, "is no Prefect server: status 200"),
        ({"/api/admin/version": (200, {"version": 3})}, "is no Prefect server: status 200"),
        ({}, "is no Prefect server: status 404"),
        ({"/api/admin/version": (503, "")}, "does not answer: it answers 503"),
        ({**prefect(), "/api/ready": (503, "")}, "its database is not available"),
    ],
)
def test_what_is_no_server_of_ours(serve: Callable[..., str], answers: Answers, said: str) -> None:
    with pytest.raises(UserError, match="fix: ") as error:
        check_server(serve(answers))
    assert said in error.value.found


@pytest.mark.parametrize("given", [None, "user:secret-of-another"])
def test_a_login_that_is_missing_or_wrong(serve: Callable[..., str], given: str | None) -> None:
    url = serve(prefect(), LOGIN)
    with pytest.raises(UserError) as error:
        check_server(url, given)
    wrong = "refuses the login that was given" if given else "wants a login, and none was given"
    assert wrong in error.value.found
    assert "secret" not in str(error.value)


def test_a_login_that_only_prefect_can_find(serve: Callable[..., str]) -> None:
    Path("prefect.toml").write_text("[api]\nauth_string = 'user:secret'\n")
    assert check_server(serve(prefect(), LOGIN)) == ""


@pytest.mark.parametrize("login", ["", LOGIN])
def test_an_address_without_api(serve: Callable[..., str], login: str) -> None:
    url = serve(prefect(), login)
    with pytest.raises(UserError, match=f"fix: set PREFECT_API_URL={url}$"):
        check_server(url.removesuffix("/api"))


def test_csrf_tokens(serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    url = serve({**prefect(), "/api/csrf-token": (200, {"token": "x"})})
    assert check_server(url) == ""
    monkeypatch.setenv("PREFECT_CLIENT_CSRF_SUPPORT_ENABLED", "false")
    with pytest.raises(UserError, match="unset PREFECT_CLIENT_CSRF_SUPPORT_ENABLED"):
        check_server(url)


def test_a_port_that_is_closed_or_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        url = f"http://user:secret@127.0.0.1:{listener.getsockname()[1]}/api"
        with pytest.raises(UserError, match=r"does not answer: .*refused") as error:
            check_server(url)
        assert "secret" not in str(error.value)
        listener.listen()
        monkeypatch.setattr(server_check, "_LIMIT", 0.3)
        with pytest.raises(UserError, match=r"does not answer: no answer in 0\.3 s"):
            check_server(url)
        # Where no limit of the client holds, as while a name is looked up.
        monkeypatch.setattr(server_check, "_LIMIT", 60.0)
        monkeypatch.setattr(server_check, "_MOST", 0.3)
        start = time.monotonic()
        with pytest.raises(UserError, match=r"does not answer: no answer in 0\.3 s"):
            check_server(url)
        assert time.monotonic() - start < 2


def test_https_where_http_is_spoken(serve: Callable[..., str]) -> None:
    with pytest.raises(UserError, match="it may speak http, not https"):
        check_server(serve(prefect()).replace("http:", "https:"))


@pytest.mark.parametrize(
    "url",
    [
        "localhost:4200/api",
        "user:secret@host/api",
        "ftp://user:secret@host/api",
        "http://user:sec/ret@host:4200/api",
        "http://[::1/api",
        "http://user:secret@/api",
        "http://host:port/api",
        "http://user:secret@nowhere.invalid/api",
    ],
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(UserError, match="PREFECT_API_URL") as error:
        check_server(url)
    assert not {"secret", "sec", "user"} & set(str(error.value).replace("'", " ").replace(":", " ").split())
    assert "@" not in without_login(url)


def test_certificates_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_SSL_CERT_FILE", "/nowhere.pem")
    with pytest.raises(UserError, match=r"PREFECT_API_SSL_CERT_FILE names /nowhere\.pem"):
        check_server("https://127.0.0.1:1/api")

"""The report server: `python -m flows.service.reports [--host HOST] [--port N]`, of the store TEMPER_STORE.

    /                     the reports, newest first
    /<artifact id>/       one report
    /latest/<pipeline>    leads to what the pipeline's newest run made or reused
    /health               for a health check, without the password

It reads alone, and a URL never becomes a path: an id is looked up among the reports that the store lists.
Beyond localhost it wants a password, `user:password` in the file that TEMPER_REPORTS_AUTH_FILE names. On
localhost without one it answers to the names of localhost only, so that no web page can rebind its own.
"""

import argparse
import base64
import hmac
import ipaddress
import os
import signal
import socket
import socketserver
import sys
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from flows.service.report_list import ReportList
from flows.service.report_pages import list_page, message_page
from flows.service.secret_files import read_line
from flows.store_choice import DEFAULT_STORE
from tempering.artifacts.atomic import file_trouble
from tempering.artifacts.store import Store
from tempering.credentials import masked
from tempering.errors import ArtifactError, UserError
from tempering.printable import visible

AUTH_FILE = "TEMPER_REPORTS_AUTH_FILE"
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Answer:
    """What a request is answered with."""

    status: HTTPStatus
    body: bytes = b""
    kind: str = "text/html; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


class ReportServer(socketserver.ThreadingTCPServer):
    """Serves the reports of `store`.

    Args:
        password: `user:password`; needed where `host` is not the loopback.

    Raises:
        UserError: the port is taken, the host is none of this machine's, or the password is missing.
    """

    daemon_threads = True
    allow_reuse_address = True  # a restart need not wait for the kernel to forget the last one

    def __init__(self, store: Store, host: str, port: int, password: str | None = None) -> None:
        if password is None and not _local(host):
            raise UserError(
                f"the reports would be open to everybody who can reach {host}",
                expected=f"a password: {AUTH_FILE} names a file that holds user:password",
                fix="set it, or leave out --host to serve them on localhost alone",
            )
        self.reports = ReportList(store)
        self.password = None if password is None else base64.b64encode(password.encode())
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            raise UserError(
                f"port {port} on {host} cannot be used: {getattr(error, 'strerror', None) or error}",
                fix="choose another --port or --host, or end the program that holds it",
            ) from None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say what went wrong, except that a reader has gone."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        """Where it answers."""
        host, port = str(self.server_address[0]), self.server_address[1]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/"

    def answer(self, target: str, host: str | None, authorization: str | None) -> Answer:
        """The answer to a request for `target`, with these two of its headers."""
        path = unquote(urlsplit(target).path, errors="replace")
        if path == "/health":
            return self._health()
        if not self._allowed(authorization):
            ask = ("WWW-Authenticate", 'Basic realm="Tempering reports", charset="UTF-8"')
            return _message(HTTPStatus.UNAUTHORIZED, "A user and a password are needed.", ask)
        if self.password is None and not _names_localhost(host):
            return _message(HTTPStatus.FORBIDDEN, "Without a password only localhost is answered.")
        try:
            return self._page(path)
        except ArtifactError as error:
            print(visible(masked(str(error)), lines=True), file=sys.stderr, flush=True)
            return _message(HTTPStatus.INTERNAL_SERVER_ERROR, f"{error.found}. Fix: {error.fix}.")
        except OSError as error:
            trouble = file_trouble(error) or error
            print(visible(masked(str(trouble)), lines=True), file=sys.stderr, flush=True)
            return _message(HTTPStatus.INTERNAL_SERVER_ERROR, "The store cannot be read; the log says why.")

    def _page(self, path: str) -> Answer:
        if path == "/":
            return Answer(HTTPStatus.OK, list_page(self.reports.newest()))
        name = path.strip("/")
        report = self.reports.get(name)
        if report is not None:
            return Answer(HTTPStatus.OK, self.reports.read(report))
        # What a pipeline made last; where that is changes, so nobody may keep the answer.
        first, _, pipeline = name.partition("/")
        report = self.reports.latest(pipeline) if first == "latest" else None
        if report is not None:
            return _message(HTTPStatus.FOUND, "It is there.", ("Location", f"/{quote(report.id)}/"))
        return _message(HTTPStatus.NOT_FOUND, "There is no such report.")

    def _health(self) -> Answer:
        try:
            next(self.reports.store.root.iterdir(), None)
        except FileNotFoundError:  # before the first run
            pass
        except OSError as error:
            text = f"the store cannot be read: {error.strerror}\n"
            return Answer(HTTPStatus.SERVICE_UNAVAILABLE, text.encode(), "text/plain; charset=utf-8")
        return Answer(HTTPStatus.OK, b"ok\n", "text/plain; charset=utf-8")

    def _allowed(self, authorization: str | None) -> bool:
        if self.password is None:
            return True
        kind, _, known = (authorization or "").partition(" ")
        return kind.lower() == "basic" and hmac.compare_digest(known.strip().encode(), self.password)


class _Handler(BaseHTTPRequestHandler):
    server: ReportServer
    timeout = 30  # seconds that a client may be silent

    def do_GET(self) -> None:
        self._send(self.server.answer(self.path, self.headers["Host"], self.headers["Authorization"]))

    do_HEAD = do_GET

    def _refuse(self) -> None:
        self._send(
            _message(HTTPStatus.METHOD_NOT_ALLOWED, "Reports can only be read.", ("Allow", "GET, HEAD"))
        )

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _refuse

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        headers = (("Content-Type", answer.kind), ("Content-Length", str(len(answer.body))))
        for name, value in (*_HEADERS.items(), *headers, *answer.headers):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the base class answers to requests that it cannot read."""
        self.close_connection = True
        self.command = getattr(self, "command", None) or "GET"
        self.request_version = self.request_version or "HTTP/1.0"
        self._send(_message(HTTPStatus(code), "This request cannot be read."))

    def version_string(self) -> str:
        return "Tempering"

    def log_request(self, code: Any = "-", size: Any = "-") -> None:
        if isinstance(code, HTTPStatus) and code >= 400:
            super().log_request(code.value, size)


def _message(status: HTTPStatus, text: str, *headers: tuple[str, str]) -> Answer:
    return Answer(status, message_page(f"{status.value} {status.phrase}", text), headers=headers)


def _local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _names_localhost(header: str | None) -> bool:
    try:
        return _local(urlsplit(f"//{header}").hostname or "")
    except ValueError:
        return False


def read_password(environment: dict[str, str]) -> str | None:
    """`user:password` from the file that TEMPER_REPORTS_AUTH_FILE names, if it does.

    Raises:
        UserError: the file cannot be read, or holds something else.
    """
    name = environment.get(AUTH_FILE)
    return read_line(name, AUTH_FILE, login=True) if name else None


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or Ctrl-C; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.service.reports", description="Serve the reports of the store TEMPER_STORE."
    )
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=4201, help="the port (default: %(default)s)")
    args = parser.parse_args(arguments)
    try:
        store = Store(os.environ.get("TEMPER_STORE") or DEFAULT_STORE, writable=False)
        server = ReportServer(store, args.host, args.port, read_password(dict(os.environ)))
    except UserError as error:
        print(f"error: {visible(masked(str(error)), lines=True)}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print(f"reports of {store.root}: {server.url}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Whether the Prefect server of a run answers, also in the last moment of the run."""

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from flows import contact as contacts
from flows.contact import Contact


def test_a_server_that_goes_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: Iterator[bool] = iter([False, True, False, False, False, False, False, False, True])
    monkeypatch.setattr(contacts, "_LOOK", 60.0)
    monkeypatch.setattr(Contact, "_answers", lambda self: next(answers))
    monkeypatch.setattr(contacts.logging, "raiseExceptions", True)
    said: list[str] = []
    contact = Contact("http://127.0.0.1:9/api", said.append)
    contact.look()  # it was slow once
    assert (contact.lost, contact.missed, said) == (False, False, [])
    contact.look()
    contact.look()  # said once
    assert (contact.lost, contact.missed, len(said)) == (True, True, 1)
    with contact:
        assert not contacts.logging.raiseExceptions
    contact.look()
    assert (contact.lost, contact.missed) == (False, True)
    assert said[1:] == ["the Prefect server answers again"]


def test_a_server_behind_a_login_answers_whoever_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutation: ask without what Prefect's own client sends; the run would call its pages blind."""

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = f"Basic {base64.b64encode(b'me:secret').decode()}"
            self.send_response(200 if self.headers["Authorization"] == wanted else 401)
            self.end_headers()

    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "me:secret")
    said: list[str] = []
    with HTTPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        Contact(f"http://127.0.0.1:{server.server_port}/api", said.append).look()
        server.shutdown()
    assert said == []

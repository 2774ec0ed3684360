"""Another web page in the user's browser can neither post to our server nor read from it."""

import http.client
import json
from urllib.parse import urlsplit

import pytest

from flows.process.own_pages import is_ours

WEBSOCKET = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "x3JJHMbDL1EzLkh9GBhXDw==",
}
FLOWS, EVENTS = ("POST", "/api/flows/"), ("GET", "/api/events/in")


def ask(url: str, what: tuple[str, str], headers: dict[str, str]) -> tuple[int, dict[str, str]]:
    """The status and headers of an answer; PORT stands for the server's."""
    port = urlsplit(url).port
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    body = json.dumps({"name": "planted"}) if what == FLOWS else None
    connection.request(
        *what, body, {name: value.replace("PORT", str(port)) for name, value in headers.items()}
    )
    answer = connection.getresponse()
    connection.close()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},  # a file, or a frame without rights; no type: FastAPI takes it for JSON
        {"Origin": "https://127.0.0.1"},
        {"Origin": "http://localhost:8888"},  # somebody else's pages on this machine
        {"Origin": "http://127.0.0.1:PORT.evil.example"},
        {"Origin": "http://127.0.0.1:PORT@evil.example"},
        {"Host": "evil.example:PORT"},  # a name that somebody points here
        {"Host": "evil.example:PORT", "Origin": "http://evil.example:PORT"},
        {"Host": "127.0.0.1.evil.example:PORT"},
    ],
)
def test_a_foreign_page_is_refused(api: str, headers: dict[str, str]) -> None:
    """Mutation: one of Host and Origin is not looked at, or its port."""
    assert ask(api, FLOWS, headers)[0] == 403
    assert ask(api, EVENTS, WEBSOCKET | headers)[0] == 403
    status, answer = ask(api, ("OPTIONS", "/api/flows/"), headers | {"Access-Control-Request-Method": "POST"})
    assert (status, "access-control-allow-origin" in answer) == (403, False)


@pytest.mark.parametrize(
    "headers",
    [
        {},  # a program
        {"Origin": "http://127.0.0.1:PORT"},
        {"Origin": "http://localhost:PORT"},
        {"Origin": "http://localhost:PORT", "Host": "localhost:PORT"},
    ],
)
def test_programs_and_its_own_pages_are_answered(api: str, headers: dict[str, str]) -> None:
    """Mutation: the pages opened as localhost are not let in by Prefect's CORS setting."""
    json_body = {"Content-Type": "application/json"}
    status, answer = ask(api, FLOWS, json_body | headers)
    assert status in (200, 201)
    allowed = {value for name, value in headers.items() if name == "Origin"}
    port = str(urlsplit(api).port)
    assert allowed <= {answer.get("access-control-allow-origin", "").replace(port, "PORT")}
    assert ask(api, EVENTS, WEBSOCKET | headers)[0] == 101


@pytest.mark.parametrize(
    ("host", "origin", "good"),
    [
        ("gpu-7:4200", None, True),
        ("gpu-7:4200", "http://gpu-7:4200", True),
        ("pages.example", "https://pages.example", True),  # behind a proxy
        ("gpu-7:4200", "http://evil.example", False),
        ("gpu-7:4200", "null", False),
        ("", None, False),
    ],
)
def test_a_server_for_others_has_any_name_and_its_own_pages(
    host: str, origin: str | None, good: bool
) -> None:
    headers = [(b"Host", host.encode()), *([(b"Origin", origin.encode())] if origin else [])]
    assert is_ours(headers, local=False) == good
    assert not is_ours(headers)

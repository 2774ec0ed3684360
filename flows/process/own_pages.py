"""A server on localhost answers programs of this machine and its own pages, and no other page in a browser.

A page from anywhere can post to `http://127.0.0.1:4200`, open a websocket to it, or let its own name point
there (DNS rebinding). Prefect's CORS setting lets all in by default, its CSRF token goes to whoever may read
answers, and neither looks at websockets or at `Host`. What a browser says of where a request comes from is
enough: `Host` is always there, and `Origin` whenever another page could do harm. A server that others may
reach has any name, and a password; there a page must come from the name it asks.
"""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Callable[..., Awaitable[Any]], Callable[..., Awaitable[None]]], Awaitable[None]]

NAMES = ("127.0.0.1", "localhost", "::1")
_REFUSAL = b"this server answers its own pages and programs of this machine only\n"


def own_pages_only(app: App, address: str = "127.0.0.1") -> App:
    """`app` (ASGI), which listens on `address`, behind a look at where a request comes from; else a 403."""
    local = ip_address(address).is_loopback

    async def guard(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan" or is_ours(scope["headers"], local):
            await app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()  # the request to connect
            await send({"type": "websocket.close", "code": 1008})  # before it is accepted: a 403
        else:
            headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(_REFUSAL))]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": _REFUSAL})

    return guard


def origins(port: int) -> tuple[str, ...]:
    """Where the pages of a server on this port come from."""
    return tuple(f"http://{f'[{name}]' if ':' in name else name}:{port}" for name in NAMES)


def is_ours(headers: Iterable[tuple[bytes, bytes]], local: bool = True) -> bool:
    """Whether a request comes from no page or from one of this server, and (`local`) names this machine."""
    pairs = [(name.lower(), value.decode("latin-1")) for name, value in headers]
    hosts = [_place(f"http://{value}") for name, value in pairs if name == b"host"]
    pages = [_place(value) for name, value in pairs if name == b"origin"]
    if len(hosts) != 1 or hosts[0] is None or None in pages:
        return False
    host, port = hosts[0]
    if not local:  # a proxy may have another port and https
        return all(page is not None and page[0] == host for page in pages)
    return host in NAMES and all(page in [(name, port) for name in NAMES] for page in pages)


def _place(address: str) -> tuple[str, int] | None:
    try:
        parts = urlsplit(address)
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
        return (parts.hostname, port) if parts.hostname else None
    except (ValueError, KeyError):
        return None

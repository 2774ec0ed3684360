"""Whether the Prefect server that somebody names can be used, asked before anything is computed.

Prefect itself would answer after minutes or with a traceback. One question tells most: the version, which
only a Prefect server has, which wants the login, and which must be ours but for the last number: Prefect's
pages, services and clients are upgraded together. Neither URL nor login is shown with its password.
"""

import contextlib
import importlib.metadata
import json
import os
import re
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tempering.credentials import masked
from tempering.errors import UserError

if TYPE_CHECKING:
    import httpx

_LIMIT = 5.0  # seconds for an answer
_MOST = 8.0  # seconds for all of it: looking up a name knows no limit, nor does an answer that drips
_TRUE = ("1", "true", "yes", "on", "t", "y")


def require_server() -> str:
    """Check the server that PREFECT_API_URL names, if any; what a person should know of it, or "".

    Raises:
        UserError: it cannot be used.
    """
    url = os.environ.get("PREFECT_API_URL")
    return check_server(url, os.environ.get("PREFECT_API_AUTH_STRING")) if url else ""


def check_server(url: str, auth: str | None = None) -> str:
    """See that a Prefect server of our version answers at `url`; what a person should know of it, or "".

    Args:
        auth: `user:password`; without it PREFECT_API_KEY counts.

    Raises:
        UserError: it does not answer, is no Prefect server, refuses the login, or is of another version.
    """
    return _within(_MOST, lambda: _check(url, auth), lambda: _unreachable(url, f"no answer in {_MOST:g} s"))


def http_client(auth: str | None) -> "httpx.Client":
    """A client that asks as Prefect's would: its login, headers and certificates.

    Raises:
        UserError: the file of certificates cannot be read.
    """
    import base64

    import httpx

    headers: dict[str, str] = {}
    with contextlib.suppress(ValueError):
        headers.update(json.loads(os.environ.get("PREFECT_CLIENT_CUSTOM_HEADERS", "{}")))
    key = os.environ.get("PREFECT_API_KEY")
    if auth:
        headers["Authorization"] = f"Basic {base64.b64encode(auth.encode()).decode()}"
    elif key:
        headers["Authorization"] = f"Bearer {key}"
    certificates = os.environ.get("PREFECT_API_SSL_CERT_FILE")
    verify: ssl.SSLContext | bool = not _wished("PREFECT_API_TLS_INSECURE_SKIP_VERIFY", False)
    if verify and certificates:
        try:
            verify = ssl.create_default_context(cafile=certificates)
        except (OSError, ssl.SSLError) as error:
            raise UserError(
                f"PREFECT_API_SSL_CERT_FILE names {certificates}, which cannot be read: {error}",
                expected="a file of certificates in PEM format",
            ) from None
    return httpx.Client(headers=headers, verify=verify, timeout=_LIMIT, follow_redirects=True)


def without_login(url: str) -> str:
    """`url` without user and password, also where it is none."""
    return masked(re.sub(r"^(\w+://)?.*@", r"\1", url))


def _check(url: str, auth: str | None) -> str:
    import httpx

    # What only a Prefect server has.
    if not re.match(r"https?://", url):
        raise _no_server(f"PREFECT_API_URL is {without_login(url)!r}, which is no URL of a server")
    with http_client(auth) as client:
        try:
            answer = client.get(f"{url.rstrip('/')}/admin/version")
            version = _version(answer)
            if version is None:
                _refuse(url, auth, answer, client)
            ready = client.get(f"{url.rstrip('/')}/ready")
            csrf = None if _wished("PREFECT_CLIENT_CSRF_SUPPORT_ENABLED", True) else _csrf(url, client)
        except httpx.InvalidURL:  # its text may hold a part of a password
            raise _no_server("PREFECT_API_URL is no URL") from None
        except httpx.HTTPError as error:
            raise _unreachable(url, _reason(error)) from None
    # It answers; whether it would take what we send.
    if ready.status_code >= 500:
        raise _unreachable(url, f"it answers {ready.status_code}: its database is not available")
    if csrf:
        raise UserError(
            f"the Prefect server at {without_login(url)} wants CSRF tokens, which this client does not send",
            fix="unset PREFECT_CLIENT_CSRF_SUPPORT_ENABLED",
        )
    return _compare(url, version)


def _version(answer: "httpx.Response") -> str | None:
    """The version in an answer to /admin/version; None where it is no such answer."""
    try:
        version = answer.json() if answer.status_code == 200 else None
    except ValueError:
        return None
    return version if isinstance(version, str) and version[:1].isdigit() else None


def _refuse(url: str, auth: str | None, answer: "httpx.Response", client: "httpx.Client") -> None:
    """Say why there is no version in `answer`; return only where nobody can tell."""
    code = answer.status_code
    if code in (401, 403):
        has_login = bool(auth or os.environ.get("PREFECT_API_KEY") or "@" in url)
        if not has_login and _other_settings():
            return
        raise UserError(
            f"the Prefect server at {without_login(url)} "
            + ("refuses the login that was given" if has_login else "wants a login, and none was given"),
            expected="PREFECT_API_AUTH_STRING=user:password as the server has it"
            + (" (PREFECT_SERVER_API_AUTH_STRING there)" if code == 401 else ""),
            fix="set it in the environment of this command, or correct it",
        )
    if code in (502, 503, 504):
        raise _unreachable(url, f"it answers {code}")
    longer = f"{url.rstrip('/')}/api"
    if not url.rstrip("/").endswith("/api") and _is_api(client.get(f"{longer}/admin/version")):
        raise _no_server(
            f"PREFECT_API_URL is {without_login(url)}", f"set PREFECT_API_URL={without_login(longer)}"
        )
    raise _no_server(f"what answers at {without_login(url)} is no Prefect server: status {code}")


def _is_api(answer: "httpx.Response") -> bool:
    """Whether a Prefect server answers so, perhaps one that wants a login."""
    return answer.status_code == 401 or _version(answer) is not None


def _other_settings() -> bool:
    """Whether Prefect may find a login outside the environment, in a file that only it reads."""
    if {"PREFECT_HOME", "PREFECT_PROFILES_PATH"} & set(os.environ):
        return True
    return any(Path(name).exists() for name in ("prefect.toml", ".env"))


def _csrf(url: str, client: "httpx.Client") -> bool:
    return client.get(f"{url.rstrip('/')}/csrf-token", params={"client": "temper"}).status_code == 200


def _compare(url: str, version: str | None) -> str:
    ours = importlib.metadata.version("prefect")
    if version in (None, ours):
        return ""
    assert version is not None
    if version.split(".")[:2] == ours.split(".")[:2]:
        return f"the Prefect server at {without_login(url)} has version {version}, this client {ours}"
    raise UserError(
        f"the Prefect server at {without_login(url)} has version {version}, this client {ours}",
        expected=f"a server of version {'.'.join(ours.split('.')[:2])}; all parts are upgraded together",
        fix="install the same version on both sides, or unset PREFECT_API_URL: a run then brings its own",
    )


def _unreachable(url: str, reason: str) -> UserError:
    return UserError(
        f"the Prefect server at {without_login(url)} does not answer: {reason}",
        expected="a running server, as PREFECT_API_URL names it",
        fix="start it, correct PREFECT_API_URL, or unset it: a run then brings its own",
    )


def _no_server(found: str, fix: str = "") -> UserError:
    return UserError(
        found,
        expected="http://HOST:PORT/api of a Prefect server",
        fix=fix or "correct PREFECT_API_URL, or unset it: a run then brings its own",
    )


def _reason(error: Exception) -> str:
    """A fault of a connection in words."""
    import httpx

    text = masked(str(error)).strip() or type(error).__name__
    if isinstance(error, httpx.TimeoutException):
        return f"no answer in {_LIMIT:g} s"
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return f"{text}; PREFECT_API_SSL_CERT_FILE names a file of certificates to trust"
    if "SSL" in text:
        return f"{text}; it may speak http, not https"
    return text


def _wished(name: str, default: bool) -> bool:
    value = os.environ.get(name)
    return default if value is None else value.strip().lower() in _TRUE


def _within(seconds: float, work: Callable[[], str], late: Callable[[], UserError]) -> str:
    """What `work` returns or raises, or else `late` after some seconds; the thread is left behind then."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except Exception as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        text: str = future.result(seconds)
    except TimeoutError:
        raise late() from None
    return text

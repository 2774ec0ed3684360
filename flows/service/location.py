"""Where the service of a store is, and whether it answers.

Its folder is `.service` in the store, which the owner alone may read. Whoever holds the lock there is the
service: the kernel frees it when its process dies, so no number of a process is ever trusted. Every run
asks, so Prefect is not imported.
"""

import contextlib
import fcntl
import http.client
import json
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = ".service"
RECORD = "service.json"
LOCK = "lock"
MARK = "TEMPER_SERVICE"
"""The variable that all processes of a service have in their environment: its folder."""


@dataclass(frozen=True)
class Service:
    """A service that runs; `facts` are those of its record."""

    folder: Path
    url: str
    reports_url: str
    pid: int
    facts: dict[str, Any]

    def answers(self) -> bool:
        """Whether its Prefect server answers."""
        return answers(f"{self.url}/health")

    def environment(self) -> dict[str, str]:
        """What a Prefect client needs to speak with it; to be set before Prefect is imported."""
        auth = read_secret(self.folder, "auth")
        return {"PREFECT_API_URL": self.url, **({"PREFECT_API_AUTH_STRING": auth} if auth else {})}


def service_folder(store: Path) -> Path:
    """The folder of a store's service."""
    return store.absolute() / FOLDER


def has_supervisor(store: Path) -> bool:
    """Whether a supervisor holds the lock of a store; one that has just begun has no record yet."""
    try:
        with (service_folder(store) / LOCK).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def running(store: Path) -> Service | None:
    """The service of a store, if one runs."""
    folder = service_folder(store)
    if not has_supervisor(store):
        return None
    try:
        facts = json.loads((folder / RECORD).read_bytes())
        return Service(folder, facts["url"], facts["reports_url"], facts["pid"], facts)
    except (OSError, ValueError, KeyError, TypeError):  # it is starting, or not ours to read
        return None


def answers(url: str, limit: float = 5.0) -> bool:
    """Whether a URL answers a GET with 200 within `limit` seconds."""
    parts = urllib.parse.urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    request = kind(parts.hostname or "", parts.port, timeout=limit)
    try:
        request.request("GET", parts.path or "/")
        return request.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        request.close()


def read_secret(folder: Path, name: str) -> str | None:
    """A secret that the service keeps in a file of its folder: `auth`, `database`.

    Raises:
        OSError: it cannot be read; a service that had a password must not start without.
    """
    with contextlib.suppress(FileNotFoundError):
        return (folder / name).read_text().strip() or None
    return None

"""Keys and passwords of the environment are in no file of a store, no log, no database, no command line."""

import base64
import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.flows.conftest import HERE, ROOT, Answer, Started, wait_for

MARK = "Zq7x"  # in each secret, and nowhere else
SECRETS = {
    "PREFECT_API_AUTH_STRING": f"admin:{MARK}auth-01",
    "PREFECT_SERVER_API_AUTH_STRING": f"admin:{MARK}auth-02",
    "PREFECT_API_KEY": f"pnu_{MARK}000000000000000003",
    "OPENAI_API_KEY": f"sk-proj-{MARK}04-{MARK}04",
    "HF_TOKEN": f"{MARK}05opaque",
    "AWS_SECRET_ACCESS_KEY": f"/{MARK}06/abc+def",
    "AWS_SESSION_TOKEN": f"{MARK}07==",
    "PGPASSWORD": f"{MARK}08pw",
    "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"postgresql+asyncpg://prefect:{MARK}09pw@127.0.0.1/db",
    "REDIS_URL": f"redis://:{MARK}10pw@127.0.0.1/0",
}

NO_NETWORK = """
import os, sys

def look(event, details):
    if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"):
        place = details[1 if event in ("socket.connect", "socket.sendto") else 0]
        host = place[0] if isinstance(place, tuple) else place
        host = host.decode(errors="replace") if isinstance(host, bytes) else str(host)
        local = host in ("127.0.0.1", "localhost", "::1", "None") or host.startswith(("/", "\\0"))
        with open(os.environ["CALLS"], "a") as file:
            file.write("local\\n" if local else f"{event} {place} {sys.argv}\\n")
        if not local:
            raise OSError("there is no network in this test")

if "CALLS" in os.environ:
    sys.addaudithook(look)
"""


def test_a_run_keeps_and_shows_none_of_them(
    start: Callable[..., Started], toy: Path, store: Path, tmp_path: Path
) -> None:
    """One stage tells all it knows and fails, another one works; the embedded server writes it all down.

    None of their processes asks for an address outside of this machine.

    Mutation: log.txt as it is printed; a warning, or the error in the record, that is not masked.
    """
    flag, calls = tmp_path / "flag", tmp_path / "calls"
    (tmp_path / "sitecustomize.py").write_text(NO_NETWORK)
    paths = os.pathsep.join([str(tmp_path), str(HERE), str(ROOT)])
    settings = ("right.crash=tell", f"left.wait_for={flag}")
    run = start("run", toy, *settings, "--store", store, "-v", **SECRETS, PYTHONPATH=paths, CALLS=str(calls))
    wait_for(Path(f"{flag}.pid").exists)
    shown = dict(command_lines(run))
    flag.touch()
    answer = run.wait()
    assert (answer.code, "right: failed" in answer.err) == (1, True), answer.err
    # What it said is there, without the keys.
    assert "('HF_TOKEN', '[hidden]')" in answer.err
    [log] = (path for path in store.glob(".partial/*/log.txt") if b"HF_TOKEN" in path.read_bytes())
    assert log.read_text().count("HF_TOKEN") == 5  # Python, a shell, C, a warning, a traceback
    database = store / ".prefect/prefect.db"
    assert sum(b"HF_TOKEN" in file.read_bytes() for file in database.parent.glob("prefect.db*")) > 0
    # Nothing asked for an address outside of this machine.
    assert [line for line in calls.read_text().splitlines() if line != "local"] == []
    # And no key anywhere.
    assert len(shown) >= 5, shown
    encoded = base64.b64encode(SECRETS["PREFECT_API_AUTH_STRING"].encode())
    places = [*shown.values(), answer.err.encode(), answer.out.encode()]
    places += [path.read_bytes() + str(path).encode() for path in store.rglob("*") if path.is_file()]
    assert not [place[-300:] for place in places if MARK.encode() in place or encoded in place]


def command_lines(run: Started) -> Iterator[tuple[int, bytes]]:
    """What `ps` shows of a run and of all that it has started."""
    for pid in run.family():
        with contextlib.suppress(OSError):
            yield pid, Path(f"/proc/{pid}/cmdline").read_bytes()


def test_a_setting_that_is_a_key_of_the_environment_is_refused(
    temper: Callable[..., Answer], toy: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would lie in the manifests, in the record of the run, and in Prefect's database."""
    monkeypatch.setenv("HF_TOKEN", SECRETS["HF_TOKEN"])
    answer = temper("run", toy, f"name=my-{SECRETS['HF_TOKEN']}", "--store", store)
    assert (answer.code, MARK in answer.err + answer.out, store.exists()) == (2, False, False)
    assert "name holds what looks like a key or a password" in answer.err

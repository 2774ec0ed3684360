"""What `temper up` takes and refuses, and where its secrets go: files of the owner's, and nowhere else."""

import argparse
import fcntl
import json
import stat
from pathlib import Path

import pytest

from flows.service.settings import AUTH, DATABASE, Settings
from flows.service.start import start
from tempering.errors import UserError

SECRET = "ann:correct-horse"
URL = "postgresql+asyncpg://prefect:battery-staple@db:5432/prefect"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (AUTH, DATABASE, "TEMPER_STORE"):
        monkeypatch.delenv(name, raising=False)


def settings(store: Path, **more: object) -> Settings:
    options = {"host": "127.0.0.1", "port": 4300, "reports_port": 4301, "limit": None}
    files = {"database": None, "auth_file": None}
    return Settings.of(argparse.Namespace(store=str(store), **{**options, **files, **more}))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"host": "0.0.0.0"}, "--auth-file"),
        ({"host": "10.0.0.7"}, "--auth-file"),
        ({"port": 0}, "1 to 65535"),
        ({"port": 70000}, "1 to 65535"),
        ({"reports_port": 4300}, "both 4300"),
        ({"limit": 0}, "1 or more"),
        ({"database": URL}, DATABASE),
        ({"database": "mysql://db/prefect"}, "postgresql"),
        ({"database": "postgresql+asyncpg://[db/prefect"}, "is no URL"),
        ({"database": "postgresql+asyncpg://ann:battery-staple/1@db/prefect"}, "%XX"),
        ({"auth_file": "missing"}, "missing"),
    ],
)
def test_refused(tmp_path: Path, options: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        settings(tmp_path, **options)
    assert "battery-staple" not in str(error.value)
    assert not (tmp_path / ".service").exists()


@pytest.mark.parametrize("text", ["", "ann", "ann:", ":secret", "ann:a\nb", "ann:gr\u00fcn"])
def test_malformed_auth(tmp_path: Path, text: str) -> None:
    path = tmp_path / "auth"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="user:password"):
        settings(tmp_path, auth_file=str(path))


def test_secrets_are_kept_for_the_next_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(AUTH, SECRET)
    monkeypatch.setenv(DATABASE, URL)
    first = settings(tmp_path, host="0.0.0.0")
    first.keep()
    # The folder and both files are the owner's alone.
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [first.folder, *first.folder.iterdir()]}
    assert modes == {".service": 0o700, "auth": 0o600, "database": 0o600}
    # A later start has them still, without a word in the environment.
    monkeypatch.delenv(AUTH)
    monkeypatch.delenv(DATABASE)
    second = settings(tmp_path)
    assert (second.auth, second.database) == (SECRET, URL)
    # Another string takes the old one's place.
    monkeypatch.setenv(AUTH, "ann:new")
    settings(tmp_path).keep()
    assert (first.folder / "auth").read_text() == "ann:new"


def test_a_service_that_runs_is_not_given_other_settings(tmp_path: Path) -> None:
    """Else a new password, say, would be taken without a word and never count."""
    first = settings(tmp_path)
    first.keep()
    facts = {"url": "", "reports_url": "", "pid": 1, "host": "127.0.0.1", "port": 4300, "reports_port": 4301}
    (first.folder / "service.json").write_text(json.dumps(facts))
    (tmp_path / "new").write_text(SECRET)
    with (first.folder / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # What is not given is as it is.
        assert settings(tmp_path, host=None, port=None, reports_port=None) == first
        # What is, and differs, is refused, and nothing is kept.
        other = {"port": 4302, "auth_file": str(tmp_path / "new")}
        with pytest.raises(UserError, match="another --port and auth string"):
            start(settings(tmp_path, **other))
    assert not (first.folder / "auth").exists()


def test_secrets_go_where_they_are_needed_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(AUTH, SECRET)
    monkeypatch.setenv(DATABASE, URL)
    given = settings(tmp_path)
    assert SECRET not in " ".join(given.arguments())
    assert SECRET not in repr(given)
    assert "battery-staple" not in repr(given)
    server, client = given.server_environment(), given.client_environment()
    assert (server[AUTH], server[DATABASE]) == (SECRET, URL)
    # Runs may speak with the server; its database is none of their business.
    assert client["PREFECT_API_AUTH_STRING"] == SECRET
    assert not any("battery-staple" in value for value in client.values())


def test_the_server_schedules_and_leases_outlive_it(tmp_path: Path) -> None:
    server = settings(tmp_path).server_environment()
    assert not [name for name in server if name.startswith("PREFECT_SERVER_SERVICES_")]
    assert server["PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"].endswith(".filesystem")
    assert server["PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED"] == "true"
    assert server["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert server["PREFECT_UI_STATIC_DIRECTORY"].startswith(str(tmp_path / ".service"))
    assert server["PREFECT_SERVER_DATABASE_CONNECTION_URL"].endswith("/.service/prefect.db")


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1:4300/api"), ("::1", "http://[::1]:4300/api")],
)
def test_url(tmp_path: Path, host: str, url: str) -> None:
    assert settings(tmp_path, host=host).url == url

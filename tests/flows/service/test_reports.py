"""The report server: what it shows, to whom, and what it never gives away."""

import base64
import hashlib
import http.client
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows.service.report_list import ReportList
from flows.service.reports import AUTH_FILE, ReportServer, main, read_password
from tempering.artifacts.manifest import FileEntry, Manifest
from tempering.artifacts.names import artifact_folder
from tempering.artifacts.runs import Runs
from tempering.artifacts.store import Store
from tempering.errors import UserError

PAGE = b"<!doctype html><p>the page"
PASSWORD = "team:not-a-real-one"


def make(store: Path, pipeline: str, hour: int = 10, *, verdict: str = "PPO is best.", **more: Any) -> str:
    """Write a report as its stage leaves it; its id."""
    created = datetime.fromisoformat(f"2026-11-21T{hour:02}:15:30+00:00")
    folder = (
        store / more.pop("stage", "report") / artifact_folder(pipeline, None, created, f"{hour:02}c0ffee")
    )
    folder.mkdir(parents=True)
    (folder / "report.html").write_bytes(PAGE)
    entry = FileEntry(size=len(PAGE), mtime_ns=0, sha256=hashlib.sha256(PAGE).hexdigest())
    known = {
        "stage": "report",
        "kind": "report",
        "id": f"{folder.parent.name}/{folder.name}",
        "fingerprint": f"{hour:02}c0ffee",
        "created": created.isoformat(),
        "details": {"verdict": verdict},
        "files": {"report.html": entry},
    }
    (folder / "manifest.json").write_bytes(Manifest(**known | more).to_json())
    return f"{folder.parent.name}/{folder.name}"


Ask = Callable[..., SimpleNamespace]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """An empty store."""
    (tmp_path / "store").mkdir()
    return tmp_path / "store"


@pytest.fixture
def serve(store: Path) -> Iterator[Callable[..., Ask]]:
    """Start a server of `store`; what it gives back sends one request."""
    servers: list[ReportServer] = []

    def begin(password: str | None = None) -> Ask:
        server = ReportServer(Store(store, writable=False), "127.0.0.1", 0, password)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()

        def ask(path: str, method: str = "GET", **headers: str) -> SimpleNamespace:
            connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return SimpleNamespace(code=answer.status, headers=answer.headers, body=answer.read())

        return ask

    yield begin
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def ask(serve: Callable[..., Ask]) -> Ask:
    """A server without a password."""
    return serve()


def test_the_list_has_the_newest_first_each_with_its_verdict_and_its_link(store: Path, ask: Ask) -> None:
    old, new = make(store, "old", 9), make(store, "new", 11, verdict="<b>DPO & PPO</b>")
    make(store, "other", 12, stage="ppo", kind="model")  # a file of that name makes no report
    text = ask("/").body.decode()
    assert (
        text.index(f'href="/{new}/"') < text.index("&lt;b&gt;DPO &amp; PPO") < text.index(f'href="/{old}/"')
    )
    assert "2 reports, newest first" in text
    assert "2026-11-21 11:15 UTC" in text
    assert "other" not in text


def test_a_report_is_served_as_the_stage_wrote_it_and_shows_without_a_restart(store: Path, ask: Ask) -> None:
    assert "None yet" in ask("/").body.decode()
    name = make(store, "toy")
    assert ask(f"/{name}/").body == ask(f"/{name}").body == PAGE
    assert ask(f"/{make(store, 'toy', stage='report-rounds')}/").body == PAGE
    head = ask(f"/{name}/", "HEAD")
    assert (head.code, head.body, head.headers["Content-Length"]) == (200, b"", str(len(PAGE)))


def test_latest_is_what_the_newest_run_made_or_reused(store: Path, ask: Ask) -> None:
    reused, newest = make(store, "toy", 9), make(store, "toy", 11)
    assert ask("/latest/toy").headers["Location"] == f"/{newest}/"
    run = Runs(store / "runs").start("toy")
    run.stage("report", "cached", artifact=reused)
    answer = ask("/latest/toy")
    assert (answer.code, answer.headers["Location"]) == (302, f"/{reused}/")
    assert ask("/latest/none").code == ask("/latest/").code == ask("/latest").code == 404


def test_every_answer_forbids_scripts_frames_guesses_and_caches(store: Path, ask: Ask) -> None:
    name = make(store, "toy")
    for path in ("/", f"/{name}/", "/none", "/health"):
        headers = ask(path).headers
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'")
        assert "script" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_it_can_only_be_read(ask: Ask, method: str) -> None:
    assert ask("/", method).code == 405


def test_no_url_reaches_a_file_that_is_no_report(store: Path, ask: Ask) -> None:
    name = make(store, "toy")
    (store.parent / "secret").write_text("planted")
    for path in (
        "/../secret",
        "/report/../../secret",
        f"/{name}/../../../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        f"/{store.parent}/secret",
        f"/%2f{store.parent}/secret",
        f"/{name}/manifest.json",
        f"/{name}/report.html",
        "/report",
        "/report/",
        "/runs/",
        "//etc/passwd",
        "/%00",
        "/%ff",
    ):
        assert ask(path).code == 404, path


def test_links_out_of_the_store_are_not_there(store: Path, tmp_path: Path, ask: Ask) -> None:
    outside = tmp_path / "outside"
    away = make(outside, "away", 8, stage="elsewhere")
    (store / "elsewhere").symlink_to(outside / "elsewhere")  # a stage's folder
    folder = make(outside, "folder", 9).split("/")[1]
    (store / "report").mkdir()
    (store / "report" / folder).symlink_to(outside / "report" / folder)  # an artifact's folder
    page = make(store, "page", 10)
    (store / page / "report.html").unlink()
    (store / page / "report.html").symlink_to(outside / "report" / folder / "report.html")  # the page alone
    assert ask(f"/{away}/").code == ask(f"/report/{folder}/").code == 404
    answer = ask(f"/{page}/")
    assert answer.code == 500
    assert PAGE not in answer.body


def test_a_changed_report_is_not_shown_and_a_mended_one_is(store: Path, ask: Ask) -> None:
    name = make(store, "toy")
    (store / name / "report.html").write_bytes(b"<p>something else")
    answer = ask(f"/{name}/")
    assert answer.code == 500
    assert b"not as the stage wrote it" in answer.body
    (store / name / "report.html").write_bytes(PAGE)
    manifest = (store / name / "manifest.json").read_bytes()
    other = make(store, "other", 11)
    (store / other / "manifest.json").write_bytes(manifest[:-20])
    assert b"its manifest is missing or was changed" in ask("/").body
    assert ask(f"/{other}/").code == 500
    (store / other / "manifest.json").write_bytes(manifest)
    assert ask(f"/{name}/").body == ask(f"/{other}/").body == PAGE


def test_a_pipe_in_the_place_of_a_page_keeps_nobody_waiting(store: Path, ask: Ask) -> None:
    name = make(store, "toy")
    ask("/")
    (store / name / "report.html").unlink()
    os.mkfifo(store / name / "report.html")
    assert ask(f"/{name}/").code == 500


def test_a_password_is_asked_for_everything_but_the_health(store: Path, serve: Callable[..., Ask]) -> None:
    name = make(store, "toy")
    ask = serve(PASSWORD)
    good, bad = (
        {"Authorization": f"Basic {base64.b64encode(word.encode()).decode()}", "Host": "reports.example"}
        for word in (PASSWORD, "team:wrong")
    )
    for path in ("/", f"/{name}/", "/latest/toy", "/none"):
        for headers in ({}, bad, {"Authorization": "Basic"}, {"Authorization": f"Bearer {PASSWORD}"}):
            answer = ask(path, **headers)
            assert answer.code == 401
            assert answer.headers["WWW-Authenticate"].startswith("Basic ")
    assert ask(f"/{name}/", **good).body == PAGE
    assert ask("/health").body == b"ok\n"


def test_without_a_password_only_the_names_of_localhost_are_answered(store: Path, ask: Ask) -> None:
    name = make(store, "toy")
    for host in ("evil.example", "127.0.0.1.evil.example", "evil.example:80@localhost]", "192.0.2.1", ""):
        assert ask(f"/{name}/", Host=host).code == 403, host
    for host in ("localhost", "localhost:8080", "127.0.0.1:4201", "[::1]:4201"):
        assert ask(f"/{name}/", Host=host).body == PAGE


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "reports.example"])
def test_beyond_localhost_it_wants_a_password(store: Path, host: str) -> None:
    with pytest.raises(UserError, match=AUTH_FILE):
        ReportServer(Store(store, writable=False), host, 0)


def test_a_password_file_holds_one_line_user_and_password(tmp_path: Path) -> None:
    file = tmp_path / "auth"
    file.write_text(f"{PASSWORD}\n")
    assert read_password({AUTH_FILE: str(file)}) == PASSWORD
    assert read_password({}) is None
    for text in ("", "user:", ":password", "word", "a:b\nc:d"):
        file.write_text(text)
        with pytest.raises(UserError, match="one line user:password"):
            read_password({AUTH_FILE: str(file)})
    with pytest.raises(UserError, match="No such file"):
        read_password({AUTH_FILE: str(tmp_path / "none")})


def test_the_health_says_whether_the_store_can_be_read(store: Path, ask: Ask) -> None:
    assert ask("/health").code == 200
    store.rmdir()
    assert ask("/health").code == 200  # before the first run
    store.write_text("a file")
    assert ask("/health").code == 503
    assert ask("/").code == 200


def test_a_folder_is_looked_at_once(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.service import report_list

    seen: list[Path] = []
    look = report_list._look
    monkeypatch.setattr(report_list, "_look", lambda *given: (seen.append(given[0]), look(*given))[1])
    make(store, "model", stage="ppo", kind="model")
    reports = ReportList(Store(store, writable=False))
    for hour in (9, 10):
        make(store, "toy", hour)
        for _ in range(3):
            assert len(reports.newest()) == hour - 8
    assert len(seen) == 3


def test_a_taken_port_and_a_store_that_is_a_file_are_one_message(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPER_STORE", str(store))
    with ReportServer(Store(store, writable=False), "127.0.0.1", 0) as server:
        assert main(["--port", str(server.server_address[1])]) == 2
    assert "Address already in use" in capsys.readouterr().err
    assert main(["--port", "99999"]) == 2
    monkeypatch.setenv("TEMPER_STORE", __file__)
    assert main(["--port", "0"]) == 2
    assert "is a file" in capsys.readouterr().err


def test_sigterm_ends_it_in_order(store: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.service.reports", "--port", "0"],
        env={**os.environ, "TEMPER_STORE": str(store)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith(f"reports of {store}: http://127.0.0.1:")
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=20) == ("", "")
    assert process.returncode == 0

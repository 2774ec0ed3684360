"""Files and folders that cannot be used: one message with the path and exit code 2; verify and list go on."""

import errno
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from flows.cli.main import main
from flows.process.child import _failure
from flows.process.prefect_server import Server, _take_database
from tempering.errors import StoreError
from tests.flows.conftest import ROOT, Answer

Temper = Callable[..., Answer]


def in_the_way(path: Path) -> Path:
    """A folder where a file belongs: permissions do not bind root, this does."""
    if path.exists():
        path.unlink()
    path.mkdir()
    return path


@pytest.fixture
def blocked(made: Answer, store: Path) -> Path:
    """The manifest of `left` cannot be read."""
    return in_the_way(store / made.rows["left"]["artifact"] / "manifest.json")


@pytest.mark.parametrize("words", [("artifacts", "show", "left@latest"), ("report",), ("plan",), ("run",)])
def test_a_manifest_that_cannot_be_read(
    blocked: Path, temper: Temper, toy: Path, store: Path, words: tuple[str, ...]
) -> None:
    answer = temper(*words, *([toy] if words[0] in ("plan", "run") else []), "--store", store)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(f"error: {blocked} cannot be read: Is a directory")
    assert "fix: " in answer.err


def test_list_and_verify_name_it_and_go_on(blocked: Path, temper: Temper, store: Path) -> None:
    name = f"left/{blocked.parent.name}"
    listing = temper("artifacts", "list", "--store", store)
    assert listing.code == 0
    assert f"left out: {name}: {blocked} cannot be read" in listing.err
    assert "right/" in listing.out
    verified = temper("artifacts", "verify", "--store", store)
    assert verified.code == 1
    assert f"damaged: {name}\n" in verified.out
    assert "9 artifacts, 1 damaged" in verified.out


def test_a_stage_whose_folder_cannot_be_read(
    made: Answer, temper: Temper, toy: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "left":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr("tempering.artifacts.store.os.scandir", refuse)
    assert "left out: left: cannot be read" in temper("artifacts", "list", "--store", store).err
    assert "damaged: left\n" in temper("artifacts", "verify", "--store", store).out
    answer = temper("plan", toy, "--store", store)
    assert (answer.code, answer.err.splitlines()[0]) == (2, f"error: {store}/left: permission denied")


def test_any_other_file_of_a_command(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(args: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", "some/where")

    monkeypatch.setattr("flows.cli.artifacts.list_command", full)
    assert main(["artifacts", "list"]) == 2
    assert capfd.readouterr().err.splitlines()[0] == "error: some/where: the disk is full"
    monkeypatch.setattr("flows.cli.artifacts.list_command", lambda args: Path("not/there").read_text())
    with pytest.raises(FileNotFoundError):  # a bug of ours: it keeps its traceback
        main(["artifacts", "list"])


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("SafetensorError: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_under_a_stage_is_no_crash(error: Exception) -> None:
    kind, text, pickled, *_ = _failure(error, "store/.partial/sft-1/log.txt")
    assert (kind, pickled is not None) == ("failed", True)
    assert text.startswith("cannot write in store/.partial/sft-1: the disk is full")


class TestPrefect:
    def test_a_database_that_is_damaged_or_cannot_be_opened(self, tmp_path: Path) -> None:
        database = tmp_path / "prefect.db"
        database.write_bytes(b"nonsense" * 1000)
        with pytest.raises(StoreError, match=rf"{database} is damaged: file is not a database"):
            _take_database(tmp_path)
        # Cut in the middle.
        database.unlink()
        with sqlite3.connect(database) as connection:
            connection.execute("CREATE TABLE runs AS SELECT randomblob(100000) AS row")
        os.truncate(database, 30_000)
        with pytest.raises(StoreError, match="is damaged"):
            _take_database(tmp_path)
        in_the_way(database)
        with pytest.raises(IsADirectoryError):
            _take_database(tmp_path)

    def test_a_server_that_fails_is_no_traceback(self, tmp_path: Path) -> None:
        log = tmp_path / "prefect.log"
        log.write_text("one\ndisk I/O error\n")
        ours = str(Server("http://x/api", None, log).trouble("500"))
        assert "failed: 500" in ours
        assert "disk I/O error" in ours
        assert f"write in {tmp_path}" in ours
        theirs = Server("http://x/api").trouble("it cannot be reached")
        assert "PREFECT_API_URL" in theirs.fix

    def test_a_url_where_no_server_is(
        self, temper: Temper, toy: Path, store: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import flows.deployed

        def nobody(*arguments: object) -> None:
            raise httpx.ConnectError("it cannot be reached")

        monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
        monkeypatch.setattr(flows.deployed, "run_flow", nobody)
        monkeypatch.setattr("flows.pipeline.require_server", lambda: "")  # it goes later than this
        answer = temper("run", toy, "--store", store)
        assert answer.code == 2
        assert answer.err.splitlines()[-3] == (
            "error: the Prefect server at http://127.0.0.1:9/api failed: it cannot be reached"
        )

    def test_what_fails_in_the_flow_before_the_first_stage_is_told(
        self, api: str, temper: Temper, toy: Path, store: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*arguments: object) -> None:
            raise StoreError("no space left")

        monkeypatch.setattr("flows.deployed.Tasks.submit", full)
        answer = temper("run", toy, "--store", store)
        assert answer.code == 2
        assert "error: no space left" in answer.err.splitlines()


def test_a_broken_pipe_is_a_good_end_only_where_our_reader_has_gone(
    temper: Temper, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise BrokenPipeError("a server's")

    monkeypatch.setattr("flows.pipeline.plan_pipeline", broken)
    with pytest.raises(BrokenPipeError):
        temper("plan")
    command = f"{sys.executable} -m flows.cli.main config --markdown | true; exit ${{PIPESTATUS[0]}}"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT)
    assert (ended.returncode, ended.stderr) == (0, "")

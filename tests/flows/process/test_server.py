"""The Prefect server of a run: whose it is, where it keeps its rows, when it ends."""

from pathlib import Path

import pytest

from flows.process.prefect_server import _take_database, start_server
from tempering.errors import StoreError, UserError


def test_a_known_server_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://prefect.example/api")
    server = start_server(tmp_path)
    assert server.url == "http://prefect.example/api"
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match="--port"):
        start_server(tmp_path, 4200)


def test_two_runs_take_a_database_each(tmp_path: Path) -> None:
    first, lock = _take_database(tmp_path)
    second, other = _take_database(tmp_path)
    assert (first.name, second.name) == ("prefect.db", "prefect-2.db")
    lock.close()
    again, third = _take_database(tmp_path)
    assert again == first
    other.close()
    third.close()


def test_a_store_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    (tmp_path / ".prefect").write_text("a file")
    with pytest.raises(StoreError, match="a part of the path is a file"):
        start_server(tmp_path)

"""From what is asked for to an artifact: once under a lease, looked up again there."""

from pathlib import Path
from typing import Any

import pytest
from toys import RowsConfig, blob

from tempering.artifacts import store as stores
from tempering.artifacts.resolve import build, claim, resolve
from tempering.artifacts.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_what_another_run_made_meanwhile_is_reused(store: Store) -> None:
    resolution = resolve(store, blob, RowsConfig(), {})
    artifact = build(store, blob, RowsConfig())
    with claim(store, resolution) as (resolution, _):
        assert (resolution.cached, resolution.miss, resolution.fresh) == (artifact, None, False)


def test_a_forced_one_is_made_again(store: Store) -> None:
    build(store, blob, RowsConfig())
    with claim(store, resolve(store, blob, RowsConfig(), {}, force=True)) as (resolution, _):
        assert (resolution.cached, resolution.fresh) == (None, True)


def test_a_file_that_changed_meanwhile_makes_it_another_artifact(store: Store, tmp_path: Path) -> None:
    config = RowsConfig(file=tmp_path / "corpus.txt")
    (tmp_path / "corpus.txt").write_text("one")
    before = resolve(store, blob, config, {})
    (tmp_path / "corpus.txt").write_text("two!")
    with claim(store, before) as (after, lease):
        assert after.fingerprint == resolve(store, blob, config, {}).fingerprint != before.fingerprint
        assert after.fingerprint.hex in lease.path.name
        assert [path.name for path in (store.root / ".locks").iterdir()] == [lease.path.name]


def test_a_lease_is_taken_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    leases: list[Path] = []
    acquire = stores.acquire

    def count(path: Path, **options: Any) -> Any:
        leases.append(path)
        return acquire(path, **options)

    monkeypatch.setattr(stores, "acquire", count)
    build(store, blob, RowsConfig())
    assert len(leases) == 1
    build(store, blob, RowsConfig())
    assert len(leases) == 1
    assert list((store.root / ".locks").iterdir()) == []

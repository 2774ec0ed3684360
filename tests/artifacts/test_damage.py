"""What is damaged in a store: it is named, nothing hangs, and it is kept for inspection."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toys import RowsConfig, rows

from tempering.artifacts.draft import LOG_FILE
from tempering.artifacts.manifest import FILE_NAME
from tempering.artifacts.partial import INPUTS_FILE, KEEP_DAMAGED, set_aside
from tempering.artifacts.resolve import build, claim, resolve
from tempering.artifacts.store import Store
from tempering.errors import ArtifactError


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_what_is_damaged_is_kept_for_a_while(tmp_path: Path) -> None:
    """Mutation: all of it stays, and fills the disk."""
    partial = tmp_path / "sft-1"
    for number in range(KEEP_DAMAGED + 2):
        checkpoint = partial / f"checkpoint_{number}_tokens"
        checkpoint.mkdir(parents=True)
        (checkpoint / "state").write_text(str(number))
        place = set_aside(checkpoint, partial)
        assert (place / "state").read_text() == str(number)
        assert place.name.endswith(f"__sft-1__checkpoint_{number}_tokens")
    shelf = sorted((tmp_path / ".damaged").iterdir())
    assert [(path / "state").read_text() for path in shelf] == ["2", "3", "4"]


def test_a_pipe_in_an_artifact_is_damage_and_is_not_read(store: Store) -> None:
    """Reading it would never end."""
    artifact = build(store, rows, RowsConfig())
    file = artifact.path / "rows/train/00000.parquet"
    file.unlink()
    os.mkfifo(file)
    [damage] = store.verify(artifact.id)[artifact.id]
    assert (damage.file, damage.what) == ("rows/train/00000.parquet", "it is not a regular file")
    with pytest.raises(ArtifactError, match="not a regular file"):
        store.get(artifact.id)


BROKEN: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a list": lambda tree: [1],
    "null": lambda tree: None,
    "a number": lambda tree: 5,
    "nothing in it": lambda tree: {},
    "files that are a list": lambda tree: tree | {"files": []},
    "a file without size": lambda tree: tree | {"files": {"a": {"sha256": ""}}},
    "inputs that are a text": lambda tree: tree | {"inputs": "data"},
    "a time that is none": lambda tree: tree | {"created": "yesterday"},
    "a time without its zone": lambda tree: tree | {"created": "2026-11-29T10:00:00"},
    "a number that JSON does not have": lambda tree: tree | {"seconds": float("inf")},
}


@pytest.mark.parametrize("form", list(BROKEN))
def test_a_malformed_manifest_is_named_and_made_again(store: Store, form: str) -> None:
    """Mutation: one of these leaves read_manifest as another exception, and every command with it."""
    artifact = build(store, rows, RowsConfig())
    file = artifact.path / FILE_NAME
    file.write_text(json.dumps(BROKEN[form](json.loads(file.read_text()))))
    with pytest.raises(ArtifactError, match=artifact.path.name) as error:
        store.get(artifact.path.name)
    assert "let the stage run again" in str(error.value)
    assert [damage.file for damage in store.verify()[artifact.id]] == [FILE_NAME]
    unreadable: dict[str, str] = {}
    assert store.list(unreadable) == []
    assert list(unreadable) == [artifact.id]
    assert build(store, rows, RowsConfig()).id != artifact.id


@pytest.mark.parametrize("content", ["", "{", "[" * 100_000, "\xff"])
def test_a_manifest_that_is_not_json_is_named(store: Store, content: str) -> None:
    artifact = build(store, rows, RowsConfig())
    (artifact.path / FILE_NAME).write_text(content, encoding="latin-1")
    with pytest.raises(ArtifactError, match=FILE_NAME):
        store.get(artifact.path.name)
    (artifact.path / FILE_NAME).unlink()
    (artifact.path / FILE_NAME).mkdir()
    unreadable: dict[str, str] = {}
    assert store.list(unreadable) == []
    assert "Is a directory" in unreadable[artifact.id]
    assert store.verify()
    # Reading a pipe might never end.
    (artifact.path / FILE_NAME).rmdir()
    os.mkfifo(artifact.path / FILE_NAME)
    assert store.list(unreadable) == []
    assert "Is a pipe" in unreadable[artifact.id]
    assert store.verify()


def test_a_damaged_cache_of_digests_is_begun_anew(store: Store) -> None:
    artifact = build(store, rows, RowsConfig())
    store.digests.path.parent.mkdir(exist_ok=True)
    for content in ("[]", '{"/a": 5}', '{"/a": null}', "[" * 100_000):
        store.digests.path.write_text(content)
        os.utime(artifact.path / "rows/train/00000.parquet", (1, 1))
        assert Store(store.root).get(artifact.id).id == artifact.id


def test_a_table_cut_in_half_is_named(store: Store) -> None:
    artifact = build(store, rows, RowsConfig())
    os.truncate(artifact.path / "rows/train/00000.parquet", 100)
    with pytest.raises(ArtifactError, match=f"{artifact.path.name}: rows/train cannot be read"):
        artifact.rows()


def test_equal_in_size_and_time_but_not_in_bytes_is_found_by_verify(store: Store) -> None:
    artifact = build(store, rows, RowsConfig())
    file = artifact.path / "rows/train/00000.parquet"
    content, times = bytearray(file.read_bytes()), file.stat()
    content[10] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert [damage.what for damage in store.verify()[artifact.id]] == ["its content has changed"]


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"inputs": 5, "code": {}}'])
def test_a_partial_that_does_not_say_what_it_was_made_from(
    store: Store, caplog: pytest.LogCaptureFixture, content: str | None
) -> None:
    """Mutation: it is discarded, days of training with it, without a word."""
    resolution = resolve(store, rows, RowsConfig(), {})
    with claim(store, resolution) as (fresh, lease), store.draft("rows", fresh, lease) as draft:
        (draft.checkpoints_dir / "checkpoint_1K_tokens").mkdir()
    (draft.path / INPUTS_FILE).unlink()
    if content is not None:
        (draft.path / INPUTS_FILE).write_text(content)
    assert build(store, rows, RowsConfig()).rows()["text"].tolist() == ["a"]
    [place] = (store.root / ".partial" / ".damaged").iterdir()
    assert (place / "checkpoints/checkpoint_1K_tokens").is_dir()
    assert f"They are set aside: {place}" in caplog.text


def test_a_file_in_the_place_of_a_folder_of_a_partial(store: Store) -> None:
    resolution = resolve(store, rows, RowsConfig(), {})
    with claim(store, resolution) as (fresh, lease), store.draft("rows", fresh, lease) as draft:
        (draft.checkpoints_dir / "checkpoint_1K_tokens").mkdir()
    (draft.path / "metadata").write_text("")
    (draft.path / LOG_FILE).mkdir()
    artifact = build(store, rows, RowsConfig())
    assert (artifact.path / LOG_FILE).is_file()

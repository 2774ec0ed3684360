"""What is damaged in a store: it is named, nothing hangs, and it is kept for inspection."""

import os
from pathlib import Path

import pytest
from toys import RowsConfig, rows

from tempering.artifacts.partial import KEEP_DAMAGED, set_aside
from tempering.artifacts.resolve import build
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

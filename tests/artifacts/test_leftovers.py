"""What killed processes left in a store goes when it is next opened for writing."""

import os
from pathlib import Path

from toys import RowsConfig, blob

from tempering.artifacts.atomic import here
from tempering.artifacts.lease import acquire
from tempering.artifacts.resolve import build
from tempering.artifacts.store import Store


def everything(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*")}


def test_leftovers_go_and_the_rest_stays(tmp_path: Path, dead: int) -> None:
    store = Store(tmp_path / "store")
    made = build(store, blob, RowsConfig())
    store.runs.start("toy").finish("completed")
    (store.root / ".partial/sft-12345678/checkpoints").mkdir(parents=True)
    mine = acquire(store.root / ".locks/mine.lock")
    young = store.root / "runs/2026-11-29__young.json"
    young.touch()
    before = everything(store.root)
    # As kills leave them.
    numbers = f"{here()}-{dead}.{dead}"
    for name in (f".partial/.tmp-probe.{numbers}", f"runs/.tmp-x.json.{numbers}", ".locks/x.lock"):
        (store.root / name).write_text("half")
    trash = store.root / f".partial/.trash-sft-12345678.{numbers}"
    (trash / "checkpoints").mkdir(parents=True)
    (made.path / "inputs.json").write_text("{}")
    old = store.root / "runs/2026-11-28__old.json"
    old.touch()
    os.utime(old, (0, 0))
    (store.root / f".partial/.tmp-living.{here()}-{os.getppid()}.1").touch()
    # Reading changes nothing; opening it for writing clears them.
    Store(store.root, writable=False).verify()
    assert everything(store.root) > before
    Store(store.root)
    assert everything(store.root) == before | {f".partial/.tmp-living.{here()}-{os.getppid()}.1"}
    mine.check()
    mine.release()

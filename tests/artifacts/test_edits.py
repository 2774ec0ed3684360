"""A manifest or a run record edited by hand: what a plan finds, what `verify` finds, and what nobody can.

Each edit is made twice. As a person makes it, the seal is broken: no run uses the artifact, it is made again
beside it, and nothing is lost. With a new seal, by somebody who knows how, it must contradict itself.
"""

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toys import FitConfig, RowsConfig, fit, rows

from tempering.artifacts.atomic import _LARGEST
from tempering.artifacts.kinds import Artifact
from tempering.artifacts.manifest import FILE_NAME, Manifest, _seal
from tempering.artifacts.resolve import build, resolve
from tempering.artifacts.runs import Runs
from tempering.artifacts.store import Store
from tempering.errors import ArtifactError, StoreError, TemperingError

Tree = dict[str, Any]
WEIGHTS = "model/model.safetensors"
NOWHERE = ("../../outside", "/etc/passwd", "model/../../../outside", "a\0b", "..", ".")


def with_file(tree: Tree, **change: Any) -> Tree:
    return {**tree, "files": {**tree["files"], WEIGHTS: {**tree["files"][WEIGHTS], **change}}}


def renamed(tree: Tree, name: str) -> Tree:
    files = {**tree["files"]}
    files[name] = files.pop(WEIGHTS)
    return {**tree, "files": files}


# edit -> who finds it where the seal is new: plan and verify, one of them alone, or nobody
EDITS: dict[str, tuple[str, Callable[[Tree], Tree]]] = {
    # What the artifact is.
    "another fingerprint": ("plan", lambda tree: tree | {"fingerprint": "0" * 64}),
    "another kind": ("plan", lambda tree: tree | {"kind": "dataset"}),
    "a kind that is none": ("plan", lambda tree: tree | {"kind": "x"}),
    "another id": ("verify alone", lambda tree: tree | {"id": "fit/other__2026-11-29__00-00-00__00000000"}),
    "another config hashed": ("verify alone", lambda tree: tree | {"hashed": {}}),
    "another payload": ("verify alone", lambda tree: tree | {"payload_digest": "0" * 64}),
    # What it was made from.
    "no inputs": ("plan alone", lambda tree: tree | {"inputs": {}}),
    "an input more": (
        "plan alone",
        lambda tree: tree | {"inputs": tree["inputs"] | {"x": tree["inputs"]["data"]}},
    ),
    "another input": (
        "plan alone",
        lambda tree: tree | {"inputs": {"data": tree["inputs"]["data"] | {"payload_digest": "0" * 64}}},
    ),
    # Its files.
    "another size": ("plan", lambda tree: with_file(tree, size=1)),
    "a size below 0": ("plan", lambda tree: with_file(tree, size=-1)),
    "another time and digest": ("plan", lambda tree: with_file(tree, mtime_ns=1, sha256="0" * 64)),
    "another digest": ("verify alone", lambda tree: with_file(tree, sha256="0" * 64)),
    "a file that is not there": ("plan", lambda tree: renamed(tree, "model/x")),
    "no files": ("verify alone", lambda tree: tree | {"files": {}}),
    # What cannot be read as a manifest at all.
    "a newer schema": ("plan", lambda tree: tree | {"schema_version": 2}),
    "a huge number": ("plan", lambda tree: tree | {"tokens": "9" * 5000}),
    "a number that is a list": ("plan", lambda tree: tree | {"seed": [1]}),
    "no stage": ("plan", lambda tree: {key: value for key, value in tree.items() if key != "stage"}),
    **{f"a file {name!r}": ("plan", lambda tree, name=name: renamed(tree, name)) for name in NOWHERE},
    **{f"the id {name!r}": ("plan", lambda tree, name=name: tree | {"id": name}) for name in NOWHERE},
    "an input that leads away": (
        "plan",
        lambda tree: tree | {"inputs": {"data": tree["inputs"]["data"] | {"id": "../../x"}}},
    ),
    # What only tells: nothing is reused by it.
    "another metric": ("nobody", lambda tree: tree | {"metrics": {"loss": 0.0}}),
    "another device": ("nobody", lambda tree: tree | {"device": "cuda"}),
    "another stage's name": ("nobody", lambda tree: tree | {"stage": "ppo"}),
    "an older schema": ("nobody", lambda tree: tree | {"schema_version": 0}),
    "a key more": ("nobody", lambda tree: tree | {"note": "kept"}),
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def model(store: Store) -> Artifact:
    return build(store, fit, FitConfig(), {"data": build(store, rows, RowsConfig())})


def edit(model: Artifact, change: Callable[[Tree], Tree], *, sealed: bool) -> None:
    file = model.path / FILE_NAME
    tree = change(json.loads(file.read_text()))
    if sealed:
        del tree["seal"]
        tree["seal"] = _seal(tree)
    file.write_text(json.dumps(tree))


def planned(store: Store) -> Artifact | None:
    """What a plan would reuse, by a type that the next stage takes."""
    data = build(store, rows, RowsConfig())
    cached = resolve(store, fit, FitConfig(), {"data": data}).cached
    return cached if isinstance(cached, fit.makes) else None


@pytest.mark.parametrize("what", list(EDITS))
def test_an_edit_by_hand_is_never_used(store: Store, model: Artifact, what: str) -> None:
    """Mutation: the seal is not looked at."""
    edit(model, EDITS[what][1], sealed=False)
    with pytest.raises(ArtifactError, match=FILE_NAME):
        store.get(model.path.name)
    assert planned(store) is None
    assert [damage.file for damage in store.verify(model.path.name)[model.id]]
    weights = (model.path / WEIGHTS).read_bytes()
    again = build(store, fit, FitConfig(), {"data": build(store, rows, RowsConfig())})
    assert again.id != model.id
    assert (model.path / WEIGHTS).read_bytes() == weights  # beside it; nothing is lost


@pytest.mark.parametrize("what", list(EDITS))
def test_an_edit_with_a_new_seal(store: Store, model: Artifact, what: str) -> None:
    """Mutation: a manifest's files or ids may lead out of the store; a contradiction is not looked for."""
    finder, change = EDITS[what]
    edit(model, change, sealed=True)
    assert (planned(store) is None) == (finder.startswith("plan"))
    assert bool(store.verify(model.path.name)[model.id]) == (finder in ("plan", "verify alone"))
    with contextlib.suppress(TemperingError):  # whoever reads it all the same gets a message or a manifest
        store.get(model.path.name, check=False)
    store.list()


def test_every_field_of_a_manifest_is_edited(store: Store, model: Artifact) -> None:
    """A field that comes later is edited here too."""
    told = {"config", "runtime", "code", "versions", "details", "seconds", "resumed_from_tokens", "created"}
    tree = json.loads((model.path / FILE_NAME).read_text())
    edited = {name for _, change in EDITS.values() for name in tree if change(tree).get(name) != tree[name]}
    assert edited | told == set(Manifest.model_fields) - {"seal"}


def test_a_manifest_too_large_to_read_is_not_read(store: Store, model: Artifact) -> None:
    """Mutation: it is read, all of it, and the machine is out of memory."""
    os.truncate(model.path / FILE_NAME, _LARGEST + 1)
    with pytest.raises(StoreError, match="far too large"):
        store.get(model.path.name)
    assert store.verify()[model.id][0].file == FILE_NAME


@pytest.mark.parametrize("below", ["model", WEIGHTS])
def test_a_link_in_an_artifact_is_damage(store: Store, model: Artifact, tmp_path: Path, below: str) -> None:
    """Whatever it leads to: it may change behind the digests, and be none of ours."""
    place = model.path / below
    place.rename(tmp_path / "moved")
    place.symlink_to(tmp_path / "moved")
    assert planned(store) is None
    [damage] = store.verify(model.id)[model.id]
    assert (damage.file, "link" in damage.what) == (WEIGHTS, True)


def test_a_link_that_a_stage_leaves_is_refused(store: Store, tmp_path: Path) -> None:
    """Mutation: the file that it leads to becomes readable for all."""
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)
    resolution = resolve(store, rows, RowsConfig(), {})
    draft = store.draft("rows", resolution, store.lease("rows", resolution.fingerprint.hex))
    (draft.metadata_dir / "linked").symlink_to(secret)
    with pytest.raises(StoreError, match=r"has left a link: .*metadata/linked"):
        store.commit(draft)
    assert secret.stat().st_mode & 0o777 == 0o600
    assert list(store.folders()) == []


@pytest.mark.parametrize("artifact", ["../../outside/x", "/etc", "left/../../../x"])
def test_a_run_record_leads_to_nothing_outside(tmp_path: Path, artifact: str) -> None:
    """Mutation: `left@latest` is whatever folder a record names."""
    store = Store(tmp_path / "store")
    outside = tmp_path / "outside/x"
    outside.mkdir(parents=True)
    (outside / FILE_NAME).write_text("{}")
    run = store.runs.start("toy")
    run.finish("completed")
    tree = json.loads(run.path.read_text())
    tree["stages"] = {"left": {"artifact": artifact}}
    run.path.write_text(json.dumps(tree))
    assert store.runs.get(run.id) is None
    with pytest.raises(ArtifactError, match="there is no artifact"):
        store.get("left@latest")


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/b", "a\0b", ".."])
def test_an_id_of_a_run_leads_to_no_other_folder(tmp_path: Path, name: str) -> None:
    runs = Runs(tmp_path / "runs")
    run = runs.start("toy")
    (tmp_path / "outside.json").write_bytes(run.path.read_bytes())
    assert runs.get(name) is None
    assert runs.path(name).parent == runs.folder


@pytest.mark.parametrize(
    "ref", ["../../etc", "fit/../../../etc", "/etc", "a\0b/c", "..", "", "x" * 300 + "/y"]
)
def test_a_reference_that_leads_away(store: Store, model: Artifact, ref: str) -> None:
    with pytest.raises((ArtifactError, StoreError)):
        store.get(ref)

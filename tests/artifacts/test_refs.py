"""The ways to name an artifact, and its lineage."""

from pathlib import Path

import pytest
from toys import FitConfig, RowsConfig, fit, rows

from tempering.artifacts.kinds import Artifact, ModelArtifact
from tempering.artifacts.lineage import lineage
from tempering.artifacts.resolve import build
from tempering.artifacts.store import Store
from tempering.errors import ArtifactError


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def model(store: Store) -> Artifact:
    return build(store, fit, FitConfig(), {"data": build(store, rows, RowsConfig())}, node="fit[a]")


def test_names(store: Store, model: Artifact) -> None:
    assert model.id.startswith("fit-a/")
    folder = model.path.name
    for ref in (model.id, f"{model.id}/", folder, str(model.path), model.fingerprint, model.fingerprint[:6]):
        assert store.get(ref) == model


def test_a_relative_path(store: Store, model: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(store.root.parent)
    assert store.get(f"store/{model.id}").id == model.id


def test_checkpoints(store: Store, model: Artifact) -> None:
    for ref in (model.id, "fit-a@latest", model.fingerprint[:8], f"{model.id}/checkpoints"):
        found = store.get(f"{ref}/checkpoint_100K_tokens")
        assert isinstance(found, ModelArtifact)
        assert found.id == f"{model.id}/checkpoint_100K_tokens"
        assert (found.model_dir / "model.safetensors").is_file()
    assert found.fingerprint != model.fingerprint
    assert found.payload_digest != model.payload_digest
    with pytest.raises(ArtifactError, match=r"no checkpoint_5M_tokens\n.*checkpoint_100K_tokens"):
        store.get(f"{model.id}/checkpoint_5M_tokens")


def test_a_checkpoints_payload_is_its_model(store: Store, model: Artifact) -> None:
    found = store.get(f"{model.id}/checkpoint_100K_tokens")
    files = dict(model.manifest.files)
    name = "checkpoints/checkpoint_100K_tokens/optimizer.pt"
    files[name] = files[name].model_copy(update={"sha256": "other"})
    other = ModelArtifact(model.path, model.manifest.model_copy(update={"files": files}), found.checkpoint)
    assert other.payload_digest == found.payload_digest


def test_latest_is_what_the_newest_run_used(store: Store) -> None:
    old = build(store, rows, RowsConfig(text="old"))
    new = build(store, rows, RowsConfig(text="new"))
    assert store.get("rows@latest") == new
    run = store.runs.start("p")
    run.stage("rows", "cached", artifact=old.id)
    assert store.get("rows@latest") == old


def test_latest_of_a_run_that_did_not_get_so_far(store: Store, model: Artifact) -> None:
    run = store.runs.start("p")
    run.stage("fit[a]", "failed", error="x")
    assert store.get("fit[a]@latest") == store.get("fit-a@latest") == model


def test_an_artifact_of_a_run_that_was_removed(store: Store, model: Artifact) -> None:
    store.runs.start("p").stage("fit[a]", "run", artifact="fit-a/gone")
    assert store.get("fit[a]@latest") == model


def test_unknown_names_give_the_nearest(store: Store, model: Artifact) -> None:
    with pytest.raises(ArtifactError, match="fit-a@latest"):
        store.get("fit@latest")
    with pytest.raises(ArtifactError) as caught:
        store.get(model.id[:-1] + ("0" if model.id[-1] != "0" else "1"))
    assert model.id in caught.value.expected
    with pytest.raises(ArtifactError, match="expected: fit-a@latest"):
        store.get("fit-a@newest")


def test_an_empty_store_is_said(store: Store) -> None:
    with pytest.raises(ArtifactError, match="is empty"):
        store.get("sft@latest")


def test_an_ambiguous_prefix(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [build(store, rows, RowsConfig(text=str(n))).id for n in range(2)]
    for number, name in enumerate(ids):  # two fingerprints that begin alike
        folder = store.root / name
        folder.rename(folder.with_name(f"toy__d__t__aaaa000{number}"))
    monkeypatch.setattr(
        "tempering.artifacts.refs.read_manifest",
        lambda folder, sealed: store.list()[0].manifest.model_copy(
            update={"fingerprint": folder.name[-8:] * 8}
        ),
    )
    with pytest.raises(ArtifactError, match="names 2 artifacts"):
        store.get("aaaa")
    assert store.get("aaaa0001", check=False).path.name == "toy__d__t__aaaa0001"


def test_equal_fingerprints_are_not_ambiguous(store: Store) -> None:
    build(store, rows, RowsConfig())
    newer = build(store, rows, RowsConfig(), force=True)
    assert store.get(newer.fingerprint[:8]) == newer


def test_a_damaged_one_is_refused(store: Store, model: Artifact) -> None:
    (model.path / "model/model.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"model\.safetensors: it is missing"):
        store.get(model.id)
    assert store.get(model.id, check=False) == model


def test_lineage(store: Store, model: Artifact) -> None:
    tree = lineage(store, model)
    (below,) = tree.inputs
    assert (tree.id, below.role, below.inputs) == (model.id, "data", ())
    assert below.artifact is not None
    assert below.artifact.kind == "dataset"


def test_lineage_of_what_is_gone(store: Store, model: Artifact) -> None:
    (store.get("rows@latest").path / "manifest.json").unlink()
    (below,) = lineage(store, model).to_json()["inputs"]
    assert (below["present"], below["role"]) == (False, "data")

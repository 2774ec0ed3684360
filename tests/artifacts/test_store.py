"""The store: what is committed, what counts as a hit, what does not."""

import json
import os
import pickle
import shutil
import stat
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from toys import FitConfig, RowsConfig, fit, rows

from tempering.artifacts.draft import Draft, checkpoints_in
from tempering.artifacts.kinds import DatasetArtifact, ModelArtifact
from tempering.artifacts.manifest import read_manifest
from tempering.artifacts.resolution import Miss
from tempering.artifacts.resolve import build, resolve
from tempering.artifacts.store import Store
from tempering.errors import ArtifactError, ConfigError, StoreError
from tempering.runtime import RuntimeConfig


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def data(store: Store) -> DatasetArtifact:
    made = build(store, rows, RowsConfig())
    assert isinstance(made, DatasetArtifact)
    return made


@pytest.fixture
def model(store: Store, data: DatasetArtifact) -> ModelArtifact:
    made = build(store, fit, FitConfig(seed=7), {"data": data})
    assert isinstance(made, ModelArtifact)
    return made


def find(store: Store, model: ModelArtifact) -> "object":
    payloads = {role: ref.payload_digest for role, ref in model.manifest.inputs.items()}
    return store.lookup(model.fingerprint, payloads)


class TestCommit:
    def test_what_was_made_last_is_used_where_the_clock_was_put_back(
        self, store: Store, model: ModelArtifact, data: DatasetArtifact, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Clock(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> datetime:
                return datetime(2020, 1, 1, tzinfo=UTC)

        monkeypatch.setattr("tempering.artifacts.commit.datetime", Clock)
        monkeypatch.setattr("time.time", lambda: 0.0)
        again = build(store, fit, FitConfig(seed=7), {"data": data}, force=True)
        assert again.id > model.id
        found = find(store, model)
        assert isinstance(found, ModelArtifact)
        assert found.id == again.id
        assert 0 <= again.manifest.seconds < 60

    def test_manifest(self, store: Store, model: ModelArtifact, data: DatasetArtifact) -> None:
        manifest = read_manifest(model.path)
        assert manifest == read_manifest(model.path, sealed=False)
        assert manifest.id == model.id == f"fit/{model.path.name}"
        assert (manifest.stage, manifest.kind, manifest.seed, manifest.tokens) == ("fit", "model", 7, 299_990)
        assert manifest.metrics == {"loss": 0.5, "undefined": None}
        assert manifest.inputs == {"data": data.ref}
        assert manifest.config == {"learning_rate": 1e-3, "seed": 7}
        assert manifest.versions["python"]
        assert "toys" in manifest.code.files
        files = {"config.yaml", "model/model.safetensors", "metadata/training_stats.parquet"}
        assert files <= set(manifest.files)
        assert yaml.safe_load((model.path / "config.yaml").read_text()) == manifest.config

    def test_name(self, model: ModelArtifact) -> None:
        assert model.path.name.startswith("toy_300K_tokens__20")
        assert model.path.name.endswith(f"__{model.fingerprint[:8]}")

    def test_runtime_is_recorded(self, store: Store) -> None:
        made = build(store, rows, RowsConfig(workers=3), runtime=RuntimeConfig(threads=2))
        assert made.manifest.config["workers"] == 3
        assert made.manifest.runtime["threads"] == 2
        assert "workers" not in made.manifest.hashed["config"]

    def test_tables(self, model: ModelArtifact, data: DatasetArtifact) -> None:
        stats = model.read("training_stats")
        assert list(stats.columns) == ["step", "loss", "kl"]
        assert stats["kl"].isna().tolist() == [True, False]
        assert data.row_type == "text"
        with pytest.raises(ArtifactError, match=r"no metadata/nothing\.parquet"):
            model.read("nothing")

    def test_nothing_is_left_behind(self, store: Store, model: ModelArtifact) -> None:
        left = [path for folder in (".partial", ".locks") for path in (store.root / folder).iterdir()]
        assert left == []
        assert not (model.path / "inputs.json").exists()

    @pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
    def test_files_are_as_open_as_the_umask_says(self, store: Store, umask: int, mode: int) -> None:
        """Mutation: 0644, which a umask of 077 must not get, and a group's store cannot use."""
        before = os.umask(umask)
        try:
            with open_draft(store) as out:
                (out.model_dir / "model.safetensors").touch(mode=0o600)  # as libraries do
                made = store.commit(out)
        finally:
            os.umask(before)
        for name in ("model/model.safetensors", "manifest.json", "config.yaml"):
            assert stat.S_IMODE((made.path / name).stat().st_mode) == mode
        for folder in (made.path, made.path / "model"):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o777 & ~umask

    def test_temporary_files_and_empty_folders_go(self, store: Store) -> None:
        with open_draft(store) as out:
            (out.checkpoints_dir / ".tmp-checkpoint_1K_tokens").mkdir()
            (out.path / ".tmp-x").write_text("x")
            made = store.commit(out)
        assert {path.name for path in made.path.iterdir()} == {"config.yaml", "manifest.json"}

    def test_a_taken_name_gets_a_number(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tempering.artifacts.commit.artifact_folder", lambda *_: "toy__d__t__0123abcd")
        ids = [build(store, rows, RowsConfig(), force=True).id for _ in range(3)]
        assert ids == ["rows/toy__d__t__0123abcd", "rows/toy__d__t__0123abcd-2", "rows/toy__d__t__0123abcd-3"]
        assert [read_manifest(store.root / name).id for name in ids] == ids

    def test_a_lost_lease_is_no_commit(self, store: Store) -> None:
        with open_draft(store) as out:
            assert out.lease is not None
            out.lease.path.unlink()
            with pytest.raises(StoreError, match="lease"):
                store.commit(out)
        assert list(store.folders()) == []

    def test_payload_digest_is_blind_to_metadata(self, store: Store, data: DatasetArtifact) -> None:
        one = build(store, fit, FitConfig(), {"data": data})
        two = build(store, fit, FitConfig(), {"data": data}, force=True)
        assert one.id != two.id
        assert one.payload_digest == two.payload_digest
        assert one.manifest.created != two.manifest.created


def open_draft(store: Store, force: bool = False) -> Draft:
    found = resolve(store, rows, RowsConfig(), {}, force=force)
    lease = store.lease("rows", found.fingerprint.hex)
    return store.draft("rows", found, lease)


class TestLookup:
    def test_hit(self, store: Store, model: ModelArtifact) -> None:
        assert find(store, model) == model

    def test_absent(self, store: Store) -> None:
        assert store.lookup("0" * 64, {}) == Miss("absent")

    def test_other_inputs(self, store: Store, model: ModelArtifact, data: DatasetArtifact) -> None:
        found = store.lookup(model.fingerprint, {"data": "other"})
        assert found == Miss("inputs", model.id, (("data", data.payload_digest, "other"),))
        assert "other inputs: data" in str(found)

    def test_an_unknown_input_matches(self, store: Store, model: ModelArtifact) -> None:
        assert store.lookup(model.fingerprint, {"data": None}) == model

    def test_a_touched_file_is_hashed_and_still_a_hit(self, store: Store, model: ModelArtifact) -> None:
        os.utime(model.path / "model/model.safetensors", (1, 1))
        assert find(store, model) == model

    def test_a_copied_store_is_still_a_hit(self, store: Store, model: ModelArtifact, tmp_path: Path) -> None:
        shutil.copytree(store.root, tmp_path / "copy", copy_function=shutil.copyfile)
        found = find(Store(tmp_path / "copy"), model)
        assert isinstance(found, ModelArtifact)
        assert found.path.is_relative_to(tmp_path / "copy")

    def test_a_changed_byte_is_damage(self, store: Store, model: ModelArtifact) -> None:
        file = model.path / "model/model.safetensors"
        file.write_text("X" + file.read_text()[1:])
        found = find(store, model)
        assert isinstance(found, Miss)
        assert found == Miss(
            "damaged", model.id, (("model/model.safetensors", None, "its content has changed"),)
        )
        assert model.path.is_dir()

    def test_another_size_is_damage(self, store: Store, model: ModelArtifact) -> None:
        file = model.path / "model/model.safetensors"
        entry = file.stat()
        file.write_text("short")
        os.utime(file, ns=(entry.st_atime_ns, entry.st_mtime_ns))
        assert "5 bytes instead of" in damage(find(store, model))

    def test_a_deleted_file_is_damage(self, store: Store, model: ModelArtifact) -> None:
        (model.path / "model/model.safetensors").unlink()
        assert damage(find(store, model)) == "it is missing"

    def test_no_manifest_is_damage(self, store: Store, model: ModelArtifact) -> None:
        (model.path / "manifest.json").unlink()
        found = find(store, model)
        assert isinstance(found, Miss)
        assert found.kind == "damaged"
        assert found.changes[0][0] == "manifest.json"

    def test_a_manifest_edited_by_hand_is_damage(self, store: Store, model: ModelArtifact) -> None:
        file = model.path / "manifest.json"
        file.write_text(file.read_text().replace('"loss": 0.5', '"loss": 0.1'))
        assert isinstance(find(store, model), Miss)

    def test_a_damaged_one_is_made_again_beside_it(
        self, store: Store, model: ModelArtifact, data: DatasetArtifact
    ) -> None:
        (model.path / "model/model.safetensors").unlink()
        again = build(store, fit, FitConfig(seed=7), {"data": data})
        assert again.id != model.id
        assert model.path.is_dir()
        assert find(store, model) == again

    def test_the_newest_of_two_equals_wins(self, store: Store, data: DatasetArtifact) -> None:
        build(store, fit, FitConfig(), {"data": data})
        newer = build(store, fit, FitConfig(), {"data": data}, force=True)
        assert build(store, fit, FitConfig(), {"data": data}) == newer

    def test_other_code(self, store: Store, model: ModelArtifact) -> None:
        found = store.lookup(model.fingerprint, {"data": None}, code={"toys": "0" * 16})
        assert isinstance(found, Miss)
        assert (found.kind, found.changes[0][0], found.changes[0][2]) == ("code", "toys", "0" * 16)


def damage(found: object) -> str:
    assert isinstance(found, Miss)
    assert found.kind == "damaged"
    return str(found.changes[0][2])


class TestPartial:
    def test_leftovers_are_no_artifact(self, store: Store) -> None:
        with open_draft(store) as out:
            rows(out, RowsConfig())
            (out.path / "manifest.json").write_text("{}")
        assert store.list() == []
        assert resolve(store, rows, RowsConfig(), {}).cached is None
        with pytest.raises(ArtifactError):
            store.get(f".partial/{out.path.name}")

    def test_checkpoints_are_kept_and_outputs_are_not(self, store: Store) -> None:
        with open_draft(store) as out:
            (out.checkpoints_dir / "checkpoint_2K_tokens").mkdir()
            (out.checkpoints_dir / "checkpoint_10K_tokens").mkdir()
            (out.checkpoints_dir / ".tmp-checkpoint_20K_tokens").mkdir()
            (out.rows_dir / "train.parquet").write_text("half")
        assert resolve(store, rows, RowsConfig(), {}).resume_from == "checkpoint_10K_tokens"
        with open_draft(store) as again:
            assert checkpoints_in(again.path)[-1].name == "checkpoint_10K_tokens"
            assert not (again.path / "rows/train.parquet").exists()

    def test_without_a_checkpoint_it_starts_from_nothing(self, store: Store) -> None:
        with open_draft(store) as out:
            out.write_table("old", [{"x": 1}])
        with open_draft(store) as out:
            assert {path.name for path in out.path.iterdir()} == {"inputs.json"}

    def test_fresh_starts_from_nothing(self, store: Store) -> None:
        with open_draft(store) as out:
            (out.checkpoints_dir / "checkpoint_2K_tokens").mkdir()
        with open_draft(store, force=True) as out:
            assert checkpoints_in(out.path) == []

    def test_one_made_from_other_inputs_is_discarded(self, store: Store, data: DatasetArtifact) -> None:
        found = resolve(store, fit, FitConfig(), {"data": data})
        key = found.fingerprint
        with store.draft("fit", found, store.lease("fit", key.hex)) as out:
            (out.checkpoints_dir / "checkpoint_2K_tokens").mkdir()
        other = data.ref.model_copy(update={"payload_digest": "other"})
        assert store.resume_point("fit", key.hex, {"data": data.payload_digest}) == "checkpoint_2K_tokens"
        assert store.resume_point("fit", key.hex, {"data": "other"}) is None
        found = replace(found, inputs={"data": other}, fresh=False)
        with store.draft("fit", found, store.lease("fit", key.hex)) as out:
            assert checkpoints_in(out.path) == []


class TestRoot:
    def test_below_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        with pytest.raises(StoreError, match="a part of the path is a file") as caught:
            Store(tmp_path / "file" / "store")
        assert "--store" in caught.value.fix
        with pytest.raises(StoreError):
            Store(tmp_path / "file")
        with pytest.raises(StoreError, match="is a file"):
            Store(tmp_path / "file", writable=False)

    def test_reading_makes_nothing(self, tmp_path: Path) -> None:
        assert Store(tmp_path / "new", writable=False).list() == []
        assert not (tmp_path / "new").exists()

    def test_a_full_disk_is_a_store_error(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("tempering.artifacts.commit.write_atomic", full)
        with open_draft(store) as out, pytest.raises(StoreError, match="the disk is full"):
            store.commit(out)


class TestVerify:
    def test_all_is_well(self, store: Store, model: ModelArtifact) -> None:
        assert all(not damages for damages in store.verify().values())
        assert len(store.verify()) == 2

    def test_a_change_that_kept_size_and_time(self, store: Store, model: ModelArtifact) -> None:
        file = model.path / "model/model.safetensors"
        entry = file.stat()
        file.write_text("X" + file.read_text()[1:])
        os.utime(file, ns=(entry.st_atime_ns, entry.st_mtime_ns))
        assert find(store, model) == model  # a hit does not read the file; verify does
        (found,) = store.verify(model.id)[model.id]
        assert found.file == "model/model.safetensors"

    @pytest.mark.parametrize("edit", ["payload", "hash", "metric", "config", "not json"])
    def test_a_manifest_edited_by_hand(self, store: Store, model: ModelArtifact, edit: str) -> None:
        file = model.path / "manifest.json"
        tree = json.loads(file.read_text())
        if edit == "payload":
            tree["payload_digest"] = "0" * 64
        elif edit == "hash":
            tree["files"]["model/model.safetensors"]["sha256"] = "0" * 64
        elif edit == "metric":
            tree["metrics"]["loss"] = 0.0
        elif edit == "config":
            tree["hashed"]["config"]["seed"] = 8
        file.write_text("{" if edit == "not json" else json.dumps(tree))
        assert any(found.file == "manifest.json" for found in store.verify()[model.id])

    def test_a_newer_schema_is_said(self, store: Store, model: ModelArtifact) -> None:
        file = model.path / "manifest.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "schema_version": 99}))
        with pytest.raises(ArtifactError, match="schema version 99"):
            read_manifest(model.path)


class TestInputs:
    def test_a_wrong_kind_is_refused(self, store: Store, model: ModelArtifact) -> None:
        with pytest.raises(ArtifactError, match=r"input data is fit/.*, a model\n.*a dataset"):
            build(store, fit, FitConfig(), {"data": model})

    def test_a_missing_one_is_refused(self, store: Store) -> None:
        with pytest.raises(ConfigError, match="needs an input 'data'"):
            build(store, fit, FitConfig(), {})

    def test_an_unknown_one_is_refused(self, store: Store, data: DatasetArtifact) -> None:
        with pytest.raises(ConfigError, match="no input 'rows'"):
            build(store, fit, FitConfig(), {"rows": data})


class TestDraft:
    def test_it_goes_to_a_child_and_back(self, store: Store) -> None:
        with open_draft(store) as out:
            out.on_log = lambda level, text: None
            copy = pickle.loads(pickle.dumps(out))
            copy.tokens, copy.details["x"] = 5, 1
            out.adopt(copy.outcome())
            assert copy.lease is None
            made = store.commit(out)
        assert (made.manifest.tokens, made.manifest.details) == (5, {"x": 1})

    def test_stages_travel_by_name(self) -> None:
        assert pickle.loads(pickle.dumps(fit)) is fit

    def test_progress_is_rare_but_the_end_is_told(self, tmp_path: Path) -> None:
        calls: list[tuple[object, ...]] = []
        out = Draft(tmp_path / "d", on_progress=lambda *call: calls.append(call))
        for done in range(1001):
            out.progress(done, 1000, loss=float(done))
        assert 2 <= len(calls) < 20
        assert calls[-1] == (1000, 1000, "tokens", {"loss": 1000.0})

    def test_log(self, tmp_path: Path) -> None:
        lines: list[tuple[str, str]] = []
        out = Draft(tmp_path / "d", on_log=lambda level, text: lines.append((level, text)))
        out.log("one")
        out.warn("two")
        assert lines == [("info", "one"), ("warning", "two")]
        assert (tmp_path / "d/log.txt").read_text().endswith("warning two\n")

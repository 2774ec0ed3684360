"""`temper artifacts`: what it prints and its exit codes."""

import argparse
import json
from pathlib import Path

import pytest

from flows.cli.artifacts import add_parser
from tempering.artifacts.draft import Draft
from tempering.artifacts.kinds import Artifact, DatasetArtifact, ModelArtifact
from tempering.artifacts.resolve import build
from tempering.artifacts.stage import Summary, stage
from tempering.artifacts.store import Store
from tempering.config import Config
from tempering.errors import ArtifactError


class EmptyConfig(Config):
    pass


@stage("cli_rows", version=1, makes=DatasetArtifact)
def cli_rows(out: Draft, config: EmptyConfig) -> Summary:
    """Rows."""
    (out.rows_dir / "train").write_text("rows")
    return {"rows": 12}


@stage("cli_fit", version=1, makes=ModelArtifact)
def cli_fit(out: Draft, config: EmptyConfig, *, data: DatasetArtifact) -> Summary:
    """Weights."""
    out.name, out.tokens = "[toy]", 1234
    (out.model_dir / "model.safetensors").write_text("weights")
    return {"loss": 0.123456}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def model(store: Store) -> Artifact:
    return build(store, cli_fit, EmptyConfig(), {"data": build(store, cli_rows, EmptyConfig())})


def temper(store: Store, *words: str) -> int:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    args = parser.parse_args(["artifacts", *words, "--store", str(store.root)])
    code: int = args.command(args)
    return code


def test_list(store: Store, model: Artifact, capsys: pytest.CaptureFixture[str]) -> None:
    assert temper(store, "list") == 0
    header, first, second = capsys.readouterr().out.strip().splitlines()
    assert header.split() == ["id", "kind", "tokens", "size", "age", "headline"]
    assert first.split()[:3] == [model.id, "model", "1,234"]
    assert first.endswith("loss 0.1235")
    assert second.endswith("rows 12")


def test_list_json_is_one_document(store: Store, model: Artifact, capsys: pytest.CaptureFixture[str]) -> None:
    assert temper(store, "list", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["kind"] for row in rows] == ["model", "dataset"]
    assert rows[0]["metrics"] == {"loss": 0.123456}


def test_list_of_one_stage_or_kind(store: Store, model: Artifact, capsys: pytest.CaptureFixture[str]) -> None:
    for word in ("cli_rows", "dataset"):
        temper(store, "list", word, "--json")
        assert [row["kind"] for row in json.loads(capsys.readouterr().out)] == ["dataset"]
    # A stage may have a name of its own: its kind lists it too.
    build(store, cli_rows, EmptyConfig(), node="my_rows", force=True)
    for word, stages in {"cli_rows": ["my_rows", "cli_rows"], "my_rows": ["my_rows"]}.items():
        temper(store, "list", word, "--json")
        assert [row["stage"] for row in json.loads(capsys.readouterr().out)] == stages


def test_an_empty_store(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert temper(store, "list") == 0
    assert "no artifacts" in capsys.readouterr().out
    assert temper(store, "list", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []


def test_show(store: Store, model: Artifact, capsys: pytest.CaptureFixture[str]) -> None:
    assert temper(store, "show", "cli_fit@latest") == 0
    shown = capsys.readouterr().out
    assert f"id: {model.id}" in shown
    assert "model/model.safetensors: 7 B" in shown
    assert temper(store, "show", model.id, "--json") == 0
    tree = json.loads(capsys.readouterr().out)
    assert (tree["fingerprint"], tree["path"]) == (model.fingerprint, str(model.path))
    with pytest.raises(ArtifactError):
        temper(store, "show", "nothing")


def test_lineage(store: Store, model: Artifact, capsys: pytest.CaptureFixture[str]) -> None:
    assert temper(store, "lineage", model.id) == 0
    first, second = capsys.readouterr().out.strip().splitlines()
    assert first == model.id
    assert "data: cli_rows/" in second
    assert temper(store, "lineage", model.id, "--json") == 0
    tree = json.loads(capsys.readouterr().out)
    assert tree["inputs"][0]["role"] == "data"


def test_verify(store: Store, model: Artifact, capsys: pytest.CaptureFixture[str]) -> None:
    assert temper(store, "verify") == 0
    assert "2 artifacts, 0 damaged" in capsys.readouterr().out
    (model.path / "model/model.safetensors").write_text("WEIGHTS")
    assert temper(store, "verify") == 1
    assert "model/model.safetensors: its content has changed" in capsys.readouterr().out
    assert temper(store, "verify", "--json") == 1
    tree = json.loads(capsys.readouterr().out)
    assert [damage["file"] for damage in tree["damaged"][model.id]] == ["model/model.safetensors"]
    assert temper(store, "verify", "cli_rows@latest") == 0

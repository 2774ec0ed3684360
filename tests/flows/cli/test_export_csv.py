"""`temper artifacts export-csv`: of artifacts and of work in progress, safe to open, all files or none."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from flows.cli.export_csv import cell
from flows.cli.main import main
from tempering.artifacts.draft import Draft
from tempering.artifacts.kinds import Artifact, ModelArtifact
from tempering.artifacts.resolve import build
from tempering.artifacts.row_log import RowLog
from tempering.artifacts.stage import Summary, stage
from tempering.artifacts.store import Store
from tempering.config import Config

OUTPUTS = [
    {"step": 1, "prompt": "Sum?", "completion": "=1+1", "score": -0.25, "reward": None, "ended": True},
    {"step": 2, "prompt": 'A,"b"', "completion": "two\nx", "score": 1e-7, "reward": -1.0, "ended": False},
]
STATS = [{"step": 1, "loss": -0.5}, {"step": 2, "loss": 0.25, "kl": 1.5}]


class OneConfig(Config):
    name: str = "one"


@stage("csv_fit", version=1, makes=ModelArtifact)
def csv_fit(out: Draft, config: OneConfig) -> Summary:
    """Weights and tables; `bare` has none, `other` only another one."""
    (out.model_dir / "model.safetensors").write_text("weights")
    if config.name == "one":
        for name, rows in (("generated_outputs", OUTPUTS), ("training_stats", STATS)):
            log = RowLog(out.metadata_dir / f"{name}.jsonl")
            log.append(rows)
            log.to_parquet()
    if config.name != "bare":
        out.write_table("held_out", [{"metric": "loss", "value": 0.5}])
    return {}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def model(store: Store) -> Artifact:
    return build(store, csv_fit, OneConfig(), {})


def export(store: Store, *words: Any) -> int:
    return main(["artifacts", "export-csv", *map(str, words), "--store", str(store.root)])


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_both_tables_of_an_artifact(
    store: Store, model: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out" / "deep"
    assert export(store, "csv_fit@latest", "--out", out) == 0
    assert (
        capsys.readouterr().out == f"{out}/generated_outputs.csv: 2 rows\n{out}/training_stats.csv: 2 rows\n"
    )
    first, second = read(out / "generated_outputs.csv")
    assert first == {
        "step": "1",
        "prompt": "Sum?",
        "completion": "'=1+1",
        "score": "-0.25",
        "reward": "",
        "ended": "true",
    }
    assert (second["prompt"], second["completion"]) == ('A,"b"', "two\nx")
    assert (float(second["score"]), second["reward"], second["ended"]) == (1e-7, "-1.0", "false")
    assert read(out / "training_stats.csv")[1] == {"step": "2", "loss": "0.25", "kl": "1.5"}
    assert sorted(path.name for path in out.iterdir()) == ["generated_outputs.csv", "training_stats.csv"]


@pytest.mark.parametrize("ref", ["id", "fingerprint", "folder"])
def test_ways_to_name_it(ref: str, store: Store, model: Artifact, tmp_path: Path) -> None:
    named = {"id": model.id, "fingerprint": model.fingerprint[:10], "folder": model.path}[ref]
    assert export(store, named, "--out", tmp_path / "out") == 0
    assert len(read(tmp_path / "out/training_stats.csv")) == 2


@pytest.mark.parametrize("ref", ["folder", "relative", "name"])
def test_of_a_stage_that_runs_or_failed(ref: str, store: Store, tmp_path: Path) -> None:
    """Rows of unlike columns, the last one half written."""
    partial = store.root / ".partial" / "ppo-3f9c1a2b"
    log = RowLog(partial / "metadata/training_stats.jsonl")
    log.append([*STATS, {"step": 3, "loss": -1.0}])
    with log.path.open("a") as file:
        file.write('{"step": 4, "lo')
    named = {"folder": partial, "relative": ".partial/ppo-3f9c1a2b/", "name": "ppo-3f9c1a2b"}[ref]
    assert export(store, named, "--out", tmp_path) == 0
    assert read(tmp_path / "training_stats.csv") == [
        {"step": "1", "loss": "-0.5", "kl": ""},
        {"step": "2", "loss": "0.25", "kl": "1.5"},
        {"step": "3", "loss": "-1.0", "kl": ""},
    ]


def test_all_tables_and_json(
    store: Store, model: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(store, model.id, "--all", "--json", "--out", tmp_path) == 0
    names = ("generated_outputs", "held_out", "training_stats")
    assert json.loads(capsys.readouterr().out) == [
        {"file": f"{tmp_path}/{name}.csv", "rows": 1 if name == "held_out" else 2} for name in names
    ]
    assert read(tmp_path / "held_out.csv") == [{"metric": "loss", "value": "0.5"}]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "＝"])
def test_what_a_spreadsheet_would_run_is_text(start: str) -> None:
    """OWASP's list; a number is no text, and `--raw` is exact."""
    assert cell(f"{start}cmd|' /C calc'!A0", raw=False) == f"'{start}cmd|' /C calc'!A0"
    assert cell(f"{start}1", raw=True) == f"{start}1"
    assert cell(-1.5, raw=False) == -1.5
    assert cell("a=b", raw=False) == "a=b"
    assert cell([start, "b"], raw=False) == json.dumps([start, "b"], ensure_ascii=False)


def test_raw(store: Store, model: Artifact, tmp_path: Path) -> None:
    assert export(store, model.id, "--raw", "--out", tmp_path) == 0
    assert read(tmp_path / "generated_outputs.csv")[0]["completion"] == "=1+1"


def test_files_that_are_there_stay_unless_forced(
    store: Store, model: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "training_stats.csv").write_text("mine")
    assert export(store, model.id, "--out", tmp_path) == 2
    assert "training_stats.csv exists already" in capsys.readouterr().err
    assert (tmp_path / "training_stats.csv").read_text() == "mine"
    assert not (tmp_path / "generated_outputs.csv").exists(), "none of them, not one"
    assert export(store, model.id, "--out", tmp_path, "--force") == 0
    assert len(read(tmp_path / "training_stats.csv")) == 2


def test_a_broken_table_leaves_nothing_behind(
    store: Store, model: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (model.path / "metadata/training_stats.parquet").write_bytes(b"PAR1 no PAR1")
    out = tmp_path / "out"
    assert export(store, model.id, "--out", out) == 2
    assert "is damaged" in capsys.readouterr().err
    assert list(out.iterdir()) == []


def test_mistakes(store: Store, model: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(ref: Any, out: Path = tmp_path / "out") -> str:
        assert export(store, ref, "--out", out) == 2
        return capsys.readouterr().err

    other, bare = (build(store, csv_fit, OneConfig(name=name), {}) for name in ("other", "bare"))
    assert "neither generated_outputs nor training_stats" in said(other.id)
    assert "--all exports held_out" in said(other.id)
    assert "no tables to export" in said(bare.id)
    assert "there is no artifact 'dpo@latest'" in said("dpo@latest")
    RowLog(store.root / ".partial/dpo-12345678/metadata/training_stats.jsonl").append(STATS)
    assert ".partial/dpo-12345678" in said("dpo@latest")
    assert "lies inside" in said(model.id, model.path / "metadata")
    (tmp_path / "file").write_text("")
    assert "the export to" in said(model.id, tmp_path / "file")
    assert not (tmp_path / "out").exists()

"""Inputs that a stage would refuse hours later are refused by the plan."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from flows.fitting import _differ, _Facts
from flows.pipeline import Options, plan_pipeline
from tempering.artifacts.draft import Draft
from tempering.artifacts.kinds import ModelArtifact
from tempering.artifacts.resolve import build
from tempering.artifacts.stage import Summary, stage
from tempering.artifacts.store import Store
from tempering.config import Config
from tempering.errors import UserError

QUICK = Path(__file__).parents[2] / "configs/quickstart.yaml"


class DetailsConfig(Config):
    details: dict[str, Any] = Field({}, description="of the artifact")


@stage("fitting_model", version=1, makes=ModelArtifact)
def fitting_model(out: Draft, config: DetailsConfig) -> Summary:
    """A model with these details and nothing else."""
    (out.model_dir / "model.safetensors").write_text("weights")
    out.details |= config.details
    return {}


def refusal(store: Path, *words: str) -> str:
    with pytest.raises(UserError) as caught:
        plan_pipeline(Options(str(QUICK), words, store=str(store)))
    return str(caught.value)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("dpo.sample=pretrain", "dpo: its sample pretrain holds text rows"),
        ("reward_model.sample=sft", "reward_model: its sample sft holds prompt_completion rows"),
        ("sft.sample=preferences", "sft: its sample preferences holds preference rows"),
        ("ppo.sample=sft", "expected: prompt rows"),
        ("pretrain.sample=preferences", "expected: text rows"),
        ("samples.dpo.datasets={corpus: 1, preferences: 1}", "samples.dpo: the data sets cannot be mixed"),
        ("samples.dpo.datasets={test_pairs: 1}", "samples.dpo: data set test_pairs holds minimal_pair rows"),
        ("samples.sft.row_type=preference", "samples.sft: data set demonstrations holds"),
        (
            "evaluate.benchmarks.held_out.dataset=test_pairs",
            "the data set test_pairs holds minimal_pair rows",
        ),
    ],
)
def test_rows_of_another_type(tmp_path: Path, setting: str, message: str) -> None:
    assert message in refusal(tmp_path, setting)


def test_rows_of_recognised_files(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"text": "Once upon a time."}) + "\n")
    setting = f"datasets.preferences={{kind: auto, path: {rows}}}"
    assert "holds text rows" in refusal(tmp_path / "store", setting)


def test_another_use_of_the_same_rows_is_planned(tmp_path: Path) -> None:
    words = ("samples.sft.datasets={preferences: 1}", "samples.sft.row_type=prompt_completion")
    assert plan_pipeline(Options(str(QUICK), words, store=str(tmp_path))).rows


@pytest.mark.parametrize(
    ("details", "message"),
    [
        ({"head": "score"}, "is a reward model"),
        ({"head": "causal_lm", "adapter": True}, "has only an adapter"),
    ],
)
def test_a_model_of_the_store(tmp_path: Path, details: dict[str, Any], message: str) -> None:
    model = build(Store(tmp_path), fitting_model, DetailsConfig(details=details))
    assert message in refusal(tmp_path, f"sft.model={model.id}", "pretrain=null")
    assert message in refusal(tmp_path, f"dpo.reference={model.id}")
    if details["head"] == "score":
        message = f"{model.path.name} is a reward model, which its name does not tell"
        assert message in refusal(tmp_path, f"evaluate.models=[{model.id}]")


def test_tokenizers_are_compared_by_digest_or_by_vocabulary(tmp_path: Path) -> None:
    def folder(name: str, vocabulary: dict[str, int], added: list[str]) -> Path:
        (tmp_path / name).mkdir()
        text = json.dumps({"model": {"vocab": vocabulary}, "added_tokens": added})
        (tmp_path / name / "tokenizer.json").write_text(text)
        return tmp_path / name

    first, same, other = folder("a", {"x": 0}, []), folder("b", {"x": 0}, ["pad"]), folder("c", {"y": 0}, [])
    assert not _differ(_Facts(folder=first), _Facts(folder=same))
    assert _differ(_Facts(folder=first), _Facts(folder=other))
    assert _differ(_Facts(tokenizer="1", folder=first), _Facts(tokenizer="2", folder=first))
    assert not _differ(_Facts(tokenizer="1"), _Facts(folder=other))

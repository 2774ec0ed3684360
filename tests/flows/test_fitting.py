"""Inputs that a stage would refuse hours later are refused by the plan."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from flows.fitting import _differ, _Facts
from flows.options import Options
from flows.pipeline import plan_pipeline
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


def shape(folder: Path, **settings: Any) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


def test_model_types_that_a_stage_refuses(tmp_path: Path) -> None:
    """From the shape, through the stages between, from a config.json, from a model of the store."""
    kind = "pretrain.architecture.model_type="
    assert "of type 'bert' is an encoder" in refusal(tmp_path, f"{kind}bert")
    assert "sft: TRL's loss of a recurrent_gemma model is not" in refusal(tmp_path, f"{kind}recurrent_gemma")
    scaled = shape(tmp_path / "mpt", model_type="mpt", logit_scale=0.5)
    setting = f"pretrain.architecture={{name_or_path: {scaled}}}"
    assert "dpo: TRL's loss of a mpt model with logit_scale" in refusal(
        tmp_path,
        setting,
        "dpo.model=pretrain",
        "sft=null",
        "reward_model=null",
        "ppo=null",
        "rloo=null",
        "evaluate=null",
        "report=null",
    )
    made = build(Store(tmp_path), fitting_model, DetailsConfig(details={"head": "causal_lm"}))
    (made.path / "model/config.json").write_text('{"model_type": "modernbert-decoder"}')
    assert "TRL's loss of a modernbert-decoder model" in refusal(tmp_path, f"sft.model={made.id}")


def test_model_types_that_a_stage_serves_are_planned(tmp_path: Path) -> None:
    plain = shape(tmp_path / "mpt", model_type="mpt", logit_scale=None)
    for settings in ("{model_type: mpt}", f"{{name_or_path: {plain}}}", "{kind: lstm}"):
        words = (f"pretrain.architecture={settings}",)
        assert plan_pipeline(Options(str(QUICK), words, store=str(tmp_path / "store"))).rows
    served = (
        "pretrain.architecture.model_type=recurrent_gemma",
        "ppo.model=pretrain",
        "rloo.model=pretrain",
        "reward_model.model=pretrain",
        "sft=null",
        "dpo=null",
        "evaluate=null",
        "report=null",
    )
    assert plan_pipeline(Options(str(QUICK), served, store=str(tmp_path / "store"))).rows

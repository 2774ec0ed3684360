"""The configuration of a whole pipeline, and reading it from YAML.

A section that is `null` switches its stage off. `seed` at the top is the seed of every section
that does not set its own.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from flows.old_names import desugared
from tempering.config import Config, load, runtime_field, validate
from tempering.data.builders import Builder
from tempering.data.sample.config import SampleConfig
from tempering.data.tokenizers import TokenizerConfig
from tempering.evaluation.config import EvaluateConfig
from tempering.model_config import AdoptConfig, MergeConfig
from tempering.onpolicy.config import PPOConfig, RLOOConfig
from tempering.report.config import ReportConfig
from tempering.runtime import RuntimeConfig
from tempering.training.aliases import has_precision
from tempering.training.config import (
    DPOConfig,
    Precision,
    PretrainConfig,
    RewardModelConfig,
    SFTConfig,
)

TRAINING = ("pretrain", "sft", "reward_model", "dpo", "ppo", "rloo")
_SEEDED = (*TRAINING, "evaluate")
_SEEDED_EACH = ("datasets", "samples")


class PipelineConfig(Config):
    """Everything a run needs."""

    name: str = runtime_field("pipeline", min_length=1, description="names the runs and the artifact folders")
    seed: int = runtime_field(0, ge=0, description="seed of every section that has none of its own")
    precision: Precision = runtime_field(
        "fp32", description="of every training section that has none of its own (see there)"
    )
    runtime: RuntimeConfig = runtime_field(RuntimeConfig(), description="device, threads, parallel stages")
    datasets: Mapping[str, Builder] = Field(min_length=1, description="data sets by name")
    tokenizer: TokenizerConfig = Field(description="train one, or take one that exists")
    models: Mapping[str, AdoptConfig] = Field(
        default_factory=dict,
        description="models from elsewhere by name: a folder or Hub name, or a mapping with more settings",
    )
    samples: Mapping[str, SampleConfig] = Field(
        default_factory=dict, description="mixed, tokenised, limited samples"
    )
    pretrain: PretrainConfig | None = Field(None, description="language modelling; null: off")
    sft: SFTConfig | None = Field(None, description="supervised fine-tuning; null: off")
    reward_model: RewardModelConfig | None = Field(None, description="reward model; null: off")
    dpo: DPOConfig | None = Field(None, description="direct preference optimisation; null: off")
    ppo: PPOConfig | None = Field(None, description="proximal policy optimisation; null: off")
    rloo: RLOOConfig | None = Field(None, description="REINFORCE leave-one-out; null: off")
    merge: MergeConfig = Field(
        default_factory=MergeConfig, description="merging adapters into their base models"
    )
    evaluate: EvaluateConfig | None = Field(None, description="benchmarks; null: off")
    report: ReportConfig | None = Field(None, description="the page at the end; null: off")

    @field_validator("models", mode="before")
    @classmethod
    def _names_alone(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        taken = sorted(set(given) & {*TRAINING, "merge"})
        if taken:
            raise ValueError(f"{taken[0]} is the name of a stage; call the model otherwise")
        return {name: {"name_or_path": one} if isinstance(one, str) else one for name, one in given.items()}

    @model_validator(mode="before")
    @classmethod
    def _spread(cls, tree: Any) -> Any:
        """Old names to their places; seed and precision into every section that has none of its own."""
        if not isinstance(tree, dict):
            return tree
        tree = desugared(tree, TRAINING)
        for name in _SEEDED:
            tree[name] = _filled(tree.get(name), tree, "seed")
        for name in TRAINING:
            if not has_precision(tree.get(name)):
                tree[name] = _filled(tree.get(name), tree, "precision")
        for name in _SEEDED_EACH:
            if isinstance(tree.get(name), dict):
                tree[name] = {key: _filled(one, tree, "seed") for key, one in tree[name].items()}
        return tree


def _filled(section: Any, tree: dict[str, Any], setting: str) -> Any:
    if not isinstance(section, dict) or setting not in tree:
        return section
    return {setting: tree[setting], **section}


def load_pipeline(path: str | Path, overrides: Iterable[str] = ()) -> PipelineConfig:
    """The pipeline in a YAML file, with `key=value` overrides.

    Raises:
        ConfigError: with the file, the setting and the nearest valid name.
    """
    tree = load(path, overrides)
    tree.setdefault(
        "name", Path(path).stem if Path(path).stem != "pipeline" else Path(path).resolve().parent.name
    )
    return validate(PipelineConfig, tree, str(path))

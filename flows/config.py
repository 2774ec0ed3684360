"""The configuration of a pipeline, and reading it from YAML.

Fixed sections (data sets, tokenizer, samples, evaluation, report) are fields. Every other section is a
stage that trains: its name is a kind, or it says `kind:`. A section that is `null` switches its stage off.
The top-level `seed` is the seed of every section that does not set its own.
"""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, SerializeAsAny, WrapValidator, field_validator, model_validator

import tasks  # noqa: F401  registers the kinds of stages
from flows.old_names import desugared
from flows.sections import check_sections, kind_of, section_classes, stage_config, with_kind
from tempering.artifacts.stage import section_kinds
from tempering.config import MOST_SEED, Config, StageConfig, runtime_field
from tempering.config_file import load_stages
from tempering.data.builders import Builder
from tempering.data.sample.config import SampleConfig
from tempering.data.tokenizers import TokenizerConfig
from tempering.evaluation.config import EvaluateConfig
from tempering.evaluation.gates import GateConfig
from tempering.model_config import AdoptConfig, MergeConfig
from tempering.report.config import ReportConfig
from tempering.runtime import RuntimeConfig
from tempering.training.aliases import has_precision
from tempering.training.config import Precision
from tempering.validation import validate

_SEEDED_EACH = ("datasets", "samples")


class PipelineConfig(Config):
    """Everything a run needs; what is not a field is a stage."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Annotated[SerializeAsAny[StageConfig], WrapValidator(stage_config)]]

    name: str = runtime_field(
        "pipeline", min_length=1, max_length=100, description="names the runs and the artifact folders"
    )
    seed: int = runtime_field(
        0, ge=0, le=MOST_SEED, description="seed of every section that does not set its own"
    )
    precision: Precision = runtime_field(
        "fp32", description="of every training section that does not set its own (see there)"
    )
    runtime: RuntimeConfig = runtime_field(RuntimeConfig(), description="device, threads, parallel stages")
    datasets: Mapping[str, Builder] = Field(min_length=1, description="data sets by name")
    tokenizer: TokenizerConfig = Field(description="train one, or use an existing one")
    models: Mapping[str, AdoptConfig] = Field(
        default_factory=dict,
        description="external models by name: a folder or Hub name, or a mapping with more settings",
    )
    samples: Mapping[str, SampleConfig] = Field(
        default_factory=dict, description="mixed, tokenised, limited samples"
    )
    merge: MergeConfig = Field(
        default_factory=MergeConfig, description="merging adapters into their base models"
    )
    evaluate: EvaluateConfig | None = Field(None, description="benchmarks; null: off")
    gates: Mapping[str, GateConfig] = Field(
        default_factory=dict,
        description='model -> {BENCHMARK.METRIC: ">= NUMBER"}: what is made from it waits; null: off',
    )
    report: ReportConfig | None = Field(None, description="the page at the end; null: off")

    @classmethod
    def stage_classes(cls) -> Mapping[str, type[Config]]:
        """Kind -> the config class of its sections."""
        return {name: kind.config_class for name, kind in section_kinds().items()}

    @property
    def stages(self) -> Mapping[str, StageConfig]:
        """The stages that train, by name, in the order of the file."""
        return self.__pydantic_extra__

    @field_validator("models", mode="before")
    @classmethod
    def _names_alone(cls, models: Any) -> Any:
        if not isinstance(models, dict):
            return models
        return {
            name: {"name_or_path": model} if isinstance(model, str) else model
            for name, model in models.items()
        }

    @field_validator("gates", mode="before")
    @classmethod
    def _those_on(cls, gates: Any) -> Any:
        if not isinstance(gates, dict):
            return {} if gates is None else gates
        return {name: gate for name, gate in gates.items() if gate is not None}

    @model_validator(mode="before")
    @classmethod
    def _spread(cls, tree: Any) -> Any:
        """Move old names; fill seed and precision into every section that does not set its own."""
        if not isinstance(tree, dict):
            return tree
        # Every section that is a stage says its kind; `null` switches a stage off.
        kinds = section_kinds()
        tree = {name: section for name, section in tree.items() if section is not None or name not in kinds}
        names = check_sections(tree, cls.model_fields)
        tree |= {name: with_kind(name, tree[name]) for name in names}
        of_kind = {name: kinds[kind_of(name, tree[name])] for name in names}
        tree = desugared(tree, of_kind)
        # Run-wide values go where a section has such a setting and does not set it.
        for name, kind in of_kind.items():
            fields = kind.config_class.model_fields
            if "seed" in fields:
                tree[name] = _filled(tree[name], tree, "seed")
            if "precision" in fields and not has_precision(tree[name]):
                tree[name] = _filled(tree[name], tree, "precision")
        tree["evaluate"] = _filled(tree.get("evaluate"), tree, "seed")
        for name in _SEEDED_EACH:
            if isinstance(tree.get(name), dict):
                tree[name] = {key: _filled(section, tree, "seed") for key, section in tree[name].items()}
        return tree


def _filled(section: Any, tree: dict[str, Any], setting: str) -> Any:
    if not isinstance(section, dict) or setting not in tree:
        return section
    return {setting: tree[setting], **section}


def _skip(tree: dict[str, Any], off: Collection[str]) -> None:
    """Leave stages that are switched off out of the evaluation and the gates, as kinds that are."""
    gates = tree.get("gates")
    if isinstance(gates, dict):
        tree["gates"] = {name: gate for name, gate in gates.items() if name not in off}
    evaluate = tree.get("evaluate")
    if not off or not isinstance(evaluate, dict):
        return
    models = evaluate.get("models")
    if isinstance(models, list):
        evaluate = {**evaluate, "models": [name for name in models if name not in off]}
    for setting in ("reward_model", "baseline"):
        if isinstance(evaluate.get(setting), str) and evaluate[setting] in off:
            evaluate = {**evaluate, setting: None}
    tree["evaluate"] = evaluate


def load_pipeline(path: str | Path, overrides: Iterable[str] = ()) -> PipelineConfig:
    """The pipeline in a YAML file, with `key=value` overrides.

    Raises:
        ConfigError: naming the file, the setting and the nearest valid name.
    """
    tree, off = load_stages(path, overrides)
    _skip(tree, off)
    stem = Path(path).stem
    tree.setdefault("name", stem if stem != "pipeline" else Path(path).resolve().parent.name)
    return validate(PipelineConfig, tree, str(path), classes=section_classes(tree))

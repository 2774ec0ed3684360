"""Whether what each stage is given fits it, as far as configs and manifests tell before anything runs.

The stages check the same when their turn comes, hours later: types of rows, tokenizers, heads. What cannot be
known from here, such as the tokenizer that will be trained, is left to them.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.graph import Node, Ref, Source
from flows.plan import PlanRow
from tempering.artifacts.kinds import Artifact, ModelArtifact, TokenizerArtifact
from tempering.artifacts.store import Store
from tempering.data.builders.auto import AutoConfig
from tempering.data.builders.base import BuilderConfig
from tempering.data.rows import RowType
from tempering.data.sample.config import SampleConfig, common_row_type
from tempering.errors import ConfigError, UserError
from tempering.evaluation.config import EvaluateConfig
from tempering.model_config import AdoptConfig, TransformerConfig
from tempering.training.config import DPOConfig, PretrainConfig, SFTConfig, TrainingConfig
from tempering.unserved import UNFUSED, UNSERVED


@dataclass(frozen=True)
class _Facts:
    """What is known of an artifact, made or not; "" and None: not known."""

    rows: str = ""
    tokenizer: str = ""
    head: str = ""
    adapter: bool = False
    folder: Path | None = None
    """Where its tokenizer lies."""
    unfused: str = ""
    """The type of a model whose loss TRL would not compute as the model does."""


def check_fit(rows: Sequence[PlanRow], store: Store) -> None:
    """Refuse a stage that would refuse its inputs when its turn comes.

    Raises:
        ConfigError: rows of another type, a model with another tokenizer or head, an adapter alone.
        DataError: data sets that cannot be mixed, or hold no such rows.
    """
    look = _Look(store)
    for row in rows:
        assert row.node is not None
        if row.made is None and row.action != "skipped":
            look.check(row.node)
        look.facts[row.stage] = _of_artifact(row.made) if row.made else look.expected(row.node)


class _Look:
    """What is known of each node, in the graph's order."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.facts: dict[str, _Facts] = {}

    def of(self, source: Source | None) -> _Facts:
        """What is known of a source: a node before this one, or an artifact of the store."""
        if source is None:
            return _Facts()
        return _of_artifact(self.store.get(source.ref)) if isinstance(source, Ref) else self.facts[source]

    def expected(self, node: Node) -> _Facts:
        """What a node will make."""
        config, sources = node.config, node.sources()
        if isinstance(config, BuilderConfig):
            return _Facts(rows=_row_type(config))
        if isinstance(config, AdoptConfig):
            unfused = _unfused(_settings(config.folder))
            return _Facts(head=config.head, folder=config.folder, unfused=unfused)
        if isinstance(config, SampleConfig):
            tokenizer = self.of(sources.get("tokenizer"))
            return _Facts(self._sample_rows(node, config), tokenizer.tokenizer, folder=tokenizer.folder)
        if isinstance(config, TrainingConfig):
            sample = self.of(sources.get("sample"))
            unfused = self._trained_type(node, config)
            return _Facts("", sample.tokenizer, node.stage.head, folder=sample.folder, unfused=unfused)
        return _Facts()

    def check(self, node: Node) -> None:
        """Refuse what is known not to fit."""
        config = node.config
        if isinstance(config, TrainingConfig):
            self._check_training(node, config)
        if isinstance(config, EvaluateConfig):
            self._check_evaluation(node, config)

    def _sample_rows(self, node: Node, config: SampleConfig) -> str:
        sources = node.sources()
        types = {name: self.of(sources.get(f"datasets.{name}")).rows for name in config.datasets}
        if not all(types.values()):
            return "" if config.row_type == "auto" else config.row_type
        try:
            return str(common_row_type(config, {name: RowType(kind) for name, kind in types.items()}))
        except UserError as error:
            place = f"samples.{node.key}: {error.found}"
            raise type(error)(place, expected=error.expected, fix=error.fix) from None

    def _check_training(self, node: Node, config: TrainingConfig) -> None:
        sample = self.of(node.sources().get("sample"))
        if sample.rows and config.sample_rows and sample.rows != config.sample_rows:
            raise ConfigError(
                f"{node.name}: its sample {getattr(config, 'sample', '')} holds {sample.rows} rows",
                expected=f"{config.sample_rows} rows",
                fix=f"set {node.name}.sample to another sample, or the sample's row_type",
            )
        self._check_type(node, config)
        for role in ("model", "reference"):
            model = self.of(node.sources().get(role))
            place = f"{node.name}.{role}: {getattr(config, role, None)}"
            if model.head == "score" or model.adapter:
                found = "has only an adapter" if model.adapter else "is a reward model"
                raise ConfigError(f"{place} {found}", expected="a whole language model")
            if _differ(model, sample):
                raise ConfigError(
                    f"{place} has another tokenizer than the sample",
                    expected="token ids that mean the same to both",
                    fix="set `tokenizer: {kind: existing, name_or_path: ...}` to the model",
                )

    def _trained_type(self, node: Node, config: TrainingConfig) -> str:
        """`unfused` of the model that a stage makes: that of the model it starts from, or of the shape."""
        model = node.sources().get("model")
        if model is not None or not isinstance(config, PretrainConfig):
            return self.of(model).unfused
        return _unfused(_shape(config))

    def _check_type(self, node: Node, config: TrainingConfig) -> None:
        """Refuse a model type that the stage refuses by name."""
        sources = node.sources()
        if isinstance(config, PretrainConfig) and sources.get("model") is None:
            model_type = _shape(config).get("model_type")
            if isinstance(model_type, str) and model_type in UNSERVED:
                raise ConfigError(
                    f"{node.name}.architecture: a model of type {model_type!r} {UNSERVED[model_type]}",
                    expected="a causal language model type; docs/families.md lists those that are served",
                    fix=f"correct {node.name}.architecture",
                )
        unfused = self.of(sources.get("model")).unfused or self.of(sources.get("reference")).unfused
        if unfused and isinstance(config, SFTConfig | DPOConfig):
            setting = f" with {UNFUSED[unfused]}" if UNFUSED[unfused] else ""
            raise ConfigError(
                f"{node.name}: TRL's loss of a {unfused} model{setting} is not the model's own",
                expected="a model type whose output head TRL knows; docs/families.md lists them",
                fix="take a model of another type for sft and dpo; pretrain, ppo, rloo and evaluate serve it",
            )

    def _check_evaluation(self, node: Node, config: EvaluateConfig) -> None:
        sources = node.sources()
        head = self.of(sources.get("model")).head
        for name, benchmark in config.benchmarks.items():
            benchmark.check_machine(name)
            for dataset in benchmark.dataset_names:
                rows = self.of(sources.get(f"datasets.{dataset}")).rows
                if rows and rows not in benchmark.takes(dataset):
                    raise ConfigError(
                        f"evaluate.benchmarks.{name}: the data set {dataset} holds {rows} rows",
                        expected=" or ".join(benchmark.takes(dataset)) + " rows",
                        fix="name another data set",
                    )
            if head and (head == "score") != (benchmark.measures == "scorer"):
                what = "a reward model" if head == "score" else "a language model"
                raise ConfigError(
                    f"evaluate.models: {node.key} is {what}, which its name does not tell",
                    expected="a name that tells what it is",
                    fix="write its whole id, such as reward_model/FOLDER, or STAGE@latest",
                )


def _of_artifact(artifact: Artifact) -> _Facts:
    details: Any = artifact.details
    folder = artifact.model_dir if isinstance(artifact, ModelArtifact) else None
    return _Facts(
        rows=str(details.get("row_type", "")),
        tokenizer=str(details.get("digest" if isinstance(artifact, TokenizerArtifact) else "tokenizer", "")),
        head=str(details.get("head", "")),
        adapter=bool(details.get("adapter")),
        folder=artifact.tokenizer_dir if isinstance(artifact, TokenizerArtifact) else None,
        unfused=_unfused(_settings(folder)),
    )


def _shape(config: PretrainConfig) -> dict[str, Any]:
    """What is known of the settings of a model that is made anew."""
    architecture = config.architecture
    if not isinstance(architecture, TransformerConfig):
        return {}
    return _settings(architecture.local_shape()) | architecture.sizes()


def _settings(folder: Path | None) -> dict[str, Any]:
    """What a config.json holds; nothing where it cannot be read, which is said where it is used."""
    try:
        settings = json.loads((folder / "config.json").read_text("utf-8")) if folder else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return settings if isinstance(settings, dict) else {}


def _unfused(settings: dict[str, Any]) -> str:
    """The model type, where it is one whose loss TRL would not compute as the model does."""
    model_type = str(settings.get("model_type", ""))
    needed = UNFUSED.get(model_type)
    return model_type if needed == "" or (needed and settings.get(needed) is not None) else ""


def _row_type(config: BuilderConfig) -> str:
    """The type of a builder's rows; of files whose form is recognised only where a look at a line tells."""
    if isinstance(config, AutoConfig) and not str(config.path or "").endswith(".jsonl"):
        return ""
    try:
        return str(config.row_type)
    except (UserError, OSError):  # which is said where the data set is read
        return ""


def _differ(model: _Facts, sample: _Facts) -> bool:
    """Whether two tokenizers are known to be different."""
    if model.tokenizer and sample.tokenizer:
        return model.tokenizer != sample.tokenizer
    first, second = _vocabulary(model.folder), _vocabulary(sample.folder)
    return first is not None and second is not None and first != second


def _vocabulary(folder: Path | None) -> Any:
    """What a tokenizer.json holds without added tokens: adoption may add some."""
    try:
        return (
            json.loads((folder / "tokenizer.json").read_text("utf-8"))["model"]["vocab"] if folder else None
        )
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None

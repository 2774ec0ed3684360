"""Untrained tiny models as artifacts, with real data sets and a tokenizer below them, in a second or two."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from pydantic import Field

from tempering.artifacts.draft import Draft
from tempering.artifacts.kinds import DatasetArtifact, EvaluationArtifact, ModelArtifact, TokenizerArtifact
from tempering.artifacts.resolve import build
from tempering.artifacts.stage import Summary, stage
from tempering.artifacts.store import Store
from tempering.config import Config
from tempering.data.builders.world import WorldConfig
from tempering.data.tokenizers import TrainTokenizerConfig
from tempering.evaluation.metrics import Metric
from tempering.model_config import LoraConfig

SHAPES: dict[str, dict[str, Any]] = {
    "llama": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
              "max_position_embeddings": 96, "tie_word_embeddings": True},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 96},
    "qwen2": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
              "num_key_value_heads": 1, "max_position_embeddings": 96, "tie_word_embeddings": True},
}  # fmt: skip


class ToyConfig(Config):
    """A model with random weights."""

    model_type: str = "llama"
    head: Literal["causal_lm", "score"] = "causal_lm"
    prompt_format: str = "chat"
    more: dict[str, Any] = Field(default_factory=dict)
    seed: int = 0
    learning_rate: float = 0.003
    temperature: float | None = None


class ToyAdapterConfig(Config):
    """An adapter with random weights."""

    seed: int = 0
    adapter: LoraConfig = LoraConfig(rank=2, alpha=4)


class ToyEvaluationConfig(Config):
    """Two made up metrics."""

    seed: int = 0


def random_model(config: ToyConfig, tokenizer: Any, seed: int) -> Any:
    """Weights large enough that it matters which ones they are."""
    from transformers import (
        AutoConfig,
        AutoModelForCausalLM,
        AutoModelForSequenceClassification,
        set_seed,
    )

    set_seed(seed)
    ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    shape = {"initializer_range": 0.3, **SHAPES[config.model_type], **config.more}
    made = AutoConfig.for_model(
        config.model_type, vocab_size=len(tokenizer), bos_token_id=None, **ids, **shape
    )
    if config.head == "score":
        made.num_labels = 1
        return AutoModelForSequenceClassification.from_config(made)
    return AutoModelForCausalLM.from_config(made)


@stage("toy_model", version=1, makes=ModelArtifact)
def toy_model(
    out: Draft,
    config: ToyConfig,
    *,
    tokenizer: TokenizerArtifact,
    datasets: Mapping[str, DatasetArtifact] = MappingProxyType({}),
    model: ModelArtifact | None = None,
) -> Summary:
    """The model, and a checkpoint with other weights."""
    from tempering.data.tokenizers import load_tokenizer
    from tempering.models.loading import parameter_count, save_model

    words = load_tokenizer(tokenizer.tokenizer_dir)
    made = random_model(config, words, config.seed)
    save_model(made, words, out.model_dir)
    save_model(
        random_model(config, words, config.seed + 1), words, out.checkpoints_dir / "checkpoint_1K_tokens"
    )
    out.tokens, out.name, out.name_tokens = 2000, "toy", 2000
    out.details |= {
        "head": config.head,
        "adapter": False,
        "prompt_format": config.prompt_format,
        "parameters": parameter_count(made),
    }
    out.write_table("training_stats", [{"loss": 1.5}])
    return {"loss": 1.5}


@stage("toy_adapter", version=1, makes=ModelArtifact)
def toy_adapter(out: Draft, config: ToyAdapterConfig, *, model: ModelArtifact) -> Summary:
    """LoRA whose B is not zero."""
    import torch

    from tempering.data.tokenizers import load_tokenizer
    from tempering.models.adapters import add_adapter
    from tempering.models.loading import load_causal_lm, save_model

    adapted = add_adapter(load_causal_lm(model.model_dir), config.adapter, config.seed)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    save_model(adapted, load_tokenizer(model.model_dir), out.model_dir)
    out.details |= {"head": "causal_lm", "adapter": True, "prompt_format": "chat"}
    out.write_table("training_stats", [{"loss": 1.0}])
    return {"loss": 1.0}


@stage("toy_evaluation", version=1, makes=EvaluationArtifact)
def toy_evaluation(out: Draft, config: ToyEvaluationConfig, *, model: ModelArtifact) -> Summary:
    """As evaluate[MODEL] leaves it."""
    metrics = [
        Metric("accuracy", 0.8125, 0.71, 0.88, 64, "questions"),
        Metric("loss", 2.5, 2.4, 2.6, 64, "text"),
    ]
    out.write_table("metrics", [metric.row("sft") for metric in metrics])
    return {"accuracy": 0.8125}


class ToyStore:
    """A store of toys; `model("sft")` makes one when it is first asked for."""

    def __init__(self, root: Path) -> None:
        from tasks.dataset import dataset
        from tasks.tokenizer import tokenizer

        self.store = Store(root)
        config = WorldConfig(kind="world", rows="corpus", size=60, eval_fraction=0.1)
        self.corpus = build(self.store, dataset, config, node="dataset[corpus]")
        words = TrainTokenizerConfig(vocab_size=400, datasets=("corpus",))
        self.tokenizer = build(self.store, tokenizer, words, {"datasets": {"corpus": self.corpus}})

    def model(self, node: str, base: Any = None, **config: Any) -> Any:
        """A toy model under the name of a stage."""
        inputs = {"tokenizer": self.tokenizer, "datasets": {"corpus": self.corpus}, "model": base}
        return build(self.store, toy_model, ToyConfig(**config), inputs, node=node)

    def adapter(self, node: str, base: Any, **config: Any) -> Any:
        """A toy adapter on a model."""
        return build(self.store, toy_adapter, ToyAdapterConfig(**config), {"model": base}, node=node)

    def evaluation(self, model: Any) -> Any:
        """Metrics of a model."""
        return build(
            self.store, toy_evaluation, ToyEvaluationConfig(), {"model": model}, node="evaluate[sft]"
        )

"""Settings of every stage that trains.

Batch sizes are global (sequences per optimizer step, over all processes): part of the identity.
`micro_batch_size` only divides them to fit into memory: runtime.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from tempering.config import (
    MOST_LENGTH,
    MOST_SEED,
    MOST_SEQUENCES,
    SET,
    UNSET,
    Readers,
    StageConfig,
    added_field,
    runtime_field,
)
from tempering.hub.models import owner_and_name
from tempering.model_config import Architecture, LoraConfig, TransformerConfig
from tempering.training.aliases import translated

Precision = Literal["fp32", "bf16", "fp16"]
Schedule = Literal[
    "constant",
    "linear",
    "cosine",
    "cosine_with_restarts",
    "cosine_with_min_lr",
    "polynomial",
    "inverse_sqrt",
    "warmup_stable_decay",
]


class TrainingConfig(StageConfig):
    """What all trainers share. The first of `num_epochs`, `max_steps`, `token_limit` ends the run."""

    read_by: ClassVar[Mapping[str, Readers]] = {
        "cosine_cycles": {"lr_schedule": ("cosine_with_restarts",)},
        "min_lr_fraction": {"lr_schedule": ("cosine_with_min_lr", "polynomial", "warmup_stable_decay")},
        "decay_fraction": {"lr_schedule": ("warmup_stable_decay",)},
        "hub_private": {"hub_repo": SET},
    }
    sample_rows: ClassVar[str] = ""
    """The type of the rows that it trains on; "" where it takes any."""

    learning_rate: float = Field(1e-3, gt=0, description="peak learning rate of AdamW")
    lr_schedule: Schedule = Field(
        "cosine",
        description="shape after warm-up, as a function of the share of the run that is done; "
        "transformers' names",
    )
    cosine_cycles: int = Field(1, ge=1, description="cosine_with_restarts: falls from the peak")
    min_lr_fraction: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="cosine_with_min_lr, polynomial, warmup_stable_decay: final rate, as a share of the peak",
    )
    decay_fraction: float = Field(
        0.1, gt=0, le=1, description="warmup_stable_decay: share of the run after warm-up in which it falls"
    )
    warmup_fraction: float = Field(0.05, ge=0, lt=1, description="share of the run with rising learning rate")
    batch_size: int = Field(
        32, ge=1, le=MOST_SEQUENCES, description="sequences (or pairs) per optimizer step, over all processes"
    )
    num_epochs: float = Field(1.0, gt=0, le=1e6, description="passes over the sample")
    max_steps: int | None = Field(None, ge=1, description="optimizer steps")
    token_limit: int | None = Field(None, ge=1, description="tokens forwarded, padding not counted")
    checkpoint_interval: int | None = Field(
        None, ge=1, description="tokens between checkpoints; null: at the end"
    )
    weight_decay: float = Field(0.01, ge=0, description="decoupled weight decay of AdamW")
    adam_beta1: float = Field(0.9, ge=0, lt=1, description="AdamW's decay of the first moment")
    adam_beta2: float = Field(0.98, ge=0, lt=1, description="AdamW's decay of the second moment")
    max_grad_norm: float = Field(1.0, ge=0, description="gradient norm is clipped to this; 0: never")
    precision: Precision = Field(
        "fp32",
        description="autocast type, weights stay fp32; bf16 for GPUs and CPUs with bf16 units; fp16, with "
        "gradient scaling, for GPUs",
    )
    adapter: LoraConfig | None = Field(None, description="train a LoRA adapter instead of all weights")
    seed: int = Field(
        0, ge=0, le=MOST_SEED, description="of initialisation, order and sampling; by default the pipeline's"
    )
    micro_batch_size: int | None = runtime_field(
        None, ge=1, le=MOST_SEQUENCES, description="sequences per forward pass; null: batch_size"
    )
    gradient_checkpointing: bool = runtime_field(False, description="recompute activations to save memory")
    compile: bool = runtime_field(
        False, description="compile the model's layers: half a minute at the start, then faster steps"
    )
    hub_repo: str | None = runtime_field(
        None, description="OWNER/NAME on the Hub to push the finished model to; null: nowhere"
    )
    hub_private: bool = runtime_field(True, description="whether a repository created for it is private")

    @model_validator(mode="before")
    @classmethod
    def _other_names(cls, section: Any) -> Any:
        return translated(section, cls.setting_names())

    @field_validator("hub_repo")
    @classmethod
    def _repository(cls, repo: str | None) -> str | None:
        return repo if repo is None else owner_and_name(repo)

    @model_validator(mode="after")
    def _micro_divides(self) -> "TrainingConfig":
        if self.micro_batch_size and self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of micro_batch_size {self.micro_batch_size}"
            )
        return self


class PretrainConfig(TrainingConfig):
    """Causal language modelling on packed blocks."""

    read_by: ClassVar[Mapping[str, Readers]] = {"architecture": {"model": UNSET}}
    sample_rows: ClassVar[str] = "text"

    architecture: Architecture = Field(
        default_factory=TransformerConfig, description="the model to make from scratch"
    )
    model: str | None = runtime_field(None, description="continue this stage or artifact instead")
    sample: str = Field("pretrain", description="the sample to train on")
    block_size: int = Field(128, ge=8, le=MOST_LENGTH, description="tokens per packed block")
    batch_size: int = Field(32, ge=1, le=MOST_SEQUENCES, description="blocks per optimizer step")

    @field_validator("architecture", mode="before")
    @classmethod
    def _transformer_by_default(cls, section: Any) -> Any:
        return {"kind": "transformer", **section} if isinstance(section, dict) else section

    @model_validator(mode="after")
    def _no_adapter(self) -> "PretrainConfig":
        if self.adapter is not None and self.model is None:
            raise ValueError("an adapter needs a model to adapt; set pretrain.model, or drop the adapter")
        return self


class SFTConfig(TrainingConfig):
    """Supervised fine-tuning; the loss covers the completion only."""

    sample_rows: ClassVar[str] = "prompt_completion"

    model: str = runtime_field("pretrain", description="stage or artifact to start from")
    sample: str = Field("sft", description="the sample to train on")


class RewardModelConfig(TrainingConfig):
    """Reward model: Bradley-Terry on preference pairs, or a classifier of labelled texts."""

    read_by: ClassVar[Mapping[str, Readers]] = {"center_rewards_coefficient": {"objective": ("pairs",)}}

    objective: Literal["pairs", "classification"] = added_field(
        "pairs",
        description="pairs: the chosen answer scores higher (Bradley-Terry); classification: the score of a "
        "text is the logit of label 1 against 0 (a sample of row_type: classification)",
    )

    model: str = runtime_field("sft", description="stage or artifact to start from")
    sample: str = Field("preferences", description="the sample to train on")
    center_rewards_coefficient: float | None = Field(
        0.01, ge=0, description="weight of the mean-zero penalty on scores (arXiv:2312.09244)"
    )

    @property
    def sample_rows(self) -> str:  # type: ignore[override]
        """The rows that its objective learns from."""
        return "preference" if self.objective == "pairs" else "classification"


class DPOConfig(TrainingConfig):
    """Direct preference optimisation (Rafailov et al. 2023, arXiv:2305.18290)."""

    read_by: ClassVar[Mapping[str, Readers]] = {"label_smoothing": {"loss_type": ("sigmoid", "robust")}}
    sample_rows: ClassVar[str] = "preference"

    model: str = runtime_field("sft", description="stage or artifact to start from")
    reference: str | None = runtime_field(
        None, description="stage or artifact whose log-probabilities are the reference; null: the model's own"
    )
    sample: str = Field("preferences", description="the sample to train on")
    beta: float = Field(0.1, gt=0, description="strength of the pull to the reference model")
    loss_type: Literal["sigmoid", "ipo", "hinge", "robust"] = Field("sigmoid", description="TRL's loss name")
    label_smoothing: float = Field(0.0, ge=0, lt=0.5, description="assumed share of flipped pairs")

"""Settings of PPO and RLOO.

One rollout: `rollout_batch_size` completions, `num_completions` per prompt. It is used for
`ppo_epochs` passes of optimizer steps with `batch_size` sequences each. The first of `num_epochs`,
`max_steps`, `total_episodes` and `token_limit` ends the run.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from tempering.config import MOST_LENGTH, MOST_SEQUENCES, SET, Config, Readers, Tree, runtime_field
from tempering.generation.engines.config import DecoderEngine, EngineConfig
from tempering.model_config import LoraConfig
from tempering.onpolicy.estimators import AnyEstimator, LeaveOneOut, TokenGAE
from tempering.onpolicy.flat_settings import FLAT, flattened, nested
from tempering.rewards.config import ModelReward, RewardConfig, learned
from tempering.training.aliases import translated
from tempering.training.config import Schedule, TrainingConfig

if TYPE_CHECKING:
    from tempering.generation.sampling import Sampling


class GuardConfig(Config):
    """When a run counts as collapsed: one of these holds for `patience` rollouts in a row."""

    action: Literal["warn", "stop"] = Field("warn", description="what to do then")
    patience: int = Field(3, ge=1, description="rollouts in a row before it counts")
    min_entropy: float = Field(0.05, ge=0, description="mean entropy below this, in nats per token")
    max_kl: float = Field(
        100.0, gt=0, description="mean KL to the reference above this, in nats per completion"
    )
    min_length: float = Field(2.0, ge=0, description="mean completion below this, in tokens, EOS included")
    max_unended: float = Field(0.9, ge=0, le=1, description="share of completions without EOS above this")


class OnPolicyConfig(TrainingConfig):
    """What PPO and RLOO share; they differ by their defaults."""

    read_by: ClassVar[Mapping[str, Readers]] = {
        "importance_cap": {"old_logprobs": ("sampler",)},
        "kl_coef_end": {"kl_control": ("linear",)},
        "target_kl": {"kl_control": ("adaptive",)},
        "kl_horizon": {"kl_control": ("adaptive",)},
        "min_accuracy": {"reward_models": SET},
    }
    sample_rows: ClassVar[str] = "prompt"

    model: str = runtime_field("sft", description="stage or artifact of the policy; also the reference")
    sample: str = Field("prompts", description="the prompts to complete")
    estimator: AnyEstimator = Field(
        default_factory=LeaveOneOut, description="how scores become advantages and a loss, with its settings"
    )
    reward: RewardConfig = Field(default_factory=ModelReward, description="where the score comes from")
    min_accuracy: float | None = runtime_field(
        None,
        ge=0,
        le=1,
        description="refuse a reward model that orders a smaller share of its held-out pairs right; null: "
        "only one clearly below 0.5, 0: none",
    )
    learning_rate: float = Field(3e-4, gt=0, description="peak learning rate of AdamW")
    lr_schedule: Schedule = Field(
        "linear", description="shape after warm-up, as a function of the share of the run that is done"
    )
    batch_size: int = Field(
        96, ge=1, le=MOST_SEQUENCES, description="sequences per optimizer step, over all processes"
    )
    num_epochs: float = Field(1.0, gt=0, le=1e6, description="passes over the prompts")
    rollout_batch_size: int = Field(96, ge=1, le=MOST_SEQUENCES, description="completions per rollout")
    num_completions: int = Field(
        1, ge=1, le=MOST_SEQUENCES, description="completions per prompt in a rollout"
    )
    ppo_epochs: int = Field(1, ge=1, le=1000, description="passes over a rollout")
    max_new_tokens: int = Field(
        48, ge=1, le=MOST_LENGTH, description="longest completion, in tokens, EOS included"
    )
    min_new_tokens: int = Field(
        0, ge=0, le=MOST_LENGTH, description="EOS cannot come before this many tokens"
    )
    total_episodes: int | None = Field(None, ge=1, description="completions sampled in the whole run")
    temperature: float = Field(
        1.0, gt=0, description="sampling temperature; log-probabilities are scaled by it"
    )
    top_k: int | None = Field(None, ge=1, description="sample from the k likeliest tokens only")
    top_p: float | None = Field(None, gt=0, le=1, description="sample from the nucleus of this mass only")
    min_p: float | None = Field(
        None, ge=0, le=1, description="drop tokens below this share of the likeliest (arXiv:2407.01082)"
    )
    repetition_penalty: float = Field(
        1.0, gt=0, description="divides logits of tokens already in the text (arXiv:1909.05858); 1: off"
    )
    engine: EngineConfig = Field(default_factory=DecoderEngine, description="what samples the completions")
    old_logprobs: Literal["recompute", "sampler"] = Field(
        "recompute",
        description="denominator of the ratio: the trainer's own forward, or the sampler's log-probabilities "
        "with truncated importance weights",
    )
    importance_cap: float = Field(
        2.0,
        gt=1,
        description="old_logprobs: sampler: cap of the weights trainer / sampler, per token",
    )
    max_sampler_gap: float = Field(
        0.5,
        gt=0,
        description="stop where sampler and trainer differ by more than this, in mean nats per token",
    )
    score_normalization: Literal["none", "scale", "whiten"] = Field(
        "none",
        description="scale: divide scores by their running standard deviation; whiten: take off their "
        "running mean first",
    )
    score_scale: float = Field(1.0, gt=0, description="scores are multiplied by this after normalisation")
    score_clip: float | None = Field(
        None, gt=0, description="scores are cut to this size, after scale; null: never"
    )
    kl_coef: float = Field(0.05, ge=0, description="weight of the KL penalty against the reference, in nats")
    kl_estimator: Literal["k1", "k3"] = Field("k1", description="per-token KL estimate (Schulman 2020)")
    kl_in: Literal["reward", "loss"] = Field(
        "reward", description="where the KL penalty acts: taken off the reward, or added to the loss (k3)"
    )
    kl_control: Literal["fixed", "adaptive", "linear"] = Field(
        "fixed",
        description="adaptive: toward target_kl (Ziegler et al. 2019, eq. 2); linear: to kl_coef_end",
    )
    kl_coef_end: float = Field(
        0.0,
        ge=0,
        description="linear: what kl_coef becomes at the end of the run, in equal steps",
    )
    target_kl: float = Field(
        6.0,
        gt=0,
        description="KL per completion (nats) that the adaptive controller steers to",
    )
    kl_horizon: int = Field(
        10_000,
        ge=1,
        description="completions over which the controller reacts",
    )
    stop_kl: float | None = Field(
        None, gt=0, description="end a rollout's updates at this KL to its start, in nats per token"
    )
    missing_eos_penalty: float = Field(
        1.0, ge=0, description="taken off the score of an answer that did not end"
    )
    entropy_coef: float = Field(0.0, ge=0, description="weight of the entropy bonus")
    guard: GuardConfig = Field(default_factory=GuardConfig, description="when to call a run collapsed")
    adapter: LoraConfig | None = Field(
        None, description="train an adapter; the reference is the adapter switched off"
    )

    @classmethod
    def setting_names(cls) -> tuple[str, ...]:
        """The fields, and the settings of estimators, which may stand beside them."""
        return (*cls.model_fields, *FLAT)

    @model_validator(mode="before")
    @classmethod
    def _other_names(cls, settings: Any) -> Any:
        default = cls.model_fields["estimator"].get_default(call_default_factory=True)
        return nested(translated(settings, cls.setting_names()), default.kind)

    def as_hashed(self, tree: Tree) -> Tree:
        """Estimators had no settings of their own once; the hash is still of the flat ones."""
        changes = self.lr_schedule != "constant" or self.warmup_fraction
        # With these, the last steps had a learning rate of 0, or the schedule never came to its end.
        mended = changes and (self.token_limit is not None or self.stop_kl is not None)
        versions = {"schedule_version": 2} if mended else {}
        # All scores but one equal: rounding was their standard deviation.
        versions |= {"normalization_version": 2} if self.score_normalization not in (None, "none") else {}
        return {**flattened(tree), **versions}

    @property
    def reward_models(self) -> list[str]:
        """The components of the reward that are learned."""
        return learned(self.reward)

    @property
    def steps_per_rollout(self) -> int:
        """Optimizer steps on each rollout."""
        return self.ppo_epochs * (self.rollout_batch_size // self.batch_size)

    @property
    def ratio_is_one(self) -> bool:
        """With one update per rollout its own forward pass gives the old log-probabilities too."""
        return self.steps_per_rollout == 1 and self.old_logprobs == "recompute"

    @property
    def ratio_cap(self) -> float | None:
        """What truncates the ratio of new and old probabilities; None: nothing."""
        return self.importance_cap if self.old_logprobs == "sampler" else None

    def sampling(self) -> "Sampling":
        """How completions are sampled."""
        from tempering.generation.sampling import Sampling

        return Sampling(
            self.max_new_tokens,
            self.min_new_tokens,
            self.temperature,
            self.top_k,
            self.top_p,
            self.min_p,
            self.repetition_penalty,
        )

    @field_validator("engine", mode="before")
    @classmethod
    def _decoder_by_default(cls, engine: Any) -> Any:
        return {"kind": "decoder", **engine} if isinstance(engine, dict) else engine

    @model_validator(mode="after")
    def _makes_sense(self) -> "OnPolicyConfig":
        if self.kl_in == "loss" and self.kl_estimator == "k1":
            raise ValueError(
                "kl_in: loss with kl_estimator k1 pulls nowhere: the gradient of its mean is zero; set k3"
            )
        if self.kl_control == "adaptive" and self.kl_horizon < self.rollout_batch_size:
            raise ValueError(
                f"kl_horizon {self.kl_horizon} is less than rollout_batch_size {self.rollout_batch_size}: "
                "one rollout could reverse the coefficient"
            )
        if self.kl_control == "adaptive" and self.kl_coef == 0:
            raise ValueError("kl_control: adaptive multiplies kl_coef, and 0 stays 0; set kl_coef above 0")
        weightless = self.kl_coef == 0 and (self.kl_control != "linear" or self.kl_coef_end == 0)
        for name in ("kl_estimator", "kl_in") if weightless else ():
            value = getattr(self, name)
            if value not in (type(self).model_fields[name].default, self.estimator.published.get(name)):
                raise ValueError(
                    f"{name} is set, and nothing reads it: kl_coef is 0, so the KL weighs nothing"
                )
        if self.stop_kl is not None and self.steps_per_rollout == 1:
            raise ValueError(
                "stop_kl is set, and has nothing to end: each rollout is one step (ppo_epochs, batch_size)"
            )
        if self.min_new_tokens > self.max_new_tokens:
            raise ValueError(
                f"min_new_tokens {self.min_new_tokens} is more than max_new_tokens {self.max_new_tokens}"
            )
        return self

    @model_validator(mode="after")
    def _suits_its_estimator(self) -> "OnPolicyConfig":
        estimator = self.estimator
        if estimator.compares and self.num_completions < 2:
            raise ValueError(
                f"estimator {estimator.kind} compares siblings: num_completions must be 2 or more"
            )
        value = estimator.value_model
        if value is not None and value.value_init == "reward_model" and len(learned(self.reward)) != 1:
            raise ValueError("value_init: reward_model needs one reward of kind: model")
        return self

    @model_validator(mode="after")
    def _sizes_divide(self) -> "OnPolicyConfig":
        if self.rollout_batch_size % self.batch_size:
            raise ValueError(
                f"rollout_batch_size {self.rollout_batch_size} is not a multiple of "
                f"batch_size {self.batch_size}"
            )
        if self.rollout_batch_size % self.num_completions:
            raise ValueError(
                f"rollout_batch_size {self.rollout_batch_size} is not a multiple of "
                f"num_completions {self.num_completions}"
            )
        return self


class PPOConfig(OnPolicyConfig):
    """Proximal policy optimisation (Schulman et al. 2017, arXiv:1707.06347) with a value model."""

    estimator: AnyEstimator = Field(
        default_factory=TokenGAE, description="how scores become advantages and a loss, with its settings"
    )
    ppo_epochs: int = Field(2, ge=1, le=1000, description="passes over a rollout")

    def as_hashed(self, tree: Tree) -> Tree:
        """PPO's own estimator had no name."""
        flat = super().as_hashed(tree)
        return {name: value for name, value in flat.items() if (name, value) != ("estimator", "gae")}


class RLOOConfig(OnPolicyConfig):
    """REINFORCE leave-one-out (Ahmadian et al. 2024, arXiv:2402.14740), and the estimators beside it."""

    num_completions: int = Field(4, ge=1, le=MOST_SEQUENCES, description="completions per prompt, k")

    def as_hashed(self, tree: Tree) -> Tree:
        """These two were settings of every estimator."""
        return {"normalize_advantages": True, "clip_range": 0.2, **super().as_hashed(tree)}

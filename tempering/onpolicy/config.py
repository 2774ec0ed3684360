"""Settings of PPO and RLOO.

One rollout: `rollout_batch_size` completions, `num_completions` of each prompt. It is used for
`ppo_epochs` passes of optimizer steps with `batch_size` sequences each.
"""

from typing import Literal

from pydantic import Field, model_validator

from tempering.config import runtime_field
from tempering.model_config import LoraConfig
from tempering.rewards.config import ModelReward, RewardConfig
from tempering.training.config import Schedule, TrainingConfig


class OnPolicyConfig(TrainingConfig):
    """What PPO and RLOO share."""

    model: str = runtime_field("sft", description="stage or artifact of the policy; also the reference")
    sample: str = Field("prompts", description="the prompts to complete")
    reward: RewardConfig = Field(default_factory=ModelReward, description="where the score comes from")
    learning_rate: float = Field(3e-4, gt=0, description="peak learning rate of AdamW")
    lr_schedule: Schedule = Field(
        "linear", description="shape after warm-up, as a function of the share of the run that is done"
    )
    batch_size: int = Field(96, ge=1, description="sequences an optimizer step, over all processes")
    num_epochs: float = Field(1.0, gt=0, description="passes over the prompts")
    rollout_batch_size: int = Field(96, ge=1, description="completions a rollout")
    num_completions: int = Field(1, ge=1, description="completions of each prompt in a rollout")
    ppo_epochs: int = Field(1, ge=1, description="passes over a rollout")
    max_new_tokens: int = Field(48, ge=1, description="longest completion, in tokens, EOS included")
    min_new_tokens: int = Field(0, ge=0, description="EOS cannot come before this many tokens")
    temperature: float = Field(
        1.0, gt=0, description="sampling temperature; log-probabilities are scaled by it"
    )
    top_k: int | None = Field(None, ge=1, description="sample from the k likeliest tokens only")
    top_p: float | None = Field(None, gt=0, le=1, description="sample from the nucleus of this mass only")
    kl_coef: float = Field(0.05, ge=0, description="weight of the KL penalty against the reference, in nats")
    kl_estimator: Literal["k1", "k3"] = Field("k1", description="per-token KL estimate (Schulman 2020)")
    kl_control: Literal["fixed", "adaptive"] = Field(
        "fixed", description="adaptive: Ziegler et al. 2019, eq. 2"
    )
    target_kl: float = Field(
        6.0, gt=0, description="KL a completion (nats) the adaptive controller steers to"
    )
    kl_horizon: int = Field(10_000, ge=1, description="completions over which the controller reacts")
    stop_kl: float | None = Field(
        None, gt=0, description="end a rollout's updates at this KL to its start, a token"
    )
    clip_range: float = Field(0.2, gt=0, description="clip of the probability ratio, epsilon")
    missing_eos_penalty: float = Field(
        1.0, ge=0, description="taken off the score of an answer that did not end"
    )
    entropy_coef: float = Field(0.0, ge=0, description="weight of the entropy bonus")
    adapter: LoraConfig | None = Field(
        None, description="train an adapter; the reference is the adapter switched off"
    )

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

    value_init: Literal["policy", "reward_model"] = Field(
        "policy", description="where the value model's trunk comes from; its head starts at zero"
    )
    value_coef: float = Field(0.5, ge=0, description="weight of the value loss")
    value_clip_range: float | None = Field(
        None, gt=0, description="clip of the value's change, in units of the reward; null: no clip"
    )
    value_learning_rate: float | None = Field(
        None, gt=0, description="of the value model; null: learning_rate"
    )
    gamma: float = Field(1.0, ge=0, le=1, description="discount a token")
    gae_lambda: float = Field(0.95, ge=0, le=1, description="GAE's lambda (Schulman et al. 2016)")
    whiten_advantages: bool = Field(True, description="zero mean and unit variance over the rollout")
    ppo_epochs: int = Field(2, ge=1, description="passes over a rollout")

    @model_validator(mode="after")
    def _value_source(self) -> "PPOConfig":
        if self.value_init == "reward_model" and not isinstance(self.reward, ModelReward):
            raise ValueError("value_init: reward_model needs reward.kind: model")
        return self


class RLOOConfig(OnPolicyConfig):
    """REINFORCE leave-one-out (Ahmadian et al. 2024, arXiv:2402.14740)."""

    num_completions: int = Field(4, ge=2, description="completions of each prompt, k")
    normalize_advantages: bool = Field(True, description="divide by the rollout's standard deviation")

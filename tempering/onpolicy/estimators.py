"""From rewards to a policy loss: one class per estimator, with its settings and its part of the maths.

Each says how rewards and KL become advantages, what a token counts in the loss, and the loss itself. Weights
sum to 1 over an optimizer step, so that micro-batches and processes add up to the loss of the whole.
A new estimator is a class here and its name in `AnyEstimator`. Planning reads these settings, so torch is
imported inside functions only.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from tempering.config import Config

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Outcome:
    """What a rollout came to: B completions of up to C tokens, those of one prompt side by side."""

    rewards: "Tensor"  # (B,) without KL; NaN = could not be scored
    token_kl: "Tensor"  # (B, C) KL penalty per token, coefficient included; 0 where it is not in the reward
    mask: "Tensor"  # (B, C) bool
    values: "Tensor"  # (B, C) V(s_t); 0 without a value model
    num_completions: int  # of each prompt

    @property
    def scored(self) -> "Tensor":
        """(B,) bool."""
        return ~self.rewards.isnan()

    @property
    def shaped(self) -> "Tensor":
        """(B,) reward minus the KL penalty of the whole completion."""
        return self.rewards - self.token_kl.sum(1)

    @property
    def groups(self) -> "Tensor":
        """(prompts, completions) the shaped rewards."""
        return self.shaped.view(-1, self.num_completions)

    @property
    def contrast(self) -> "Tensor":
        """(prompts, 1) bool: whether the rewards of a prompt's completions differ, by more than their KL."""
        from tempering.onpolicy.advantages import without_contrast

        return ~without_contrast(self.rewards.view(-1, self.num_completions))[:, None]


class Estimator(Config):
    """How a policy learns from outcomes. What is not overridden treats a completion as one action."""

    kind: str
    published: ClassVar[Mapping[str, Any]] = {}
    """Settings of the stage that its paper has, where they differ from the stage's defaults."""
    compares: ClassVar[bool] = False
    """Whether it compares completions of a prompt, and so learns nothing from equal rewards."""

    @property
    def value_model(self) -> "ValueSettings | None":
        """Settings of its value model; None: it has none."""
        return None

    @abstractmethod
    def advantages(self, outcome: Outcome) -> tuple["Tensor", "Tensor"]:
        """Advantages (B, C), 0 where masked or unscored, and returns (B, C) for a value model."""

    @abstractmethod
    def loss(
        self,
        logprobs: "Tensor",
        old_logprobs: "Tensor",
        advantages: "Tensor",
        weights: "Tensor",
        *,
        ratio_cap: float | None = None,
    ) -> tuple["Tensor", "Tensor"]:
        """Weighted mean loss and clip fraction of some rows; all (B, C).

        Args:
            ratio_cap: truncates the ratio, where the old log-probabilities are the sampler's.
        """

    def weights(self, mask: "Tensor", scored: "Tensor") -> "Tensor":
        """(B, C) what each token of an optimizer step counts; they sum to 1, or are all 0."""
        return completion_mean(mask, scored)

    def kl_weights(self, weights: "Tensor", mask: "Tensor") -> "Tensor":
        """(B, C) what the KL of each token counts, where it is part of the loss."""
        return weights.sum(1, keepdim=True) * mask  # nats per completion, as in the reward


def token_mean(mask: "Tensor", scored: "Tensor") -> "Tensor":
    """Every token of a scored completion counts the same."""
    counted = mask & scored[:, None]
    return counted / counted.sum().clamp(min=1)


def completion_mean(mask: "Tensor", scored: "Tensor") -> "Tensor":
    """Every scored completion counts the same, and its tokens share that equally."""
    counted = mask & scored[:, None]
    return counted / counted.sum(1, keepdim=True).clamp(min=1) / scored.sum().clamp(min=1)


class ClippedRatio(Estimator):
    """A clipped ratio per token (Schulman et al. 2017, arXiv:1707.06347, eq. 7)."""

    clip_range: float = Field(0.2, gt=0, description="clip of the probability ratio, epsilon")

    def loss(
        self,
        logprobs: "Tensor",
        old_logprobs: "Tensor",
        advantages: "Tensor",
        weights: "Tensor",
        *,
        ratio_cap: float | None = None,
    ) -> tuple["Tensor", "Tensor"]:
        from tempering.onpolicy.losses import clipped_policy_loss

        return clipped_policy_loss(
            logprobs, old_logprobs, advantages, weights, clip_range=self.clip_range, ratio_cap=ratio_cap
        )


class LeaveOneOut(ClippedRatio):
    """RLOO: a whole completion is one action, its siblings are the baseline (arXiv:2402.14740)."""

    kind: Literal["rloo"] = "rloo"
    version = 2  # equal rewards are no contrast
    compares = True
    normalize_advantages: bool = Field(
        True, description="divide by the standard deviation of the rollout's advantages"
    )

    def advantages(self, outcome: Outcome) -> tuple["Tensor", "Tensor"]:
        from tempering.onpolicy.advantages import leave_one_out, spread

        # Without any contrast only the KL is left, which says nothing about the answers: rounding, at first.
        advantages = (leave_one_out(outcome.groups) * outcome.contrast.any()).view(-1)
        if self.normalize_advantages:
            advantages = spread(advantages, outcome.scored)
        return _on_tokens(advantages, outcome)

    def loss(
        self,
        logprobs: "Tensor",
        old_logprobs: "Tensor",
        advantages: "Tensor",
        weights: "Tensor",
        *,
        ratio_cap: float | None = None,
    ) -> tuple["Tensor", "Tensor"]:
        # the advantage is the same on every token of a completion
        sequences = (logprobs.sum(1), old_logprobs.sum(1), advantages[:, 0], weights.sum(1))
        return super().loss(*sequences, ratio_cap=ratio_cap)


class GroupNormalized(ClippedRatio):
    """GRPO: advantages in units of the group's spread, the ratio a token's, the mean a completion's.

    Shao et al. 2024 (arXiv:2402.03300), eq. 3; its KL is part of the loss, as k3.
    """

    kind: Literal["grpo"] = "grpo"
    version = 2  # equal rewards are no contrast
    compares = True
    published: ClassVar[Mapping[str, Any]] = {"kl_in": "loss", "kl_estimator": "k3"}

    def advantages(self, outcome: Outcome) -> tuple["Tensor", "Tensor"]:
        from tempering.onpolicy.advantages import group_normalized

        advantages = group_normalized(outcome.groups) * outcome.contrast  # each group is its own measure
        return _on_tokens(advantages.view(-1), outcome)

    def kl_weights(self, weights: "Tensor", mask: "Tensor") -> "Tensor":
        return weights


class RewardWeighted(Estimator):
    """Log-likelihood of a completion, weighted with its reward: no baseline, no ratio."""

    kind: Literal["reward_weighted"] = "reward_weighted"

    def advantages(self, outcome: Outcome) -> tuple["Tensor", "Tensor"]:
        return _on_tokens(outcome.shaped.nan_to_num(0.0), outcome)

    def loss(
        self,
        logprobs: "Tensor",
        old_logprobs: "Tensor",
        advantages: "Tensor",
        weights: "Tensor",
        *,
        ratio_cap: float | None = None,
    ) -> tuple["Tensor", "Tensor"]:
        from tempering.onpolicy.losses import weighted_likelihood_loss

        loss = weighted_likelihood_loss(logprobs.sum(1), advantages[:, 0], weights.sum(1))
        return loss, loss.new_zeros(())


class ValueSettings(Config):
    """The value model of an estimator that has one."""

    value_init: Literal["policy", "reward_model"] = Field(
        "policy", description="where the value model's trunk comes from; its head starts at zero"
    )
    value_trunk: Literal["own", "shared"] = Field(
        "own", description="shared: the value head sits on the policy's own trunk, and trains it too"
    )
    value_coef: float = Field(0.5, ge=0, description="weight of the value loss")
    value_clip_range: float | None = Field(
        None, gt=0, description="clip of the value's change, in units of the reward; null: no clip"
    )
    value_learning_rate: float | None = Field(
        None, gt=0, description="of the value model; null: learning_rate"
    )

    @model_validator(mode="after")
    def _one_trunk(self) -> "ValueSettings":
        if self.value_trunk == "shared" and self.value_init != "policy":
            raise ValueError("value_trunk: shared has no trunk of its own to initialise; drop value_init")
        return self


class TokenGAE(ClippedRatio, ValueSettings):
    """PPO: tokens are the unit of ratio and advantage; the score comes with the last token (EOS)."""

    kind: Literal["gae"] = "gae"
    gamma: float = Field(1.0, ge=0, le=1, description="discount per token")
    gae_lambda: float = Field(0.95, ge=0, le=1, description="GAE's lambda (Schulman et al. 2016)")
    whiten_advantages: bool = Field(True, description="zero mean and unit variance over the rollout")

    @property
    def value_model(self) -> ValueSettings:
        return self

    def advantages(self, outcome: Outcome) -> tuple["Tensor", "Tensor"]:
        import torch

        from tempering.onpolicy.advantages import gae, whiten

        # the KL on every token, the score on the last one
        mask, token_rewards = outcome.mask, -outcome.token_kl
        ends = mask.sum(1) - 1
        token_rewards[torch.arange(len(ends)), ends] += outcome.rewards.nan_to_num(0.0)
        advantages, returns = gae(
            token_rewards, outcome.values, mask, gamma=self.gamma, gae_lambda=self.gae_lambda
        )
        counted = mask & outcome.scored[:, None]
        return whiten(advantages, counted) if self.whiten_advantages else advantages * counted, returns

    def weights(self, mask: "Tensor", scored: "Tensor") -> "Tensor":
        return token_mean(mask, scored)

    def kl_weights(self, weights: "Tensor", mask: "Tensor") -> "Tensor":
        return weights


def _on_tokens(advantages: "Tensor", outcome: Outcome) -> tuple["Tensor", "Tensor"]:
    """A completion's advantage (B,) on all of its columns, and no returns."""
    columns = advantages[:, None].expand(outcome.mask.shape).clone()
    return columns, columns.new_zeros(columns.shape)


AnyEstimator = Annotated[
    LeaveOneOut | GroupNormalized | TokenGAE | RewardWeighted, Field(discriminator="kind")
]

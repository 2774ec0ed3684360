"""From rewards to a policy loss: four estimators behind one interface.

Each says how rewards and KL become advantages, what an entry of the loss counts, and the loss itself. Weights
sum to 1 over an optimizer step, so that micro-batches and processes add up to the loss of the whole.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from tempering.onpolicy.advantages import gae, group_normalized, leave_one_out, spread, whiten
from tempering.onpolicy.config import OnPolicyConfig, PPOConfig, RLOOConfig
from tempering.onpolicy.losses import clipped_policy_loss, weighted_likelihood_loss


@dataclass(frozen=True)
class Outcome:
    """What a rollout came to. B completions of up to C tokens."""

    rewards: Tensor  # (B,) without KL; NaN = could not be scored
    token_kl: Tensor  # (B, C) KL penalty a token, coefficient included; 0 where it is not in the reward
    mask: Tensor  # (B, C) bool
    values: Tensor  # (B, C) V(s_t); 0 without a value model

    @property
    def scored(self) -> Tensor:
        """(B,) bool."""
        return ~self.rewards.isnan()

    @property
    def shaped(self) -> Tensor:
        """(B,) reward minus the KL penalty of the whole completion."""
        return self.rewards - self.token_kl.sum(1)


class Estimator(Protocol):
    """How a policy learns from outcomes."""

    def advantages(self, outcome: Outcome) -> tuple[Tensor, Tensor]:
        """Advantages (B, C), 0 where masked or unscored, and returns (B, C) for a value model."""

    def weights(self, mask: Tensor, scored: Tensor) -> Tensor:
        """(B, C) what each token of an optimizer step counts; they sum to 1, or are all 0."""

    def kl_weights(self, weights: Tensor, mask: Tensor) -> Tensor:
        """(B, C) what the KL of each token counts, where it is part of the loss."""

    def loss(
        self, logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Weighted mean loss and clip fraction of some rows; all (B, C)."""


def build_estimator(config: OnPolicyConfig) -> Estimator:
    """The estimator that a config asks for."""
    cap = config.importance_cap if config.old_logprobs == "sampler" else None
    if isinstance(config, PPOConfig):
        return TokenGAE(config.clip_range, cap, config.gamma, config.gae_lambda, config.whiten_advantages)
    assert isinstance(config, RLOOConfig)
    match config.estimator:
        case "rloo":
            return LeaveOneOut(config.clip_range, cap, config.num_completions, config.normalize_advantages)
        case "grpo":
            return GroupNormalized(config.clip_range, cap, config.num_completions)
        case "reward_weighted":
            return RewardWeighted()


def token_mean(mask: Tensor, scored: Tensor) -> Tensor:
    """Every token of a scored completion counts the same."""
    counted = mask & scored[:, None]
    return counted / counted.sum().clamp(min=1)


def completion_mean(mask: Tensor, scored: Tensor) -> Tensor:
    """Every scored completion counts the same, and its tokens share that equally."""
    counted = mask & scored[:, None]
    return counted / counted.sum(1, keepdim=True).clamp(min=1) / scored.sum().clamp(min=1)


@dataclass(frozen=True)
class _Clipped:
    """A clipped ratio for each token."""

    clip_range: float
    ratio_cap: float | None

    def kl_weights(self, weights: Tensor, mask: Tensor) -> Tensor:
        return weights

    def loss(
        self, logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        return clipped_policy_loss(
            logprobs, old_logprobs, advantages, weights, clip_range=self.clip_range, ratio_cap=self.ratio_cap
        )


@dataclass(frozen=True)
class TokenGAE(_Clipped):
    """PPO: tokens are the unit of ratio and advantage; the score comes with the last token (EOS)."""

    gamma: float
    gae_lambda: float
    whitened: bool

    def advantages(self, outcome: Outcome) -> tuple[Tensor, Tensor]:
        mask, scored = outcome.mask, outcome.scored
        token_rewards = -outcome.token_kl
        last = mask.sum(1) - 1
        token_rewards[torch.arange(len(last)), last] += outcome.rewards.nan_to_num(0.0)
        found, returns = gae(
            token_rewards, outcome.values, mask, gamma=self.gamma, gae_lambda=self.gae_lambda
        )
        counted = mask & scored[:, None]
        return whiten(found, counted) if self.whitened else found * counted, returns

    def weights(self, mask: Tensor, scored: Tensor) -> Tensor:
        return token_mean(mask, scored)


@dataclass(frozen=True)
class LeaveOneOut(_Clipped):
    """RLOO: a whole completion is one action, its siblings are the baseline."""

    num_completions: int
    normalized: bool

    def advantages(self, outcome: Outcome) -> tuple[Tensor, Tensor]:
        found = leave_one_out(outcome.shaped.view(-1, self.num_completions)).view(-1)
        return _on_tokens(spread(found, outcome.scored) if self.normalized else found, outcome)

    def weights(self, mask: Tensor, scored: Tensor) -> Tensor:
        return completion_mean(mask, scored)

    def kl_weights(self, weights: Tensor, mask: Tensor) -> Tensor:
        return _whole(weights) * mask  # nats a completion, as in the reward

    def loss(
        self, logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        # the advantage is the same on every token of a completion
        return super().loss(logprobs.sum(1), old_logprobs.sum(1), advantages[:, 0], weights.sum(1))


@dataclass(frozen=True)
class GroupNormalized(_Clipped):
    """GRPO: advantages in units of the group's spread, the ratio a token's, the mean a completion's."""

    num_completions: int

    def advantages(self, outcome: Outcome) -> tuple[Tensor, Tensor]:
        return _on_tokens(group_normalized(outcome.shaped.view(-1, self.num_completions)).view(-1), outcome)

    def weights(self, mask: Tensor, scored: Tensor) -> Tensor:
        return completion_mean(mask, scored)


@dataclass(frozen=True)
class RewardWeighted:
    """Log-likelihood of a completion, weighted with its reward: no baseline, no ratio."""

    def advantages(self, outcome: Outcome) -> tuple[Tensor, Tensor]:
        return _on_tokens(outcome.shaped.nan_to_num(0.0), outcome)

    def weights(self, mask: Tensor, scored: Tensor) -> Tensor:
        return completion_mean(mask, scored)

    def kl_weights(self, weights: Tensor, mask: Tensor) -> Tensor:
        return _whole(weights) * mask

    def loss(
        self, logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        loss = weighted_likelihood_loss(logprobs.sum(1), advantages[:, 0], weights.sum(1))
        return loss, torch.zeros_like(loss)


def _whole(weights: Tensor) -> Tensor:
    """(B, 1) what each completion counts."""
    return weights.sum(1, keepdim=True)


def _on_tokens(advantages: Tensor, outcome: Outcome) -> tuple[Tensor, Tensor]:
    """A completion's advantage (B,) on all of its columns, and no returns."""
    spread_out = advantages[:, None].expand(outcome.mask.shape).clone()
    return spread_out, torch.zeros_like(spread_out)

"""Losses of on-policy training, as pure functions.

Clipped losses: Schulman et al. 2017 (arXiv:1707.06347), eq. 7, and Stiennon et al. 2020. `weights` says what
an entry counts: a mask gives the mean over its True entries; a share of a larger batch gives that share of
the mean, so that the parts of a batch add up to the loss of the whole, however it is cut.
"""

import torch
from torch import Tensor


def masked_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Mean over the True entries of a mask, or weighted mean; 0 where nothing counts."""
    total = weights.sum()
    return (values * weights).sum() / torch.where(total > 0, total, torch.ones_like(total))


def clipped_policy_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    weights: Tensor,
    *,
    clip_range: float,
    ratio_cap: float | None = None,
) -> tuple[Tensor, Tensor]:
    """PPO's clipped surrogate, averaged by `weights`. All (B, T), or all (B,) for sequences.

    Args:
        ratio_cap: truncates the ratio, where the old log-probabilities are another program's: what is
            beyond it pulls no harder (for negative advantages the dual clip of Ye et al. 2020,
            arXiv:1912.09729).

    Returns:
        the loss, and the share of entries where the clip was active.
    """
    # exp(20) is far beyond every clip; without a bound 0 * infinity would be NaN
    ratio = (logprobs - old_logprobs).clamp(max=20.0).exp()
    if ratio_cap is not None:
        ratio = ratio.clamp(max=ratio_cap)
    plain = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - clip_range, 1 + clip_range)
    return masked_mean(torch.maximum(plain, clipped), weights), masked_mean(
        (clipped > plain).to(plain.dtype), weights
    )


def clipped_value_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, weights: Tensor, *, value_clip_range: float | None
) -> tuple[Tensor, Tensor]:
    """Half the squared error, pessimistic about moves beyond the clip (None: no clip). All (B, T).

    Returns:
        the loss, and the share of entries where the clip was active.
    """
    if value_clip_range is None:
        value_clip_range = float("inf")
    clipped_values = old_values + (values - old_values).clamp(-value_clip_range, value_clip_range)
    plain, clipped = (values - returns) ** 2, (clipped_values - returns) ** 2
    return 0.5 * masked_mean(torch.maximum(plain, clipped), weights), masked_mean(
        (clipped > plain).to(plain.dtype), weights
    )


def weighted_likelihood_loss(logprobs: Tensor, rewards: Tensor, weights: Tensor) -> Tensor:
    """Minus the reward-weighted log-likelihood, -R log p(completion); all (B,).

    The gradient is REINFORCE's (Williams 1992) without a baseline.
    """
    return masked_mean(-rewards * logprobs, weights)

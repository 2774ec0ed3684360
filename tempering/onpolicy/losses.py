"""Clipped losses of PPO, as pure functions (Schulman et al. 2017, eq. 7; Stiennon et al. 2020)."""

import torch
from torch import Tensor


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the True entries; 0 where there are none."""
    return (values * mask).sum() / mask.sum().clamp(min=1)


def clipped_policy_loss(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, *, clip_range: float
) -> tuple[Tensor, Tensor]:
    """PPO's clipped surrogate, averaged over True entries. All (B, T), or all (B,) for sequences.

    Returns:
        the loss, and the share of entries where the clip was active.
    """
    ratio = (logprobs - old_logprobs).exp()
    plain = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - clip_range, 1 + clip_range)
    return masked_mean(torch.maximum(plain, clipped), mask), masked_mean((clipped > plain).float(), mask)


def clipped_value_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor, *, value_clip_range: float | None
) -> tuple[Tensor, Tensor]:
    """Half the squared error, pessimistic about moves beyond the clip (None: no clip). All (B, T).

    Returns:
        the loss, and the share of entries where the clip was active.
    """
    if value_clip_range is None:
        value_clip_range = float("inf")
    clipped_values = old_values + (values - old_values).clamp(-value_clip_range, value_clip_range)
    plain, clipped = (values - returns) ** 2, (clipped_values - returns) ** 2
    return 0.5 * masked_mean(torch.maximum(plain, clipped), mask), masked_mean(
        (clipped > plain).float(), mask
    )

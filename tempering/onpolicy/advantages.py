"""Advantage estimators: pure functions of tensors.

GAE: Schulman et al. 2016 (arXiv:1506.02438), eq. 16. Leave-one-out: Kool et al. 2019; Ahmadian
et al. 2024 (arXiv:2402.14740), eq. 7. Group-normalised: Shao et al. 2024 (arXiv:2402.03300), section 4.1.2.
NaN marks a completion that could not be scored.
"""

import torch
from torch import Tensor

from tempering.rewards.shaping import RESOLUTION


def gae(
    rewards: Tensor, values: Tensor, mask: Tensor, *, gamma: float, gae_lambda: float
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimates.

    Args:
        rewards: (B, T) reward on arriving at each token.
        values: (B, T) V(s_t), the value before token t is produced.
        mask: (B, T) True where the token counts; a prefix of each row.
        gamma: discount per token.
        gae_lambda: bias-variance trade-off; 1 gives Monte-Carlo returns minus the value.

    Returns:
        advantages (B, T) and returns (B, T) = advantages + values; zero where masked.
    """
    counts = mask.to(rewards.dtype)
    following = torch.zeros_like(rewards[:, 0])
    next_value = torch.zeros_like(following)
    columns: list[Tensor] = []
    # From the last token back: each advantage needs the one after it.
    for t in reversed(range(rewards.shape[1])):
        count = counts[:, t]
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        following = (delta + gamma * gae_lambda * following) * count
        next_value = values[:, t] * count
        columns.append(following)
    advantages = torch.stack(columns[::-1], dim=1)
    return advantages, (advantages + values) * counts


def without_contrast(rewards: Tensor) -> Tensor:
    """(prompts,) whether the scored completions of a prompt all got the same reward, up to rounding.

    Args:
        rewards: (prompts, completions) without KL; NaN = could not be scored. One that is scored alone has
            nothing to differ from.
    """
    scored = ~rewards.isnan()
    highest = rewards.where(scored, rewards.new_tensor(-torch.inf)).amax(1)
    lowest = rewards.where(scored, rewards.new_tensor(torch.inf)).amin(1)
    size = rewards.nan_to_num(0.0).abs().amax(1).clamp(min=1)
    return highest - lowest <= RESOLUTION * size


def leave_one_out(scores: Tensor) -> Tensor:
    """Each score minus the mean of its scored siblings.

    Args:
        scores: (prompts, completions); NaN = could not be scored.

    Returns:
        (prompts, completions) advantages; 0 where unscored, and where no sibling is scored.
    """
    scored = ~scores.isnan()
    clean = scores.nan_to_num(0.0)
    siblings = scored.sum(1, keepdim=True) - 1
    baseline = (clean.sum(1, keepdim=True) - clean) / siblings.clamp(min=1)
    return torch.where(scored & (siblings > 0), clean - baseline, torch.zeros_like(clean))


def group_normalized(scores: Tensor, *, epsilon: float = 1e-4) -> Tensor:
    """GRPO's: each score minus the mean of its group, in units of the group's standard deviation.

    Args:
        scores: (prompts, completions); NaN = could not be scored.
        epsilon: added to the standard deviation (of the sample, with n - 1), as TRL does.

    Returns:
        (prompts, completions) advantages; 0 where unscored, and where no sibling is scored.
    """
    scored = ~scores.isnan()
    clean = scores.nan_to_num(0.0)
    count = scored.sum(1, keepdim=True)
    distance = (clean - clean.sum(1, keepdim=True) / count.clamp(min=1)) * scored
    std = (distance.square().sum(1, keepdim=True) / (count - 1).clamp(min=1)).sqrt()
    return torch.where(scored & (count > 1), distance / (std + epsilon), torch.zeros_like(clean))


def spread(advantages: Tensor, scored: Tensor) -> Tensor:
    """Advantages (B,) in units of their standard deviation over the scored ones; their mean is left alone."""
    sample = advantages[scored]
    if sample.numel() < 2:
        return advantages
    return advantages / (sample.std(unbiased=False) + 1e-6)


def whiten(values: Tensor, mask: Tensor, *, shift_mean: bool = True) -> Tensor:
    """Unit variance (and zero mean) over the True entries of `mask`; zero elsewhere."""
    sample = values[mask]
    if sample.numel() < 2:
        return torch.where(mask, values, torch.zeros_like(values))
    mean, variance = sample.mean(), sample.var(unbiased=False)
    white = (values - mean) / (variance + 1e-8).sqrt()  # rounding noise alone is not blown up
    return torch.where(mask, white if shift_mean else white + mean, torch.zeros_like(values))

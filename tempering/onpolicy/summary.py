"""Means over a rollout, for the log and the guards."""

import torch

from tempering.onpolicy.advantages import without_contrast
from tempering.onpolicy.experience import Experience


def summarise(experience: Experience, num_completions: int) -> dict[str, float]:
    """Statistics by name; what cannot be told of this rollout is left out.

    Args:
        num_completions: completions of each prompt, side by side.
    """
    scored = experience.scored
    stats = {
        **(_of_the_scored(experience) if scored.any() else {}),
        "kl": experience.kl.mean(),
        "kl_coef": torch.tensor(experience.kl_coef, dtype=torch.float64),
        "completion_length": experience.lengths.float().mean(),
        "ended_share": experience.ended.float().mean(),
        "unscored_share": 1 - scored.float().mean(),
        "advantage_std": experience.advantages[:, 0].std(unbiased=False),
    }
    if num_completions > 1 and scored.any():
        groups = experience.rewards.view(-1, num_completions)
        stats["zero_variance_share"] = without_contrast(groups)[~groups.isnan().all(1)].float().mean()
    for name, values in experience.columns.items():
        if name.startswith("score_"):
            stats[name] = torch.tensor(values, dtype=torch.float64).nanmean()
    if experience.values.any() and scored.any():
        stats |= _of_the_value_model(experience)
    return {name: float(value) for name, value in stats.items() if not value.isnan()}


def _of_the_scored(experience: Experience) -> dict[str, torch.Tensor]:
    scores, rewards = experience.scores[experience.scored], experience.rewards[experience.scored]
    return {
        "score": scores.mean(),
        "score_std": scores.std(unbiased=False),
        "reward": rewards.mean(),
        "equal_rewards": without_contrast(rewards[None]).float(),  # of all prompts
    }


def _of_the_value_model(experience: Experience) -> dict[str, torch.Tensor]:
    counted = experience.completion_mask & experience.scored[:, None]
    returns, values = experience.returns[counted], experience.values[counted]
    error = (values - returns).square().mean()
    return {"value_error": error, "explained_variance": 1 - error / (returns.var(unbiased=False) + 1e-8)}

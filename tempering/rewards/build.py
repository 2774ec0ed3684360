"""From settings to rewards."""

from collections.abc import Mapping
from typing import Any

from tempering.artifacts.draft import Draft
from tempering.artifacts.kinds import ModelArtifact
from tempering.rewards.base import Parts
from tempering.rewards.config import MixtureReward, RewardConfig, components
from tempering.rewards.scoring import Rewards


def build_rewards(
    config: RewardConfig,
    models: Mapping[str, ModelArtifact],
    device: Any,
    out: Draft,
    expected: int = 0,
) -> Rewards:
    """The rewards of a config.

    Args:
        models: component -> the model that it names.
        out: the draft that stores a teacher's answers.
        expected: completions that will be scored, at most; 0: nobody knows.
    """
    functions = {
        name: component.build(Parts(name, models.get(name), device, out, expected))
        for name, component in components(config).items()
    }
    if isinstance(config, MixtureReward):
        return Rewards(functions, config.weights, config.when_missing)
    return Rewards(functions)

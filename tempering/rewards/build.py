"""From settings to rewards."""

import hashlib
from collections.abc import Mapping
from typing import Any

from tempering.artifacts.draft import Draft
from tempering.artifacts.kinds import ModelArtifact
from tempering.errors import ConfigError
from tempering.rewards.config import (
    FunctionReward,
    GoldReward,
    MixtureReward,
    ModelReward,
    OneReward,
    RandomReward,
    RewardConfig,
    RuleReward,
    TeacherReward,
    components,
)
from tempering.rewards.functions import UserFunction
from tempering.rewards.scoring import Messages, RewardFunction, Rewards


def build_rewards(
    config: RewardConfig, models: Mapping[str, ModelArtifact], device: Any, out: Draft
) -> Rewards:
    """The rewards of a config.

    Args:
        models: component -> the model that it names.
        out: the draft that stores a teacher's answers.
    """
    parts = {
        name: build_reward(component, models.get(name), device, out, name)
        for name, component in components(config).items()
    }
    if isinstance(config, MixtureReward):
        return Rewards(parts, config.weights, config.when_missing)
    return Rewards(parts)


def build_reward(
    config: OneReward, model: ModelArtifact | None, device: Any, out: Draft, name: str
) -> RewardFunction:
    """The reward function of one component.

    Args:
        model: the model that it names, if it names one.

    Raises:
        ConfigError: a model reward without its model.
    """
    # Each reward is imported where it is used: most need torch, or code of the user.
    match config:
        case ModelReward():
            from tempering.rewards.learned import LearnedReward

            if model is None:
                raise ConfigError(f"the reward {name} needs a model", fix="set its `model`")
            return LearnedReward.of(model, device)
        case TeacherReward():
            from tempering.rewards.teacher import build_teacher

            return build_teacher(config, model, device, out, name)
        case FunctionReward():
            return UserFunction(config.function, config.form)
        case RuleReward():
            from tempering.rewards.rules import RuleScores

            return RuleScores(config)
        case GoldReward():
            return gold_reward
        case RandomReward():
            return RandomScores(config.seed)


def gold_reward(prompts: list[Messages], completions: list[str], ended: list[bool], **_: Any) -> list[float]:
    """The world's gold score of each completion."""
    from tempering.world import gold_score

    return [
        gold_score(prompt[-1]["content"], text, has_ended).total
        for prompt, text, has_ended in zip(prompts, completions, ended, strict=True)
    ]


class RandomScores:
    """Noise that depends on the text and the seed alone, so a resumed run repeats it."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __call__(self, prompts: list[Messages], completions: list[str], **_: Any) -> list[float]:
        return [self._score(repr(prompt) + text) for prompt, text in zip(prompts, completions, strict=True)]

    def _score(self, text: str) -> float:
        digest = hashlib.sha256(f"{self.seed}:{text}".encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8], "big") / 2**64

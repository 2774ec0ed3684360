"""From settings to a reward function."""

import hashlib
import importlib
from collections.abc import Callable, Sequence
from typing import Any

from tempering.artifacts.kinds import ModelArtifact
from tempering.errors import ConfigError
from tempering.rewards.config import FunctionReward, GoldReward, ModelReward, RandomReward

Messages = list[dict[str, str]]
# (prompts, completions, **columns) -> scores; columns hold `ended` (whether EOS was produced)
RewardFunction = Callable[..., Sequence[float | None]]


def build_reward(config: Any, reward_model: ModelArtifact | None, device: Any) -> RewardFunction:
    """The reward function of `config`; `reward_model` where it names one."""
    match config:
        case ModelReward():
            from tempering.rewards.learned import LearnedReward

            if reward_model is None:
                raise ConfigError("the reward names a model, but none was given", fix="set reward.model")
            return LearnedReward.of(reward_model, device)
        case FunctionReward():
            return _load_function(config.function)
        case GoldReward():
            return gold_reward
        case RandomReward():
            return RandomScores(config.seed)
    raise AssertionError(f"no reward for {config!r}")


def _load_function(name: str) -> RewardFunction:
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, SyntaxError) as error:
        raise ConfigError(
            f"reward function {name!r}: {error}",
            expected="an importable module:function",
            fix="check the name; the module must be on PYTHONPATH",
        ) from error
    if not callable(found):
        raise ConfigError(f"reward function {name!r} is {type(found).__name__}", expected="a function")
    return found  # type: ignore[no-any-return]


def gold_reward(prompts: list[Messages], completions: list[str], ended: list[bool], **_: Any) -> list[float]:
    """The world's gold score of each completion."""
    from tempering.world import gold_score

    return [
        gold_score(prompt[-1]["content"], text, done).total
        for prompt, text, done in zip(prompts, completions, ended, strict=True)
    ]


class RandomScores:
    """Noise that depends on the text and the seed only, so that a resumed run repeats it."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __call__(self, prompts: list[Messages], completions: list[str], **_: Any) -> list[float]:
        return [self._score(repr(prompt) + text) for prompt, text in zip(prompts, completions, strict=True)]

    def _score(self, text: str) -> float:
        digest = hashlib.sha256(f"{self.seed}:{text}".encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8], "big") / 2**64

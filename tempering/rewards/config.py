"""Settings of the reward functions. A new reward: one class here, one file, one line in `build`."""

import importlib.util
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from tempering.config import Config, runtime_field
from tempering.errors import ConfigError


class ModelReward(Config):
    """The score of a reward model artifact; it is given text and uses its own tokenizer."""

    kind: Literal["model"] = "model"
    model: str = runtime_field("reward_model", description="stage or artifact of the reward model")


class FunctionReward(Config):
    """A user's Python function in TRL's signature; its source is part of the fingerprint."""

    kind: Literal["function"]
    function: str = Field(description="module:function")

    @field_validator("function")
    @classmethod
    def _two_parts(cls, value: str) -> str:
        module, _, name = value.partition(":")
        if not module or not name.isidentifier():
            raise ValueError("expected module:function, e.g. my_rewards:brevity")
        return value

    def external_files(self) -> tuple[Path, ...]:
        """The file that defines the function: changing it changes the result."""
        try:
            spec = importlib.util.find_spec(self.function.partition(":")[0])
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"reward function {self.function!r}: {error}",
                expected="an importable module:function",
                fix="check the name; the module must be on PYTHONPATH",
            ) from None
        return (Path(spec.origin),) if spec and spec.origin else ()


class GoldReward(Config):
    """The embedded world's exact score: for tests of the algorithms, never of the pipeline."""

    kind: Literal["gold"]


class RandomReward(Config):
    """Uniform noise in [0, 1): the baseline that no training should beat itself against."""

    kind: Literal["random"]
    seed: int = Field(0, ge=0, description="seed of the noise")


RewardConfig = Annotated[
    ModelReward | FunctionReward | GoldReward | RandomReward, Field(discriminator="kind")
]

"""What all rewards share: a config class that builds the function it configures."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tempering.config import Config

if TYPE_CHECKING:
    from tempering.artifacts.draft import Draft
    from tempering.artifacts.kinds import ModelArtifact
    from tempering.rewards.scoring import RewardFunction


@dataclass(frozen=True)
class Parts:
    """What a reward may use beside its settings.

    Attributes:
        name: the component it is, as in the logs.
        model: the model that its setting `model` names, if it names one.
        device: a torch device, for models.
        out: the draft of the stage that is trained, for tables of its own.
        expected: completions that the stage will score, at most; 0: nobody knows.
    """

    name: str
    model: "ModelArtifact | None"
    device: Any
    out: "Draft"
    expected: int = 0


class Reward(Config):
    """A reward; planning reads its settings, so whatever is heavy is imported inside `build`."""

    kind: str

    @abstractmethod
    def build(self, parts: Parts) -> "RewardFunction":
        """The function that scores completions, in TRL's signature."""

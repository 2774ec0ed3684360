"""Settings of the reward functions. A new reward is a file with its class, and its name in `AnyReward`."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from tempering.config import MOST_LENGTH, SET, Config, Readers, added_field, runtime_field
from tempering.errors import ConfigError
from tempering.rewards.base import Parts, Reward
from tempering.rewards.endpoint.config import EndpointConfig as EndpointConfig
from tempering.rewards.rules import GoldReward, RandomReward, RuleReward

if TYPE_CHECKING:
    from tempering.rewards.scoring import RewardFunction

BUILT_IN_TEMPLATE = Path(__file__).parent / "templates" / "rating.jinja"


class ModelReward(Reward):
    """The score of a reward model artifact, which reads text with its own tokenizer."""

    kind: Literal["model"] = "model"
    model: str = runtime_field("reward_model", description="stage or artifact of the reward model")

    def build(self, parts: Parts) -> "RewardFunction":
        """The model's score.

        Raises:
            ConfigError: the model is missing.
        """
        from tempering.rewards.learned import LearnedReward

        if parts.model is None:
            raise ConfigError(f"the reward {parts.name} needs a model", fix="set its `model`")
        return LearnedReward.of(parts.model, parts.device)


class FunctionReward(Reward):
    """A user's Python function in TRL's signature, sync or async; its source is part of the fingerprint."""

    version = 2  # prompts as text are what the messages say
    kind: Literal["function"]
    function: str = Field(description="module:function")
    form: Literal["text", "messages"] = Field(
        "text", description="prompts and completions as strings, or as lists of messages"
    )

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
        except (Exception, SystemExit) as error:  # it imports the packages above the module
            raise ConfigError(
                f"reward function {self.function!r}: {type(error).__name__}: {error}",
                expected="an importable module:function",
                fix="check the name; the module must be on PYTHONPATH",
            ) from None
        return (Path(spec.origin),) if spec and spec.origin else ()

    def build(self, parts: Parts) -> "RewardFunction":
        """The user's function."""
        from tempering.rewards.functions import UserFunction

        return UserFunction(self.function, self.form, parts.out)


_PUBLISHED = {"model_name_or_path": "model", "prompt_template_path": "template"}
"""Names of published recipes' teacher.yaml -> ours; its other names are ours too."""


class TeacherReward(Reward):
    """A language model that rates each completion; an answer that is not a score leaves it unscored."""

    version = 2  # its question is what the messages say
    read_by: ClassVar[Mapping[str, Readers]] = {"temperature": {"model": SET}}

    kind: Literal["teacher"]
    endpoint: EndpointConfig | None = Field(None, description="a server; or set model")
    model: str | None = runtime_field(
        None, description="stage, artifact, folder or Hub name; or set endpoint"
    )
    # Hashed by its bytes, not by its name.
    template: str | None = runtime_field(
        None, description="Jinja file of the rating prompt; null: the built-in one"
    )
    min_score: float = Field(0.0, description="lowest score that counts")
    max_score: float = Field(10.0, description="highest score that counts")
    max_tokens: int = Field(64, ge=1, le=MOST_LENGTH, description="longest answer of the teacher, in tokens")
    temperature: float = added_field(
        0.0, ge=0, description="sampling temperature of a local teacher; 0: the likeliest answer"
    )

    @classmethod
    def setting_names(cls) -> tuple[str, ...]:
        """Also those of published recipes."""
        return (*cls.model_fields, *_PUBLISHED)

    @model_validator(mode="before")
    @classmethod
    def _published_names(cls, settings: Any) -> Any:
        """A published recipe's names; a temperature beside an endpoint is the endpoint's."""
        if not isinstance(settings, dict):
            return settings
        settings = dict(settings)
        for name, ours in _PUBLISHED.items():
            value = settings.pop(name, None)
            if value is not None and settings.get(ours) is not None:
                raise ValueError(f"{name} and {ours} are two names for {ours}: set one")
            if value is not None:
                settings[ours] = value
        if settings.pop("default_score", None) is not None:
            raise ValueError(
                "default_score: remove it; a completion without a score is left out, a default would be "
                "learnt from"
            )
        endpoint = settings.get("endpoint")
        if isinstance(endpoint, dict) and settings.get("temperature") is not None:
            if "temperature" in endpoint:
                raise ValueError(
                    "temperature and endpoint.temperature are two names for one setting: set one"
                )
            settings["endpoint"] = {**endpoint, "temperature": settings.pop("temperature")}
        return settings

    @model_validator(mode="after")
    def _one_teacher(self) -> "TeacherReward":
        if (self.endpoint is None) == (self.model is None):
            raise ValueError("a teacher is an endpoint or a model: set one of the two")
        if self.min_score >= self.max_score:
            raise ValueError(f"min_score {self.min_score:g} is not below max_score {self.max_score:g}")
        return self

    @property
    def template_file(self) -> Path:
        """The rating prompt's file."""
        return Path(self.template).expanduser() if self.template else BUILT_IN_TEMPLATE

    def external_files(self) -> tuple[Path, ...]:
        """The rating prompt: changing it changes the result."""
        if not self.template_file.is_file():
            raise ConfigError(
                f"the teacher's template {self.template} does not exist",
                expected="a Jinja file that asks for a rating",
                fix="correct `template`, or remove it to use the built-in one",
            )
        return (self.template_file,)

    def named_files(self) -> tuple[tuple[str, Path], ...]:
        """The template under a fixed name: its path changes nothing."""
        return tuple(("template", file) for file in self.external_files())

    def build(self, parts: Parts) -> "RewardFunction":
        """The teacher, which writes its answers to a table of the draft."""
        from tempering.rewards.teacher import build_teacher

        return build_teacher(self, parts)


AnyReward = ModelReward | FunctionReward | GoldReward | RandomReward | RuleReward | TeacherReward
OneReward = Annotated[AnyReward, Field(discriminator="kind")]


class MixtureReward(Config):
    """The weighted sum of several rewards; each is a column of the log."""

    read_by: ClassVar[Mapping[str, Readers]] = {"when_missing": {"further_components": SET}}

    kind: Literal["mixture"]
    components: dict[str, OneReward] = Field(min_length=1, description="rewards by a name of your choice")
    weights: dict[str, float] = Field(default_factory=dict, description="weight by name; 1 by default")
    when_missing: Literal["unscored", "skip"] = Field(
        "unscored",
        description="a completion that one component cannot score: unscored, or (skip, as in TRL) the sum of "
        "the other components",
    )

    @property
    def further_components(self) -> list[str]:
        """The components beside the first."""
        return list(self.components)[1:]

    @model_validator(mode="after")
    def _weights_have_components(self) -> "MixtureReward":
        unknown = sorted(set(self.weights) - set(self.components))
        if unknown:
            raise ValueError(
                f"weights.{unknown[0]} has no component; expected one of: {', '.join(self.components)}"
            )
        for name in self.components:
            if not name.isidentifier():
                raise ValueError(
                    f"component {name!r} becomes a column score_{name}: use letters, digits and _"
                )
        return self


RewardConfig = Annotated[AnyReward | MixtureReward, Field(discriminator="kind")]


def components(config: RewardConfig) -> Mapping[str, OneReward]:
    """Every reward by its name: a mixture's components, or a single reward under its kind."""
    return config.components if isinstance(config, MixtureReward) else {config.kind: config}


def reward_inputs(config: RewardConfig) -> dict[str, str]:
    """Component -> the model that its setting `model` names, as learned rewards and local teachers do."""
    models = {name: getattr(component, "model", None) for name, component in components(config).items()}
    return {name: model for name, model in models.items() if model is not None}


def learned(config: RewardConfig) -> list[str]:
    """The components that are learned reward models."""
    return [name for name, component in components(config).items() if isinstance(component, ModelReward)]

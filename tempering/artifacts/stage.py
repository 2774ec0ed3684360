"""Kinds of stages: a plain registry, without Prefect and without torch.

A stage is a function from a config and input artifacts to one output artifact. Its signature is
its contract: `config` gives the config class, each keyword-only parameter a role. It is called
the same way by a test, the command line and the flow. What the plan, the report and the command line
know of a kind stands in its entry here, and nowhere else.
"""

import difflib
import importlib
import inspect
import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tempering.artifacts.kinds import Artifact
from tempering.config import Config, StageConfig
from tempering.errors import ArtifactError, ConfigError

Summary = Mapping[str, float | int | str]
"""Headline metrics; the first one is shown in the live table."""


@dataclass(frozen=True)
class Role:
    """One input: `kinds` it accepts, whether it may be left out, whether it is a mapping of many."""

    name: str
    kinds: tuple[type[Artifact], ...]
    optional: bool = False
    many: bool = False

    def accepts(self, artifact: Artifact | type[Artifact]) -> bool:
        """Whether an artifact (or artifacts of a class) may fill this role."""
        kind = artifact if isinstance(artifact, type) else type(artifact)
        return issubclass(kind, self.kinds)

    @property
    def wants(self) -> str:
        """The accepted kinds in words."""
        return " or ".join(kind.kind for kind in self.kinds)


Head = Literal["causal_lm", "score"]


@dataclass(frozen=True)
class Stage:
    """A registered kind. Call it as the function it wraps: `sft(out, config, model=..., sample=...)`."""

    name: str
    version: int
    makes: type[Artifact]
    config_class: type[Config]
    roles: Mapping[str, Role]
    function: Callable[..., Summary]
    label: str
    trains: bool = False
    aligns: bool = False
    head: Head = "causal_lm"
    loss_unit: str = "nats"
    color: int | None = None
    slot: bool = False
    parallel: bool = False
    preload: tuple[str, ...] = ()

    def __call__(self, out: Any, config: Config, **inputs: Any) -> Summary:
        self.check_inputs(inputs)
        return self.function(out, config, **inputs)

    def __reduce__(self) -> tuple[object, ...]:
        # The decorated name is this object, not the function: pickle by name, import in the child.
        return _load_stage, (self.function.__module__, self.function.__qualname__)

    @property
    def module(self) -> str:
        """The module that defines it."""
        return self.function.__module__

    def check_inputs(self, inputs: Mapping[str, Any]) -> None:
        """Refuse inputs of the wrong kind before anything is computed.

        Raises:
            ArtifactError: naming the role, what it got and what it takes.
        """
        self.check_roles(inputs)
        for role in self.roles.values():
            source = inputs.get(role.name)
            for artifact in (source or {}).values() if role.many else [source]:
                if artifact is not None and not role.accepts(artifact):
                    is_artifact = isinstance(artifact, Artifact)
                    words = f"{artifact.id}, a {artifact.kind}" if is_artifact else repr(artifact)
                    raise ArtifactError(
                        f"stage {self.name}: input {role.name} is {words}",
                        expected=f"a {role.wants} artifact",
                        fix=f"set `{role.name}:` of {self.name} to a stage or artifact that makes one",
                    )

    def check_roles(self, inputs: Mapping[str, Any]) -> None:
        """Refuse unknown roles and missing ones."""
        for name in inputs:
            if name not in self.roles:
                raise ConfigError(
                    f"stage {self.name} has no input {name!r}",
                    expected=f"one of: {', '.join(self.roles) or 'none'}",
                )
        for role in self.roles.values():
            if inputs.get(role.name) is None and not role.optional and not role.many:
                raise ConfigError(
                    f"stage {self.name} needs an input {role.name!r}",
                    expected=f"a {role.wants} artifact",
                    fix=f"set `{role.name}:` of {self.name}",
                )


_REGISTRY: dict[str, Stage] = {}


def stage(
    name: str,
    *,
    version: int,
    makes: type[Artifact],
    label: str = "",
    trains: bool = False,
    aligns: bool = False,
    head: Head = "causal_lm",
    loss_unit: str = "nats",
    color: int | None = None,
    slot: bool = False,
    parallel: bool = False,
    preload: tuple[str, ...] = (),
) -> Callable[[Callable[..., Summary]], Stage]:
    """Register a function as the kind of stage `name`.

    Args:
        version: raised by hand when the meaning of the output changes; part of the fingerprint.
        makes: the kind of artifact it leaves.
        label: what readers call it ("DPO"); by default the name in words.
        trains: it makes a model by training. A pipeline can have any number of such stages, each a section of
            its own whose config is a `StageConfig`, and it needs the slot.
        aligns: it is meant to make a model better than SFT did; the report compares it with where it started.
        head: the head of the model it makes: a language model's, or a scorer's.
        loss_unit: of its training loss, for the report's curves.
        color: of the stage that is called like its kind, in the report's palette; by default a free one.
        slot: it computes as much as training does, and needs the slot too (at most
            `runtime.max_parallel_stages` at a time).
        parallel: `runtime.processes` of them can share its work.
        preload: modules that its process needs and that take long to import; the fork server has them ready.
    """

    def register(function: Callable[..., Summary]) -> Stage:
        # The signature is the contract: the config's class, and a role per keyword.
        hints = typing.get_type_hints(function)
        parameters = inspect.signature(function).parameters
        keyword_only = [key for key, value in parameters.items() if value.kind is value.KEYWORD_ONLY]
        entry = Stage(
            name,
            version,
            makes,
            config_class=hints["config"],
            roles={key: _role(key, hints[key]) for key in keyword_only},
            function=function,
            label=label or name.replace("_", " ").capitalize(),
            trains=trains,
            aligns=aligns,
            head=head,
            loss_unit=loss_unit,
            color=color,
            slot=slot or trains,
            parallel=parallel,
            preload=preload,
        )
        # Imported twice is fine, two stages of one name are not.
        namesake = _REGISTRY.get(name)
        assert namesake is None or namesake.module == entry.module, f"two stages are called {name!r}"
        _REGISTRY[name] = entry
        return entry

    return register


def get_stage(name: str) -> Stage:
    """The stage called `name`; `import tasks` registers all of them."""
    if name not in _REGISTRY:
        near = difflib.get_close_matches(name, _REGISTRY, n=3)
        raise ConfigError(
            f"there is no stage {name!r}", expected=f"one of: {', '.join(near or sorted(_REGISTRY))}"
        )
    return _REGISTRY[name]


def stages() -> Mapping[str, Stage]:
    """All registered kinds by name."""
    return types.MappingProxyType(_REGISTRY)


def section_kinds() -> Mapping[str, Stage]:
    """The kinds that are sections of a pipeline: those that train, with a `StageConfig`; those with a colour
    come first, in the order of the palette."""
    kinds = [
        entry for entry in _REGISTRY.values() if entry.trains and issubclass(entry.config_class, StageConfig)
    ]
    kinds.sort(key=lambda kind: math.inf if kind.color is None else kind.color)
    return {kind.name: kind for kind in kinds}


def _load_stage(module: str, name: str) -> Stage:
    entry = getattr(importlib.import_module(module), name)
    assert isinstance(entry, Stage), f"{module}.{name} is not a stage"
    return entry


def _role(name: str, hint: Any) -> Role:
    """`XArtifact`, `XArtifact | None`, `XArtifact | YArtifact` or `Mapping[str, XArtifact]`."""
    for part in (hint, *typing.get_args(hint)):
        origin = typing.get_origin(part)
        if isinstance(origin, type) and issubclass(origin, Mapping):
            return Role(name, _kinds(name, typing.get_args(part)[1]), many=True)
    return Role(name, _kinds(name, hint), optional=type(None) in typing.get_args(hint))


def _kinds(name: str, hint: Any) -> tuple[type[Artifact], ...]:
    union = typing.get_args(hint) or (hint,)
    kinds = tuple(kind for kind in union if kind is not type(None))
    assert all(isinstance(kind, type) and issubclass(kind, Artifact) for kind in kinds), (
        f"the type of role {name!r} must be an artifact class, not {hint}"
    )
    return kinds

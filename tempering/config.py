"""Typed configuration: the base classes, and what of them is a stage's identity.

Every config class is frozen and refuses unknown keys. A field is part of a stage's *identity*
(it changes the result, so it is hashed into the fingerprint) unless it is declared with
`runtime_field`, which is recorded but never hashed (device, processes, logging, ...).
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

Tree = dict[str, Any]

MOST_SEED = 2**32 - 1
"""The largest seed that NumPy takes, and so every library here."""
MOST_LENGTH = 10_000_000
"""Tokens of a sequence: more than any model reads."""
MOST_SEQUENCES = 1_000_000
"""Sequences of a batch or a rollout: more than any run has."""
_MOST_INTEGER = 2**63 - 1
_MOST_FLOAT = 3.4e38  # of 32 bits


class _Set:
    """What `read_by` says of a choice that need only be set, or must not be."""

    def __init__(self, wanted: bool) -> None:
        self.wanted = wanted

    def __contains__(self, value: Any) -> bool:
        return bool(value) is self.wanted


SET, UNSET = _Set(True), _Set(False)
Readers = Mapping[str, "_Set | tuple[Any, ...]"]
"""A field or property of the same config -> its values with which a setting is read."""


class Config(BaseModel):
    """Base of all configuration classes: frozen, no unknown keys, no setting that nothing reads."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False, hide_input_in_errors=True
    )

    version: ClassVar[int] = 1
    """Raised by hand when this part of a config (a builder, a benchmark, an estimator) gives another result:
    hashed where it is above 1, so that only the stages that use this part run again."""

    read_by: ClassVar[Mapping[str, Readers]] = {}
    """Settings that are not always read -> the choices that read them, all of which must hold."""

    @model_validator(mode="after")
    def _everything_is_read(self) -> Self:
        """Refuse a setting that nothing reads: it would change the fingerprint and nothing else."""
        for name, readers in readers_of(type(self)).items():
            default = type(self).model_fields[name].get_default(call_default_factory=True)
            if getattr(self, name) in (None, default):
                continue
            for choice, values in readers.items():
                if getattr(self, choice) not in values:
                    raise ValueError(
                        _unread(name, choice, getattr(self, choice), values) + _undo(name, default)
                    )
        return self

    @model_validator(mode="after")
    def _is_taken(self) -> Self:
        """Nothing that no library takes, where a setting takes anything: NUL, nan, more than 64 bits."""
        for name in self.model_fields_set:
            problem = next(filter(None, map(_untaken, _leaves(getattr(self, name)))), "")
            if problem:
                raise PydanticCustomError("setting", "{name}: {problem}", {"name": name, "problem": problem})
        return self

    def external_files(self) -> tuple[Path, ...]:
        """Local files whose bytes belong to this config's identity (data, templates, code)."""
        return ()

    def named_files(self) -> tuple[tuple[str, Path], ...]:
        """`(name, file)` of the external files: the name that enters the identity, which no folder may."""
        return tuple((file.name, file) for file in self.external_files())

    def external_revisions(self) -> tuple[tuple[str, str], ...]:
        """`(name, commit)` of external things that belong to this config's identity (Hub data sets)."""
        return ()

    @classmethod
    def setting_names(cls) -> tuple[str, ...]:
        """What a file may set: the fields, and names that a validator puts in their place."""
        return tuple(cls.model_fields)

    def as_hashed(self, tree: Tree) -> Tree:
        """This config's part of the identity; a class whose settings moved lays it out as before."""
        return tree


def _untaken(item: Any) -> str:
    if isinstance(item, str) and re.search("[\0\ud800-\udfff]", item):
        return "no text of a config has a NUL, or half of a character"
    if isinstance(item, int) and abs(item) > _MOST_INTEGER:
        return "the number needs more than 64 bits"
    if isinstance(item, float) and not abs(item) <= _MOST_FLOAT:
        return "expected a finite number, of 32 bits"
    return ""


def readers_of(kind: type[Config]) -> dict[str, Readers]:
    """`read_by` of a class and of those it inherits from."""
    return {
        name: readers
        for parent in reversed(kind.__mro__)
        for name, readers in vars(parent).get("read_by", {}).items()
    }


def _unread(name: str, choice: str, chosen: Any, values: Any) -> str:
    if isinstance(values, _Set):
        relation = "without" if values.wanted else "beside"
        return f"{name} is set, and nothing reads it {relation} {choice.replace('_', ' ')}"
    readers = " and ".join(map(str, values))
    return f"{name} is set, and {choice} {chosen} does not read it: it is for {readers}"


def _undo(name: str, default: Any) -> str:
    """The remedy; a file's own setting can be left out, not that of a file that it extends."""
    if isinstance(default, BaseModel | Mapping):
        return ""
    written = "null" if default is None else str(default).lower() if isinstance(default, bool) else default
    return f"; leave it out, or write `{name}: {written}` where a file that is extended sets it"


ConfigT = TypeVar("ConfigT", bound=Config)


def runtime_field(default: Any, **kwargs: Any) -> Any:
    """A pydantic field that does not change the result: recorded in the manifest, never hashed."""
    return Field(default, json_schema_extra={"runtime": True}, **kwargs)


def added_field(default: Any, **kwargs: Any) -> Any:
    """A pydantic field that came later, and whose default means "as before".

    While it has that default it is left out of the identity, so that fingerprints from before it existed stay
    and no store is built again.
    """
    return Field(default, json_schema_extra={"added": True}, **kwargs)


class StageConfig(Config):
    """Base of the sections that are stages: a pipeline may have any number of them, each with its name."""

    kind: str = runtime_field("", description="the kind of stage; by default the section's name")


def identity(config: BaseModel) -> Tree:
    """The resolved config, defaults included, without runtime fields and added fields at their default.

    A class whose `version` was raised says so in its part.
    """
    tree: Tree = {}
    for name, field in type(config).model_fields.items():
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        value = getattr(config, name)
        if extra.get("runtime") or (extra.get("added") and value == field.default):
            continue
        tree[name] = _plain(value)
    if not isinstance(config, Config):
        return tree
    tree = config.as_hashed(tree)
    return {**tree, "version": config.version} if config.version > 1 else tree


def external_files(config: BaseModel) -> tuple[Path, ...]:
    """All external files of `config` and the configs inside it, in a stable order."""
    return tuple(file for inner in configs_in(config) for file in inner.external_files())


def named_files(config: BaseModel) -> tuple[tuple[str, Path], ...]:
    """All external files of `config` and the configs inside it, with the names that are hashed."""
    return tuple(entry for inner in configs_in(config) for entry in inner.named_files())


def external_revisions(config: BaseModel) -> tuple[tuple[str, str], ...]:
    """All external revisions of `config` and the configs inside it, in a stable order."""
    return tuple(entry for inner in configs_in(config) for entry in inner.external_revisions())


def configs_in(value: Any) -> Iterator[Config]:
    """`value` and every config inside it."""
    if isinstance(value, BaseModel):
        if isinstance(value, Config):
            yield value
        value = [getattr(value, name) for name in type(value).model_fields]
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from configs_in(item)


def _leaves(value: Any) -> Iterator[Any]:
    """The values inside lists and mappings; configs have looked at their own."""
    if isinstance(value, Mapping):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list | tuple | set):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return identity(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value

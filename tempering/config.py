"""Typed configuration: the base class, loading with `extends:`, overrides, one validation.

Every config class is frozen and refuses unknown keys. A field is part of a stage's *identity*
(it changes the result, so it is hashed into the fingerprint) unless it is declared with
`runtime_field`, which is recorded but never hashed (device, processes, logging, ...).
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tempering.errors import ConfigError

Tree = dict[str, Any]


class _Loader(yaml.SafeLoader):
    """YAML whose plain `1e-4` is a number, as in YAML 1.2 and JSON; a quoted one stays a string."""


def _mapping_of(loader: _Loader, node: yaml.MappingNode, deep: bool = False) -> Tree:
    """A mapping whose keys are all different: of two, YAML would keep the last without a word."""
    keys: set[str] = set()
    for key_node, _ in node.value:
        if key_node.value in keys and key_node.tag != "tag:yaml.org,2002:merge":
            fault = f"{key_node.value} is set twice"
            raise yaml.constructor.ConstructorError(None, None, fault, key_node.start_mark)
        if isinstance(key_node, yaml.ScalarNode):
            keys.add(key_node.value)
    mapping: Any = yaml.SafeLoader.construct_mapping(loader, node, deep=deep)
    return dict(mapping)


_Loader.construct_mapping = _mapping_of  # type: ignore[assignment, method-assign]

# YAML 1.1 wants a dot in the mantissa and a sign in the exponent.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


class Config(BaseModel):
    """Base of all configuration classes: frozen, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    version: ClassVar[int] = 1
    """Raised by hand when this part of a config (a builder, a benchmark, an estimator) gives another result:
    hashed where it is above 1, so that only the stages that use this part run again."""

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
    return tuple(file for inner in _configs_in(config) for file in inner.external_files())


def named_files(config: BaseModel) -> tuple[tuple[str, Path], ...]:
    """All external files of `config` and the configs inside it, with the names that are hashed."""
    return tuple(entry for inner in _configs_in(config) for entry in inner.named_files())


def external_revisions(config: BaseModel) -> tuple[tuple[str, str], ...]:
    """All external revisions of `config` and the configs inside it, in a stable order."""
    return tuple(entry for inner in _configs_in(config) for entry in inner.external_revisions())


def _configs_in(value: Any) -> Iterator[Config]:
    if isinstance(value, BaseModel):
        if isinstance(value, Config):
            yield value
        value = [getattr(value, name) for name in type(value).model_fields]
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _configs_in(item)


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


def load(path: str | Path, overrides: Iterable[str] = ()) -> Tree:
    """Read a YAML config: its `extends:` bases (left to right), itself, then `key=value` overrides.

    Mappings merge, lists replace, `null` switches a stage off. Paths in `extends:` are relative
    to the file that names them.
    """
    named: set[str] = set()
    tree = _load_file(Path(path), (), named)
    for override in overrides:
        apply_override(tree, override)
        _note_kinds(tree, named)
    # A section that says `kind:` and is `null` now is no section: nothing else tells what it was.
    return {name: section for name, section in tree.items() if section is not None or name not in named}


def _note_kinds(tree: Tree, named: set[str]) -> None:
    named.update(name for name, section in tree.items() if isinstance(section, dict) and "kind" in section)


def _load_file(path: Path, chain: tuple[Path, ...], named: set[str]) -> Tree:
    if path.resolve() in chain:
        raise ConfigError(f"{path}: `extends:` runs in a circle", fix="remove one of the links")
    # The file itself.
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise ConfigError(
            f"cannot read the config {path}: {error.strerror}",
            expected="a YAML file",
            fix="check the path; the default is configs/quickstart.yaml",
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}", fix="correct the line named above") from None
    if not isinstance(raw, dict):
        raise ConfigError(
            f"{path} holds {type(raw).__name__}", expected="a mapping of settings at the top level"
        )
    # On top of its bases, left to right.
    bases = raw.pop("extends", [])
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise ConfigError(f"{path}: extends is {bases!r}", expected="the name of a file, or a list of names")
    tree: Tree = {}
    for base in bases:
        tree = merge(tree, _load_file(path.parent / base, (*chain, path.resolve()), named))
    _note_kinds(raw, named)
    return merge(tree, raw)


_SHORT = {"estimator": "kind"}
"""Settings that can be a string, and the key of the mapping that it stands for."""


def merge(base: Tree, over: Tree) -> Tree:
    """`over` laid on `base`: mappings merge, everything else replaces. A new `kind:` replaces whole.

    A stage's section without `kind:` is of the kind that its name says.
    """
    out = dict(base)
    for key, value in over.items():
        before = out.get(key)
        if isinstance(before, str) and isinstance(value, dict) and key in _SHORT:
            before = {_SHORT[key]: before}
        if (
            isinstance(before, dict)
            and isinstance(value, dict)
            and before.get("kind", key) == value.get("kind", before.get("kind", key))
        ):
            out[key] = merge(before, value)
        else:
            out[key] = value
    return out


def apply_override(tree: Tree, override: str) -> None:
    """Set one `key=value` in `tree`; dots reach into mappings, the value is YAML.

    Raises:
        ConfigError: it is not `key=value`, or a key on the way is not a mapping.
    """
    dotted, sign, text = override.partition("=")
    keys = dotted.strip().split(".")
    if not sign or not all(keys):
        raise ConfigError(
            f"override {override!r}", expected="key=value with dots, e.g. ppo.learning_rate=1e-4"
        )
    try:
        value = yaml.load(text, _Loader)
    except yaml.YAMLError:
        raise ConfigError(f"override {override!r}: the value is not valid YAML", fix="quote it") from None
    node = tree
    for depth, key in enumerate(keys[:-1]):
        below = node.get(key)
        if below is None:
            below = node[key] = {}
        if not isinstance(below, dict):
            at = ".".join(keys[: depth + 1])
            raise ConfigError(f"override {override!r}: {at} is {below!r}", expected=f"a mapping at {at}")
        below = node[key] = dict(below)  # bases may share sub-trees
        node = below
    node[keys[-1]] = value


def validate(
    kind: type[ConfigT], tree: Tree, source: str, classes: Mapping[str, type[Config]] = MappingProxyType({})
) -> ConfigT:
    """Validate `tree` as `kind`; `classes` are those of sections that are not fields, for the messages.

    Raises:
        ConfigError: naming the file, the dotted path, what was found and the nearest valid name.
    """
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        lines = [_explain(kind, classes, item) for item in error.errors()]
        raise ConfigError(
            f"{source}: " + "\n".join(lines), fix="correct these settings and run again"
        ) from None


def _explain(kind: type[Config], classes: Mapping[str, type[Config]], item: Any) -> str:
    path = ".".join(str(part) for part in item["loc"])
    if item["type"] == "section":
        return f"{path}: {item['msg']}"
    if item["type"] == "extra_forbidden":
        section = classes.get(str(item["loc"][0]))
        names = _names_at(section or kind, item["loc"][1 if section else 0 : -1])
        near = difflib.get_close_matches(str(item["loc"][-1]), names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"valid names: {', '.join(sorted(names)) or 'none'}"
        return f"{path}: unknown key; {hint}"
    if item["type"] == "value_error" and isinstance(item.get("input"), dict):
        return f"{path}: {item['msg'].removeprefix('Value error, ')}"  # it names what it is about
    if item["type"] == "union_tag_invalid":
        kinds = re.findall(r"'([^']+)'", item["ctx"]["expected_tags"])
        near = difflib.get_close_matches(str(item["ctx"]["tag"]), kinds, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(kinds)}"
        return f"{path}.kind: there is no kind {item['ctx']['tag']!r}; {hint}"
    if item["type"] == "missing":
        return f"{path}: it is not set; expected a value"  # what is found is all that stands around it
    return f"{path}: found {item.get('input')!r}: {item['msg']}"


def _names_at(kind: type[Config], loc: tuple[Any, ...]) -> list[str]:
    """Field names of the class that sits at `loc`; unions and lists are searched for the tag."""
    classes = [kind]
    for part in loc:
        below = [cls for parent in classes for cls in _field_classes(parent, part)]
        if below:
            classes = below
    return sorted({name for inner in classes for name in inner.setting_names()})


def _field_classes(kind: type[Config], part: Any) -> list[type[Config]]:
    field = kind.model_fields.get(str(part))
    if field is not None:
        return _classes_in(field.annotation)
    tag = kind.model_fields.get("kind")
    return [kind] if tag is not None and tag.default == part else []


def _classes_in(annotation: Any) -> list[type[Config]]:
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return [annotation]
    return [cls for arg in getattr(annotation, "__args__", ()) for cls in _classes_in(arg)]

"""From a tree of settings to a config, and what is wrong with the tree in words."""

import difflib
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from tempering.config import Config, ConfigT, Tree
from tempering.credentials import NAMES, secret_places
from tempering.errors import ConfigError
from tempering.printable import shown_name

_LONGEST = 1500  # letters about one setting


def validate(
    kind: type[ConfigT], tree: Tree, source: str, classes: Mapping[str, type[Config]] = MappingProxyType({})
) -> ConfigT:
    """Validate `tree` as `kind`; `classes` are those of sections that are not fields, for the messages.

    Raises:
        ConfigError: naming the file, the dotted path, what was found and the nearest valid name.
    """
    for place in secret_places(tree):
        raise ConfigError(
            f"{source}: {place} holds what looks like a key or a password",
            expected="no secret in a config: configs are stored with every run",
            fix="take it out and set it in the environment: HF_TOKEN, or a teacher's in the variable that "
            "api_key_env names; revoke it if others saw the file",
        )
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        lines = [shown_name(_explain(kind, classes, item, tree), _LONGEST) for item in error.errors()]
        raise ConfigError(
            f"{source}: " + "\n".join(lines), fix="correct these settings and run again"
        ) from None


def _explain(kind: type[Config], classes: Mapping[str, type[Config]], item: Any, tree: Tree) -> str:
    path = _path(item["loc"], tree)
    if item["type"] == "section":
        return f"{path}: {item['msg']}"
    if item["type"] == "setting":  # it begins with the setting's name
        return f"{path}.{item['msg']}".lstrip(".")
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
    message = item["msg"].removeprefix("Value error, ")
    message = re.sub("^Input should (?:be )?", "expected ", message)
    return f"{path}: found {_shown(path, item.get('input'))}: {message}"


def _path(loc: tuple[Any, ...], tree: Any) -> str:
    """A setting's place, as an override names it: pydantic puts the kind of a section into it as well."""
    parts = []
    for part in loc:
        if isinstance(tree, Mapping) and part not in tree and tree.get("kind") == part:
            continue
        parts.append(str(part))
        is_there = (
            part in tree if isinstance(tree, Mapping) else isinstance(tree, list) and part in range(len(tree))
        )
        tree = tree[part] if is_there else None
    return ".".join(parts)


def _shown(path: str, value: Any) -> str:
    """A value in a message: short, of a mapping its keys alone, and nothing that may be a key."""
    if NAMES.search(path) or path.endswith(("_key_env", "url")):
        return "a value that is not shown"
    if isinstance(value, Mapping):
        return f"a mapping of {shown_name(', '.join(map(str, value))) or 'nothing'}"
    if isinstance(value, list) and any(isinstance(item, Mapping | list) for item in value):
        return f"a list of {len(value)}"
    return shown_name(repr(value), 200)


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

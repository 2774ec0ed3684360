"""A pipeline's YAML file as a tree of settings: `extends:`, then overrides of the command line.

Nothing here knows a setting; `validation` makes a config of the tree.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from tempering.config import Tree
from tempering.errors import ConfigError


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

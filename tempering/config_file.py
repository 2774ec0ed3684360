"""A pipeline's YAML file as a tree of settings: `extends:`, then overrides of the command line.

Nothing here knows a setting; `validation` makes a config of the tree.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tempering.config import Tree
from tempering.errors import ConfigError
from tempering.yaml_text import NotYaml, read_text, read_yaml

_MOST_FILES = 100  # that one config may extend, counted as often as they are named
_MOST_KEYS = 30  # of an override: ppo.reward.components.length.kind has 5


def load(path: str | Path, overrides: Iterable[str] = ()) -> Tree:
    """Read a YAML config: its `extends:` bases (left to right), itself, then `key=value` overrides.

    Mappings merge, lists replace, `null` switches a stage off. Paths in `extends:` are relative
    to the file that names them.
    """
    return load_stages(path, overrides)[0]


def load_stages(path: str | Path, overrides: Iterable[str] = ()) -> tuple[Tree, set[str]]:
    """As `load`, with the names of the stages of a name of their own that are switched off."""
    named: set[str] = set()
    tree = _load_file(Path(path), (), named, [])
    for override in overrides:
        apply_override(tree, override)
        _note_kinds(tree, named)
    # A section that says `kind:` and is `null` now is no section: nothing else tells what it was.
    off = {name for name in named if name in tree and tree[name] is None}
    return {name: section for name, section in tree.items() if name not in off}, off


def _note_kinds(tree: Tree, named: set[str]) -> None:
    named.update(name for name, section in tree.items() if isinstance(section, dict) and "kind" in section)


def _load_file(path: Path, chain: tuple[Path, ...], named: set[str], files: list[Path]) -> Tree:
    # The file itself.
    try:
        place = path.resolve()
        if place in chain:
            raise ConfigError(f"{path}: `extends:` runs in a circle", fix="remove one of the links")
        files.append(place)
        if len(files) > _MOST_FILES:
            raise ConfigError(f"{chain[0]} extends more than {_MOST_FILES} files", fix="extend fewer files")
        raw = read_yaml(read_text(path))
    except (OSError, ValueError, RuntimeError) as error:  # a NUL in the name, a link to itself
        raise ConfigError(
            f"cannot read the config {path}: {getattr(error, 'strerror', None) or error}",
            expected="a YAML file",
            fix="check the path; the default is configs/quickstart.yaml",
        ) from None
    except NotYaml as error:
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
        tree = merge(tree, _load_file(path.parent / base, (*chain, place), named, files))
    _note_kinds(raw, named)
    return merge(tree, raw)


_SHORT = {"estimator": "kind"}
"""Settings that can be a string, and the key of the mapping that it stands for."""
_KINDS = {"architecture": "transformer", "adapter": "lora"}
"""The kind of a setting's mapping that says none; a stage's is its name."""


def merge(base: Tree, over: Tree) -> Tree:
    """`over` laid on `base`: mappings merge, everything else replaces. A new `kind:` replaces whole.

    A stage's section without `kind:` is of the kind that its name says, or that its setting has by default.
    """
    out = dict(base)
    for key, value in over.items():
        before = out.get(key)
        if isinstance(before, str) and isinstance(value, dict) and key in _SHORT:
            before = {_SHORT[key]: before}
        if (
            isinstance(before, dict)
            and isinstance(value, dict)
            and value.get("kind", _kind(key, before)) == _kind(key, before)
        ):
            out[key] = merge(before, value)
        else:
            out[key] = value
    return out


def _kind(key: str, section: Tree) -> Any:
    return section.get("kind", _KINDS.get(key, key))


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
    if len(keys) > _MOST_KEYS:
        raise ConfigError(f"override {override[:60]!r}… has {len(keys)} keys", expected="a setting's path")
    try:
        value = read_yaml(text)
    except NotYaml:
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

"""YAML text as plain values, read so that no file can keep the reader busy or fill the memory.

Numbers are those of YAML 1.2 and JSON (`1e-4`), a key stands once in a mapping, and the size of a value is
known before it is made: aliases can stand for themselves, or for 10^9 values in ten lines.
"""

import re
import stat
from pathlib import Path
from typing import Any

import yaml

MOST_BYTES = 200_000
"""Of a file: settings, not data. To read YAML of this size takes seconds."""
_MOST_VALUES = 200_000
_MOST_DEPTH = 40


class NotYaml(Exception):
    """The text is no YAML, or more than a config can be; the message says what and where."""


class _Loader(yaml.SafeLoader):
    """YAML whose plain `1e-4` is a number, as in YAML 1.2 and JSON; a quoted one stays a string."""


# YAML 1.1 wants a dot in the mantissa and a sign in the exponent.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


def read_text(path: Path) -> str:
    """The text of a config.

    Raises:
        OSError: it cannot be read, or is no file: a pipe or a device may never end.
        NotYaml: it is too large, or not UTF-8.
    """
    state = path.stat()
    if not stat.S_ISREG(state.st_mode) and not stat.S_ISDIR(state.st_mode):
        raise OSError(None, "it is a pipe or a device, not a file")
    if state.st_size > MOST_BYTES:
        raise NotYaml(f"it has {state.st_size:,} bytes; a config has at most {MOST_BYTES:,}")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise NotYaml(str(error)) from None


def read_yaml(text: str) -> Any:
    """The value of a YAML text.

    Raises:
        NotYaml: with the line; also for a mapping that sets a key twice.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _measure(node, {}, 0)
        return loader.construct_document(node)
    except RecursionError:
        raise NotYaml("it is nested too deeply") from None
    except yaml.YAMLError as error:
        raise NotYaml(str(error)) from None
    except (ValueError, KeyError, AttributeError, TypeError, OverflowError) as error:
        # A value that cannot be what it looks like or is tagged as: 2026-13-45, !!int x.
        raise NotYaml(f"a date, number or tag has no such value: {error}") from None


def _measure(node: yaml.Node, sizes: dict[int, int], depth: int) -> int:
    """How many values the node stands for, its aliases counted each time.

    Raises:
        NotYaml: too many or too deep, or a mapping that sets a key twice.
    """
    if id(node) in sizes:
        if not sizes[id(node)]:
            raise NotYaml(f"an alias stands for what it is part of{_line(node)}")
        return sizes[id(node)]
    if depth > _MOST_DEPTH:
        raise NotYaml(f"it is nested more than {_MOST_DEPTH} deep{_line(node)}")
    # What is open has the size 0.
    sizes[id(node)] = 0
    size = 1
    if isinstance(node, yaml.MappingNode):
        _check_keys(node)
        size += sum(_measure(part, sizes, depth + 1) for pair in node.value for part in pair)
    elif isinstance(node, yaml.SequenceNode):
        size += sum(_measure(part, sizes, depth + 1) for part in node.value)
    if size > _MOST_VALUES:
        raise NotYaml(f"its aliases stand for more than {_MOST_VALUES:,} values{_line(node)}")
    sizes[id(node)] = size
    return size


def _check_keys(mapping: yaml.MappingNode) -> None:
    """All keys are different: of two, YAML would keep the last without a word."""
    keys: set[str] = set()
    for key, _ in mapping.value:
        if not isinstance(key, yaml.ScalarNode):
            raise NotYaml(f"a key is a list or a mapping{_line(key)}")
        if key.value in keys and key.tag != "tag:yaml.org,2002:merge":
            raise NotYaml(f"{key.value} is set twice{_line(key)}")
        keys.add(key.value)


def _line(node: yaml.Node) -> str:
    return f" (line {node.start_mark.line + 1}, column {node.start_mark.column + 1})"

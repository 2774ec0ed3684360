"""Nested values that are the same from every format, and their text.

A column of Parquet or Arrow has one type: each object in it has the keys of all rows in one order, null
where the row has none, and one number with a point makes all of them floats. CSV has only text. What a format
cannot keep must not be learnt, so these rules hold for all of them:

- a key of a nested object whose value is null or NaN is absent;
- where an object becomes text, `ORDER` comes first, then the other keys by name;
- there a whole number is written without a point, whichever type it has.
"""

import ast
import json
import math
import re
from typing import Any

DEEPEST = 100
"""Levels of objects and lists in a value."""

ORDER = (
    *("type", "function", "name", "description", "parameters", "arguments"),
    *("properties", "required", "items", "enum", "default"),
)
"""Keys of tools, calls and JSON schemas, in the order in which people write them."""

_PYTHON = re.compile(r"\s*\[?\s*\{\s*'")
_PLACES = {name: place for place, name in enumerate(ORDER)}
_EXACT = 2**53


class TooDeep(ValueError):
    """A value has more than `DEEPEST` levels."""


def tidied(value: Any, level: int = 0) -> Any:
    """A value without the null keys of its objects; a null in a list stays, since it has a place.

    Raises:
        TooDeep: see there.
    """
    if level > DEEPEST:
        raise TooDeep(f"a value of more than {DEEPEST} levels")
    if isinstance(value, dict):
        return {
            str(name): inner if isinstance(inner, str) else tidied(inner, level + 1)
            for name, inner in value.items()
            if isinstance(inner, str) or not _missing(inner)
        }
    return [tidied(inner, level + 1) for inner in value] if isinstance(value, list) else value


def parsed(value: Any) -> Any:
    """The list or object that a string is the JSON of (CSV has no other way); else the value itself.

    Or the Python notation of (`[{'role': 'user', ...}]`): what pandas writes into a cell.
    """
    if not isinstance(value, str) or value.lstrip()[:1] not in ("[", "{"):
        return value
    try:
        return tidied(json.loads(value))
    except (ValueError, RecursionError):
        pass
    if not _PYTHON.match(value):
        return value
    try:
        return tidied(ast.literal_eval(value.strip()))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return value


def as_json(value: Any) -> str:
    """A value as JSON, the same whatever format it was read from.

    Raises:
        TypeError: it holds what JSON cannot (bytes).
    """
    return json.dumps(_ordered(value), ensure_ascii=False)


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: (_PLACES.get(name, len(ORDER)), name))
        return {name: _ordered(value[name]) for name in names}
    if isinstance(value, list):
        return [_ordered(inner) for inner in value]
    whole = isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT
    return int(value) if whole else value


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))

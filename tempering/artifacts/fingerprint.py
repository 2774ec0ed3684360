"""Fingerprints: what a stage's output is determined by, as one hash.

Stage name, version, the resolved config without runtime fields, the inputs' fingerprints and the
bytes of external files. Canonical JSON or an error, never `str()`: an object whose text holds an
address or a float printed two ways would rebuild days of work, or worse, hide a change.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tempering.config import Config, external_files, identity
from tempering.errors import ConfigError


@dataclass(frozen=True)
class Fingerprint:
    """The hash and exactly what went into it (`hashed`, kept in the manifest for `plan`)."""

    hex: str
    hashed: Mapping[str, Any]

    def __str__(self) -> str:
        return self.hex

    def is_of(self, inputs: Mapping[str, str], files: Sequence[tuple[str, str]]) -> bool:
        """Whether these inputs and files (see `fingerprint`) went into it."""
        hashed = self.hashed["inputs"], self.hashed["files"]
        return hashed == (dict(inputs), [list(file) for file in files])


def fingerprint(
    stage: str,
    version: int,
    config: Config,
    inputs: Mapping[str, str],
    files: Sequence[tuple[str, str]] = (),
) -> Fingerprint:
    """The fingerprint of a stage's output.

    Args:
        inputs: role (`datasets.corpus` inside a mapping) -> fingerprint of the input artifact.
        files: (name, SHA-256) of the config's external files, from `external_digests`.

    Raises:
        ConfigError: a config value that has no canonical form, with its path.
    """
    hashed = {
        "stage": stage,
        "version": version,
        "config": portable(identity(config), external_files(config)),
        "inputs": dict(inputs),
        "files": [list(file) for file in files],
    }
    clean = _canonical(hashed, stage)  # in the config's own order, as `plan` lists changes
    return Fingerprint(hashlib.sha256(canonical_json(clean).encode()).hexdigest(), clean)


def canonical_json(value: Any, where: str = "value") -> str:
    """One text for one value: sorted keys, no spaces, shortest exact floats, `-0.0` as `0.0`.

    Raises:
        ConfigError: NaN, infinity, keys that are not strings, and types JSON does not have.
    """
    clean = _canonical(value, where)
    return json.dumps(clean, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _canonical(value: Any, where: str) -> Any:
    kind = type(value)
    if value is None or kind in (bool, int):
        return value
    if kind is float and math.isfinite(value):
        return value + 0.0  # -0.0 becomes 0.0
    if kind is str and _encodes(value):
        return value
    if kind in (list, tuple):
        return [_canonical(item, f"{where}.{index}") for index, item in enumerate(value)]
    if kind is dict and all(type(key) is str and _encodes(key) for key in value):
        return {key: _canonical(item, f"{where}.{key}") for key, item in value.items()}
    raise ConfigError(
        f"{where} is {value!r} ({kind.__name__}), which has no canonical form",
        expected="null, true/false, a finite number, a text, or lists and mappings of these",
        fix="give the config field such a type, or declare it with runtime_field",
    )


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # lone surrogates
        return False
    return True


def portable(tree: Any, files: Iterable[Path]) -> Any:
    """`tree` with paths of external files (and of folders above them) cut to their last name.

    What such a file holds is hashed by content, so a moved checkout must find its artifacts again.
    """
    places = {_absolute(path) for path in files}
    places |= {parent for place in places for parent in place.parents}
    return _shorten(tree, places) if places else tree


def _shorten(value: Any, places: set[Path]) -> Any:
    if isinstance(value, dict):
        return {key: _shorten(item, places) for key, item in value.items()}
    if isinstance(value, list):
        return [_shorten(item, places) for item in value]
    if isinstance(value, str) and "\0" not in value and "/" in value:
        path = _absolute(Path(value))
        return path.name if path in places else value
    return value


def _absolute(path: Path) -> Path:
    try:
        return path.expanduser().absolute()
    except RuntimeError:  # ~somebody who does not exist
        return path

"""Fixtures read through a builder: the good rows, what was rejected, and what was noted."""

from collections.abc import Mapping, Sequence
from typing import Any

from tempering.data.builders import build
from tempering.data.builders.base import BuilderConfig
from tempering.data.rows import Notice, Row, Values


def rows_of(config: BuilderConfig) -> list[Values]:
    """The values of the good rows."""
    return [item.values for item in build(config) if isinstance(item, Row)]


def reasons_of(config: BuilderConfig) -> list[tuple[int, str]]:
    """`(line, reason)` of each row that was left out."""
    items = (item for item in build(config) if not isinstance(item, Row | Notice))
    return [(item.line, item.reason) for item in items if not item.kept]


def notes_of(config: BuilderConfig) -> list[tuple[int, str]]:
    """`(line, reason)` of each row that was kept and changed."""
    items = (item for item in build(config) if not isinstance(item, Row | Notice))
    return [(item.line, item.reason) for item in items if item.kept]


def said(messages: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """`(first letter of the role, content)` of each message."""
    return [(message["role"][0], message["content"]) for message in messages]

"""Builders: one foreign schema each, normalised into canonical rows.

To add one, write one file with a config class (see `base`) and put it into the `Builder` union.
`build` is the only way in: it checks each row, so that no builder can let a broken one through.
"""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from tempering.data.builders.base import BuilderConfig, FileBuilderConfig
from tempering.data.builders.hh import HHConfig
from tempering.data.builders.instructions import AlpacaConfig, ChatConfig
from tempering.data.builders.squad import SquadConfig
from tempering.data.builders.text import TextConfig
from tempering.data.builders.world import WorldConfig
from tempering.data.files import excerpt
from tempering.data.rows import Rejected, Row, problem

__all__ = [
    "AlpacaConfig",
    "Builder",
    "BuilderConfig",
    "ChatConfig",
    "FileBuilderConfig",
    "HHConfig",
    "SquadConfig",
    "TextConfig",
    "WorldConfig",
    "build",
]

Builder = Annotated[
    WorldConfig | TextConfig | AlpacaConfig | ChatConfig | HHConfig | SquadConfig,
    Field(discriminator="kind"),
]


def build(config: BuilderConfig) -> Iterator[Row | Rejected]:
    """The checked rows of a data set, `max_rows` of them at most, and everything that was rejected."""
    accepted = 0
    for item in config.read():
        found = problem(config.row_type, item.values) if isinstance(item, Row) else None
        if isinstance(item, Row) and found:
            yield Rejected(item.file, item.line, found, excerpt(item.values))
            continue
        yield item
        accepted += isinstance(item, Row)
        if accepted == config.max_rows:
            return

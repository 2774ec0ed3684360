"""The graph: nodes (a stage with its config) and where their inputs come from.

A node is the unit of planning, caching and running. A stage can have several nodes, such as
`evaluate[sft]` and `evaluate[ppo]`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tempering.artifacts.stage import Stage
from tempering.config import Config


@dataclass(frozen=True)
class Ref:
    """An input from the store instead of this graph: an artifact id, `STAGE@latest`, ..."""

    ref: str


Source = str | Ref
"""A node's name, or an artifact of the store."""


@dataclass(frozen=True)
class Node:
    """One stage of one pipeline. `inputs`: role -> source, or role -> {key: source} for many."""

    name: str
    stage: Stage
    config: Config
    inputs: Mapping[str, Source | Mapping[str, Source]] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    """Nodes that must have an artifact first, though it is made from none of theirs; in no fingerprint."""
    reuse: str | None = None
    """Id of an artifact that is taken as it is, instead of what the stage would make."""

    @property
    def key(self) -> str:
        """The name's part in brackets: `sft` of `sample[sft]`; "" without brackets."""
        return self.name.partition("[")[2].removesuffix("]")

    def sources(self) -> dict[str, Source]:
        """The inputs flattened as manifests name them: `datasets.corpus` -> source."""
        flat: dict[str, Source] = {}
        for role, source in self.inputs.items():
            if isinstance(source, Mapping):
                flat.update({f"{role}.{key}": item for key, item in source.items()})
            else:
                flat[role] = source
        return flat

    def parents(self) -> tuple[str, ...]:
        """The nodes that it is made from."""
        return tuple(dict.fromkeys(source for source in self.sources().values() if isinstance(source, str)))

    def before(self) -> tuple[str, ...]:
        """The nodes that must finish before this one: its parents, and those that it only waits for."""
        return tuple(dict.fromkeys((*self.parents(), *self.after)))

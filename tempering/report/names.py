"""Who is who on the page: order, label and colour of every model, the same everywhere.

A stage that is called like its kind has the kind's colour, so that two reports can be laid side by side;
others take the free ones in order. A colour is a CSS class; its light and dark values are in the style sheet.
"""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tempering.artifacts.stage import Stage, section_kinds, stages

_COLORS = 13
"""Classes m-0 to m-12 of the style sheet; the registry gives the first ones to kinds of stages."""


@dataclass(frozen=True)
class Model:
    """One model on the page. `color` is its CSS class, `parent` the key of the model it was trained from."""

    key: str
    label: str
    color: str
    kind: Stage | None = None
    outside: bool = False
    """It is external: what others start from."""
    parent: str | None = None

    @property
    def aligned(self) -> bool:
        """Whether it is meant to be better than SFT."""
        return not self.outside and (self.kind is None or self.kind.aligns)

    @property
    def scores(self) -> bool:
        """Whether it is a reward model."""
        return self.kind is not None and self.kind.head == "score"


def label_of(name: str) -> str:
    """A stage's name for readers."""
    kind = section_kinds().get(name)
    return kind.label if kind else name.replace("_", " ")


def cast(
    keys: Iterable[str],
    kinds: Mapping[str, str] = MappingProxyType({}),
    parents: Mapping[str, str] = MappingProxyType({}),
) -> Mapping[str, Model]:
    """Every model of the page, in the order of `keys`.

    Args:
        kinds: key -> the kind of stage that made it, where that is not the key itself.
        parents: key -> the model it was trained from.
    """
    # A stage called like its kind has the kind's colour.
    names = list(dict.fromkeys(keys))
    stage = {name: stages().get(kinds.get(name, name)) for name in names}
    colors = {name: kind.color for name, kind in stage.items() if kind and kind.name == name}
    # The others take colours that no kind has, then those of kinds that are not on the page.
    reserved = {color for kind in section_kinds().values() if (color := kind.color) is not None}
    present = {color for color in colors.values() if color is not None}
    free = [color for color in range(_COLORS) if color not in reserved]
    free += sorted(reserved - present)
    models: dict[str, Model] = {}
    spare = itertools.cycle(free or range(_COLORS))
    for name in names:
        color = colors.get(name)
        models[name] = Model(
            name,
            label_of(name),
            f"m-{next(spare) if color is None else color}",
            stage[name],
            outside=kinds.get(name) == "adopt",
            parent=parents.get(name),
        )
    return models

"""What can be wrong with a story, stated before it is told.

Each flaw lowers one known part of the gold score, so stories of any quality have an exact
order. Flaws of the ending exclude one another; the others combine freely.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

Group = Literal["wrong", "missing", "extra", "unhappy", "ending"]
Choice = TypeVar("Choice")

# How often each group of flaws is drawn, relative to the others.
GROUP_WEIGHTS: Final[Mapping[Group, float]] = {
    "wrong": 3.0,
    "missing": 2.0,
    "extra": 1.5,
    "unhappy": 2.0,
    "ending": 3.0,
}
WRONG_WEIGHTS: Final[Mapping[int, float]] = {1: 4.0, 2: 2.5, 3: 1.0, 4: 2.0}
ENDING_WEIGHTS: Final[Mapping[str, float]] = {
    "cut_short": 2.0,
    "no_ending": 1.5,
    "runs_on": 1.5,
}


@dataclass(frozen=True, slots=True)
class Flaws:
    """The flaws of one story; `Flaws()` is a clean one.

    Args:
        wrong_things: how many of the four things are replaced by another of their kind.
        missing_things: how many are left out ("something").
        extra_things: how many things appear that the instruction does not name.
        unhappy_ending: the closing sentence is a sad one.
        no_ending: the closing sentence is there, but "The end." is missing.
        cut_short: the story breaks off before its closing sentence.
        runs_on: the text continues after "The end.".

    Raises ValueError when the flaws contradict each other.
    """

    wrong_things: int = 0
    missing_things: int = 0
    extra_things: int = 0
    unhappy_ending: bool = False
    no_ending: bool = False
    cut_short: bool = False
    runs_on: bool = False

    def __post_init__(self) -> None:
        counts = (self.wrong_things, self.missing_things, self.extra_things)
        if min(counts) < 0 or self.extra_things > 4 or sum(counts[:2]) > 4:
            raise ValueError(
                f"{self}: a story has four things; expected wrong_things + "
                "missing_things and extra_things between 0 and 4"
            )
        if self.no_ending + self.cut_short + self.runs_on > 1:
            raise ValueError(f"{self}: set one of no_ending, cut_short and runs_on")
        if self.cut_short and self.unhappy_ending:
            raise ValueError(f"{self}: a story that is cut short has no closing to sour")


def draw_flaws(rng: random.Random, how_many: Mapping[int, float]) -> Flaws:
    """Random flaws of as many groups as `how_many` (number -> weight) says."""
    groups = _draw_groups(rng, _weighted(rng, how_many))
    wrong_things = _weighted(rng, WRONG_WEIGHTS) if "wrong" in groups else 0
    missing_things = rng.choice((1, 1, 2)) if "missing" in groups else 0
    ending = _draw_ending(rng, "unhappy" in groups) if "ending" in groups else ""
    return Flaws(
        wrong_things=wrong_things,
        missing_things=min(missing_things, 4 - wrong_things),
        extra_things=int("extra" in groups),  # more would make the story too long
        unhappy_ending="unhappy" in groups,
        no_ending=ending == "no_ending",
        cut_short=ending == "cut_short",
        runs_on=ending == "runs_on",
    )


def _draw_groups(rng: random.Random, count: int) -> set[Group]:
    weights = dict(GROUP_WEIGHTS)
    groups: set[Group] = set()
    for _ in range(count):
        group = _weighted(rng, weights)
        del weights[group]
        groups.add(group)
    return groups


def _draw_ending(rng: random.Random, unhappy: bool) -> str:
    weights = dict(ENDING_WEIGHTS)
    if unhappy:
        del weights["cut_short"]
    return _weighted(rng, weights)


def _weighted(rng: random.Random, weights: Mapping[Choice, float]) -> Choice:
    return rng.choices(list(weights), list(weights.values()))[0]

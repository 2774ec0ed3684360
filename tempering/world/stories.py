"""Telling one story: the four things, a small problem, a helping animal, an end.

The flaws are stated, so a story's quality is known before it is scored. Every flaw but
`cut_short` keeps the story complete, and a cut comes after all four things are named: each
flaw lowers its own part of the gold score and no other. Stories are told again until they
fit `MAX_TOKENS`, so 48 generated tokens hold any story and its EOS.
"""

import random
import re
from dataclasses import dataclass, replace
from typing import Final

from tempering.world.flaws import Flaws, draw_flaws
from tempering.world.templates import (
    EXTRAS,
    FULL_OPENINGS,
    GOINGS,
    HAPPY_CLOSINGS,
    POSSESSIONS,
    PROBLEMS,
    RESOLUTIONS,
    RUN_ONS,
    SHORT_OPENINGS,
    THE_END,
    UNHAPPY_CLOSINGS,
    fill,
    phrases,
    sentence,
)
from tempering.world.words import KINDS, THINGS, Combo, Kind

__all__ = ["MAX_TOKENS", "Flaws", "count_tokens", "draw_flaws", "tell"]

MAX_TOKENS: Final = 46
_ATTEMPTS: Final = 50
_SHORT_OPENING_SHARE: Final = 0.4
_TOKEN: Final = re.compile(r"\w+|[^\w\s]")
_CLEAN: Final = Flaws()


def count_tokens(text: str) -> int:
    """How many words and punctuation marks `text` has: its length in trained tokens."""
    return len(_TOKEN.findall(text))


def tell(
    rng: random.Random,
    combo: Combo,
    flaws: Flaws = _CLEAN,
    asides: tuple[str, ...] = (),
) -> str:
    """A story of `combo` with exactly the stated flaws.

    `asides` are complete sentences inserted before the problem. The story has at most
    `MAX_TOKENS` tokens wherever its flaws and asides leave room for that.
    """
    shortest = ""
    for _ in range(_ATTEMPTS):
        story = _attempt(rng, combo, flaws, asides)
        if count_tokens(story) <= MAX_TOKENS:
            return story
        shortest = min(shortest or story, story, key=count_tokens)
    return shortest


@dataclass(frozen=True, slots=True)
class _Cast:
    """What a story really names, once its flaws are dealt out."""

    combo: Combo
    missing: frozenset[Kind]
    extras: tuple[str, ...]


def _attempt(rng: random.Random, combo: Combo, flaws: Flaws, asides: tuple[str, ...]) -> str:
    cast = _deal(rng, combo, flaws)
    slots = phrases(rng, cast.combo, cast.missing)
    lead = [*_opening(rng, slots), sentence(rng, GOINGS, slots), *cast.extras, *asides]
    middle = [sentence(rng, PROBLEMS, slots), sentence(rng, RESOLUTIONS, slots)]
    if flaws.cut_short:
        words = " ".join(middle).split()
        return " ".join(lead + words[: rng.randrange(1, len(words))])
    return " ".join(lead + middle + _ending(rng, slots, flaws))


def _opening(rng: random.Random, slots: dict[str, str]) -> list[str]:
    if rng.random() < _SHORT_OPENING_SHARE:
        return [sentence(rng, SHORT_OPENINGS, slots)]
    return [sentence(rng, part, slots) for part in (FULL_OPENINGS, POSSESSIONS)]


def _ending(rng: random.Random, slots: dict[str, str], flaws: Flaws) -> list[str]:
    closings = UNHAPPY_CLOSINGS if flaws.unhappy_ending else HAPPY_CLOSINGS
    closing = sentence(rng, closings, slots)
    if flaws.no_ending:
        return [closing]
    return [closing, THE_END] + ([rng.choice(RUN_ONS)] if flaws.runs_on else [])


def _deal(rng: random.Random, combo: Combo, flaws: Flaws) -> _Cast:
    kinds = rng.sample(KINDS, k=len(KINDS))
    wrong = kinds[: flaws.wrong_things]
    missing = kinds[flaws.wrong_things :][: flaws.missing_things]
    variant = _replace_things(rng, combo, wrong)
    avoid = {*combo.words(), *variant.words()}
    extras = tuple(_extra(rng, kind, avoid) for kind in rng.sample(KINDS, k=flaws.extra_things))
    return _Cast(variant, frozenset(missing), extras)


def _replace_things(rng: random.Random, combo: Combo, kinds: list[Kind]) -> Combo:
    avoid = set(combo.words())
    return replace(combo, **{kind: _other(rng, kind, avoid) for kind in kinds})


def _extra(rng: random.Random, kind: Kind, avoid: set[str]) -> str:
    thing = _other(rng, kind, avoid)
    stranger = replace(Combo(*(THINGS[k][0] for k in KINDS)), **{kind: thing})
    return fill(EXTRAS[kind], phrases(rng, stranger))


def _other(rng: random.Random, kind: Kind, avoid: set[str]) -> str:
    return rng.choice([word for word in THINGS[kind] if word not in avoid])

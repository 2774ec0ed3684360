"""Pairs of stories that differ in one thing alone, to see what a reward model looks at.

The preferences that it learns from differ in several things at once, so its accuracy on them does not say
which it has learnt. Here the worse story is the better one with one known flaw: another name, object, animal
or place than the instruction asks for, the sad counterpart of its closing sentence, or no "The end.".
"""

import random
import re
from collections.abc import Iterator
from typing import Any, Final

from tempering.world.seeding import rng_for
from tempering.world.stories import tell
from tempering.world.templates import HAPPY_CLOSINGS, THE_END, UNHAPPY_CLOSINGS, article
from tempering.world.words import GIRLS, KINDS, THINGS, Combo, Split, instruction, sample_combo

FLAWS: Final = ("other_name", "other_object", "other_animal", "other_place", "sad_ending", "no_ending")
_SAD: Final = {
    happy.format(she=pronoun): sad.format(she=pronoun)
    for happy, sad in zip(HAPPY_CLOSINGS, UNHAPPY_CLOSINGS, strict=True)
    for pronoun in ("She", "He")
}


def flaw_pairs(n: int, seed: int, split: Split = "train") -> Iterator[dict[str, Any]]:
    """`n` rows `prompt, chosen, rejected, flaw`; the flaws take turns."""
    for index in range(n):
        rng = rng_for(seed, f"flaw_pairs/{split}", index)
        combo, flaw = sample_combo(rng, split), FLAWS[index % len(FLAWS)]
        story = tell(rng, combo)
        yield {
            "prompt": instruction(combo),
            "chosen": f" {story}",
            "rejected": f" {_with_flaw(rng, story, combo, flaw)}",
            "flaw": flaw,
        }


def _with_flaw(rng: random.Random, story: str, combo: Combo, flaw: str) -> str:
    told = story.removesuffix(f" {THE_END}")
    if flaw == "no_ending":
        return told
    if flaw == "sad_ending":
        happy = next(closing for closing in _SAD if told.endswith(f" {closing}"))
        return f"{told.removesuffix(happy)}{_SAD[happy]} {THE_END}"
    kind = next(kind for kind in KINDS if flaw == f"other_{kind}")
    word = getattr(combo, kind)
    other = rng.choice([thing for thing in THINGS[kind] if thing != word and _fits(thing, word)])
    return re.sub(rf"\b{word}\b", other, story)


def _fits(thing: str, word: str) -> bool:
    """Whether the story stays right in its grammar: the same pronouns, the same article."""
    return (thing in GIRLS) == (word in GIRLS) and article(thing) == article(word)

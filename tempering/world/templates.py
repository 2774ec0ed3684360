"""The sentences stories are made of, and the phrases that fill them.

A handful of sentences per part keeps the corpus from being trivial and still lets a
two-layer model learn it in a minute. The object always goes astray and the animal always
helps, so questions about any story have one answer. A thing that is left out becomes
"something", "someone" or "some place" in the same sentences: a flaw of content, not of
grammar.
"""

import random
from collections.abc import Collection
from typing import Final

from tempering.world.words import GIRLS, Combo, Kind

FULL_OPENINGS: Final = (
    "Once upon a time there was a {girl}{named}.",
    "Once there was a {girl}{named}.",
    "Once there was a {good} {girl}{named}.",
    "There was a {good} {girl}{named}.",
)
POSSESSIONS: Final = (
    "{she} had {a_object}.",
    "{she} got {a_object}.",
    "{she} loved {her_object}.",
    "Mom gave {her_him} {a_object}.",
)
SHORT_OPENINGS: Final = (  # opening and possession in one
    "{first_name} had {a_object}.",
    "One day {first_name} got {a_object}.",
    "Once upon a time {first_name} had {a_object}.",
)
GOINGS: Final = (
    "{she} went to {the_place} with {her_animal}.",
    "{she} took {her_animal} to {the_place}.",
    "At {the_place} {she} met {a_animal}.",
    "Then {she} saw {a_animal} at {the_place}.",
)
PROBLEMS: Final = (
    "{name} lost {the_object}.",
    "But {the_object} was gone.",
    "Then {the_object} fell down.",
    "It fell into the {mud}.",
    "{name} could not find it.",
)
RESOLUTIONS: Final = (
    "{the_animal} found it.",
    "{the_animal} helped {her_him} find it.",
    "{the_animal} ran and got it.",
    "Soon {the_animal} brought it back.",
    "But {the_animal} saw it under a {tree}.",
)
HAPPY_CLOSINGS: Final = (
    "They were happy.",
    "{she} was very happy.",
    "They hugged and smiled.",
    "They were good friends.",
    "They laughed and played.",
)
UNHAPPY_CLOSINGS: Final = (
    "They were sad.",
    "{she} was very sad.",
    "They cried and yelled.",
    "They were not friends.",
    "They cried and fought.",
)
THE_END: Final = "The end."
RUN_ONS: Final = (
    "Then they went home.",
    "They played again.",
    "It was dark.",
    THE_END,
)
EXTRAS: Final[dict[Kind, str]] = {
    "name": "{name} was there too.",
    "object": "They saw {a_object} too.",
    "animal": "They saw {a_animal} too.",
    "place": "{the_place} was near.",
}
ADJECTIVES: Final = ("red", "blue", "green", "big", "new", "pretty")
GOOD: Final = ("little", "kind", "brave")
TREES: Final = ("tree", "rock", "bench")
MUD: Final = ("mud", "water", "grass")


def article(noun: str) -> str:
    """`a` or `an`, by the noun's first letter."""
    return "an" if noun[0] in "aeiou" else "a"


def phrases(rng: random.Random, combo: Combo, missing: Collection[Kind] = ()) -> dict[str, str]:
    """What fills the templates' slots for a story of `combo` without `missing`."""
    girl = combo.name in GIRLS
    person = "girl" if girl else "boy"
    has_name = "name" not in missing
    return {
        "girl": person,
        "she": "she" if girl else "he",
        "her_him": "her" if girl else "him",
        "named": f" named {combo.name}" if has_name else "",
        "first_name": combo.name if has_name else f"a {person}",
        "name": combo.name if has_name else f"the {person}",
        "good": rng.choice(GOOD),
        "tree": rng.choice(TREES),
        "mud": rng.choice(MUD),
        **_noun_phrases(rng, combo, "her" if girl else "his", missing),
    }


def sentence(rng: random.Random, part: tuple[str, ...], slots: dict[str, str]) -> str:
    """One of the part's sentences with its slots filled, starting with a capital."""
    return fill(rng.choice(part), slots)


def fill(template: str, slots: dict[str, str]) -> str:
    """The template with its slots filled, starting with a capital letter."""
    text = template.format_map(slots)
    return text[0].upper() + text[1:]


def _noun_phrases(
    rng: random.Random, combo: Combo, possessive: str, missing: Collection[Kind]
) -> dict[str, str]:
    adjective = rng.choice(ADJECTIVES) if rng.random() < 0.5 else ""
    described = f"{adjective} {combo.object}" if adjective else combo.object
    slots = {
        "a_object": f"{article(described)} {described}",
        "her_object": f"{possessive} {combo.object}",
        "the_object": f"the {combo.object}",
        "a_animal": f"{article(combo.animal)} {combo.animal}",
        "her_animal": f"{possessive} {combo.animal}",
        "the_animal": f"the {combo.animal}",
        "the_place": f"the {combo.place}",
    }
    stand_ins = {"object": "something", "animal": "someone", "place": "some place"}
    for slot in slots:
        kind = slot.rsplit("_", 1)[1]
        if kind in missing:
            slots[slot] = stand_ins[kind]
    return slots

"""Questions about a story, with one-word answers and the score of a guess.

A story that names one animal answers "which animal?" by itself. So most contexts have a
second character (of the other gender, to keep pronouns clear) who owns, meets or visits
something too, and half of those questions are about the second character.
"""

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from tempering.world.seeding import rng_for
from tempering.world.stories import tell
from tempering.world.templates import article
from tempering.world.words import BOYS, GIRLS, KINDS, THINGS, Combo, Kind, Split, sample_combo

SECOND_CHARACTER_SHARE: Final = 0.9
QUESTIONS: Final[dict[Kind, str]] = {
    "name": "Who had the {object}?",
    "object": "What did {name} have?",
    "animal": "Which animal helped {name}?",
    "place": "Where did {name} go?",
}


def question_prompt(context: str, question: str) -> str:
    """The text up to and including `Answer:`; the answer follows after one space."""
    return f"{context} Question: {question} Answer:"


def questions(n: int, seed: int, split: Split = "train") -> Iterator[dict[str, Any]]:
    """`n` rows `question, context, answers, baseline`.

    `baseline` is the score of a uniform guess among the context's different words of
    the right kind (names for who, objects for what, animals for which animal, places
    for where): 1/2 with a second character, 1 without.
    """
    for index in range(n):
        yield draw_question(rng_for(seed, f"questions/{split}", index), split)


def draw_question(rng: random.Random, split: Split) -> dict[str, Any]:
    """One row of `questions`, drawn from `rng`."""
    combo = sample_combo(rng, split)
    kind = rng.choice(KINDS)
    subject = combo
    asides: tuple[str, ...] = ()
    if rng.random() < SECOND_CHARACTER_SHARE:
        second = _second_character(rng, combo)
        asides = (_aside(kind, second),)
        subject = rng.choice((combo, second))
    context = tell(rng, combo, asides=asides)
    return {
        "question": QUESTIONS[kind].format(name=subject.name, object=subject.object),
        "context": context,
        "answers": [subject.words()[KINDS.index(kind)]],
        "baseline": _guess(kind, context),
    }


def _second_character(rng: random.Random, combo: Combo) -> Combo:
    choices = {kind: [word for word in THINGS[kind] if word not in combo.words()] for kind in KINDS}
    second = Combo(*(rng.choice(choices[kind]) for kind in KINDS))
    return replace(second, name=rng.choice(BOYS if combo.name in GIRLS else GIRLS))


def _aside(kind: Kind, second: Combo) -> str:
    """A sentence about the second character that leaves the question open."""
    if kind == "place":
        return f"{second.name} went to the {second.place}."
    if kind == "animal":
        return f"{article(second.animal).capitalize()} {second.animal} helped {second.name}."
    return f"{second.name} had {article(second.object)} {second.object}."


def _guess(kind: Kind, context: str) -> float:
    words = set(context.replace(".", " ").split())
    return 1 / len(words & set(THINGS[kind]))

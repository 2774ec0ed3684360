"""Grammatical minimal pairs in the words of the story world.

Good sentences come from the stories' own templates, so a model trained on the corpus can
have learnt them; the bad one differs by one edit that no template makes. Both sides have
the same number of words: a model that merely finds longer text less likely is right half
of the time, like a coin.
"""

import random
from collections.abc import Callable, Iterator
from typing import Any, Final

from tempering.world.seeding import rng_for
from tempering.world.templates import (
    FULL_OPENINGS,
    GOINGS,
    HAPPY_CLOSINGS,
    POSSESSIONS,
    PROBLEMS,
    RESOLUTIONS,
    SHORT_OPENINGS,
    article,
    fill,
    phrases,
    sentence,
)
from tempering.world.words import Combo, Split, sample_combo

Pair = tuple[str, str]
_OTHER_PRONOUN: Final = {"She": "He", "He": "She"}
_OTHER_POSSESSIVE: Final = {"her": "his", "his": "her"}
_OTHER_BE: Final = {"was": "were", "were": "was"}
_OTHER_ARTICLE: Final = {"a": "an", "an": "a"}


def minimal_pairs(n: int, seed: int, split: Split = "train") -> Iterator[dict[str, Any]]:
    """`n` rows `sentence_good, sentence_bad, paradigm`; the paradigms take turns."""
    names = list(PARADIGMS)
    for index in range(n):
        rng = rng_for(seed, f"minimal_pairs/{split}", index)
        paradigm = names[index % len(names)]
        good, bad = PARADIGMS[paradigm](rng, sample_combo(rng, split))
        yield {"sentence_good": good, "sentence_bad": bad, "paradigm": paradigm}


def _pronoun_agreement(rng: random.Random, combo: Combo) -> Pair:
    """There was a girl named Lily. She / *He had a ball."""
    slots = phrases(rng, combo)
    first, second = rng.choice(((FULL_OPENINGS, POSSESSIONS), (SHORT_OPENINGS, GOINGS)))
    opening = sentence(rng, first, slots)
    pronoun, *rest = sentence(rng, _pronoun_first(second), slots).split(" ")
    # A possessive follows the wrong pronoun: one mistake, not two.
    wrong_rest = [_OTHER_POSSESSIVE.get(word, word) for word in rest]
    good = " ".join([opening, pronoun, *rest])
    return good, " ".join([opening, _OTHER_PRONOUN[pronoun], *wrong_rest])


def _pronoun_first(part: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(template for template in part if template.startswith("{she}"))


def _be_agreement(rng: random.Random, combo: Combo) -> Pair:
    """They were / *was happy."""
    parts = FULL_OPENINGS + PROBLEMS + HAPPY_CLOSINGS
    with_be = tuple(t for t in parts if {"was", "were"} & set(t.split()))
    good = sentence(rng, with_be, phrases(rng, combo))
    be = next(word for word in good.split() if word in _OTHER_BE)
    return good, _swap_word(good, be, _OTHER_BE[be])


def _word_order(rng: random.Random, combo: Combo) -> Pair:
    """She went to the park / *park the with her dog."""
    good = sentence(rng, GOINGS, phrases(rng, combo))
    return good, good.replace(f"the {combo.place}", f"{combo.place} the")


def _article_choice(rng: random.Random, combo: Combo) -> Pair:
    """At the park she met a / *an dog."""
    with_article = tuple(t for t in GOINGS if "{a_animal}" in t)
    good = sentence(rng, with_article, phrases(rng, combo))
    right = article(combo.animal)
    wrong = f"{_OTHER_ARTICLE[right]} {combo.animal}"
    return good, good.replace(f"{right} {combo.animal}", wrong)


def _pronoun_case(rng: random.Random, combo: Combo) -> Pair:
    """Mom gave her / *she a ball."""
    with_object = tuple(t for t in POSSESSIONS + RESOLUTIONS if "{her_him}" in t.split())
    slots = phrases(rng, combo)
    good = sentence(rng, with_object, slots)
    return good, _swap_word(good, slots["her_him"], slots["she"])


def _bare_verb(rng: random.Random, combo: Combo) -> Pair:
    """The dog helped her find / *found it."""
    with_find = tuple(t for t in PROBLEMS + RESOLUTIONS if "find" in t.split())
    good = fill(rng.choice(with_find), phrases(rng, combo))
    return good, _swap_word(good, "find", "found")


def _swap_word(text: str, old: str, new: str) -> str:
    words = text.split(" ")
    words[words.index(old)] = new
    return " ".join(words)


PARADIGMS: Final[dict[str, Callable[[random.Random, Combo], Pair]]] = {
    "pronoun_agreement": _pronoun_agreement,
    "be_agreement": _be_agreement,
    "word_order": _word_order,
    "article_choice": _article_choice,
    "pronoun_case": _pronoun_case,
    "bare_verb": _bare_verb,
}

"""The gold score: how well a completion does what its instruction asks, exactly.

It is the mean of four parts, each between 0 and 1, computed from the text alone. A policy
looks for the cheapest text that scores well, so: a thing counts only in a sentence about
it (not in a list of things); naming nothing else counts only once a requested thing is
named; and an ending counts only after a story of at least `MIN_SENTENCES` different
sentences. A second "The end.", or an early one, ends nothing.
"""

import re
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Final

from tempering.world.templates import HAPPY_CLOSINGS, THE_END, UNHAPPY_CLOSINGS
from tempering.world.words import KINDS, THINGS, parse_instruction

Words = tuple[str, ...]

MIN_SENTENCES: Final = 4
MIN_WORDS: Final = 3
MAX_THINGS: Final = 3

_ALL_THINGS: Final = frozenset(word.lower() for k in KINDS for word in THINGS[k])
_WORD: Final = re.compile(r"\w+")
_SENTENCE: Final = re.compile(r"[^.!?:]+")


def _sentences_of(closings: tuple[str, ...]) -> frozenset[str]:
    return frozenset(
        closing.format(she=pronoun).strip(".") for closing in closings for pronoun in ("She", "He")
    )


_HAPPY: Final = _sentences_of(HAPPY_CLOSINGS)
_UNHAPPY: Final = _sentences_of(UNHAPPY_CLOSINGS)
_END: Final = THE_END.strip(".")


@dataclass(frozen=True, slots=True)
class GoldScore:
    """The score of one completion; every field is between 0 and 1.

    Args:
        things: share of the four named things that have a sentence about them.
        only: 1 / (1 + number of different other things); 0 if no named thing is told about.
        happy: 1 if the closing sentence is a happy one and none is unhappy.
        ends: 1 if the text, and the generation, ends with its only "The end.".
        total: the mean of the four.
    """

    things: float
    only: float
    happy: float
    ends: float
    total: float

    @property
    def perfect(self) -> bool:
        """Whether all four parts are 1."""
        return self.total == 1.0


def gold_score(prompt: str, completion: str, ended: bool = True) -> GoldScore:
    """Score a completion of an instruction; `ended`: it ended with EOS.

    Raises ValueError when the prompt holds no instruction.
    """
    targets = {word.lower() for word in parse_instruction(prompt).words()}
    text = " ".join(completion.split())
    sentences = [part.strip() for part in _SENTENCE.findall(text) if part.strip()]
    word_lists = [tuple(_WORD.findall(sentence.lower())) for sentence in sentences]
    things = len(targets & _told_things(word_lists)) / len(targets)
    extras = _ALL_THINGS.intersection(chain.from_iterable(word_lists)) - targets
    only = 1 / (1 + len(extras)) if things else 0.0
    is_story = _is_story(word_lists)
    happy = float(is_story and _closes_happily(sentences))
    ends = float(is_story and ended and _ends_properly(text))
    return GoldScore(things, only, happy, ends, (things + only + happy + ends) / 4)


def _told_things(word_lists: list[Words]) -> set[str]:
    """Things in sentences that say something, instead of listing the instruction's words."""
    things: set[str] = set()
    for words in word_lists:
        is_thing = [word in _ALL_THINGS for word in words]
        is_list = any(a and b for a, b in pairwise(is_thing))
        if not is_list and sum(is_thing) <= min(MAX_THINGS, len(words) // 2):
            things.update(_ALL_THINGS.intersection(words))
    return things


def _is_story(word_lists: list[Words]) -> bool:
    sentences = {words for words in word_lists if len(words) >= MIN_WORDS}
    return len(sentences) >= MIN_SENTENCES


def _closes_happily(sentences: list[str]) -> bool:
    """The closing is the sentence before the first "The end.", else the last one."""
    story = sentences[: sentences.index(_END)] if _END in sentences else sentences
    return bool(story) and story[-1] in _HAPPY and not _UNHAPPY & set(sentences)


def _ends_properly(text: str) -> bool:
    return text.endswith(THE_END) and text.count(THE_END) == 1

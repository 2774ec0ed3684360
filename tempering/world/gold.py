"""The gold score: how well a completion does what its instruction asks, exactly.

It is the mean of four parts, each between 0 and 1, read off the text alone. A policy
will look for the cheapest text that scores well, therefore: a thing counts only where a
sentence is told about it (not in a list of things); naming nothing else counts only
once something asked for is named; and an ending counts only behind a story of at least
`MIN_SENTENCES` different sentences. "The end." said twice, or said early, ends nothing.
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


def _spoken(closings: tuple[str, ...]) -> frozenset[str]:
    spoken = (c.format(she=she).strip(".") for c in closings for she in ("She", "He"))
    return frozenset(spoken)


_HAPPY: Final = _spoken(HAPPY_CLOSINGS)
_UNHAPPY: Final = _spoken(UNHAPPY_CLOSINGS)
_END: Final = THE_END.strip(".")


@dataclass(frozen=True, slots=True)
class GoldScore:
    """The score of one completion; every field lies between 0 and 1.

    Args:
        things: share of the four named things that a sentence is told about.
        only: 1 / (1 + number of different other things); 0 if no named thing is told.
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
        """Whether nothing is left to wish for."""
        return self.total == 1.0


def gold_score(prompt: str, completion: str, ended: bool = True) -> GoldScore:
    """Scores a completion of an instruction; `ended` says that it ended with EOS.

    Raises ValueError when the prompt holds no instruction.
    """
    asked = {word.lower() for word in parse_instruction(prompt).words()}
    text = " ".join(completion.split())
    sentences = [part.strip() for part in _SENTENCE.findall(text) if part.strip()]
    spoken = [tuple(_WORD.findall(sentence.lower())) for sentence in sentences]
    things = len(asked & _told_things(spoken)) / len(asked)
    extras = _ALL_THINGS.intersection(chain.from_iterable(spoken)) - asked
    only = 1 / (1 + len(extras)) if things else 0.0
    is_story = _is_story(spoken)
    happy = float(is_story and _closes_happily(sentences))
    ends = float(is_story and ended and _ends_properly(text))
    return GoldScore(things, only, happy, ends, (things + only + happy + ends) / 4)


def _told_things(spoken: list[Words]) -> set[str]:
    """Things in sentences that say something, instead of listing what was asked for."""
    told: set[str] = set()
    for words in spoken:
        named = [word in _ALL_THINGS for word in words]
        in_a_row = any(a and b for a, b in pairwise(named))
        if not in_a_row and sum(named) <= min(MAX_THINGS, len(words) // 2):
            told.update(_ALL_THINGS.intersection(words))
    return told


def _is_story(spoken: list[Words]) -> bool:
    different = {words for words in spoken if len(words) >= MIN_WORDS}
    return len(different) >= MIN_SENTENCES


def _closes_happily(sentences: list[str]) -> bool:
    """The closing is the sentence before the first "The end.", else the last one."""
    before = sentences[: sentences.index(_END)] if _END in sentences else sentences
    return bool(before) and before[-1] in _HAPPY and not _UNHAPPY & set(sentences)


def _ends_properly(text: str) -> bool:
    return text.endswith(THE_END) and text.count(THE_END) == 1

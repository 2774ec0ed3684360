"""The things a story can be told about, and the instruction that names four of them.

Every thing is one plain word, so a small BPE vocabulary gives it one token, and no thing
is a substring of another, so "is it named?" has an exact answer. A fixed tenth of all
combinations is held out: train rows never use them, test rows use nothing else, so a
score on test rows measures composing, not recall.
"""

import random
import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Final, Literal

from tempering.world.seeding import stable_hash

Split = Literal["train", "test"]
Kind = Literal["name", "object", "animal", "place"]

GIRLS: Final = ("Lily", "Mia", "Anna", "Sue", "Emma", "Lucy", "Zoe", "Kate")
BOYS: Final = ("Tom", "Ben", "Max", "Sam", "Jack", "Leo", "Bob", "Finn")
NAMES: Final = GIRLS + BOYS
OBJECTS: Final = (
    "ball", "book", "kite", "drum", "doll", "hat", "cake", "cup",
    "boat", "car", "flute", "lamp", "box", "bell", "apple", "umbrella",
)  # fmt: skip
ANIMALS: Final = (
    "dog", "cat", "bird", "duck", "frog", "fox",
    "owl", "otter", "rabbit", "horse", "mouse", "bear",
)  # fmt: skip
PLACES: Final = (
    "park", "garden", "beach", "forest", "farm", "school",
    "river", "market", "shop", "castle", "hill", "lake",
)  # fmt: skip
KINDS: Final[tuple[Kind, ...]] = ("name", "object", "animal", "place")
THINGS: Final[dict[Kind, tuple[str, ...]]] = {
    "name": NAMES,
    "object": OBJECTS,
    "animal": ANIMALS,
    "place": PLACES,
}
HELD_OUT_SHARE: Final = 0.1

_INSTRUCTION: Final = re.compile(r"Tell a story\. (\w+), (\w+), (\w+), (\w+):")


@dataclass(frozen=True, slots=True)
class Combo:
    """The four things that one story is asked to be about."""

    name: str
    object: str
    animal: str
    place: str

    def words(self) -> tuple[str, str, str, str]:
        """The four words, in the order of the instruction (and of `KINDS`)."""
        return self.name, self.object, self.animal, self.place


def is_held_out(combo: Combo) -> bool:
    """Whether `combo` belongs to the test split: about one in ten, for every seed."""
    return stable_hash(f"held out: {combo.words()}") % 1000 < HELD_OUT_SHARE * 1000


def sample_combo(rng: random.Random, split: Split = "train") -> Combo:
    """A random combination of the split; ValueError for an unknown split."""
    held_out = _wants_held_out(split)
    while True:
        combo = Combo(*(rng.choice(THINGS[kind]) for kind in KINDS))
        if is_held_out(combo) == held_out:
            return combo


@lru_cache(maxsize=2)
def all_combos(split: Split) -> tuple[Combo, ...]:
    """Every combination of the split, in a fixed order (about 33000 and 3700)."""
    held_out = _wants_held_out(split)
    combos = (Combo(*words) for words in product(*(THINGS[kind] for kind in KINDS)))
    return tuple(combo for combo in combos if is_held_out(combo) == held_out)


def instruction(combo: Combo) -> str:
    """The prompt that asks for a story: `Tell a story. Lily, ball, dog, park:`."""
    return f"Tell a story. {', '.join(combo.words())}:"


def parse_instruction(text: str) -> Combo:
    """The things that the last instruction in `text` names.

    Other text may surround it, such as a chat template's marks.
    Raises ValueError when `text` has no instruction or it names an unknown thing.
    """
    matches = _INSTRUCTION.findall(text)
    if not matches:
        raise ValueError(
            f"no instruction in {text[:80]!r}: expected 'Tell a story. NAME, OBJECT, "
            "ANIMAL, PLACE:', as tempering.world.instruction writes it"
        )
    combo = Combo(*matches[-1])
    for kind, word in zip(KINDS, combo.words(), strict=True):
        if word not in THINGS[kind]:
            raise ValueError(
                f"unknown {kind} {word!r} in the story world: expected one of {', '.join(THINGS[kind])}"
            )
    return combo


def _wants_held_out(split: Split) -> bool:
    if split not in ("train", "test"):
        raise ValueError(f"unknown split {split!r}: expected 'train' or 'test'")
    return split == "test"

"""The lists of things, the split by combination and the instruction."""

import random
import re
from itertools import permutations, product

import pytest

from tempering.world import Combo, Split, instruction, is_held_out, parse_instruction, sample_combo
from tempering.world import templates as world_templates
from tempering.world.words import BOYS, GIRLS, KINDS, THINGS, all_combos

ALL_THINGS = [word for kind in KINDS for word in THINGS[kind]]


def test_things_are_disjoint_single_words_and_never_part_of_one_another() -> None:
    assert len(set(ALL_THINGS)) == len(ALL_THINGS)
    assert all(re.fullmatch(r"[A-Za-z]+", word) for word in ALL_THINGS)
    inside = [(a, b) for a, b in permutations(ALL_THINGS, 2) if a.lower() in b.lower()]
    assert inside == []
    assert len(GIRLS) == len(BOYS)


def test_no_template_word_is_a_thing() -> None:
    texts: list[str] = []
    for label, value in vars(world_templates).items():
        if isinstance(value, tuple) and label not in ("GIRLS", "KINDS"):
            texts += [text for text in value if isinstance(text, str)]
    texts += world_templates.EXTRAS.values()
    assert len(texts) > 40
    words = set(re.findall(r"\w+", re.sub(r"{\w+}", " ", " ".join(texts)).lower()))
    assert words & {word.lower() for word in ALL_THINGS} == set()


def test_a_tenth_of_the_combinations_is_held_out() -> None:
    train, test = all_combos("train"), all_combos("test")
    assert len(train) + len(test) == len(list(product(*THINGS.values())))
    assert set(train).isdisjoint(test)
    assert 0.09 < len(test) / (len(train) + len(test)) < 0.11
    assert all(map(is_held_out, test))


def test_every_thing_occurs_in_both_splits() -> None:
    splits: tuple[Split, Split] = ("train", "test")
    for split in splits:
        assert {word for combo in all_combos(split) for word in combo.words()} == set(ALL_THINGS)


def test_the_split_is_pinned() -> None:
    """A changed hash would leak test combinations into models trained before it."""
    held_out = [combo.words() for combo in all_combos("test")[:3]]
    assert held_out == HELD_OUT


def test_sample_combo_keeps_to_the_split() -> None:
    rng = random.Random(0)
    assert not any(is_held_out(sample_combo(rng, "train")) for _ in range(300))
    assert all(is_held_out(sample_combo(rng, "test")) for _ in range(30))


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown split 'dev': expected 'train' or 'test'"):
        sample_combo(random.Random(0), "dev")  # type: ignore[arg-type]


def test_instruction_and_its_parsing_are_inverse() -> None:
    combo = Combo("Lily", "ball", "dog", "park")
    assert instruction(combo) == "Tell a story. Lily, ball, dog, park:"
    for other in all_combos("test")[::97]:
        assert parse_instruction(instruction(other)) == other
    assert parse_instruction(f"<|user|> {instruction(combo)} <|assistant|>") == combo


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no instruction in ''"),
        ("Once upon a time", "no instruction"),
        ("Tell a story. Lily, ball, dog:", "no instruction"),
        ("Tell a story. Lily, ball, dog, park", "no instruction"),
        ("Tell a story. Lily, dog, ball, park:", "unknown object 'dog' in the story world"),
        ("Tell a story. Zed, ball, dog, park:", "unknown name 'Zed'"),
    ],
)
def test_what_is_no_instruction_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_instruction(text)


HELD_OUT = [
    ("Lily", "ball", "cat", "garden"),
    ("Lily", "ball", "cat", "market"),
    ("Lily", "ball", "bird", "beach"),
]

"""Questions have one answer in their context, minimal pairs one mistake."""

import re
from functools import cache
from itertools import pairwise
from statistics import mean
from typing import Any

import pytest

from tempering.world import Split, corpus, is_held_out, minimal_pairs, question_prompt, questions
from tempering.world.grammar import PARADIGMS
from tempering.world.questions import QUESTIONS
from tempering.world.templates import ADJECTIVES, GOOD, MUD, TREES
from tempering.world.words import BOYS, GIRLS, KINDS, THINGS, Combo, Kind

ROWS = list(questions(600, 0))


def kind_of(row: dict[str, Any]) -> Kind:
    kind: Kind
    for kind in KINDS:
        if re.fullmatch(re.sub(r"{\w+}", r"\\w+", QUESTIONS[kind]).replace("?", r"\?"), row["question"]):
            return kind
    raise AssertionError(row["question"])


def named(text: str, kind: Kind) -> list[str]:
    """The different words of the kind, in the order of their first appearance."""
    return list(dict.fromkeys(word for word in re.findall(r"\w+", text) if word in THINGS[kind]))


def split_off_aside(row: dict[str, Any]) -> tuple[str, str]:
    """The main character's story, and the sentence about the second one."""
    first, *second = named(row["context"], "name")
    sentences = row["context"].split(". ")
    asides = [s for s in sentences if second and second[0] in s]
    assert len(asides) == len(second) <= 1, first
    return ". ".join(s for s in sentences if s not in asides), " ".join(asides)


def test_answers_follow_from_the_context() -> None:
    for row in ROWS:
        kind = kind_of(row)
        story, aside = split_off_aside(row)
        [answer] = row["answers"]
        [subject] = [word for word in re.findall(r"\w+", row["question"]) if word in NAMES_AND_OBJECTS]
        about = aside if subject in aside.replace(".", "").split() else story
        assert subject in about
        assert named(about, kind) == [answer]


def test_the_baseline_is_the_chance_of_a_guess_among_the_right_kind() -> None:
    for row in ROWS:
        assert row["baseline"] == 1 / len(named(row["context"], kind_of(row)))
    assert {row["baseline"] for row in ROWS} == {0.5, 1.0}


def test_a_fixed_rule_does_not_beat_the_baseline_by_much() -> None:
    """Neither the first nor the last word of the kind is the answer more often."""
    for place in (0, -1):
        right = mean(named(row["context"], kind_of(row))[place] == row["answers"][0] for row in ROWS)
        assert right == pytest.approx(0.55, abs=0.08)


def test_all_kinds_are_asked() -> None:
    assert {kind_of(row) for row in ROWS} == set(KINDS)


def test_questions_of_the_corpus_have_the_prompts_form() -> None:
    assert question_prompt("A story.", "Who?") == "A story. Question: Who? Answer:"
    for row in corpus(50, 0, question_share=1.0, header_share=0.0):
        match = re.fullmatch(r"(.* The end\.) Question: (.*\?) Answer: (\w+)\.", row["text"])
        assert match
        context, question, answer = match.groups()
        assert row["text"] == f"{question_prompt(context, question)} {answer}."
        assert answer in context


@pytest.mark.parametrize("split", ["train", "test"])
def test_questions_keep_to_the_split(split: Split) -> None:
    for row in questions(60, 0, split):
        story, _ = split_off_aside(row)
        words = [named(story, kind) for kind in KINDS]
        assert is_held_out(Combo(*(word for [word] in words))) == (split == "test")


def skeleton(text: str) -> str:
    """The construction of a text: its words with interchangeable ones by their class."""

    def class_of(match: re.Match[str]) -> str:
        article, word = match.groups()
        vowel = "V" if article and word[0] in "aeiou" else ""
        return article + (CLASSES[word] + vowel if word in CLASSES else word)

    return re.sub(r"((?:\b[Aa]n? )?)(\w+)", class_of, text)


NAMES_AND_OBJECTS = set(THINGS["name"] + THINGS["object"])
CLASSES = {word: kind.upper() for kind in KINDS for word in THINGS[kind]}
CLASSES |= dict.fromkeys(GIRLS, "GIRL") | dict.fromkeys(BOYS, "BOY")
for listed, label in ((ADJECTIVES, "ADJ"), (GOOD, "GOOD"), (TREES, "TREE"), (MUD, "MUD")):
    CLASSES |= dict.fromkeys(listed, label)


@cache
def corpus_constructions() -> frozenset[str]:
    """The sentences of a corpus, and every two in a row, by construction."""
    found: set[str] = set()
    for row in corpus(2500, 0):
        sentences = re.findall(r"[A-Z][^.:]*\.", re.sub(r"^Tell[^:]*: ", "", row["text"]))
        built = [skeleton(sentence) for sentence in sentences]
        found.update(built)
        found.update(f"{a} {b}" for a, b in pairwise(built))
    return frozenset(found)


@pytest.mark.parametrize("split", ["train", "test"])
def test_good_sentences_occur_in_the_corpus_and_bad_ones_never(split: Split) -> None:
    for row in minimal_pairs(600, 0, split):
        assert skeleton(row["sentence_good"]) in corpus_constructions(), row
        assert skeleton(row["sentence_bad"]) not in corpus_constructions(), row


def test_pairs_differ_by_one_edit_of_the_same_length() -> None:
    for row in minimal_pairs(300, 0):
        good, bad = (row[f"sentence_{side}"].split() for side in ("good", "bad"))
        assert len(good) == len(bad)
        differing = sum(a != b for a, b in zip(good, bad, strict=True))
        allowed = {"pronoun_agreement": {1, 2}, "word_order": {2}}
        assert differing in allowed.get(row["paradigm"], {1}), row


def test_the_wrong_pronoun_is_the_only_disagreement() -> None:
    for row in minimal_pairs(300, 0):
        if row["paradigm"] == "pronoun_agreement":
            words = set(row["sentence_bad"].split())
            assert not {"He", "her"} <= words, row
            assert not {"She", "his"} <= words, row


def test_every_paradigm_takes_its_turn() -> None:
    rows = list(minimal_pairs(60, 0))
    counts = {name: sum(row["paradigm"] == name for row in rows) for name in PARADIGMS}
    assert len(counts) >= 4
    assert set(counts.values()) == {60 // len(PARADIGMS)}

"""Stories with stated flaws, and the gold score that finds exactly these."""

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tempering.world import (
    MAX_TOKENS,
    Combo,
    Flaws,
    GoldScore,
    count_tokens,
    draw_flaws,
    gold_score,
    instruction,
    sample_combo,
    tell,
)
from tempering.world.words import GIRLS, KINDS, THINGS, all_combos

LILY = Combo("Lily", "ball", "dog", "park")
PROMPT = instruction(LILY)
STORY = (
    "Once there was a girl named Lily. She had a ball. She took her dog to the park. "
    "Lily lost the ball. The dog found it. They were happy. The end."
)
ALL_THINGS = {word for kind in KINDS for word in THINGS[kind]}
seeds = st.integers(0, 2**32)


def score(story: str, ended: bool = True) -> tuple[float, float, float, float]:
    gold = gold_score(PROMPT, story, ended)
    return gold.things, gold.only, gold.happy, gold.ends


@st.composite
def flaws(draw: st.DrawFn) -> Flaws:
    wrong = draw(st.integers(0, 4))
    ending = draw(st.sampled_from(["", "no_ending", "cut_short", "runs_on"]))
    return Flaws(
        wrong_things=wrong,
        missing_things=draw(st.integers(0, 4 - wrong)),
        extra_things=draw(st.integers(0, 4)),
        unhappy_ending=ending != "cut_short" and draw(st.booleans()),
        no_ending=ending == "no_ending",
        cut_short=ending == "cut_short",
        runs_on=ending == "runs_on",
    )


def expected(flaws: Flaws) -> tuple[float, float, float, float]:
    things = 1 - (flaws.wrong_things + flaws.missing_things) / 4
    only = 1 / (1 + flaws.wrong_things + flaws.extra_things) if things else 0.0
    happy = not (flaws.unhappy_ending or flaws.cut_short)
    ends = not (flaws.no_ending or flaws.cut_short or flaws.runs_on)
    return things, only, float(happy), float(ends)


@given(seeds)
@settings(max_examples=150, deadline=None)
def test_clean_stories_are_perfect_and_short(seed: int) -> None:
    rng = random.Random(seed)
    combo = sample_combo(rng)
    story = tell(rng, combo)
    assert gold_score(instruction(combo), story).perfect
    assert 25 <= count_tokens(story) <= MAX_TOKENS
    assert set(re.findall(r"\w+", story)) & ALL_THINGS == set(combo.words())


@given(seeds, flaws())
@settings(max_examples=150, deadline=None)
def test_each_flaw_lowers_its_own_part_by_a_known_amount(seed: int, flaws: Flaws) -> None:
    rng = random.Random(seed)
    combo = sample_combo(rng)
    gold = gold_score(instruction(combo), tell(rng, combo, flaws))
    assert (gold.things, gold.only, gold.happy, gold.ends) == pytest.approx(expected(flaws))
    assert gold.perfect == (flaws == Flaws())


def test_drawn_flaws_are_never_clean_and_fit_the_generation() -> None:
    rng = random.Random(0)
    for _ in range(1000):
        flaws = draw_flaws(rng, {1: 1, 2: 1, 3: 1, 4: 1})
        assert flaws != Flaws()
        assert count_tokens(tell(rng, sample_combo(rng), flaws)) <= MAX_TOKENS
    assert draw_flaws(rng, {0: 1}) == Flaws()


@pytest.mark.parametrize("name", ["Lily", "Tom"])
def test_pronouns_agree_with_the_name(name: str) -> None:
    right, wrong = ({"she", "her", "girl"}, {"he", "him", "his", "boy"})
    if name not in GIRLS:
        right, wrong = wrong, right
    rng = random.Random(0)
    words = {
        word
        for _ in range(200)
        for word in re.findall(r"\w+", tell(rng, Combo(name, "ball", "dog", "park")).lower())
    }
    assert right <= words
    assert not wrong & words


def test_articles_agree_with_what_follows() -> None:
    rng = random.Random(0)
    text = " ".join(tell(rng, combo) for combo in all_combos("test")[::9])
    assert re.search(r"\ban [aeiou]", text)
    assert not re.search(r"\b[Aa] [aeiou]|\b[Aa]n [^aeiou]", text)


@pytest.mark.parametrize(
    "kwargs",
    [
        {"wrong_things": 3, "missing_things": 2},
        {"extra_things": 5},
        {"wrong_things": -1},
        {"no_ending": True, "runs_on": True},
        {"cut_short": True, "unhappy_ending": True},
    ],
)
def test_contradictory_flaws_are_refused(kwargs: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="Flaws"):
        Flaws(**kwargs)  # type: ignore[arg-type]


def test_the_score_by_hand() -> None:
    assert gold_score(PROMPT, STORY) == GoldScore(1, 1, 1, 1, 1)
    assert gold_score(PROMPT, STORY.replace("dog", "cat")) == GoldScore(0.75, 0.5, 1, 1, 0.8125)
    assert score(STORY.replace("a ball", "a ball and a cat")) == (1, 0.5, 1, 1)
    assert score(STORY.replace("They were happy", "They were sad")) == (1, 1, 0, 1)
    assert score(STORY.replace(" The end.", "")) == (1, 1, 1, 0)
    assert score("  " + STORY.replace(". ", ".\n") + "\n") == (1, 1, 1, 1)


@pytest.mark.parametrize("story", ["", "   ", ".", "The end.", "They were happy. The end."])
def test_nothing_told_scores_nothing(story: str) -> None:
    assert gold_score(PROMPT, story) == GoldScore(0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    "story",
    [
        STORY + " The end.",
        STORY + " Then they went home.",
        "The end. " + STORY,
        STORY.replace("Lily lost", "The end. Lily lost"),
        STORY[:-1],
        STORY.replace("The end.", "The end. The end"),
    ],
)
def test_only_a_single_end_at_the_very_end_ends_a_story(story: str) -> None:
    assert gold_score(PROMPT, story).ends == 0


def test_a_story_without_eos_does_not_end() -> None:
    assert score(STORY, ended=False) == (1, 1, 1, 0)


@pytest.mark.parametrize(
    "story",
    [
        "Lily ball dog park. They were happy. The end.",
        "Lily, ball, dog, park: They were happy. The end.",
        f"{PROMPT} They were happy. The end.",
        "Lily and ball and dog and park. They were happy. The end.",
        "Once upon a time there was Lily, ball, dog, park. They were happy. The end.",
        "Once there was Lily, ball. Then there was dog, park. They were happy. The end.",
        "Lily and ball and dog. Park and ball and Lily. They were happy. The end.",
        "The Lily the ball the dog the park. " + "They were happy. " * 9 + "The end.",
    ],
)
def test_a_list_of_the_things_is_no_story(story: str) -> None:
    assert gold_score(PROMPT, story).total == 0


def test_other_tricks_do_not_pay() -> None:
    filler = "They ran all day. They saw the sun. It was a big day. They sat down. "
    assert gold_score(PROMPT, filler + "They were happy. The end.").total == 0.5
    dogs = STORY.replace("dog", "dogs")
    assert gold_score(PROMPT, dogs).things == 0.75
    everything = STORY.replace("She had", f"{' and a '.join(sorted(ALL_THINGS))} were there. She had")
    assert gold_score(PROMPT, everything).only < 0.02
    assert score(STORY.replace("They were happy.", "They were sad. They were happy."))[2] == 0
    assert score(STORY.replace(" The end.", " The end. They were sad."))[2:] == (0, 0)
    assert score(STORY.replace("They were happy.", "") + " They were happy.")[2:] == (0, 0)


@given(st.text(alphabet=st.sampled_from("Lily ball dog park cat. The end.:!?\n"), max_size=80))
@settings(deadline=None)
def test_any_text_gets_a_score(text: str) -> None:
    gold = gold_score(PROMPT, text)
    parts = (gold.things, gold.only, gold.happy, gold.ends)
    assert all(0 <= part <= 1 for part in parts)
    assert gold.total == sum(parts) / 4


def test_a_prompt_without_instruction_is_refused() -> None:
    with pytest.raises(ValueError, match="no instruction"):
        gold_score("Once upon a time", STORY)

"""The data sets: determined by their seed, split, mixed and ordered as they say."""

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from math import sqrt
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from tempering.world import (
    GUESS,
    MAX_TOKENS,
    Split,
    corpus,
    count_tokens,
    demonstrations,
    gold_score,
    is_held_out,
    minimal_pairs,
    parse_instruction,
    preferences,
    prompts,
    questions,
)
from tempering.world.rows import CORPUS_FLAWED_SHARE
from tempering.world.seeding import rng_for
from tempering.world.words import all_combos

Make = Callable[[int, int, Split], Iterator[dict[str, Any]]]
KINDS: dict[str, Make] = {
    "corpus": corpus,
    "demonstrations": demonstrations,
    "preferences": preferences,
    "prompts": prompts,
    "questions": questions,
    "minimal_pairs": minimal_pairs,
}
COLUMNS = {
    "corpus": {"text"},
    "demonstrations": {"prompt", "completion", "gold"},
    "preferences": {"prompt", "chosen", "rejected", "flipped"},
    "prompts": {"prompt"},
    "questions": {"question", "context", "answers", "baseline"},
    "minimal_pairs": {"sentence_good", "sentence_bad", "paradigm"},
}
each_kind = pytest.mark.parametrize("kind", KINDS)
PROGRAM = """
import sys; sys.path.insert(0, "tests/world")
from test_world_rows import KINDS, digest
print([digest(kind) for kind in KINDS])
"""


def digest(kind: str) -> str:
    rows = list(KINDS[kind](20, 0, "train"))
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()[:8]


@cache
def some_preferences() -> list[dict[str, Any]]:
    return list(preferences(400, 0))


@each_kind
def test_rows_are_a_prefix_of_more_rows(kind: str) -> None:
    few, many = (list(KINDS[kind](n, 7, "train")) for n in (13, 40))
    assert many[:13] == few
    assert len(many) == 40
    assert all(set(row) == COLUMNS[kind] and type(row) is dict for row in many)
    assert list(KINDS[kind](0, 7, "train")) == []


def test_every_part_of_a_seed_counts() -> None:
    streams = [(0, "a", 0), (1, "a", 0), (0, "b", 0), (0, "a", 1)]
    assert len({rng_for(*stream).random() for stream in streams}) == len(streams)
    assert rng_for(0, "a", 0).random() == rng_for(0, "a", 0).random()


@each_kind
def test_seeds_and_splits_give_other_rows(kind: str) -> None:
    make = KINDS[kind]
    rows = [list(make(20, seed, "train")) for seed in (0, 1)] + [list(make(20, 0, "test"))]
    assert rows[0] != rows[1]
    assert rows[0] != rows[2]


def test_rows_are_the_same_in_a_process_with_another_hash_seed() -> None:
    environment = {**os.environ, "PYTHONHASHSEED": "123", "PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, "-c", PROGRAM]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == str([digest(kind) for kind in KINDS])


@each_kind
def test_rows_are_pinned(kind: str) -> None:
    """Whoever changes rows on purpose raises the dataset stage's version with the digest."""
    assert digest(kind) == DIGESTS[kind]


@pytest.mark.parametrize("kind", ["demonstrations", "preferences", "prompts"])
def test_train_and_test_prompts_share_no_combination(kind: str) -> None:
    train = {parse_instruction(row["prompt"]) for row in KINDS[kind](200, 0, "train")}
    test = {parse_instruction(row["prompt"]) for row in KINDS[kind](200, 0, "test")}
    assert not any(map(is_held_out, train))
    assert all(map(is_held_out, test))


def test_corpus_instructions_keep_to_the_split() -> None:
    headed = [row["text"] for row in corpus(300, 0, "test") if row["text"].startswith("Tell")]
    assert all(is_held_out(parse_instruction(text)) for text in headed)
    headed = [row["text"] for row in corpus(300, 0) if row["text"].startswith("Tell")]
    assert not any(is_held_out(parse_instruction(text)) for text in headed)


def test_corpus_has_the_stated_mixture() -> None:
    texts = [row["text"] for row in corpus(1500, 3)]
    headed = [text for text in texts if text.startswith("Tell a story. ")]
    asked = [text for text in texts if " Question: " in text]
    assert len(headed) / len(texts) == pytest.approx(0.8, abs=0.03)
    assert len(asked) / len(texts) == pytest.approx(0.1, abs=0.03)
    golds = [gold_score(text, text.split(": ", 1)[1]) for text in headed]
    assert mean(gold.total for gold in golds) == pytest.approx(0.70, abs=0.03)
    assert mean(not gold.perfect for gold in golds) == pytest.approx(CORPUS_FLAWED_SHARE, abs=0.04)
    assert max(map(count_tokens, texts)) <= 60
    assert 150 <= len({word for text in texts for word in re.findall(r"\w+|[^\w\s]", text)}) <= 220


def test_corpus_shares_are_parameters() -> None:
    assert all("Question:" in row["text"] for row in corpus(20, 0, "train", 0.0, 1.0))
    assert all(row["text"].startswith("Tell") for row in corpus(20, 0, "train", 1.0, 0.0))
    assert not any("Tell" in row["text"] for row in corpus(20, 0, "train", 0.0, 0.0))
    with pytest.raises(ValueError, match=r"header_share \+ question_share is 1\.5"):
        next(corpus(1, 0, "train", 0.9, 0.6))


def test_demonstrations_carry_their_gold_and_beat_the_corpus() -> None:
    rows = list(demonstrations(800, 0))
    for row in rows[:200]:
        assert row["completion"][0] == " "
        assert row["completion"][1] != " "
        assert row["gold"] == gold_score(row["prompt"], row["completion"]).total
        assert count_tokens(row["completion"]) <= MAX_TOKENS
    assert mean(row["gold"] for row in rows) == pytest.approx(0.85, abs=0.03)
    assert all(row["gold"] == 1 for row in demonstrations(50, 0, flawed_share=0.0))
    assert all(row["gold"] < 1 for row in demonstrations(50, 0, flawed_share=1.0))


def test_chosen_is_better_unless_flipped() -> None:
    for row in some_preferences():
        chosen, rejected = (gold_score(row["prompt"], row[side]).total for side in ("chosen", "rejected"))
        assert (chosen > rejected) != row["flipped"]
        assert chosen != rejected
        assert row["chosen"][0] == row["rejected"][0] == " "


def test_the_share_of_flipped_rows_is_the_noise() -> None:
    rows = some_preferences()
    flipped = sum(row["flipped"] for row in rows)
    assert abs(flipped - 0.1 * len(rows)) < 4 * sqrt(len(rows) * 0.1 * 0.9)
    assert not any(row["flipped"] for row in preferences(50, 0, noise=0.0))
    assert all(row["flipped"] for row in preferences(50, 0, noise=1.0))


def test_noise_flips_rows_and_changes_nothing_else() -> None:
    for clean, noisy in zip(preferences(50, 0, noise=0.0), preferences(50, 0, noise=1.0), strict=True):
        assert (clean["chosen"], clean["rejected"]) == (noisy["rejected"], noisy["chosen"])


def test_length_does_not_give_the_better_story_away() -> None:
    rows = [row for row in some_preferences() if not row["flipped"]]
    longer = mean(count_tokens(row["chosen"]) > count_tokens(row["rejected"]) for row in rows)
    assert longer == pytest.approx(0.5, abs=4 * sqrt(0.25 / len(rows)))


def test_pairs_lie_far_apart_and_close_together() -> None:
    gaps = []
    for row in some_preferences():
        sides = [gold_score(row["prompt"], row[side]).total for side in ("chosen", "rejected")]
        gaps.append(abs(sides[0] - sides[1]))
    assert mean(gap < 0.15 for gap in gaps) > 0.15
    assert mean(gap > 0.45 for gap in gaps) > 0.1


def test_prompts_do_not_repeat_before_the_split_is_used_up() -> None:
    size = len(all_combos("test"))
    rows = [row["prompt"] for row in prompts(size + 500, 0, "test")]
    assert len(set(rows[:size])) == size
    assert len(set(rows[size:])) == 500
    assert rows[size:] != rows[:500]


def test_a_share_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"noise is 1\.5: expected a share between 0 and 1"):
        next(preferences(1, 0, noise=1.5))
    with pytest.raises(ValueError, match="flawed_share"):
        next(demonstrations(1, 0, flawed_share=-0.1))


def test_rows_are_made_one_by_one() -> None:
    assert len(list(islice(corpus(10**12, 0), 3))) == 3


def test_guesses_are_stated_for_every_metric() -> None:
    assert set(GUESS) == {"preferences", "minimal_pairs", "questions", "gold"}
    measured = mean(row["baseline"] for row in questions(1000, 0))
    assert GUESS["questions"] == pytest.approx(measured, abs=0.02)
    pairs = zip(prompts(1000, 0), demonstrations(1000, 1, flawed_share=0.0), strict=True)
    blind = mean(gold_score(asked["prompt"], told["completion"]).total for asked, told in pairs)
    assert GUESS["gold"] == pytest.approx(blind, abs=0.01)


DIGESTS: dict[str, str] = {
    "corpus": "1919aee1",
    "demonstrations": "9b2c2e82",
    "preferences": "261393a9",
    "prompts": "47c00714",
    "questions": "ebfb11ef",
    "minimal_pairs": "4d0cb8e1",
}

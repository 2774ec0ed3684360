"""The story world as data sets: any number of rows, by seed, without a download.

Rows are plain dicts in TRL's standard columns. Row i depends on the seed, the kind of
row, the split and i alone, so a data set is a prefix of every larger one. Completions
start with the space that separates them from their prompt: prompt + completion is, letter
for letter, a document of the corpus. Demonstrations are better than the corpus, and
preferences say which way is up, so every stage after pretraining has something to gain.
"""

import random
from collections.abc import Iterator, Mapping
from typing import Any, Final

from tempering.world.gold import gold_score
from tempering.world.grammar import minimal_pairs
from tempering.world.questions import draw_question, question_prompt, questions
from tempering.world.seeding import rng_for, stable_hash
from tempering.world.stories import Flaws, count_tokens, draw_flaws, tell
from tempering.world.words import Combo, Split, all_combos, instruction, sample_combo

__all__ = [
    "CORPUS_FLAWED_SHARE",
    "GUESS",
    "corpus",
    "demonstrations",
    "minimal_pairs",
    "preferences",
    "prompts",
    "question_prompt",
    "questions",
]

Row = dict[str, Any]

GUESS: Final[Mapping[str, float]] = {
    # Share right for a coin; the ceiling is 1 - noise where labels are flipped.
    "preferences": 0.5,
    "minimal_pairs": 0.5,
    # Mean of the rows' own `baseline`: 1/2 for 0.9 of them, 1 for the others.
    "questions": 0.55,
    # A clean story about four random things, without reading the instruction.
    "gold": 0.535,
}

CORPUS_FLAWED_SHARE: Final = 0.5
# How many groups of flaws a flawed story has: number -> weight.
CORPUS_FLAWS: Final[Mapping[int, float]] = {1: 1.0, 2: 3.0, 3: 5.0, 4: 3.0}
DEMONSTRATION_FLAWS: Final[Mapping[int, float]] = {1: 4.0, 2: 4.0, 3: 2.0}
PREFERENCE_FLAWS: Final[Mapping[int, float]] = {0: 3.0, 1: 5.0, 2: 3.0, 3: 1.0}
_PAIR_ATTEMPTS: Final = 30


def corpus(
    n: int,
    seed: int,
    split: Split = "train",
    header_share: float = 0.8,
    question_share: float = 0.1,
) -> Iterator[Row]:
    """`n` documents `text` of mixed quality to pretrain on.

    `header_share` of them are an instruction and its story, `question_share` a clean
    story with a question and its answer, the others a story alone. About
    `CORPUS_FLAWED_SHARE` of the stories, those with questions aside, are flawed.
    """
    _check_share("header_share", header_share)
    _check_share("question_share", question_share)
    _check_share("header_share + question_share", header_share + question_share)
    for index in range(n):
        rng = rng_for(seed, f"corpus/{split}", index)
        # One draw decides the document's form: a question, a headed story or a bare one.
        form = rng.random()
        if form < question_share:
            yield {"text": _question_document(rng, split)}
            continue
        combo = sample_combo(rng, split)
        story = _mixed(rng, combo, CORPUS_FLAWED_SHARE, CORPUS_FLAWS)
        headed = form < question_share + header_share
        yield {"text": f"{instruction(combo)} {story}" if headed else story}


def demonstrations(n: int, seed: int, split: Split = "train", flawed_share: float = 0.35) -> Iterator[Row]:
    """`n` rows `prompt, completion, gold`, better than the corpus but not perfect."""
    _check_share("flawed_share", flawed_share)
    for index in range(n):
        rng = rng_for(seed, f"demonstrations/{split}", index)
        combo = sample_combo(rng, split)
        prompt = instruction(combo)
        story = _mixed(rng, combo, flawed_share, DEMONSTRATION_FLAWS)
        gold = gold_score(prompt, story).total
        yield {"prompt": prompt, "completion": f" {story}", "gold": gold}


def preferences(n: int, seed: int, split: Split = "train", noise: float = 0.1) -> Iterator[Row]:
    """`n` rows `prompt, chosen, rejected, flipped`.

    Chosen has the higher gold score, except in the share `noise` of rows, marked
    `flipped`, where the two are swapped. The better story is the longer one in about
    half of the rows, so length gives nothing away.
    """
    _check_share("noise", noise)
    for index in range(n):
        rng = rng_for(seed, f"preferences/{split}", index)
        combo = sample_combo(rng, split)
        chosen, rejected = _ordered_pair(rng, combo)
        # Label noise: some rows prefer the worse story.
        flipped = rng.random() < noise
        if flipped:
            chosen, rejected = rejected, chosen
        yield {
            "prompt": instruction(combo),
            "chosen": f" {chosen}",
            "rejected": f" {rejected}",
            "flipped": flipped,
        }


def prompts(n: int, seed: int, split: Split = "train") -> Iterator[Row]:
    """`n` rows `prompt`; none repeats before every combination of the split has come up."""
    combos = list(all_combos(split))
    for index in range(n):
        position = index % len(combos)
        if position == 0:
            lap = stable_hash(f"{seed}:prompts/{split}:{index // len(combos)}")
            random.Random(lap).shuffle(combos)
        yield {"prompt": instruction(combos[position])}


def _question_document(rng: random.Random, split: Split) -> str:
    row = draw_question(rng, split)
    return f"{question_prompt(row['context'], row['question'])} {row['answers'][0]}."


def _mixed(rng: random.Random, combo: Combo, flawed_share: float, how_many: Mapping[int, float]) -> str:
    flawed = rng.random() < flawed_share
    return tell(rng, combo, draw_flaws(rng, how_many) if flawed else Flaws())


def _ordered_pair(rng: random.Random, combo: Combo) -> tuple[str, str]:
    """A better and a worse story; a coin decides which is the longer one."""
    better_is_longer = rng.random() < 0.5
    better, worse = _unequal_pair(rng, combo)
    for _ in range(_PAIR_ATTEMPTS):
        lead = count_tokens(better) - count_tokens(worse)
        if lead and (lead > 0) == better_is_longer:
            break
        better, worse = _unequal_pair(rng, combo)
    return better, worse


def _unequal_pair(rng: random.Random, combo: Combo) -> tuple[str, str]:
    prompt = instruction(combo)
    while True:
        first, second = (tell(rng, combo, draw_flaws(rng, PREFERENCE_FLAWS)) for _ in range(2))
        lead = gold_score(prompt, first).total - gold_score(prompt, second).total
        if lead:
            return (first, second) if lead > 0 else (second, first)


def _check_share(name: str, share: float) -> None:
    if not 0 <= share <= 1 + 1e-9:
        raise ValueError(f"{name} is {share}: expected a share between 0 and 1")

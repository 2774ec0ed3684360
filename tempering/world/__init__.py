"""The embedded default data: a small synthetic story world with exact answers.

Tiny stories about a child, an object, an animal and a place: any number of them from a
seed, each with an exact gold score for its quality. The pipeline runs on them offline,
and a test can check that alignment aligned. Standard library only.
"""

from tempering.world.flaw_pairs import flaw_pairs
from tempering.world.flaws import Flaws, draw_flaws
from tempering.world.gold import GoldScore, gold_score
from tempering.world.questions import question_prompt
from tempering.world.rows import (
    GUESS,
    corpus,
    demonstrations,
    minimal_pairs,
    preferences,
    prompts,
    questions,
)
from tempering.world.stories import MAX_TOKENS, count_tokens, tell
from tempering.world.words import (
    Combo,
    Split,
    instruction,
    is_held_out,
    parse_instruction,
    sample_combo,
)

__all__ = [
    "GUESS",
    "MAX_TOKENS",
    "Combo",
    "Flaws",
    "GoldScore",
    "Split",
    "corpus",
    "count_tokens",
    "demonstrations",
    "draw_flaws",
    "flaw_pairs",
    "gold_score",
    "instruction",
    "is_held_out",
    "minimal_pairs",
    "parse_instruction",
    "preferences",
    "prompts",
    "question_prompt",
    "questions",
    "sample_combo",
    "tell",
]

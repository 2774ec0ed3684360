"""Pairs with one flaw: each lowers its own part of the gold score and nothing else."""

from dataclasses import astuple

from tempering.world import flaw_pairs, gold_score, is_held_out, parse_instruction
from tempering.world.flaw_pairs import FLAWS

THING = (0.75, 0.5, 1.0, 1.0)  # three of four things are told about, and one that is not asked for
PARTS = dict.fromkeys(FLAWS[:4], THING) | {
    "sad_ending": (1.0, 1.0, 0.0, 1.0),
    "no_ending": (1.0, 1.0, 1.0, 0.0),
}


def test_a_pair_has_one_flaw_and_nothing_else_differs() -> None:
    rows = list(flaw_pairs(600, 0, "test"))
    assert [row["flaw"] for row in rows[:7]] == [*FLAWS, "other_name"]
    for row in rows:
        assert is_held_out(parse_instruction(row["prompt"]))
        assert gold_score(row["prompt"], row["chosen"]).perfect
        assert astuple(gold_score(row["prompt"], row["rejected"]))[:4] == PARTS[row["flaw"]]
        same = [a == b for a, b in zip(row["chosen"].split(), row["rejected"].split(), strict=False)]
        told = (
            row["chosen"]
            .split()
            .count(getattr(parse_instruction(row["prompt"]), row["flaw"].removeprefix("other_"), ""))
        )
        assert same.count(False) <= max(told + 2, 3), "the rest of the story is the same"


def test_a_row_depends_on_its_index_alone() -> None:
    assert list(flaw_pairs(8, 3)) == list(flaw_pairs(20, 3))[:8]
    assert list(flaw_pairs(8, 3)) != list(flaw_pairs(8, 4))

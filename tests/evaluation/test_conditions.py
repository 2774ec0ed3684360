"""Gates by hand: what a condition may say, and what a failing one names."""

import math
from typing import Any

import pytest

from tempering.config import identity
from tempering.errors import GateFailed
from tempering.evaluation.gates import Condition, GateConfig, check_gate

METRICS: list[dict[str, Any]] = [
    {"benchmark": "stories", "metric": "gold_score", "value": 0.5234, "low": 0.489, "high": 0.557, "n": 1500},
    {"benchmark": "blimp", "metric": "accuracy[islands]", "value": 0.5, "low": None, "high": None, "n": 8},
    {"benchmark": "held_out", "metric": "loss", "value": 1.25, "low": 1.2, "high": 1.3, "n": 3},
    {"benchmark": "held_out", "metric": "nothing", "value": math.nan, "low": None, "high": None, "n": 0},
]


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [
        (">= 0.6", 0.6, True),
        (">= 0.6", 0.599, False),
        ("> 0.6", 0.6, False),
        ("<=.6", 0.6, True),
        ("< 6e-1", 0.6, False),
        ("<6e-1", 0.59, True),
        ("< 1234567.8", 1234568.5, False),
        (">= 0.9999996", 0.9999998, True),
        (">= -1", None, False),
        (">= -1", math.nan, False),
    ],
)
def test_a_condition(text: str, value: float | None, holds: bool) -> None:
    assert Condition.read("a.b", text).holds(value) is holds
    (written,) = GateConfig(conditions={"a.b": text}).conditions.values()
    assert Condition.read("a.b", written) == Condition.read("a.b", text), "no digit of a bound is lost"


@pytest.mark.parametrize("text", ["0.6", "= 0.6", ">= ", ">= much", ">= nan", ">= inf", "", ">= 1 or 2"])
def test_what_is_no_condition(text: str) -> None:
    with pytest.raises(ValueError, match="expected a sign and a number"):
        GateConfig.model_validate({"stories.gold_score": text})


def test_two_spellings_are_one_gate() -> None:
    """An override's dots make mappings of mappings; blanks and zeros change no fingerprint."""
    flat = GateConfig.model_validate({"stories.gold_score": ">=0.60"})
    nested = GateConfig.model_validate({"stories": {"gold_score": ">= 0.6"}})
    assert flat == nested
    assert identity(flat) == {"conditions": {"stories.gold_score": ">= 0.6"}}


def test_the_numbers_of_a_gate_that_is_passed() -> None:
    gate = GateConfig.model_validate({"held_out.loss": "< 1.3", "blimp.accuracy[islands]": ">= 0.5"})
    rows = check_gate(gate, METRICS)
    assert [(row["metric"], row["wants"], row["value"]) for row in rows] == [
        ("held_out.loss", "< 1.3", 1.25),
        ("blimp.accuracy[islands]", ">= 0.5", 0.5),
    ]


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        (
            {"stories.gold_score": ">= 0.6", "held_out.loss": "< 9"},
            "stories.gold_score is 0.5234 (95% interval 0.489 to 0.557, n 1,500), and the gate wants >= 0.6",
        ),
        (
            {"held_out.loss": "< 1", "blimp.accuracy[islands]": "> 0.5"},
            "held_out.loss is 1.25 (95% interval 1.2 to 1.3, n 3), and the gate wants < 1; "
            "blimp.accuracy[islands] is 0.5 (n 8), and the gate wants > 0.5",
        ),
        ({"held_out.nothing": "< 1"}, "held_out.nothing has no value: no row could be scored, and the gate"),
        (  # not all that was measured
            {"stories.reward": "> 0"},
            "stories.reward was not measured (but stories.gold_score was), and the gate wants",
        ),
        ({"stories": "> 0"}, "stories was not measured (but nothing of its benchmark was), and"),
    ],
)
def test_a_failing_gate_names_number_and_interval(conditions: dict[str, str], message: str) -> None:
    with pytest.raises(GateFailed) as caught:
        check_gate(GateConfig.model_validate(conditions), METRICS)
    assert str(caught.value).startswith(message)

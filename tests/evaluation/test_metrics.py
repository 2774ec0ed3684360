"""Intervals and answer matching against known numbers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tempering.data.answers import exact_match, f1, normalise_answer
from tempering.evaluation.benchmarks import MultipleChoiceBenchmark, QuestionsBenchmark
from tempering.evaluation.findings import Findings
from tempering.evaluation.metrics import Metric, mean_metric, wilson
from tempering.evaluation.paradigms import add_accuracy


def test_wilson_by_hand() -> None:
    low, high = wilson(8, 10)  # Wilson 1927: (0.4902, 0.9433)
    assert (low, high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))
    assert wilson(0, 20)[0] == 0
    assert wilson(20, 20)[1] == 1


def test_unscored_rows_are_left_out_not_zero() -> None:
    metric = mean_metric("reward", [2.0, None, 4.0, math.nan], "answers")
    assert (metric.value, metric.n) == (3.0, 2)


def test_nothing_measured_is_nan() -> None:
    metric = mean_metric("reward", [None], "answers")
    assert math.isnan(metric.value)
    assert metric.n == 0


@pytest.mark.parametrize(
    ("answer", "exact", "overlap"),
    [("The Park!", 1, 1.0), ("park", 1, 1.0), ("a big park", 0, 2 / 3), ("lake", 0, 0.0), ("", 0, 0.0)],
)
def test_answers(answer: str, exact: int, overlap: float) -> None:
    assert exact_match(answer, ["park", "the big garden"]) == exact
    assert f1(answer, ["park"]) == pytest.approx(overlap)


SAME = [
    *[("−5", "-5"), ("– 5", "-5"), ("minus 5", "-5"), ("-0", "0"), ("+5", "5"), ("5.", "5"), ("５", "5")],
    *[
        ("42", "42.0"),
        ("1.5", "1.50"),
        (".5", "0.5"),
        ("1,000", "1000"),
        ("1 000", "1000"),
        ("1'000", "1000"),
    ],
    *[("1/2", "0.5"), ("1 1/2", "1.5"), ("1e3", "1000"), ("1.5×10³", "1500"), ("1.5 x 10^3", "1500")],
    *[("50%", "50"), ("50 percent", "50%"), ("50%", "0.5"), ("x = 5", "5"), ("= 5", "5"), ("#### 5", "5")],
    *[
        ("\\boxed{5}", "5"),
        ("$\\frac{1}{2}$", "0.5"),
        ("-\\frac{1}{2}", "-0.5"),
        ("**5**", "5"),
        ("-$5", "-5"),
    ],
    *[("0.30000000000000004", "0.3"), ("1,000 people", "1000 people"), ("1990–1995", "1990-1995")],
    *[
        ("c++.", "C++"),
        ("(a)", "A"),
        ("A.", "a"),
        ("+", "+"),
        ("St. Louis", "St Louis"),
        ("- Paris", "Paris"),
        ("-Paris", "paris"),
        ("≤ 5", "<=5"),
        ("*-x*", "-x"),
        ("an apple", "apple"),
    ],
]
DIFFERENT = [
    *[("5", "-5"), ("-$5", "5"), ("15", "1.5"), ("12", "1/2"), ("1,2", "12"), ("3.14", "314"), ("5%", "0.5")],
    *[("x = -5", "5"), ("x = 5", "y = 5"), ("12345678901", "12345678902"), ("10^3", "103"), ("1/0", "1")],
    *[
        ("-5 km", "5 km"),
        ("1.5 km", "15 km"),
        ("-5°C", "5°C"),
        ("10:30", "1030"),
        ("007", "7"),
        ("1e99", "1e98"),
    ],
    *[("C", "C++"), ("C#", "C"), ("A+", "A"), ("O-", "O+"), ("5 + 3", "5 - 3"), ("x + 1", "x - 1")],
    *[
        ("-x", "x"),
        ("y = -x", "y = x"),
        ("-sqrt(2)", "sqrt(2)"),
        ("-∞", "∞"),
        ("-€5", "€5"),
        ("(-a, 1)", "(a, 1)"),
    ],
    *[("<5", ">5"), ("< 5", "5"), ("≥ 5", ">5")],
    *[("the", "A"), ("", "A"), ("+", "-"), (">", "<"), ("9" * 5000, "9"), ("5 apples", "5"), ("", "0")],
]


@pytest.mark.parametrize(
    ("pairs", "score"), [(SAME, 1.0), (DIFFERENT, 0.0)], ids=["the same", "something else"]
)
def test_numbers_are_compared_as_numbers_and_marks_that_mean_something_stay(
    pairs: list[tuple[str, str]], score: float
) -> None:
    wrong = [pair for pair in pairs if exact_match(pair[0], [pair[1]]) != score]
    wrong += [pair for pair in pairs if exact_match(pair[1], [pair[0]]) != score]
    assert not wrong
    assert score == 0.0 or all(f1(answer, [gold]) == 1.0 for answer, gold in pairs)


@given(st.text("0123456789.,-+/e% x=^*{}$\\½²³⁻a bC#\n−٣", max_size=12), st.text("015.-/% ae", max_size=5))
def test_any_two_texts_can_be_compared(answer: str, gold: str) -> None:
    assert exact_match(answer, [answer]) == f1(answer, [answer]) == 1.0
    assert exact_match(answer, [gold]) == exact_match(gold, [answer])
    assert f1(answer, [gold]) == pytest.approx(f1(gold, [answer]))


def test_normalise_answer() -> None:
    assert normalise_answer(" The  Cat's, hat. ") == "cats hat"


def test_all_right_over_paradigms_is_not_certain() -> None:
    """Eight of eight in two paradigms of four: Wilson's of eight; where one counts more, of fewer rows."""
    findings = Findings("b", MultipleChoiceBenchmark.model_construct())
    add_accuracy(findings, [1.0] * 8, ["a"] * 4 + ["b"] * 4, [0.5] * 8)
    macro = findings.metrics[-1]
    assert (macro.metric, macro.value, macro.n) == ("macro_accuracy", 1.0, 8)
    assert (macro.low, macro.high) == pytest.approx(wilson(8, 8))
    # Weights 1/2 and six times 1/12: worth 1 / (1/4 + 6/144) = 24/7 rows.
    uneven = mean_metric("m", [1.0] * 7, "b", weights=[1 / 2, *[1 / 12] * 6], share=True)
    assert uneven.low == pytest.approx(wilson(24 / 7, 24 / 7)[0])
    # A weighted number that is no share, such as the KL of a model to itself, is what it is.
    assert mean_metric("kl", [0.0] * 8, "b", weights=[1.0] * 8).high == 0


def test_each_part_has_its_own_guess() -> None:
    """Two choices and five: one guess for all would call 0.27 of five choices worse than guessing."""
    findings = Findings("b", MultipleChoiceBenchmark.model_construct())
    guesses = [1 / 2, 1 / 2, 1 / 5, 1 / 5, 1 / 5]
    add_accuracy(findings, [1.0, 0.0, 1.0, 0.0, None], ["two", "two", "five", "five", "five"], guesses)
    found = {metric.metric: metric.baseline for metric in findings.metrics}
    assert found == {
        "accuracy": pytest.approx(0.35),  # of the rows that count
        "accuracy[two]": 0.5,
        "accuracy[five]": pytest.approx(0.2),
        "macro_accuracy": pytest.approx(0.35),
    }


def test_a_mean_over_paradigms_is_guessed_as_such() -> None:
    findings = Findings("b", MultipleChoiceBenchmark.model_construct())
    add_accuracy(findings, [1.0, 0.0, 1.0, 0.0], ["two", "five", "five", "five"], [0.5, 0.2, 0.2, 0.2])
    found = {metric.metric: metric.baseline for metric in findings.metrics}
    assert (found["accuracy"], found["macro_accuracy"]) == (pytest.approx(0.275), pytest.approx(0.35))


def test_a_part_without_a_guess_has_none() -> None:
    findings = Findings("b", QuestionsBenchmark.model_construct())
    findings.add("exact_match", [1.0, 0.0], [0.6, None], parts=["who", "where"])
    assert [metric.baseline for metric in findings.metrics] == [0.6, 0.6, None]


def test_the_headline_has_what_is_part_of_no_number() -> None:
    """Tasks of the harness have no metric of all rows. Mutation: whatever has a bracket is left out."""
    from tempering.evaluation.run import headline

    names = [("a", "accuracy[islands]"), ("a", "accuracy"), ("theirs", "accuracy[task]")]
    metrics = [Metric(metric, 0.5, 0, 1, 3, benchmark) for benchmark, metric in names]
    assert list(headline(metrics)) == ["accuracy", "accuracy[task]"]

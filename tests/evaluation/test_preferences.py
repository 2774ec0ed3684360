"""Pairs that a reward model orders: all of them, and by what tells their sides apart."""

from math import exp, log, nan
from typing import Any

import pytest

from tempering.errors import DataError
from tempering.evaluation.benchmarks import PreferencesBenchmark, Tools
from tempering.evaluation.findings import Findings, run_benchmark
from tempering.report.table import Figure, Line


def likes_long_answers(prompts: Any, answers: list[str], **_: Any) -> list[float]:
    return [float(len(answer)) for answer in answers]


def pair(chosen: str, rejected: str, flaw: str) -> dict[str, Any]:
    sides = {"chosen": chosen, "rejected": rejected}
    turns = {side: [{"role": "assistant", "content": text}] for side, text in sides.items()}
    return {"prompt": [{"role": "user", "content": "?"}], "flaw": flaw, **turns}


ROWS = [
    pair("long", "a", "cut"),
    pair("longer", "b", "cut"),
    pair("c", "d", "name"),
    pair("e", "long", "name"),
]


def measured(**settings: Any) -> Findings:
    benchmark = PreferencesBenchmark(kind="preferences", dataset="pairs", **settings)
    return run_benchmark("flaws", benchmark, ROWS, Tools(scorer=likes_long_answers))  # type: ignore[arg-type]


def test_accuracy_is_measured_by_a_column_too() -> None:
    found = measured(by="flaw")
    accuracies = [metric for metric in found.metrics if metric.metric.startswith("accuracy")]
    assert [(metric.metric, metric.value, metric.n, metric.baseline) for metric in accuracies] == [
        ("accuracy", 0.625, 4, 0.5),  # a tie counts half
        ("accuracy[longer_chosen]", 1.0, 2, 0.5),
        ("accuracy[shorter_chosen]", 0.0, 1, 0.5),  # the tie is as long as its rival, and in neither part
        ("accuracy[cut]", 1.0, 2, 0.5),
        ("accuracy[name]", 0.25, 2, 0.5),
    ]
    scores = [row["value"] for row in found.tables["scores"] if row["metric"] == "accuracy[name]"]
    assert scores == [None, None, 0.5, 0.0], "rows keep their numbers"
    assert "accuracy[cut]" not in {metric.metric for metric in measured().metrics}


def test_what_the_margins_say() -> None:
    """Margins 3, 5, 0 and -3: the numbers by hand."""
    found = {metric.metric: metric for metric in measured().metrics}
    assert found["tied_share"].value == 0.25
    assert found["margin"].value == 1.25
    losses = [log(1 + exp(-3)), log(1 + exp(-5)), log(2), log(1 + exp(3))]
    assert found["nll"].value == pytest.approx(sum(losses) / 4)
    chances = [1 / (1 + exp(-3)), 1 / (1 + exp(-5)), 0.5, 1 / (1 + exp(3))]
    assert found["brier"].value == pytest.approx(sum((1 - chance) ** 2 for chance in chances) / 4)
    # Bins: the tie (½ right, of ½ sure), and three pairs surer than 0.95, of which two are right.
    sure = (2 * chances[0] + chances[1]) / 3
    assert found["ece"].value == pytest.approx(3 / 4 * (sure - 2 / 3))
    assert found["ece"].better == found["nll"].better == "lower"
    assert found["ece"].low <= found["ece"].value <= found["ece"].high
    assert [(row["bin"], row["n"]) for row in measured().tables["reliability"]] == [(0, 1), (9, 3)]


def test_a_score_that_is_not_a_number_is_left_out() -> None:
    def breaks(prompts: Any, answers: list[str], **_: Any) -> list[float]:
        return [nan if answer == "a" else 1.0 for answer in answers]

    benchmark = PreferencesBenchmark(kind="preferences", dataset="pairs")
    found = run_benchmark("flaws", benchmark, ROWS, Tools(scorer=breaks))  # type: ignore[arg-type]
    assert {metric.n for metric in found.metrics if "[" not in metric.metric} == {3}


def test_the_report_names_the_part() -> None:
    figure = Figure("rm", "accuracy[no_ending]", 1.0, 0.9, 1.0, 2, 0.5, "higher", "flaws")
    line = Line("flaws", figure.metric, {"rm": figure}, PreferencesBenchmark)
    assert line.measure.label == "Pairs ordered right: no ending"


def test_a_column_that_is_not_there_is_refused() -> None:
    with pytest.raises(DataError, match="no such column"):
        measured(by="source")

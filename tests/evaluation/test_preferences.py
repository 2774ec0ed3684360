"""Pairs that a reward model orders: all of them, and by what tells their sides apart."""

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
    assert [(metric.metric, metric.value, metric.n, metric.baseline) for metric in found.metrics] == [
        ("accuracy", 0.625, 4, 0.5),  # a tie counts half
        ("accuracy[cut]", 1.0, 2, 0.5),
        ("accuracy[name]", 0.25, 2, 0.5),
    ]
    scores = [row["value"] for row in found.tables["scores"] if row["metric"] == "accuracy[name]"]
    assert scores == [None, None, 0.5, 0.0], "rows keep their numbers"
    assert [metric.metric for metric in measured().metrics] == ["accuracy"]


def test_the_report_names_the_part() -> None:
    figure = Figure("rm", "accuracy[no_ending]", 1.0, 0.9, 1.0, 2, 0.5, "higher", "flaws")
    line = Line("flaws", figure.metric, {"rm": figure}, PreferencesBenchmark)
    assert line.measure.label == "Pairs ordered right: no ending"


def test_a_column_that_is_not_there_is_refused() -> None:
    with pytest.raises(DataError, match="no such column"):
        measured(by="source")

"""`temper report`: a run's numbers in the pipeline's order, as rows and as a table."""

import json
from collections.abc import Callable
from pathlib import Path

from flows.cli.metric_table import COLUMNS
from tempering.artifacts.store import Store
from tests.flows.conftest import Answer


def test_the_numbers_of_the_newest_run_of_a_pipeline(
    made: Answer, temper: Callable[..., Answer], store: Path
) -> None:
    # Commands that run no pipeline leave records too.
    Store(store).runs.start("evaluate").stage("evaluate[x]", "run", artifact="evaluate-x/none")
    rows = json.loads(temper("report", "--store", store, "--json").out)
    assert [row["model"] for row in rows] == ["base", "base", "left", "left", "right", "right"]
    assert {tuple(row) for row in rows} == {COLUMNS}
    about = {"benchmark": "toys", "part": None, "low": None, "high": None, "n": 0, "convention": "honest"}
    assert rows[1] == {"model": "base", "metric": "undefined", "value": None, **about}
    lines = temper("report", "--store", store).out.splitlines()
    assert lines[0].endswith("report.html")
    assert lines[1].split() == ["benchmark", "metric", "base", "left", "right", "n"]
    assert lines[2].split()[:3] == ["toys", "gold_score", "↑"]

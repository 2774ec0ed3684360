"""`temper compare`: two models or runs of a store, as tables, page and JSON."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from tempering.artifacts.store import Store
from tests.flows.conftest import Answer


def test_two_models_and_two_runs(
    made: Answer, temper: Callable[..., Answer], store: Path, tmp_path: Path
) -> None:
    # Two models of other names: their settings, numbers and answers.
    answer = json.loads(temper("compare", "left@latest", "right@latest", "--store", store, "--json").out)
    assert {"field": "steps", "before": "4", "after": "5"} in answer["config"]
    gold = answer["metrics"][0]
    assert (gold["model"], gold["metric"]) == ("left → right", "gold_score")
    assert gold["difference"] == gold["after"] - gold["before"]
    assert gold["note"] == "no mean of its rows"  # the toy keeps no rows
    assert [row["prompt"] for row in answer["prompts"]] == ["say | <b>hello</b>"]
    # A run with itself, as a page and as a table.
    run = next(record.id for record in Store(store).runs.newest("toy"))
    page = tmp_path / "page.html"
    assert temper("compare", run, run, "--store", store, "--html", page).out == f"{page}\n"
    assert "All settings are the same." in page.read_text()
    text = temper("compare", run, run, "--store", store).out
    assert "0 settings differ" in text
    assert "base: metric" in text


def test_the_evaluations_that_share_benchmarks_are_compared(capsys: pytest.CaptureFixture[str]) -> None:
    """A model may have been measured again by others. Mutations: the newest; the oldest of equals."""
    from flows.cli.compare import _closest
    from tempering.report.compare import Side

    def sides(name: str, *measured: str) -> list[Side]:
        return [
            Side(name, {}, {name: SimpleNamespace(id=f"{name}-{at}", manifest=manifest(benchmarks))})  # type: ignore[dict-item]
            for at, benchmarks in enumerate(measured)
        ]

    def manifest(benchmarks: str) -> SimpleNamespace:
        return SimpleNamespace(config={"benchmarks": dict.fromkeys(benchmarks)})

    pair = _closest(sides("dpo", "x", "ab", "abc", "ab"), sides("ppo", "ba"))
    assert [side.evaluations[side.name].id for side in pair] == ["dpo-1", "ppo-0"]
    assert capsys.readouterr().err == "dpo: dpo-1 of 4 evaluations (a, b)\n"


def test_what_cannot_be_compared_is_said(made: Answer, temper: Callable[..., Answer], store: Path) -> None:
    for name, words in (
        ("nothing", "neither a run nor an artifact 'nothing'"),
        ("sample@latest", "is a sample"),
    ):
        answer = temper("compare", "left@latest", name, "--store", store)
        assert (answer.code, answer.out) == (2, "")
        assert words in answer.err

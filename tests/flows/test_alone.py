"""Nodes without Prefect: made once, recorded, and stopped by a gate as in a pipeline."""

import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.alone import run_alone
from flows.display import Display
from flows.session import Ended
from tempering.artifacts.store import Store
from tests.flows.conftest import Answer
from tests.flows.inside import Here


class Inside(Here):
    """Stages run in this process, one at a time, so nothing need be warm."""

    lock = threading.Lock()  # transformers loads models in one thread of a process

    def warm_up(self) -> None:
        pass

    def run(self, *arguments: Any, **options: Any) -> Any:
        with self.lock:
            return super().run(*arguments, **options)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, toy: Path, store: Path) -> Callable[..., Ended]:
    """Run the toy pipeline with overrides."""
    from toy_temper import load_toy, toy_graph

    monkeypatch.setattr("flows.alone.Workers", Inside)

    def call(*overrides: str) -> Ended:
        config = load_toy(toy, overrides)
        display = Display(io.StringIO())
        return run_alone("measured", config, config.runtime, Store(store), toy_graph(config), display)

    return call


def actions(ended: Ended) -> dict[str, Any]:
    return {row["stage"]: row["action"] for row in ended.rows}


def test_nodes_are_made_once_and_recorded(run: Callable[..., Ended], store: Path) -> None:
    ended = run()
    assert (ended.code, set(actions(ended).values())) == (0, {"run"})
    record = Store(store).runs.get(ended.run)
    assert record is not None
    assert (record.pipeline, record.state, record.flow_run) == ("measured", "completed", None)
    assert set(actions(run()).values()) == {"cached"}
    changed = actions(run("left.steps=6"))
    assert {name for name in changed if changed[name] == "run"} == {"left", "evaluate[left]", "report"}


def test_a_gate_at_the_end_fails_the_run_and_the_report_is_made_again(
    made: Answer, run: Callable[..., Ended], store: Path
) -> None:
    """Nothing depends on the model: the report must not be taken for that of a run that passed."""
    gate = "gates={left: {toys.gold_score: '%s'}}"
    failed = run(gate % "< 1")
    assert failed.code == 3
    assert actions(failed)["right"] == "cached"
    passed = run(gate % ">= 1")
    assert passed.code == 0
    assert {name for name, action in actions(passed).items() if action != "cached"} == {
        "gate[left]",
        "report",
    }
    artifacts = {row["stage"]: row["artifact"] for row in passed.rows}
    assert "gate[left]" not in (store / artifacts["report"] / "report.html").read_text()
    assert set(actions(run(gate % ">= 1")).values()) == {"cached"}


def test_a_failing_gate_and_a_failing_stage(run: Callable[..., Ended]) -> None:
    """Exit code 3 says that nothing but gates failed."""
    ended = run("gates={left: {toys.gold_score: '< 1'}}", "right.crash=raise")
    assert (actions(ended)["gate[left]"], actions(ended)["right"], ended.code) == ("failed", "failed", 1)

"""`--reuse STAGE=ID`: an artifact in the place of what a stage would make."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tempering.artifacts.store import Store
from tests.flows.conftest import Answer

Temper = Callable[..., Answer]


@pytest.fixture
def other(made: Answer, api: str, temper: Temper, toy: Path, store: Path) -> str:
    """Another artifact of the stage `left`: of seven steps, where the config says four."""
    answer = temper("run", toy, "left.steps=7", "--store", store, "--json", "--only", "left")
    return str(answer.rows["left"]["artifact"])


def test_what_comes_after_is_made_of_it(
    other: str, made: Answer, temper: Temper, toy: Path, store: Path
) -> None:
    arguments = (toy, "--store", store, "--json", "--reuse", f"left={other}")
    planned, answer = temper("plan", *arguments), temper("run", *arguments)
    assert planned.actions == answer.actions
    assert [name for name, action in answer.actions.items() if action == "run"] == [
        "evaluate[left]",
        "report",
    ]
    assert answer.rows["left"]["artifact"] == other
    assert "by --reuse" in temper("plan", *arguments[:3], *arguments[4:]).out
    # Its own fingerprint went into what was made of it: the config alone does not find that.
    evaluation = Store(store).get(answer.rows["evaluate[left]"]["artifact"])
    assert evaluation.manifest.inputs["model"].id == other
    assert temper("plan", *arguments[:4]).actions["evaluate[left]"] == "cached"
    before = made.rows["evaluate[left]"]["artifact"]
    assert temper("plan", *arguments[:4]).rows["evaluate[left]"]["artifact"] == before
    assert Store(store).runs.last_run() is not None
    assert Store(store).get("left@latest").id == other


def test_what_only_it_needed_is_left_out(other: str, temper: Temper, toy: Path, store: Path) -> None:
    rows = temper("plan", toy, "--store", store, "--json", "--only", "left", "--reuse", f"left={other}").rows
    assert list(rows) == ["left"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--reuse", "left"], "no stage and artifact"),
        (["--reuse", "left="], "no stage and artifact"),
        (["--reuse", "middle=left@latest"], "there is no stage 'middle'"),
        (["--reuse", "toy_train=left@latest"], "toy_train is 3 stages"),
        (["--reuse", "left=data@latest"], "is a dataset"),
        (["--reuse", "left=left/nothing"], "left/nothing"),
        (["--reuse", "left=left@latest", "--force", "left"], "--force left makes again"),
    ],
)
def test_mistakes_end_before_anything_runs(
    words: list[str], message: str, made: Answer, temper: Temper, toy: Path, store: Path
) -> None:
    answer = temper("run", toy, "--store", store, *words)
    assert answer.code == 2
    assert message in answer.err
    assert "Traceback" not in answer.err

"""Gates in the graph and in runs: what waits, what stops, and what is never measured again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.options import Options
from flows.pipeline import plan_pipeline
from tempering.artifacts.store import Store
from tempering.errors import ConfigError
from tests.flows.conftest import Answer, wait_for
from tests.flows.test_run import prefect_states

Temper = Callable[..., Answer]
QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
FAILING = "gates={base: {toys.gold_score: '>= 7'}}"
"""The toy's score is the length of its weights: 6 of the base."""


def planned(*overrides: str) -> dict[str, Any]:
    nodes = plan_pipeline(Options(str(QUICKSTART), overrides, store="/nonexistent")).nodes
    for node in nodes:  # parents before children
        assert all(parent in [other.name for other in nodes[: nodes.index(node)]] for parent in node.before())
    return {node.name: node for node in nodes}


def test_what_waits_for_a_gate() -> None:
    """The reward model starts from SFT as well, but judges its evaluation: waiting would be a circle."""
    nodes = planned(
        'gates={sft: {stories.gold_score: ">= 0.6"}, reward_model: {preferences.accuracy: "> 0.7"}}'
    )
    waiting = {name: node.after for name, node in nodes.items() if node.after}
    assert waiting == {
        "dpo": ("gate[sft]",),
        "ppo": ("gate[sft]", "gate[reward_model]"),
        "rloo": ("gate[sft]", "gate[reward_model]"),
    }
    assert nodes["gate[sft]"].parents() == ("evaluate[sft]",)
    assert set(nodes["report"].inputs["gates"]) == {"sft", "reward_model"}


def test_a_gate_changes_no_fingerprint_but_the_reports(tmp_path: Path) -> None:
    def keys(*overrides: str) -> dict[str, str]:
        rows = plan_pipeline(Options(str(QUICKSTART), overrides, store=str(tmp_path))).rows
        return {row.stage: row.fingerprint.hex for row in rows}

    plain, gated = keys(), keys("gates.sft.stories.gold_score='>= 0.6'")
    assert {name for name in gated if gated[name] != plain.get(name)} == {"gate[sft]", "report"}


@pytest.mark.parametrize(
    ("gates", "message"),
    [
        (
            '{stf: {stories.gold_score: "> 1"}}',
            "gates.stf: there is no such stage.*\n.*\n.*did you mean 'sft'",
        ),
        ('{sft: {storys.gold_score: "> 1"}}', "storys.gold_score names no benchmark that sft gets"),
        ('{sft: {preferences.accuracy: "> 1"}}', "names no benchmark that sft gets"),
        ('{sft: {stories.golden: "> 1"}}', "has no metric 'golden'.*\n.*\n.*did you mean stories.gold_score"),
        ("{sft: {stories.gold_score: 0.6}}", "expected a sign and a number"),
        ("{sft: {}}", "gates.sft: no condition; expected BENCHMARK.METRIC"),
        # What the baseline is not compared with could never be passed.
        ('{sft: {stories.win_rate: "> 0.5"}}', "compares with evaluate.baseline, which is this model itself"),
    ],
)
def test_mistakes_in_gates(gates: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        planned(f"gates={gates}")


def test_a_gate_on_what_nobody_judges() -> None:
    with pytest.raises(ConfigError, match="which is not set"):
        planned("evaluate.reward_model=null", "gates.dpo.stories.reward='> 1'")
    assert "gate[dpo]" in planned("gates.dpo.stories.win_rate='> 0.5'")


def test_a_gate_on_what_is_not_evaluated() -> None:
    with pytest.raises(ConfigError, match=r"gates\.sft: sft is not evaluated"):
        planned("evaluate.models=[ppo]", "evaluate.baseline=null", "gates.sft.stories.gold_score='> 1'")
    with pytest.raises(ConfigError, match="an `evaluate` section"):
        planned("evaluate=null", "gates.sft.stories.gold_score='> 1'")


def test_gates_are_switched_off_with_their_stage_or_alone() -> None:
    assert "gate[dpo]" not in planned("dpo=null", "gates.dpo.stories.gold_score='> 1'")
    assert "gate[dpo]" not in planned("gates={dpo: null}")
    assert "gate[dpo]" not in planned("gates=null")


def test_a_failing_gate_stops_what_comes_after(
    made: Answer, api: str, temper: Temper, toy: Path, store: Path
) -> None:
    answer = temper("run", toy, FAILING, "--store", store, "--json")
    assert answer.code == 3
    # Everything is in the store; the evaluation is gated all the same, and not made again.
    assert answer.actions == {
        **dict.fromkeys(("data", "sample", "base", "evaluate[base]"), "cached"),
        "gate[base]": "failed",
        "report": "run",
        **dict.fromkeys(("left", "right", "evaluate[left]", "evaluate[right]"), "skipped"),
    }
    message = "toys.gold_score is 6 (95% interval 5 to 7, n 10), and the gate wants >= 7"
    assert answer.rows["left"]["error"] == f"gate[base] failed: {message}"
    assert f"gate[base] failed: {message}" in answer.err
    assert "Traceback" not in answer.err
    page = (store / answer.rows["report"]["artifact"] / "report.html").read_text()
    assert page == f"<p>['base'] without {{'gate[base]': '{message}'}}</p>"
    record = next(Store(store).runs.newest())
    wait_for(lambda: len(prefect_states(api, record.id)[1]) == len(answer.rows), 10)
    state, tasks = prefect_states(api, record.id)
    assert state == "Failed"
    assert tasks["gate[base] · toy"] == ("Failed", message)
    assert tasks["left · toy"] == ("NotRun", f"gate[base] failed: {message}")
    assert not [folder for folder in store.iterdir() if folder.name.startswith("gate")]


def test_only_looks_at_the_gate_before_it(made: Answer, temper: Temper, toy: Path, store: Path) -> None:
    answer = temper("plan", toy, FAILING, "right.steps=9", "--only", "right", "--store", store, "--json")
    assert (answer.actions["gate[base]"], answer.actions["right"]) == ("run", "run")
    # One that cannot be looked at is a mistake, before anything runs.
    answer = temper("plan", toy, FAILING, "base.steps=9", "--only", "right", "--store", store)
    assert answer.code == 2
    assert "its input" in answer.err


def test_the_plan_says_what_a_gate_finds_in_a_cached_evaluation(
    made: Answer, temper: Temper, toy: Path, store: Path
) -> None:
    """Mutations: the other sign; numbers of an evaluation that will be made again."""
    gates = "gates={base: {toys.gold_score: '>= 7'}, left: {toys.gold_score: '>= 7'}}"
    rows = temper("plan", toy, gates, "left.steps=99", "--store", store, "--json").rows
    numbers = {"value": 6, "low": 5, "high": 7, "n": 10}
    check = {"metric": "toys.gold_score", "wants": ">= 7", **numbers, "passes": False}
    assert rows["gate[base]"]["checks"] == [check]
    assert "checks" not in rows["gate[left]"], "it will be measured"
    base = "toys.gold_score is 6 (95% interval 5 to 7, n 10), wants"
    words = temper("plan", toy, FAILING, "--store", store).out
    assert f"would stop: {base} >= 7" in " ".join(words.split())
    passing = temper("plan", toy, FAILING.replace("7", "6"), "--store", store).out
    assert f"would pass: {base} >= 6" in " ".join(passing.split())


def test_the_plan_shows_gates(temper: Temper, toy: Path, store: Path) -> None:
    assert "wants toys.gold_score >= 7" in temper("plan", toy, FAILING, "--store", store).out
    rows = temper("plan", toy, FAILING, "--store", store, "--json").rows
    assert rows["gate[base]"]["wants"] == {"toys.gold_score": ">= 7"}
    assert "wants" not in rows["left"]

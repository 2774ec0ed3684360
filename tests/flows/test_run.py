"""Whole runs of a toy pipeline through a real Prefect server."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tempering.artifacts.runs import RunRecord
from tests.flows.conftest import HERE, ROOT, Answer, Started, free_port, wait_for

MODELS = ["base", "left", "right"]
EVALUATIONS = [f"evaluate[{name}]" for name in MODELS]
NODES = ["data", "sample", *MODELS, *EVALUATIONS, "report"]
LEFT = {"left", "evaluate[left]", "report"}
Temper = Callable[..., Answer]
Start = Callable[..., Started]


def post(api: str, path: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        f"{api}{path}", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request) as response:
        return json.load(response)


def prefect_states(api: str, run: str) -> tuple[str, dict[str, tuple[str, str]]]:
    """The flow run's state and its task runs': name -> (state, message)."""
    body: dict[str, Any] = {"flow_runs": {"name": {"any_": [run]}}}
    (flow_run,) = post(api, "/flow_runs/filter", body)
    tasks = post(api, "/task_runs/filter", body)
    states = {task["name"]: (task["state"]["name"], task["state"]["message"]) for task in tasks}
    return flow_run["state"]["name"], states


def newest(store: Path) -> RunRecord:
    return RunRecord.model_validate_json(max((store / "runs").glob("*.json")).read_bytes())


def test_a_first_run_makes_everything(made: Answer, api: str, store: Path) -> None:
    assert list(made.rows) == NODES
    assert set(made.actions.values()) == {"run"}
    left = made.rows["left"]
    assert (left["tokens"], left["metrics"], left["resumed_from_tokens"]) == (400, {"loss": 0.25}, None)
    assert left["seconds"] > 0
    assert (store / left["artifact"] / "model" / "weights").read_text() == "/3*0.1/4*0.1"
    log = (store / made.rows["data"]["artifact"] / "log.txt").read_text()
    assert log.splitlines() == ["printed by a library", "written by a shell"]
    assert "printed by a library" not in made.err
    record = newest(store)
    assert record.state == "completed"
    assert [entry.artifact for entry in record.stages.values()].count(None) == 0
    wait_for(lambda: len(prefect_states(api, record.id)[1]) == len(NODES), 10)
    state, tasks = prefect_states(api, record.id)
    assert state == "Completed"
    assert sorted(tasks) == sorted(f"{name} · toy" for name in NODES)
    assert {name for name, _ in tasks.values()} == {"Completed"}


def test_a_second_run_starts_nothing(made: Answer, toy: Path, store: Path) -> None:
    code = (
        "import sys, toy_temper, flows.cli.main; toy_temper.install();"
        f"flows.cli.main.main(['run', {str(toy)!r}, '--store', {str(store)!r}]);"
        "print(sorted({'prefect', 'torch', 'pandas'} & set(sys.modules)))"
    )
    started = time.monotonic()
    again = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": f"{HERE}:{ROOT}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert time.monotonic() - started < 6
    assert again.stdout.strip() == "[]"
    assert "all 9 stages are Cached" in again.stderr
    assert {entry.action for entry in newest(store).stages.values()} == {"cached"}


def test_a_changed_field_runs_what_depends_on_it(
    made: Answer, api: str, temper: Temper, toy: Path, store: Path
) -> None:
    arguments = (toy, "left.learning_rate=0.2", "--store", store)
    planned = temper("plan", *arguments, "--json")
    done = temper("run", *arguments, "--json")
    assert planned.actions == done.actions
    assert {name for name, action in done.actions.items() if action == "run"} == LEFT
    assert planned.rows["left"]["why"] == [
        {"kind": "config", "field": "learning_rate", "old": 0.1, "new": 0.2}
    ]
    wait_for(lambda: len(prefect_states(api, newest(store).id)[1]) == len(NODES), 10)
    states = prefect_states(api, newest(store).id)[1]
    assert {name for name, (state, _) in states.items() if state == "Cached"} == {
        f"{name} · toy" for name in set(NODES) - LEFT
    }


def test_plan_says_why_in_words(made: Answer, temper: Temper, toy: Path, store: Path) -> None:
    answer = temper("plan", toy, "left.learning_rate=0.2", "--store", store)
    assert "learning_rate 0.1 → 0.2" in answer.out
    assert "6 cached, 3 run" in answer.out


def test_only_runs_nothing_that_comes_after(made: Answer, temper: Temper, toy: Path, store: Path) -> None:
    # Prefect refuses some of these characters in a name.
    name = "name=R&D 50% </a>"
    answer = temper("run", toy, "left.steps=6", name, "--only", "left", "--store", store, "--json")
    assert answer.actions == {"data": "cached", "sample": "cached", "base": "cached", "left": "run"}


def test_a_forced_rebuild_with_the_same_payload_invalidates_nothing(
    made: Answer, temper: Temper, toy: Path, store: Path
) -> None:
    answer = temper("run", toy, "--force", "base", "--store", store, "--json")
    assert {name for name, action in answer.actions.items() if action == "run"} == {"base"}
    assert answer.rows["base"]["artifact"] != made.rows["base"]["artifact"]


def test_a_failed_branch_leaves_the_others(api: str, temper: Temper, toy: Path, store: Path) -> None:
    answer = temper("run", toy, "left.crash=raise", "--store", store, "--json")
    assert answer.code == 1
    assert answer.actions["left"] == "failed"
    assert answer.actions["evaluate[left]"] == "skipped"
    assert {answer.actions[name] for name in ("right", "evaluate[right]", "report")} == {"run"}
    assert answer.rows["evaluate[left]"]["error"] == "left failed: RuntimeError: the loss is not a number"
    assert "RuntimeError: the loss is not a number" in answer.err
    assert 'raise RuntimeError("the loss is not a number")' in answer.err
    assert "UnfinishedRun" not in answer.err
    page = (store / answer.rows["report"]["artifact"] / "report.html").read_text()
    assert page == "<p>['base', 'right'] without {'left': 'RuntimeError: the loss is not a number'}</p>"
    record = newest(store)
    assert record.state == "failed"
    assert "Traceback" in (record.stages["left"].error or "")
    wait_for(lambda: len(prefect_states(api, record.id)[1]) == len(NODES), 10)
    state, tasks = prefect_states(api, record.id)
    assert state == "Failed"
    assert tasks["evaluate[left] · toy"] == ("NotRun", "left failed: RuntimeError: the loss is not a number")
    again = temper("run", toy, "--store", store, "--json")
    assert again.code == 0
    assert {name for name, action in again.actions.items() if action == "cached"} == set(NODES) - LEFT


def test_a_mistake_found_by_a_stage_is_the_users(api: str, temper: Temper, toy: Path, store: Path) -> None:
    answer = temper("run", toy, "data.bad=true", "--store", store)
    assert answer.code == 2
    assert answer.out == ""
    assert "rows.jsonl:3: not JSON" in answer.err
    assert "correct line 3" in answer.err
    assert "Traceback" not in answer.err
    assert not list((store / ".partial").iterdir())


def test_report_prints_the_page_and_the_metrics(
    made: Answer, temper: Temper, store: Path, tmp_path: Path
) -> None:
    rows = json.loads(temper("report", "--store", store, "--json").out)
    assert rows[0] == {
        "model": "base",
        "benchmark": "toys",
        "part": None,
        "metric": "gold_score",
        "value": 6.0,
        "low": 5.0,
        "high": 7.0,
        "n": 10,
        "convention": "honest",
    }
    assert rows[1]["value"] is None
    assert [row["model"] for row in rows[::2]] == ["base", "left", "right"]
    text = temper("report", "--store", store).out
    assert text.splitlines()[0] == str(store / made.rows["report"]["artifact"] / "report.html")
    assert temper("report", "nothing", "--store", store).code == 2
    # A page and Markdown of this moment, whatever the run's own report is.
    page = tmp_path / "now.html"
    assert temper("report", "--store", store, "--html", page).out == f"{page}\n"
    assert "<h1>toy</h1>" in page.read_text()
    assert temper("report", "--store", store, "--markdown").out.startswith("# toy\n")
    answer = temper("report", "--store", store, "--html", tmp_path / "no" / "now.html")
    assert (answer.code, answer.out) == (2, "")
    assert "there is no folder" in answer.err


def test_a_killed_stage_goes_on_from_its_checkpoint(
    api: str, start: Start, temper: Temper, toy: Path, store: Path, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    arguments = ("run", toy, "--store", store, "--json", f"left.wait_for={flag}", "runtime.retries=0")
    run = start(*arguments, PREFECT_API_URL=api)
    wait_for((tmp_path / "flag.pid").exists)
    os.kill(int((tmp_path / "flag.pid").read_text()), signal.SIGKILL)
    killed = run.wait()
    assert killed.code == 1
    assert killed.rows["left"]["crashes"] == []
    assert killed.rows["left"]["error"].startswith("the stage's process was killed by SIGKILL")
    flag.touch()
    planned = temper("plan", *arguments[1:])
    again = temper(*arguments)
    assert planned.actions["left"] == again.actions["left"] == "resume"
    assert again.rows["left"]["resumed_from_tokens"] == 200
    assert (store / again.rows["left"]["artifact"] / "model" / "weights").read_text() == "/3*0.1/4*0.1"


def test_killing_the_parent_leaves_nothing(
    api: str, start: Start, toy: Path, store: Path, tmp_path: Path
) -> None:
    """A run with a Prefect server of its own and a stage that spins, and one whose stage sleeps."""
    run = ("run", toy, "--json", f"left.wait_for={tmp_path / 'flag'}", "--store")
    port = free_port()
    spinning = start(*run, store, "left.hold=spin", "--port", port)
    sleeping = start(
        *run, tmp_path / "other", f"left.wait_for={tmp_path / 'other-flag'}", PREFECT_API_URL=api
    )
    for flag in ("flag.pid", "other-flag.pid"):
        wait_for((tmp_path / flag).exists)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as page:
        assert b"<html" in page.read().lower()  # a named port shows Prefect's pages
    assert (
        len(spinning.family()) >= 5
    )  # itself, Prefect's and the fork server, the resource tracker, the stage
    assert len(sleeping.family()) >= 4
    spinning.process.kill()
    sleeping.process.kill()
    time.sleep(2)
    assert spinning.family() + sleeping.family() == []
    (tmp_path / "flag").touch()
    again = start(*run, store).wait()
    assert (again.code, again.actions["left"], again.rows["left"]["resumed_from_tokens"]) == (
        0,
        "resume",
        200,
    )
    with sqlite3.connect(store / ".prefect" / "prefect.db") as database:
        states = [name for (name,) in database.execute("SELECT state_name FROM flow_run ORDER BY created")]
    assert states == ["Crashed", "Completed"]


def test_killing_the_parent_while_it_starts(start: Start, toy: Path, store: Path) -> None:
    """The servers are still importing their libraries and must notice all the same."""
    run = start("run", toy, "--store", store, TEMPER_PRELOAD="torch transformers.trainer")
    wait_for(lambda: len(run.family()) >= 4)
    run.process.kill()
    time.sleep(1)
    assert run.family() == []


def test_two_runs_at_once_share_the_work(start: Start, toy: Path, store: Path) -> None:
    runs = [start("run", toy, "--store", store, "--json") for _ in range(2)]
    answers = [run.wait(90) for run in runs]
    assert [answer.code for answer in answers] == [0, 0], [answer.err for answer in answers]
    for name in NODES:
        assert answers[0].rows[name]["artifact"] == answers[1].rows[name]["artifact"]
        assert sorted(answer.actions[name] for answer in answers) in (["cached", "run"], ["cached", "cached"])
    folders = [path.parent for path in store.glob("*/*/manifest.json")]
    assert len(folders) == len(NODES)

"""Flow runs that a kill left unfinished get a final state, and nobody else's do."""

import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tempering.artifacts.runs import Run, Runs


@pytest.fixture
def ask(api: str) -> Iterator[Any]:
    """Calls a method of Prefect's client."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        yield lambda method, /, *arguments, **fields: getattr(client, method)(*arguments, **fields)


@pytest.fixture
def begin(ask: Any) -> Any:
    """Makes a flow run with a task run, as a run would have left it; their ids."""
    from prefect import flow, states, task

    def nothing() -> None:
        pass

    def call(name: str, state: str, **deployment: Any) -> tuple[Any, Any]:
        if deployment:
            run = ask("create_flow_run_from_deployment", name=name, **deployment)
            ask("set_flow_run_state", run.id, getattr(states, state)(), force=True)
        else:
            flow_run = flow(nothing, name="tempering")
            run = ask("create_flow_run", flow_run, name=name, state=getattr(states, state)())
        work = task(nothing, name="ppo")
        return run.id, ask("create_task_run", work, run.id, uuid.uuid4().hex, state=states.Running()).id

    return call


@pytest.fixture
def states(ask: Any) -> Any:
    """The states of a flow run and its task run."""
    return lambda run: (
        ask("read_flow_run", run[0]).state.type.value,
        ask("read_task_run", run[1]).state.type.value,
    )


def dead(runs: Runs, **changes: Any) -> str:
    """The id of a record whose process has gone."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    run = runs.start("toy")
    Run(run.path, run.record.model_copy(update={"pid": child.pid, "born": "", **changes}))._write()
    return run.id


def test_runs_of_this_store_whose_process_has_gone(ask: Any, begin: Any, states: Any, tmp_path: Path) -> None:
    from flows.dead_runs import close_dead_runs

    runs = Runs(tmp_path / "runs")
    deployment = ask("create_deployment", ask("create_flow_from_name", "tempering"), f"d{uuid.uuid4().hex}")
    killed, pending = begin(dead(runs), "Running"), begin(dead(runs), "Pending")
    ended = begin(dead(runs, state="completed"), "Running")
    failed = begin(dead(runs, state="failed"), "Running")
    others = [
        begin(runs.start("toy").id, "Running"),  # alive
        begin(dead(runs, host="elsewhere"), "Running"),
        begin(dead(Runs(tmp_path / "other")), "Running"),
        begin("../runs/" + dead(runs), "Running"),
        begin(dead(runs), "Running", deployment_id=deployment),  # its heartbeats tell
    ]
    assert len(close_dead_runs(runs, alone=False)) == 4
    assert states(killed) == states(pending) == ("CRASHED", "CRASHED")
    assert ask("read_flow_run", killed[0]).state.message == "its process was killed"
    # The server was away when these ended.
    assert states(ended) == ("COMPLETED", "COMPLETED")
    assert states(failed) == ("FAILED", "CRASHED")
    assert [states(run) for run in others] == [("RUNNING", "RUNNING")] * len(others)
    assert not close_dead_runs(runs, alone=False)


def test_in_a_database_of_its_own_all_are_dead(begin: Any, states: Any, tmp_path: Path) -> None:
    from flows.dead_runs import close_dead_runs

    runs = Runs(tmp_path / "runs")
    nameless = begin("mighty-otter", "Pending")  # killed before it had its name
    done = begin(dead(runs), "Completed")
    close_dead_runs(runs, alone=True)
    assert states(nameless) == ("CRASHED", "CRASHED")
    assert states(done)[0] == "COMPLETED"


def test_a_server_that_does_not_answer_ends_no_run(
    api: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows import dead_runs

    monkeypatch.setattr(dead_runs, "_ANSWER", 0.3)
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{mute.getsockname()[1]}/api"}):
            start = time.monotonic()
            assert dead_runs.close_dead_runs(Runs(tmp_path), alone=True) == []
            assert time.monotonic() - start < 5

"""A session runs each node once, with Prefect or without; a retry repeats no force."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest
import toy_temper

from flows.display import Display
from flows.graph import Node
from flows.options import Options
from flows.outcome import Outcome
from flows.pipeline import open_session, plan_pipeline
from flows.session import Session
from tempering.artifacts.store import Store
from tempering.errors import StoreError


@pytest.fixture
def session(toy: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    toy_temper.install(monkeypatch.setattr)
    return open_session(Options(str(toy), store=str(store)), Display())


def watch(session: Session, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let nodes take a moment instead of working; the names of those that ran, in order."""
    names: list[str] = []

    def work(node: Node, log: Any) -> Outcome:
        time.sleep(0.05)
        names.append(node.name)
        return Outcome(node.name, "skipped", root=node.name)

    monkeypatch.setattr(session.runner, "run_node", work)
    return names


def test_a_node_runs_once(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    names = watch(session, monkeypatch)
    node = session.planned.nodes[0]
    outcomes: list[Outcome] = []
    threads = [threading.Thread(target=lambda: outcomes.append(session.execute(node))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names == ["data"]
    assert [outcome is outcomes[0] for outcome in outcomes] == [True] * 4


def test_alone_it_goes_on_where_prefect_left_it(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    names = watch(session, monkeypatch)
    session.execute(session.planned.nodes[0])
    session.run_alone()
    assert session.wait(20)
    assert sorted(names) == sorted(node.name for node in session.planned.nodes)
    for node in session.planned.nodes:
        assert all(names.index(parent) < names.index(node.name) for parent in node.parents())


def test_a_stop_cancels_what_has_not_begun(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    names = watch(session, monkeypatch)
    session.execute(session.planned.nodes[0])
    session.cancel(KeyboardInterrupt())
    assert session.wait(0)
    session.run_alone()
    assert session.end().code == 130
    assert names == ["data"]
    assert session.run.record.stages["report"].action == "cancelled"


def test_a_retry_does_not_force_what_its_first_attempt_made(
    toy: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy_temper.install(monkeypatch.setattr)
    first = Store(store, writable=True).runs.start("toy")
    first.note_flow_run("a-flow-run")
    first.stage("base", "run", artifact="base/x")
    first.stage("left", "failed", error="no")
    first.stage("sample", "cached", artifact="sample/x")

    def forced(flow_run: str | None) -> set[str]:
        options = Options(str(toy), store=str(store), start="base", force=("sample",), flow_run=flow_run)
        planned = plan_pipeline(options)
        by_rows = {row.stage for row in planned.rows if row.forced}
        assert by_rows == planned.forced
        return by_rows

    everything = {node.name for node in plan_pipeline(Options(str(toy), store=str(store))).nodes} - {"data"}
    assert forced(None) == forced("another") == everything
    assert forced("a-flow-run") == everything - {"base"}


def test_a_stop_on_a_full_disk_lets_nobody_wait(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **facts: Any) -> None:
        raise StoreError("no space left")

    monkeypatch.setattr(session.run, "stage", full)
    session.cancel(KeyboardInterrupt())
    assert session.wait(0)
    assert {outcome.action for outcome in session.runner.outcomes.values()} == {"cancelled"}


def test_the_command_that_goes_on_works_on_the_same_stages_and_store() -> None:
    options = Options("c.yaml", ("a=1",), "my store", only="sft", force=("sft",), reuse=("base=base@latest",))
    wanted = "temper run c.yaml a=1 --reuse=base=base@latest --only=sft '--store=my store'"
    assert options.retry == wanted


class TestDeployed:
    """The flow as a worker calls it."""

    @pytest.fixture
    def temper(self, api: str, store: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
        from flows.deployed import temper

        toy_temper.install(monkeypatch.setattr)
        monkeypatch.setenv("TEMPER_STORE", str(store))
        return lambda config: temper(str(config), return_state=True)

    def test_a_run_that_fails_outside_of_its_stages_closes_its_record(
        self, temper: Any, toy: Path, store: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*arguments: Any) -> None:
            raise RuntimeError("a bug")

        monkeypatch.setattr("flows.deployed.Tasks.submit", broken)
        assert "a bug" in temper(toy).message
        record = Store(store).runs.last_run()
        assert record is not None
        assert record.state == "failed"

    def test_a_file_that_cannot_be_read_is_a_message(
        self, temper: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def locked(*arguments: Any) -> None:
            raise PermissionError(13, "Permission denied", "toy.yaml")

        monkeypatch.setattr("flows.deployed.open_session", locked)
        state = temper("toy.yaml")
        assert (state.name, state.message.splitlines()[0][:9]) == ("Failed", "toy.yaml:")

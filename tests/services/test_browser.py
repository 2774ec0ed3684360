"""The service as a person has it: `temper up` and `temper deploy`, then Prefect's pages in a browser.

The tests are a story, told in order. Every page is kept as a picture, at the width of a desk and of a phone.
"""

import contextlib
import re
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows.service.location import service_folder
from tests.services.browser import Browser, browser
from tests.services.test_service import AUTH, Machine, started, wait_for

pytestmark = pytest.mark.services

NEXT = "When the cause is gone: press Retry in the menu ⋮; the rest is Cached"
_LIMIT = 60_000  # milliseconds that a page with a graph may take: nothing here draws it but the processor
_PHONE = 390  # pixels


@dataclass
class Stack:
    """A machine with a service, and a browser that has logged in."""

    machine: Machine
    web: Browser

    def query(self, words: str, *values: Any) -> list[tuple[Any, ...]]:
        """What Prefect's database holds."""
        path = service_folder(self.machine.store) / "prefect.db"
        with contextlib.closing(sqlite3.connect(path)) as database:
            return database.execute(words, values).fetchall()

    def newest(self) -> str:
        """The flow run that was made last, of those that no schedule made."""
        found = self.query(
            "select id from flow_run where auto_scheduled = 0 order by created desc, expected_start_time desc"
        )
        return str(found[0][0])

    def state(self, run: str) -> tuple[str, int, str]:
        """A flow run's state, its attempts and its message."""
        words = (
            "select state.name, run.run_count, state.message from flow_run run "
            "join flow_run_state state on run.state_id = state.id where run.id = ?"
        )
        [(state, count, message)] = self.query(words, run)
        return state, count, message or ""

    def stages(self, run: str, attempt: int = 1) -> dict[str, str]:
        """What became of each stage in an attempt of a run."""
        words = "select name, state_name from task_run where flow_run_id = ? and flow_run_run_count = ?"
        return {name.partition(" ")[0]: state for name, state in self.query(words, run, attempt)}

    def artifact(self, key: str) -> str:
        """The newest artifact of Prefect's under this key."""
        return str(self.query("select latest_id from artifact_collection where key = ?", key)[0][0])

    def ends(self, run: str, state: str, attempt: int = 1) -> None:
        """Wait until an attempt of a run is over."""
        wait_for(lambda: self.state(run)[:2] == (state, attempt), 120)

    def look(self, name: str, *, graph: bool = False) -> None:
        """Keep two pictures of the page; a graph moves to its place first."""
        page = self.web.page
        page.wait_for_timeout(2500 if graph else 0)
        self.web.picture(name)
        page.set_viewport_size({"width": _PHONE, "height": 844})
        self.web.picture(f"{name}-phone")
        page.set_viewport_size({"width": 1400, "height": 1000})

    def menu(self) -> list[str]:
        """Open the page's menu; what it offers."""
        self.web.page.get_by_role("button", name="Open menu").first.click(timeout=_LIMIT)
        items = self.web.page.get_by_role("menuitem")
        items.first.wait_for()
        return [str(text) for text in items.all_inner_texts()]

    def confirm(self, name: str) -> None:
        """Take an item of the open menu, and press the button of its dialog."""
        page = self.web.page
        page.get_by_role("menuitem", name=name, exact=True).click(timeout=_LIMIT)
        dialog = page.get_by_role("dialog").or_(page.get_by_role("alertdialog"))
        dialog.wait_for()
        self.look(name.lower())
        dialog.get_by_role("button", name=re.compile(f"^{name}")).last.click(timeout=_LIMIT)

    def field(self, name: str) -> Any:
        """A parameter's field in the form of a custom run."""
        label = re.compile(rf"^{name}( \(Optional\))?$")
        return self.web.page.locator("div.group").filter(has=self.web.page.get_by_text(label))

    def add(self, name: str, text: str) -> None:
        """Add an item to a list in the form."""
        field = self.field(name)
        before = field.locator("textarea").count()
        field.get_by_role("button", name="Add item").click()
        field.locator("textarea").nth(before).fill(text)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with started(tmp_path_factory.mktemp("machine")) as machine:
        yield machine


@pytest.fixture(scope="module")
def web(machine: Machine) -> Iterator[Browser]:
    with browser(f"http://127.0.0.1:{machine.ports[0]}") as page:
        yield page


@pytest.fixture
def stack(machine: Machine, web: Browser) -> Stack:
    return Stack(machine, web)


def test_the_pages_ask_for_the_auth_string(stack: Stack) -> None:
    page = stack.web.page
    stack.web.open("/")
    page.locator("input[type=password]").fill("ann:wrong")
    stack.web.click("Login")
    stack.web.sees("Invalid credentials")
    stack.look("login")
    page.locator("input[type=password]").fill(AUTH)
    stack.web.click("Login")
    stack.web.sees("Dashboard", "Deployments")


def test_a_failed_run_says_why_and_what_to_do(stack: Stack) -> None:
    cause = stack.machine.folder / "cause"
    cause.touch()
    words = (
        f"left.fails_while={cause}",
        "--name",
        "nightly",
        "--cron",
        "0 3 * * *",
        "--param",
        "force=right",
    )
    stack.machine.call("deploy", "toy.yaml", *words, "--run")
    run = stack.newest()
    stack.ends(run, "Failed")
    assert stack.state(run)[2] == f"left: {cause} is in the way. {NEXT}"
    stack.web.open(f"runs/flow-run/{run}?tab=Details")
    stack.web.sees("Failed", "deployed", "nightly", f"left: {cause} is in the way. {NEXT}")
    stack.look("failed", graph=True)
    stack.web.open(f"artifacts/artifact/{stack.artifact('toy-run')}")
    stack.web.sees("is in the way", "NotRun", "left failed", "loss 0.2")
    stack.look("failed-table")


def test_retry_runs_what_failed_and_nothing_else(stack: Stack) -> None:
    (stack.machine.folder / "cause").unlink()
    run = stack.newest()
    stack.web.open(f"runs/flow-run/{run}?tab=Details")
    assert "Retry" in stack.menu()
    stack.confirm("Retry")
    stack.web.sees("9 stages: 3 made, 6 Cached")  # the page follows by itself
    stack.ends(run, "Completed", 2)
    again = {"left", "evaluate[left]", "report"}
    assert {name for name, state in stack.stages(run, 2).items() if state == "Completed"} == again
    assert {state for name, state in stack.stages(run, 2).items() if name not in again} == {"Cached"}
    stack.web.open(f"runs/flow-run/{run}?tab=TaskRuns")
    stack.web.sees("10 Completed", "6 Cached", "1 NotRun", "1 Failed")
    stack.look("retried", graph=True)
    [left] = stack.machine.store.glob("left/*/manifest.json")
    assert '"resumed_from_tokens": 200' in left.read_text()


def test_a_custom_run_takes_what_is_typed(stack: Stack) -> None:
    page = stack.web.page
    stack.web.open("deployments")
    page.get_by_role("link", name="nightly").first.click(timeout=_LIMIT)
    stack.web.sees("At 03:00 AM", "Next Run", "Ready")
    stack.look("deployment")
    stack.web.click("Run")
    page.get_by_role("menuitem", name="Custom run").click(timeout=_LIMIT)
    stack.web.sees("Path of the pipeline", "one an item, such as ppo.learning_rate", "Run this stage and all")
    # `base` would change, but is taken as it is; `left` changes; `right` and all after it are made again.
    stack.add("overrides", "base.steps=7")
    stack.add("overrides", "left.learning_rate=0.2")
    stack.field("from_stage").locator("textarea").fill("right")
    stack.add("reuse", "base=base@latest")
    stack.look("custom-run")
    before = stack.newest()
    stack.web.click("Submit")
    wait_for(lambda: stack.newest() != before)
    run = stack.newest()
    stack.ends(run, "Completed")
    made = {name for name, state in stack.stages(run).items() if state == "Completed"}
    assert made == {"left", "right", "evaluate[left]", "evaluate[right]", "report"}
    stack.web.open(f"runs/flow-run/{run}?tab=Parameters")
    stack.web.sees("base=base@latest")
    stack.look("custom-run-done")


def test_the_link_opens_the_report(stack: Stack) -> None:
    stack.web.open(f"artifacts/artifact/{stack.artifact('toy-report')}")
    link = stack.web.page.get_by_role("link", name="Open the report")
    link.wait_for(timeout=_LIMIT)
    stack.look("report")
    address = str(link.get_attribute("href"))
    user, _, password = AUTH.partition(":")
    context = stack.web.page.context.browser.new_context(
        http_credentials={"username": user, "password": password}
    )
    try:
        page = context.new_page()
        answer = page.goto(address)
        assert answer.status == 200
        assert "['base', 'left', 'right'] without {}" in page.inner_text("body")
    finally:
        context.close()


def test_cancel_ends_the_stage_and_retry_goes_on(stack: Stack) -> None:
    words = ("left.pace=1", "left.steps=30", "--name", "slow")
    stack.machine.call("deploy", "toy.yaml", *words, "--run")
    run = stack.newest()
    key = "toy-left-progress"
    words_of = "select data from artifact where flow_run_id = ? and key = ?"
    wait_for(lambda: stack.query(words_of, run, key))
    # It moves, on the page too.
    stack.web.open(f"artifacts/artifact/{stack.artifact(key)}")
    stack.web.sees("Progress: ", "of 3.0K tokens")
    first = shown_percent(stack)
    stack.look("progress")
    wait_for(lambda: float(stack.query(words_of, run, key)[0][0]) > first)
    stack.web.page.reload()
    stack.web.sees("Progress: ", "tokens/s")
    assert shown_percent(stack) > first
    # Cancelled within seconds; no process is left.
    stack.web.open(f"runs/flow-run/{run}?tab=Logs")
    stack.web.sees("Running")
    assert "Cancel" in stack.menu()
    stack.confirm("Cancel")
    start = time.monotonic()
    stack.ends(run, "Cancelled")
    assert time.monotonic() - start < 20
    assert not stages_of(stack.machine.store)
    assert set(stack.stages(run).values()) <= {"Cached", "Completed", "Cancelled"}
    lines = stack.query("select message from log where flow_run_id = ?", run)
    assert any("run again to resume from their checkpoints" in line for (line,) in lines)
    stack.web.open(f"runs/flow-run/{run}?tab=Details")
    stack.web.sees("Cancelled", "Flow run was cancelled")  # the worker's words, over ours
    stack.look("cancelled", graph=True)
    assert "Retry" in stack.menu()
    stack.confirm("Retry")
    stack.ends(run, "Completed", 2)
    texts = [path.read_text() for path in stack.machine.store.glob("left/*/manifest.json")]
    assert any('"tokens": 3000' in text and '"resumed_from_tokens": null' not in text for text in texts)


def shown_percent(stack: Stack) -> float:
    found = re.search(r"Progress: (\d+(\.\d)?)%", stack.web.text())
    assert found is not None, stack.web.text()
    return float(found.group(1))


def stages_of(store: Path) -> list[psutil.Process]:
    """Processes that still have a file of the store's partial artifacts open."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(str(store / ".partial") in file.path for file in process.open_files()):
                found.append(process)
    return found


def test_a_run_of_the_command_line_says_how_to_go_on(stack: Stack) -> None:
    cause = stack.machine.folder / "cause"
    cause.touch()
    word = f"right.fails_while={cause}"
    stack.machine.call("run", "toy.yaml", word, "--force", "right", code=2)
    run = stack.newest()
    wait_for(lambda: stack.state(run)[0] == "Failed")
    stack.web.open(f"runs/flow-run/{run}?tab=Details")
    stack.web.sees("Failed", "temper run", f"temper run toy.yaml {word}")
    stack.look("command-line", graph=True)
    assert "Retry" not in stack.menu()


def test_a_schedule_that_is_switched_off_starts_nothing(stack: Stack) -> None:
    coming = "select id from flow_run where state_type = 'SCHEDULED' and auto_scheduled = 1"
    [run, *_] = stack.query(f"{coming} order by expected_start_time")
    stack.web.open(f"runs/flow-run/{run[0]}?tab=Parameters")
    stack.web.sees("Scheduled", "nightly", "toy.yaml")
    stack.look("scheduled-run")
    # Off: what was to come is gone.
    stack.web.open("deployments")
    stack.web.page.get_by_role("link", name="nightly").first.click(timeout=_LIMIT)
    switch = stack.web.page.get_by_role("switch", name="At 03:00 AM")
    switch.click(timeout=_LIMIT)
    wait_for(lambda: not stack.query(coming))
    assert stack.machine.deployed("nightly")["schedules"] == []
    stack.web.page.reload()
    switch.wait_for(timeout=_LIMIT)
    stack.look("schedule-off")
    assert "Next Run" not in stack.web.text()
    # On again.
    switch.click(timeout=_LIMIT)
    wait_for(lambda: stack.machine.deployed("nightly")["schedules"] == ["0 3 * * * (UTC)"])

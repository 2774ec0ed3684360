"""The stack of docker-compose.yml, natively: databases, API and services apart, a worker, the reports.

The tests share one stack and go from the plain run to the faults; each fault leaves a stack that works.
"""

import base64
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.services.browser import browser
from tests.services.databases import wait_until
from tests.services.stack import Stack, request, stack

pytestmark = [pytest.mark.services, pytest.mark.timeout(900)]
STAGES = 9
FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running stack, with the toy pipeline in its workers' folder."""
    with stack(tmp_path_factory.mktemp("team")) as whole:
        (whole.folder / "toy.yaml").write_text("name: toy\nleft: {steps: 4}\nright: {steps: 5}\n")
        yield whole


@pytest.fixture(scope="module")
def begin(team: Stack) -> Callable[..., str]:
    """Start a run of the deployment, as the pages do; the flow run's id."""
    deployment = team.run("worker", "python", "-m", "toy_deployed", str(team.folder)).split()[-1]

    def start(*overrides: str) -> str:
        body = {"parameters": {"config": "toy.yaml", "overrides": list(overrides)}}
        return str(team.ask(f"/deployments/{deployment}/create_flow_run", body).value["id"])

    return start


def ended(team: Stack, run: str, limit: float = 150) -> dict[str, Any]:
    """The flow run, once it has ended."""
    found: dict[str, Any] = {}

    def look() -> bool:
        found.update(team.flow_run(run))
        return found["state_type"] in FINAL

    wait_until(look, f"flow run {run} ends", limit)
    return found


def task_runs(team: Stack, run: str) -> list[str]:
    """The names of the states of a flow run's tasks."""
    body = {"flow_runs": {"id": {"any_": [run]}}}
    return [task["state_name"] for task in team.ask("/task_runs/filter", body).value]


def test_the_toy_chain_runs_through_all_of_them(team: Stack, begin: Callable[..., str]) -> None:
    run = begin()
    assert ended(team, run)["state_name"] == "Completed"
    # Without Redis between API and services there would be none of either.
    wait_until(lambda: task_runs(team, run) == ["Completed"] * STAGES, "all task runs are recorded", 30)
    seen = {"filter": {"any_resource": {"id": [f"prefect.flow-run.{run}"]}}}
    assert team.ask("/events/filter", seen).value["total"] > STAGES


def test_a_second_run_takes_all_from_the_store(team: Stack, begin: Callable[..., str]) -> None:
    run = begin()
    assert ended(team, run)["state_name"] == "Completed"
    wait_until(lambda: task_runs(team, run) == ["Cached"] * STAGES, "all task runs are Cached", 30)


def test_its_report_is_served_to_those_who_have_the_password(team: Stack) -> None:
    word = base64.b64encode(team.planted["reports_auth"].encode()).decode()
    assert request(team.reports_port, "GET", "/latest/toy").code == 401
    answer = request(team.reports_port, "GET", "/latest/toy", None, {"Authorization": f"Basic {word}"})
    place = answer.headers["Location"]
    assert request(team.reports_port, "GET", place).code == 401
    page = request(team.reports_port, "GET", place, None, {"Authorization": f"Basic {word}"})
    assert (page.code, "without" in page.text) == (200, True)


def test_the_api_wants_the_password_and_a_csrf_token(team: Stack) -> None:
    filter_all: dict[str, Any] = {}
    assert team.ask("/flow_runs/filter", filter_all, auth=False).code == 401
    assert team.ask("/flow_runs/filter", filter_all, csrf=False).code == 403
    assert team.ask("/flow_runs/filter", filter_all).code == 200
    assert team.ask("/health", auth=False).code == 200


def test_the_pages_ask_for_the_password_and_then_show_the_runs(team: Stack) -> None:
    with browser(f"http://127.0.0.1:{team.api_port}") as shown:
        shown.open("/")
        shown.page.wait_for_url("**/login*")
        shown.page.locator("input").first.fill(team.planted["api_auth"])
        shown.page.keyboard.press("Enter")
        shown.page.wait_for_url(lambda url: "login" not in url)
        shown.open("runs")
        shown.sees("__toy")
        shown.picture("split-stack")


def test_a_schedule_fires(team: Stack) -> None:
    deployment = team.run("worker", "python", "-m", "toy_deployed", str(team.folder), "15").split()[-1]
    body = {
        "deployments": {"id": {"any_": [deployment]}},
        "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}},
    }
    wait_until(lambda: team.ask("/flow_runs/filter", body).value, "a scheduled run is Completed", 120)
    team.ask(f"/deployments/{deployment}/pause_deployment", {})


def test_no_secret_is_in_ps_the_api_the_database_or_a_log(team: Stack) -> None:
    words = [part for secret in team.planted.values() for part in secret.split(":") if len(part) > 8]
    places = {
        "ps": subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout,
        "the database": team.postgres.dump(),
        "the API's settings": team.ask("/admin/settings").text,
        **{path.name: path.read_text(errors="replace") for path in team.folder.glob("*.log")},
        **{str(path): path.read_text(errors="replace") for path in (team.folder / "store").rglob("*.json")},
    }
    assert "flow_run" in places["the database"]
    assert [place for place, text in places.items() for word in words if word in text] == []


@pytest.mark.parametrize(("victim", "rate"), [("api", 1), ("services", 2), ("redis", 3), ("postgres", 4)])
def test_a_killed_part_comes_back_and_the_run_goes_on(
    team: Stack, begin: Callable[..., str], victim: str, rate: int
) -> None:
    hold = team.folder / f"hold-{victim}"
    run = begin(f"left.wait_for={hold}", f"left.learning_rate={rate}")
    wait_until(hold.with_name(f"{hold.name}.pid").exists, "a stage runs", 90)
    start = time.monotonic()
    database = {"redis": team.redis, "postgres": team.postgres}.get(victim)
    team.kill(victim) if database is None else database.kill()
    time.sleep(5)
    hold.touch()  # the stage ends while the victim is away
    time.sleep(5)
    team.start(victim) if database is None else database.start()
    away = time.monotonic() - start
    found = ended(team, run)
    after = time.monotonic() - start
    assert found["state_name"] == "Completed", found["state"]
    time.sleep(10)
    known = sum(name in ("Completed", "Cached") for name in task_runs(team, run))
    print(f"{victim}: away {away:.0f} s, Completed {after:.0f} s after the kill; {known} tasks in the pages")
    # All parts work again by themselves, and so does a further run with its pages.
    for service in team.processes:
        wait_until(lambda name=service: team.healthy(name), f"{service} is healthy", 60)  # type: ignore[misc]
    further = begin(f"right.learning_rate={rate}")
    assert ended(team, further)["state_name"] == "Completed"
    wait_until(lambda: len(task_runs(team, further)) == STAGES, "its task runs are recorded", 60)


def test_a_killed_worker_leaves_a_run_that_is_crashed_and_the_next_goes_on(
    team: Stack, begin: Callable[..., str]
) -> None:
    hold = team.folder / "hold-worker"
    override = f"left.wait_for={hold}", "left.learning_rate=7"
    run = begin(*override)
    wait_until(hold.with_name(f"{hold.name}.pid").exists, "a stage runs", 90)
    team.kill("worker")
    hold.touch()
    start = time.monotonic()
    team.start("worker")
    assert ended(team, run, 180)["state_name"] == "Crashed"
    print(f"worker: Crashed {time.monotonic() - start:.0f} s after a new one began")
    again = begin(*override)
    assert ended(team, again)["state_name"] == "Completed"


def test_a_stop_is_orderly(team: Stack) -> None:
    for service in ("worker", "reports"):
        assert team.stop(service) == 0, team.log(service)
    for service in ("services", "api"):  # Prefect's end by the signal, the API once it has answered
        assert team.stop(service) in (0, -signal.SIGTERM), team.log(service)

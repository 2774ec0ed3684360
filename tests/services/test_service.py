"""`temper up` on one machine, with everything real but the stages: what is killed heals, what was run counts.

The toy pipeline takes the place of the real one in the runs' processes too: they import `sitecustomize`.
"""

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows.service.location import running, service_folder
from flows.service.processes import of_runs, of_service

pytestmark = pytest.mark.services

ROOT = Path(__file__).parents[2]
TOYS = ROOT / "tests" / "flows"
INSTALL = (
    "import os\nif 'PREFECT__FLOW_RUN_ID' in os.environ:\n    import toy_temper\n    toy_temper.install()\n"
)
AUTH = "ann:correct-horse"
CONFIG = "name: toy\nleft: {steps: 4}\nright: {steps: 5}\n"


@dataclass
class Machine:
    """A folder with a config, a store and a service; `temper` is called in it."""

    folder: Path
    ports: tuple[int, int]

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def call(self, *words: str, code: int | None = 0) -> str:
        """Call `temper`; what it prints on stdout."""
        known = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        path = os.pathsep.join(map(str, (self.folder / "site", TOYS, ROOT)))
        done = subprocess.run(
            [sys.executable, TOYS / "toy_temper.py", *words, "--store", "store"],
            cwd=self.folder,
            env={**known, "PYTHONPATH": path, "TEMPER_PRELOAD": "pandas pyarrow.parquet"},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert code is None or done.returncode == code, f"{words}: {done.stdout}{done.stderr}{self.logs()}"
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout

    def up(self) -> str:
        port, reports = map(str, self.ports)
        auth = str(self.folder / "auth.txt")
        return self.call("up", "--port", port, "--reports-port", reports, "--auth-file", auth)

    def deployed(self, name: str) -> Any:
        found = json.loads(self.call("deployments", "--json"))
        return next(each for each in found if each["name"] == name)

    def child(self, name: str) -> int:
        """The process of one of the service's children."""
        service = running(self.store)
        assert service is not None
        return int(service.facts["children"][name]["pid"])

    def well(self) -> bool:
        """Whether `temper status` finds nothing wrong."""
        facts = json.loads(self.call("status", "--json", code=None))
        return bool(facts.get("well"))

    def states(self) -> list[tuple[str, str]]:
        """State and message of the deployments' runs that have begun, the newest first."""
        query = (
            "select state.name, state.message from flow_run run join flow_run_state state on run.state_id "
            "= state.id where run.deployment_id is not null and run.run_count > 0 order by run.created desc"
        )
        with sqlite3.connect(service_folder(self.store) / "prefect.db") as database:
            return list(database.execute(query))

    def newest(self) -> str:
        """The state of the newest run that has begun."""
        return next((state for state, _ in self.states()), "")

    def logs(self) -> str:
        logs = sorted(service_folder(self.store).glob("**/*.log"))
        return "".join(f"\n== {log.name}\n{log.read_text()[-2000:]}" for log in logs)


def free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]


def kill_all(machine: Machine) -> None:
    """As a power cut does; the supervisor, which has the mark too, must start nothing again meanwhile."""
    while processes := [process for process, _ in of_service(service_folder(machine.store))]:
        for process in processes:
            process.suspend()
        for process in processes:
            process.kill()
        psutil.wait_procs(processes, 5)


def wait_for(condition: Callable[[], Any], limit: float = 120) -> None:
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, "this did not happen in time"
        time.sleep(0.2)


@contextlib.contextmanager
def started(folder: Path) -> Iterator[Machine]:
    """A machine with the toy pipeline and a service that is up."""
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(INSTALL)
    (folder / "toy.yaml").write_text(CONFIG)
    (folder / "auth.txt").write_text(AUTH)
    made = Machine(folder, free_ports())
    try:
        made.up()
        yield made
    finally:
        kill_all(made)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with started(tmp_path_factory.mktemp("machine")) as machine:
        yield machine


@pytest.fixture
def held(machine: Machine) -> Iterator[Path]:
    """A run of a deployment whose stage waits until this file is there."""
    gate = machine.folder / f"gate-{time.monotonic_ns()}"
    words = (f"left.wait_for={gate}", f"left.learning_rate={time.monotonic_ns() % 999983}")
    machine.call("deploy", "toy.yaml", *words, "--name", "held", "--no-schedule", "--run")
    wait_for(gate.with_name(gate.name + ".pid").exists)
    wait_for(lambda: machine.newest() == "Running")
    yield gate
    gate.touch()


def test_a_second_up_mends(machine: Machine) -> None:
    assert machine.well()
    supervisor = running(machine.store)
    assert supervisor is not None
    # Somebody has switched off what ends dead runs.
    os.environ["PREFECT_API_URL"] = supervisor.url
    os.environ["PREFECT_API_AUTH_STRING"] = AUTH
    subprocess.run(
        [sys.executable, "-m", "prefect", "automation", "pause", "tempering: runs without a heartbeat"],
        check=True,
        capture_output=True,
    )
    del os.environ["PREFECT_API_URL"], os.environ["PREFECT_API_AUTH_STRING"]
    assert json.loads(machine.call("status", "--json", code=1))["parts"]["automation"] != "ok"
    assert "runs already" in machine.up()
    assert machine.well()
    again = running(machine.store)
    assert again is not None
    assert again.pid == supervisor.pid


def test_the_auth_string_is_nowhere_to_be_seen(machine: Machine) -> None:
    folder = service_folder(machine.store)
    for process, _ in of_service(folder):
        assert "correct-horse" not in " ".join(process.cmdline())
    for path in folder.rglob("*"):
        if path.is_file() and path != folder / "auth":
            assert b"correct-horse" not in path.read_bytes(), path
    # Without it the server says nothing.
    service = running(machine.store)
    assert service is not None
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", machine.ports[0])
    connection.request("GET", "/api/admin/version")
    assert connection.getresponse().status == 401


def test_a_database_that_cannot_be_reached_is_said_at_once(tmp_path: Path) -> None:
    machine = Machine(tmp_path, free_ports())
    port, reports = map(str, machine.ports)
    nobody = "postgresql+asyncpg://ann@127.0.0.1:1/none"
    begun = time.monotonic()
    try:
        machine.call("up", "--database", nobody, "--port", port, "--reports-port", reports, code=1)
        assert time.monotonic() - begun < 120
        assert not machine.well()
        assert "Connect call failed" in machine.logs()
    finally:
        machine.call("down")


def test_a_schedule_fires(machine: Machine) -> None:
    machine.call("deploy", "toy.yaml", "--interval", "15s", "--name", "nightly")
    wait_for(lambda: machine.newest() == "Completed")
    deployed = machine.deployed("nightly")
    assert deployed["schedules"] == ["every 15 s"]
    assert deployed["next_run"]
    assert deployed["config"] == "toy.yaml"
    assert len(list(machine.store.glob("*/*/manifest.json"))) == 9
    # A schedule takes the place of the old one; without one nothing comes due.
    answer = machine.call("deploy", "toy.yaml", "--cron", "0 3 * * *", "--name", "nightly", "--json")
    assert json.loads(answer)["schedules"] == ["0 3 * * * (UTC)"]
    assert json.loads(answer)["new"] is False
    machine.call("deploy", "toy.yaml", "--name", "nightly", "--pause")
    assert machine.deployed("nightly")["schedules"] == ["0 3 * * * (UTC)"]
    assert machine.deployed("nightly")["paused"] is True
    machine.call("deploy", "toy.yaml", "--name", "nightly", "--no-schedule", "--resume")
    assert machine.deployed("nightly")["schedules"] == []
    assert machine.deployed("nightly")["paused"] is False
    machine.call("deployments", "--delete", "nightly")
    machine.call("deployments", "--run", "nightly", code=2)


def test_a_run_of_the_command_line_is_in_the_same_pages(machine: Machine) -> None:
    machine.call("run", "toy.yaml", "right.steps=3")
    with sqlite3.connect(service_folder(machine.store) / "prefect.db") as database:
        query = "select count(*) from flow_run where deployment_id is null and state_name = 'Completed'"
        assert database.execute(query).fetchone()[0] == 1
    assert not list((machine.store / ".prefect").glob("*.db"))


def test_a_config_that_has_vanished(machine: Machine) -> None:
    copy = machine.folder / "copy.yaml"
    copy.write_text((machine.folder / "toy.yaml").read_text())
    machine.call("deploy", "copy.yaml", "--name", "gone", "--run")
    wait_for(lambda: machine.newest() == "Completed")
    copy.unlink()
    machine.call("deployments", "--run", "gone")
    wait_for(lambda: machine.newest() == "Failed")
    assert "copy.yaml" in machine.states()[0][1]
    machine.call("deployments", "--delete", "gone")


def test_a_run_outlives_its_worker_and_its_server(machine: Machine, held: Path) -> None:
    for name in ("worker", "server"):
        os.kill(machine.child(name), signal.SIGKILL)
    wait_for(machine.well)
    assert machine.newest() == "Running"
    held.touch()
    wait_for(lambda: machine.newest() == "Completed")


def test_a_killed_run_is_crashed_and_its_slot_free(machine: Machine, held: Path) -> None:
    """Nobody is left who could tell: only the missing heartbeats do."""
    os.kill(machine.child("worker"), signal.SIGKILL)
    wait_for(machine.well)
    [processes] = of_runs(service_folder(machine.store)).values()
    for process in processes:
        process.kill()
    wait_for(lambda: machine.newest() == "Crashed", 120)
    held.touch()
    machine.call("deployments", "--run", "held")
    wait_for(lambda: machine.newest() == "Completed")


def test_the_runs_of_a_dead_machine_are_closed_at_the_start(machine: Machine, held: Path) -> None:
    kill_all(machine)
    assert running(machine.store) is None
    machine.up()
    assert machine.newest() == "Crashed"
    assert machine.well()


def test_no_server_outlives_its_supervisor(machine: Machine, held: Path) -> None:
    supervisor = running(machine.store)
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGKILL)
    folder = service_folder(machine.store)
    wait_for(lambda: not [process for process, run in of_service(folder) if run is None], 20)
    machine.call("status", code=3)
    # The run goes on by itself; the next service takes it over.
    assert of_runs(folder)
    machine.up()
    assert machine.newest() == "Running"
    held.touch()
    wait_for(lambda: machine.newest() == "Completed")


def test_down_leaves_nothing(machine: Machine, held: Path) -> None:
    folder = service_folder(machine.store)
    machine.call("down")
    assert not list(of_service(folder))
    for port in machine.ports:
        socket.create_server(("127.0.0.1", port)).close()
    assert machine.newest() in ("Crashed", "Cancelled")
    machine.call("status", code=3)
    assert "no service runs" in machine.call("down")
    # What was stopped is resumed, and the password is still there.
    held.touch()
    port, reports = map(str, machine.ports)
    machine.call("up", "--port", port, "--reports-port", reports)
    machine.call("deployments", "--run", "held")
    wait_for(lambda: machine.newest() == "Completed")
    assert "correct-horse" in (folder / "auth").read_text()
    machine.call("down")
    assert not list(of_service(folder))

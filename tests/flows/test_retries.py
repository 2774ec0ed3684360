"""A stage that was killed or that the network failed is tried again, from its checkpoint; others are not."""

import errno
import io
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import requests
import toy_stages
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from flows import retries
from flows.display import Display
from flows.graph import Node
from flows.listener import StageListener
from flows.outcome import Outcome
from flows.process.faults import may_pass
from flows.process.workers import Cancelled, StageCrashed, Workers
from flows.retries import Retries
from flows.runner import Runner
from tempering.artifacts.stage import get_stage
from tempering.artifacts.store import Store
from tempering.errors import DataError, StageFailed
from tempering.runtime import RuntimeConfig
from tests.flows.conftest import wait_for


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Workers]:
    monkeypatch.setenv("TEMPER_PRELOAD", "pandas pyarrow.parquet")
    made = Workers()
    yield made
    made.close()


@pytest.fixture
def runner(workers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    """The sample is there; a stage that trains may be run with `train`."""
    monkeypatch.setattr(retries, "FIRST_WAIT", 0.01)
    display = Display(io.StringIO())
    display.add(["data", "sample", "model"])
    made = Runner(Store(tmp_path / "store"), RuntimeConfig(retries=2), display, workers)
    data = Node("data", get_stage("toy_data"), toy_stages.ToyData())
    sample = Node("sample", get_stage("toy_sample"), toy_stages.ToySample(), {"data": "data"})
    assert made.run_node(data).ok
    assert made.run_node(sample).ok
    return made


def train(runner: Runner, crash: str, steps: int) -> Outcome:
    """With "kill", each try gets a step further before it is killed."""
    config = toy_stages.ToyTrain(steps=steps, crash=crash)
    return runner.run_node(Node("model", get_stage("toy_train"), config, {"sample": "sample"}))


def said(runner: Runner) -> str:
    assert isinstance(runner.display.stream, io.StringIO)
    return runner.display.stream.getvalue()


def test_what_was_killed_goes_on_and_ends_as_if_nothing_had_been(runner: Runner) -> None:
    again, whole = train(runner, "kill", steps=2), train(runner, "", steps=2)
    assert again.artifact is not None
    assert whole.artifact is not None
    assert (again.action, again.artifact.manifest.resumed_from_tokens) == ("resume", 200)
    chains = [(outcome.artifact.path / "model/chain").read_text() for outcome in (again, whole)]  # type: ignore[union-attr]
    assert chains[0] == chains[1]
    # Why, in the outcome, on the terminal and in the artifact's log.
    assert again.facts()["crashes"] == ["the stage's process was killed by SIGKILL (out of memory?)"] * 2
    assert "model: the stage's process was killed by SIGKILL (out of memory?); try 3 of 3 begins" in said(
        runner
    )
    assert said(runner).count("model: resumed") == 2
    assert "try 3; the one before ended: the stage's" in (again.artifact.path / "log.txt").read_text()
    assert whole.facts()["crashes"] == []


@pytest.mark.parametrize(("crash", "tries"), [("kill", 3), ("network", 3), ("raise", 1)])
def test_tries_are_counted_and_only_what_may_pass_has_several(runner: Runner, crash: str, tries: int) -> None:
    outcome = train(runner, crash, steps=9)
    assert (outcome.action, len(outcome.crashes)) == ("failed", tries - 1)
    # Each try made a step.
    assert f"checkpoint_{tries * 100}_tokens" == max(
        path.name for path in runner.store.root.glob(".partial/toy_train-*/checkpoints/*")
    )


def test_a_stop_ends_the_wait(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "FIRST_WAIT", 60.0)

    def stop() -> None:
        wait_for(lambda: "try 2 of 3 begins in" in said(runner))
        runner.workers.stop()

    threading.Thread(target=stop).start()
    start = time.monotonic()
    assert train(runner, "kill", steps=9).action == "cancelled"
    assert time.monotonic() - start < 30


def test_waits_grow_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    class Clock(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout or 0)
            return len(waits) > 4

    tries, crash = Retries(9, Clock()), StageCrashed("killed", again=True)
    for _ in range(4):
        tries.wait("sft", crash, lambda text: None)
    with pytest.raises(Cancelled):
        tries.wait("sft", crash, lambda text: None)
    for wait, wanted in zip(waits, (5, 20, 80, 300, 300), strict=True):
        assert 0.75 * wanted <= wait <= 1.25 * wanted


def answer(status: int) -> httpx.Response:
    return httpx.Response(status, request=httpx.Request("GET", "https://example.com"))


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (socket.gaierror(-3, "Temporary failure in name resolution"), True),
        (OSError(errno.EHOSTUNREACH, "No route to host"), True),
        (httpx.ReadTimeout(""), True),
        (requests.exceptions.ConnectionError(), True),
        (caused(OSError("cannot reach the Hub"), httpx.ConnectError("")), True),
        (httpx.HTTPStatusError("", request=answer(503).request, response=answer(503)), True),
        (httpx.HTTPStatusError("", request=answer(404).request, response=answer(404)), False),
        (HfHubHTTPError("", response=answer(429)), True),  # type: ignore[arg-type]
        (OfflineModeIsEnabled(), False),
        (httpx.UnsupportedProtocol(""), False),
        (FileNotFoundError(2, "No such file"), False),
        (OSError(errno.ENOSPC, "No space left"), False),
        (ValueError("a loss that is no number"), False),
        (AssertionError(), False),
        (MemoryError(), False),
        (caused(DataError("no answer"), ConnectionResetError()), False),
        (caused(StageFailed("no answer"), ConnectionResetError()), True),
    ],
)
def test_faults_of_the_network_may_pass(error: Exception, passes: bool) -> None:
    assert may_pass(error) is passes


def test_only_the_try_at_hand_promises_a_checkpoint() -> None:
    stream = io.StringIO()
    display = Display(stream)
    display.add(["left"])
    listener = StageListener("left", display, lambda text: None)
    listener.message(("stoppable", True))
    listener.begin()  # the first try was killed as it trained
    listener.message(("stopping", 25.0))
    assert "checkpoint" not in stream.getvalue()

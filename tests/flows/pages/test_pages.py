"""Pages: what is sent of a run, how often, and that the terminal hears all whatever the server does."""

import io
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from flows.display import Display, LiveDisplay
from flows.outcome import Outcome
from flows.pages import client, pages
from flows.pages.messages import LogLine, RunIds, StageEvent
from flows.pages.pages import Pages
from flows.plan import PlanRow
from tempering.artifacts.fingerprint import Fingerprint

FLOW, TASK = uuid4(), uuid4()


class FakeClient:
    """Keeps what is sent; while `down` it fails as an unreachable server does."""

    def __init__(self) -> None:
        self.artifacts: dict[str, list[tuple[str, Any, str, RunIds]]] = {}
        self.lines: list[LogLine] = []
        self.events: list[StageEvent] = []
        self.down = threading.Event()

    def _check(self) -> None:
        if self.down.is_set():
            raise client.httpx.ConnectError("refused")

    def artifact(self, key: str, kind: str, content: Any, description: str, ids: RunIds) -> None:
        self._check()
        self.artifacts.setdefault(key, []).append((kind, content, description, ids))

    def log(self, lines: list[LogLine]) -> None:
        self._check()
        self.lines += lines

    def event(self, event: StageEvent) -> None:
        self._check()
        self.events.append(event)

    @property
    def texts(self) -> list[str]:
        return [line.text for line in self.lines]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    fake = FakeClient()
    ids: Callable[[], tuple[UUID | None, UUID | None]] = lambda: (TASK, FLOW)  # noqa: E731
    monkeypatch.setattr(client, "Client", lambda: fake)
    monkeypatch.setattr(pages, "_ids", ids)
    monkeypatch.setattr("flows.pages.outbox._FIRST_PAUSE", 0.05)
    return fake


def begun(names: tuple[str, ...] = ("ppo", "sft")) -> tuple[Pages, io.StringIO]:
    stream = io.StringIO()
    made = Pages(Display(stream), "My pipeline")
    made.display.add(names)
    made.plan([PlanRow(name, "run", Fingerprint("a" * 64, {})) for name in names])
    return made, stream


def test_the_plan_stands_at_the_start_and_what_was_done_beside_it(fake: FakeClient):
    made, _ = begun()
    made.outcome(Outcome("ppo", "failed", error=ValueError("no"), root="ppo", seconds=2))
    made.close()
    kind, rows, _, ids = fake.artifacts["my-pipeline-plan"][0]
    assert (kind, [row["stage"] for row in rows], ids.flow_run) == ("table", ["ppo", "sft"], FLOW)
    assert [row["state"] for row in fake.artifacts["my-pipeline-run"][-1][1]] == ["Failed", "to come"]


def test_progress_is_sent_now_and_then_and_its_end_always(fake: FakeClient, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pages, "_ARTIFACT_GAP", 0.2)
    monkeypatch.setattr(pages, "_LINE_GAP", 0.4)
    made, _ = begun()
    made.start("ppo")
    for step in range(100):
        made.progress("ppo", step * 10, 1000, "tokens", {"score": step / 100})
        time.sleep(0.01)
    made.end("ppo", "done", seconds=1.0, shown="score 0.99")
    made.close()
    states = fake.artifacts["my-pipeline-ppo-progress"]
    assert 3 <= len(states) <= 8
    assert all(ids == RunIds(FLOW, TASK) for *_, ids in states)
    assert states[-1][:3] == ("progress", 100.0, "ppo done in 1.0 s · score 0.99")
    assert fake.texts[0] == "ppo: running"
    assert fake.texts[1].startswith("ppo 0% · 0 of 1.0K tokens · score 0")
    assert 4 <= len(fake.texts) <= 6


def test_what_cannot_be_reached_hears_the_newest_when_it_is_back(fake: FakeClient):
    made, stream = begun()
    fake.down.set()
    for step in range(3000):
        made.note(f"line {step}")
        made.progress("ppo", step, 3000, "tokens", {})
    assert len(made._lines) == 1000
    assert len(made._outbox or ()) <= 6
    fake.down.clear()
    made.close()
    assert fake.texts[-1] == "line 2999"
    assert len(fake.texts) <= 1100
    assert stream.getvalue().count("line ") == 3000


def test_a_failure_is_told_whole_and_masked_and_is_an_event(fake: FakeClient):
    made, stream = begun()
    error = ValueError("the teacher said no\nAuthorization: Bearer abcdefghijkl0123456789")
    made.end("ppo", "failed", seconds=2.0, shown="the teacher said no")
    made.outcome(Outcome("ppo", "failed", error=error, root="ppo", seconds=2.0))
    made.close()
    line = fake.lines[-1]
    assert (line.level, line.ids.task_run) == (40, TASK)
    assert line.text.startswith("ppo: failed in 2.0 s: the teacher said no\n")
    assert "abcdefghijkl" not in line.text
    event = fake.events[0]
    assert (event.name, event.resource) == ("stage.failed", "stage.My pipeline.ppo")
    assert event.payload == {"stage": "ppo", "error": "the teacher said no", "pipeline": "My pipeline"}
    assert "ppo: failed in 2.0 s (the teacher said no)" in stream.getvalue()


def test_a_stage_that_cannot_be_shown_is_named_and_holds_up_nothing(fake: FakeClient):
    made, stream = begun()

    def broken() -> str:
        raise OSError("the table is damaged")

    made._artifact("ppo-samples", "markdown", broken, "", RunIds())
    made.note("ppo: goes on")
    made.close()
    assert "Prefect's pages do not show my-pipeline-ppo-samples: the table is damaged" in stream.getvalue()
    assert "ppo: goes on" in fake.texts


def test_before_the_flow_begins_and_after_its_end_only_the_terminal_hears(fake: FakeClient, tmp_path: Path):
    stream = io.StringIO()
    made = Pages(Display(stream), "toy")
    made.display.add(["a"])
    made.start("a")
    made.progress("a", 1, 2, "tokens", {})
    made.end("a", "done")
    made.outcome(Outcome("a", "cancelled"))
    made.note("the end")
    made.close()
    assert stream.getvalue() == "a: running\na: done\nthe end\n"
    assert not fake.lines
    assert not fake.artifacts


def test_the_live_table_is_on_the_terminal_while_the_block_runs():
    live = LiveDisplay(io.StringIO())
    with Pages(live, "toy"):
        assert live.live is not None
    assert live.live is None


def test_a_progress_report_costs_the_run_microseconds(fake: FakeClient):
    made, _ = begun()
    fake.down.set()
    start = time.perf_counter()
    for step in range(5000):
        made.progress("ppo", step, 5000, "tokens", {"loss": 1.0})
    seconds = (time.perf_counter() - start) / 5000
    fake.down.clear()
    made.close()
    assert seconds < 500e-6

"""A run's progress on Prefect's pages, beside the terminal's display, which this one passes everything on to.

From `plan`, which the flow calls when its run has begun, to `close`: log lines at the rate of a person, a
progress artifact a stage, tables of the plan and of what was done, and what finished stages have to show.
All is queued and sent by a thread of its own; nothing here blocks or fails a run.
"""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flows.display import Display
from flows.outcome import Outcome, explain
from flows.pages.content import plan_rows, run_rows, shown_of
from flows.pages.markup import artifact_key, percent, plain, progress_line
from flows.pages.messages import LogLine, RunIds, StageEvent
from flows.pages.outbox import Outbox
from flows.plan import PlanRow
from tempering.artifacts.kinds import Artifact, ReportArtifact
from tempering.printable import clock, visible

_ARTIFACT_GAP = 2.0  # seconds between two states of a stage's progress
_LINE_GAP = 5.0  # seconds between two lines about it
_MOST_LINES = 1000  # that wait for a server which does not answer; older ones are dropped
_BATCH = 100  # lines a request
_DRAIN_LIMIT = 5.0  # seconds that the end of a run waits for the last pages
_INFO, _ERROR = 20, 40


@dataclass
class _StageState:
    """What the pages last heard of a stage, and when."""

    ids: RunIds
    artifact: float = float("-inf")
    line: float = float("-inf")
    live: Mapping[str, float] = field(default_factory=dict)
    has_artifact: bool = False
    """Whether it has a progress artifact."""


class Pages(Display):
    """A display that passes on to another one and to Prefect's pages.

    Args:
        display: the terminal's.
        pipeline: the pipeline's name, which all keys begin with.
        reports: the address of the server of reports, or None where there is none.
    """

    def __init__(self, display: Display, pipeline: str, reports: str | None = None) -> None:
        self.display, self.pipeline, self.reports = display, pipeline, reports
        self.stream, self.verbose = display.stream, display.verbose
        self.rows, self.lock = display.rows, display.lock
        self._outbox: Outbox | None = None
        self._stages: dict[str, _StageState] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._lines: deque[LogLine] = deque(maxlen=_MOST_LINES)

    def __enter__(self) -> "Pages":
        self.display.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.display.__exit__(*error)

    # -- the run -----------------------------------------------------------------------------

    def plan(self, rows: Sequence[PlanRow]) -> None:
        """Begin, in the flow's own thread: what will be done and why."""
        from flows.pages.client import Client, temporary

        self._client = Client()
        self._run = RunIds(*reversed(_ids()))
        self._names = [row.stage for row in rows]
        self._outbox = Outbox(temporary, self._refused)
        about = "What was to be done, and why"
        self._artifact("plan", "table", lambda: plan_rows(rows), about, self._run)
        self._show_run()

    def close(self, limit: float = _DRAIN_LIMIT) -> None:
        """Send the last pages, for at most `limit` seconds; a server that refuses is not waited for."""
        if self._outbox is not None:
            self._outbox.close(limit)

    def outcome(self, outcome: Outcome) -> None:
        """What a stage came to: tables, samples, curves and events, made by the sender's thread."""
        self._outcomes[outcome.node] = outcome
        if self._outbox is None:
            return
        stage, artifact = self._stage(outcome.node), outcome.artifact
        if artifact is not None and (outcome.action != "cached" or isinstance(artifact, ReportArtifact)):
            page = f"{self.reports.rstrip('/')}/{artifact.id}/" if self.reports else None
            for what, kind, content, about in shown_of(artifact, outcome.node, page):
                name = what if what == "verdict" else f"{outcome.node}-{what}"
                self._artifact(name, kind, content, about, stage.ids)
            if page and isinstance(artifact, ReportArtifact):
                self._artifact(
                    "report", "markdown", lambda: f"[Open the report]({page})", "The report", stage.ids
                )
        if artifact is not None and outcome.action != "cached":
            self._event(self._created(outcome, artifact, stage.ids))
        if outcome.action == "failed" and outcome.error is not None:
            text = f"{outcome.node}: failed in {clock(outcome.seconds)}: {explain(outcome.error)}"
            self._log(stage.ids, text, _ERROR)
            self._event(self._failed(outcome, stage.ids))
        self._show_run()

    # -- a stage, as the runner tells a display ------------------------------------------------

    def start(self, name: str, state: str = "running") -> None:
        """A stage starts working, or queues."""
        self.display.start(name, state)
        if self._outbox is not None:
            self._log(self._stage(name).ids, f"{name}: {state}")

    def progress(self, name: str, done: int, total: int | None, unit: str, live: Mapping[str, float]) -> None:
        """A line and a state of the progress artifact, where the last ones are some seconds old."""
        self.display.progress(name, done, total, unit, live)
        if self._outbox is None:
            return
        stage, now = self._stage(name), time.monotonic()
        stage.live = dict(live) or stage.live
        due = now - stage.artifact >= _ARTIFACT_GAP and bool(total), now - stage.line >= _LINE_GAP
        if not any(due):
            return
        line = progress_line(self.rows[name], stage.live)
        if due[0]:
            stage.artifact, stage.has_artifact = now, True
            self._progress(name, percent(self.rows[name]), line)
        if due[1]:
            stage.line = now
            self._log(stage.ids, line)

    def end(self, name: str, state: str, *, seconds: float | None = None, shown: str = "") -> None:
        """A stage has finished."""
        self.display.end(name, state, seconds=seconds, shown=shown)
        if self._outbox is None:
            return
        time_taken = f" in {clock(seconds)}" if seconds is not None else ""
        line = " · ".join(filter(None, [f"{state}{time_taken}", shown]))
        stage = self._stage(name)
        if state != "failed":  # `outcome` says all of it
            self._log(stage.ids, f"{name}: {line}")
        if stage.has_artifact:
            share = 100.0 if state == "done" else percent(self.rows[name])
            self._progress(name, share, f"{name} {line}")

    def line(self, name: str, text: str) -> None:
        """A line that a stage printed: for the terminal; its log.txt holds all of them."""
        self.display.line(name, text)

    def warn(self, name: str, text: str) -> None:
        """A stage's warning: for the terminal; its task's log has the line already."""
        self.display.warn(name, text)

    def note(self, text: str) -> None:
        """A line about a stage, if it begins with its name, or about the run."""
        self.display.note(text)
        if self._outbox is not None:
            stage = self._stages.get(text.partition(":")[0])
            self._log(stage.ids if stage else self._run, text.strip())

    def say(self, text: str) -> None:
        """A line on the terminal alone."""
        self.display.say(text)

    # -- what is sent --------------------------------------------------------------------------

    def _stage(self, name: str) -> _StageState:
        """A stage's entry; its first report comes from the thread of its task, which knows the task run."""
        stage = self._stages.get(name)
        if stage is None:
            task_run, flow_run = _ids()
            stage = self._stages[name] = _StageState(RunIds(flow_run or self._run.flow_run, task_run))
        return stage

    def _progress(self, name: str, share: float, line: str) -> None:
        ids = self._stage(name).ids
        self._artifact(f"{name}-progress", "progress", lambda: share, plain(line), ids)

    def _show_run(self) -> None:
        about = "What was done, stage by stage"
        self._artifact("run", "table", lambda: run_rows(self._names, self._outcomes), about, self._run)

    def _artifact(self, name: str, kind: str, content: Any, about: str, ids: RunIds) -> None:
        """Queue an artifact; `content` is called by the sender, and nothing is sent where it is empty."""
        key = artifact_key(self.pipeline, name)

        def send() -> None:
            value = content()
            if value not in ("", []):
                self._client.artifact(key, kind, value, about, ids)

        if self._outbox is not None:
            self._outbox.put(key, send)

    def _event(self, event: StageEvent) -> None:
        if self._outbox is not None:
            self._outbox.put(f"event {event.name} {event.title}", lambda: self._client.event(event))

    def _created(self, outcome: Outcome, artifact: Artifact, ids: RunIds) -> StageEvent:
        payload = {
            "stage": outcome.node,
            "action": outcome.action,
            "metrics": dict(artifact.manifest.metrics),
            "fingerprint": artifact.manifest.fingerprint,
            "artifact": artifact.id,
        }
        name = f"artifact.{artifact.id}"
        return StageEvent("artifact.created", name, artifact.id, self.pipeline, payload, ids)

    def _failed(self, outcome: Outcome, ids: RunIds) -> StageEvent:
        payload = {"stage": outcome.node, "error": outcome.reason, "pipeline": self.pipeline}
        name = f"stage.{self.pipeline}.{outcome.node}"
        return StageEvent("stage.failed", name, outcome.node, self.pipeline, payload, ids)

    def _log(self, ids: RunIds, text: str, level: int = _INFO) -> None:
        self._lines.append(LogLine(ids, level, visible(text, lines=True)))
        if self._outbox is not None:
            self._outbox.put("log", self._send_lines)

    def _send_lines(self) -> None:
        """Send all lines; those of a request that failed stay."""
        while batch := list(self._lines)[:_BATCH]:
            self._client.log([line for line in batch if line.ids.flow_run])
            for line in batch:
                if self._lines and self._lines[0] is line:  # not pushed out meanwhile
                    self._lines.popleft()

    def _refused(self, key: str, error: Exception) -> None:
        """Say what the pages will not show: the server has refused it, or its table cannot be read."""
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        self.display.note(f"Prefect's pages do not show {key}: {reason}")


def _ids() -> tuple[Any, Any]:
    """The task run and the flow run that this thread works for."""
    from prefect.utilities.context import get_task_and_flow_run_ids

    return get_task_and_flow_run_ids()

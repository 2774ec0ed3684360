"""A run in progress: its record, its outcomes, and what it came to.

Each node runs once, whoever asks for it first: a Prefect task, or the session itself where Prefect's server
has gone (flows/prefect_run.py). A stop tells the stages to end (training ones write a checkpoint); what has
no outcome then was cancelled. The record is written after each stage.
"""

import contextlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows.config import PipelineConfig
from flows.graph import Node
from flows.options import Options
from flows.outcome import Outcome, explain
from flows.pages.pages import Pages
from flows.plan import PlanRow
from flows.process.workers import Cancelled
from flows.runner import Runner
from flows.stopping import stop_code, take_longer
from tempering.artifacts.kinds import ReportArtifact
from tempering.artifacts.runs import Run
from tempering.artifacts.store import Store
from tempering.errors import GateFailed, StoreError, UserError
from tempering.runtime import RuntimeConfig


@dataclass(frozen=True)
class Planned:
    """A pipeline and what would be done for each of its nodes."""

    options: Options
    config: PipelineConfig
    runtime: RuntimeConfig
    store: Store
    nodes: tuple[Node, ...]
    rows: tuple[PlanRow, ...]
    forced: frozenset[str]

    @property
    def all_cached(self) -> bool:
        """Whether there is nothing to do."""
        return all(row.action == "cached" for row in self.rows)


@dataclass(frozen=True)
class Ended:
    """What was done: one row per node, the exit code, and the run record's id."""

    rows: list[dict[str, Any]]
    code: int
    run: str
    pages: tuple[Path, ...] = ()


@dataclass
class Session:
    """A run in progress, from its first stage to its record closed."""

    planned: Planned
    run: Run
    runner: Runner
    display: Pages
    stop: KeyboardInterrupt | None = None
    """What ended the run early."""
    tell_again: Callable[[], None] = lambda: None
    """Tells Prefect's server the last states once more."""
    _futures: dict[str, "Future[Outcome]"] = field(default_factory=dict)
    _begun: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._futures = {node.name: Future() for node in self.planned.nodes}
        self.display.add(self._futures)

    def reuse(self) -> None:
        """Everything is cached: record it without starting anything."""
        for row in self.planned.rows:
            assert row.artifact is not None
            self._record(Outcome(row.stage, "cached", self.planned.store.get(row.artifact, check=False)))
        count = len(self.planned.rows)
        self.display.note(f"{self.planned.config.name}: all {count} stages are Cached, nothing to do")

    @property
    def begun(self) -> bool:
        """Whether a node has been asked for."""
        return bool(self._begun)

    def execute(self, node: Node, log: Callable[[str], None] = lambda text: None) -> Outcome:
        """Run `node`, whose parents have ended; a second caller waits for the first."""
        future = self._futures[node.name]
        with self._lock:
            first = node.name not in self._begun
            self._begun.add(node.name)
        if first:
            try:
                future.set_result(self._execute(node, log))
            except BaseException as error:
                future.set_exception(error)
                raise
        return future.result()

    def run_alone(self) -> None:
        """Begin every node as its parents end, without Prefect; returns at once."""

        def work(node: Node) -> None:
            wait([self._futures[parent] for parent in node.before()])
            self.execute(node)

        for node in self.planned.nodes:
            threading.Thread(target=work, args=(node,), daemon=True).start()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until every node has ended, for so many seconds; whether all have."""
        return not wait(self._futures.values(), seconds).not_done

    def cancel(self, stop: KeyboardInterrupt) -> None:
        """Tell the stages to end; what has not begun never will. A second call does nothing."""
        if self.stop is not None:
            return
        self.stop = stop
        stop_code(stop)
        take_longer(self.planned.runtime.stop_grace)
        self.runner.workers.stop()
        self.display.note("interrupted: ending the stages; run again to resume from their checkpoints")
        with self._lock:
            rest = [name for name in self._futures if name not in self._begun]
            self._begun.update(rest)
        for name in rest:
            self._futures[name].set_result(self._cancelled(name))

    def end(self) -> Ended:
        """Close the record, explain failures and make the rows."""
        if self.stop is not None:
            self.cancel_rest()
        outcomes = dict(self.runner.outcomes)  # the thread of a stopped flow may still add to them
        errors = [outcome for outcome in outcomes.values() if outcome.action == "failed"]
        for outcome in errors:
            assert outcome.error is not None
            self.display.note(f"\n{outcome.node} failed: {explain(outcome.error)}")
        complete = len(outcomes) == len(self.planned.rows) and all(each.ok for each in outcomes.values())
        self.run.finish("completed" if complete else "failed" if self.stop is None else "cancelled")
        rows = [self._row(row, outcomes.get(row.stage)) for row in self.planned.rows]
        artifacts = [outcome.artifact for outcome in outcomes.values()]
        pages = tuple(artifact.html for artifact in artifacts if isinstance(artifact, ReportArtifact))
        return Ended(rows, self._code(complete, errors), self.run.id, pages)

    def cancel_rest(self) -> None:
        """Whatever has no outcome after a stop was cancelled."""
        for row in self.planned.rows:
            if row.stage not in self.runner.outcomes:
                self._cancelled(row.stage)

    def _cancelled(self, name: str) -> Outcome:
        outcome = Outcome(name, "cancelled", error=Cancelled("cancelled"), root=name)
        with contextlib.suppress(StoreError):  # a full disk, of which the record's end tells
            self._record(outcome)
        self.display.end(name, "cancelled")
        self.display.outcome(outcome)
        return outcome

    def _code(self, complete: bool, errors: Sequence[Outcome]) -> int:
        if self.stop is not None:
            return stop_code(self.stop)
        if complete:
            return 0
        rest = [outcome for outcome in errors if not isinstance(outcome.error, GateFailed)]
        if errors and not rest:
            return 3
        # A malformed row shows only while a stage runs; it is the user's mistake all the same.
        return 2 if rest and all(isinstance(outcome.error, UserError) for outcome in rest) else 1

    def _execute(self, node: Node, log: Callable[[str], None]) -> Outcome:
        try:
            if not self.runner.workers.cancel.is_set():
                self.run.stage(node.name, "running")
            outcome = self.runner.run_node(node, log)
            self._record(outcome)
        except Exception as error:  # the record cannot be written, as on a full disk
            outcome = Outcome(node.name, "failed", error=error, root=node.name)
            self.runner.outcomes[node.name] = outcome
        self.display.outcome(outcome)
        return outcome

    def _record(self, outcome: Outcome) -> None:
        self.runner.outcomes[outcome.node] = outcome
        artifact = outcome.artifact
        why = next(row.why for row in self.planned.rows if row.stage == outcome.node)
        self.run.stage(
            outcome.node,
            outcome.action,
            artifact=artifact.id if artifact else None,
            fingerprint=artifact.manifest.fingerprint if artifact else "",
            why=why,
            error=None if outcome.error is None else explain(outcome.error),
            **outcome.facts(),
        )

    def _row(self, plan: PlanRow, outcome: Outcome | None) -> dict[str, Any]:
        outcome = outcome or Outcome(plan.stage, "skipped", root=plan.stage)
        artifact = outcome.artifact.id if outcome.artifact else None
        row = {**plan_row(plan), "action": outcome.action, "artifact": artifact, **outcome.facts()}
        return row if outcome.ok else {**row, "error": outcome.reason}


def plan_row(row: PlanRow) -> dict[str, Any]:
    """A row as `plan --json` prints it."""
    shown: dict[str, Any] = {
        "stage": row.stage,
        "action": row.action,
        "why": row.why,
        "artifact": row.artifact,
    }
    if row.wants:
        shown["wants"] = dict(row.wants)
    if checks := row.checks:
        shown["checks"] = [{**check.row(), "passes": check.passes} for check in checks]
    return shown

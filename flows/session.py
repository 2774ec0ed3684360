"""A run in progress: its servers, its record, and what it came to.

The flow has a thread of its own, so that a stop reaches the main thread and not Prefect, which would wait for
the stages. A stop kills their processes and lets the flow end in order; what has not ended after some seconds
is left behind, cancelled. The record is written after each stage.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.config import PipelineConfig
from flows.display import Display
from flows.graph import Node
from flows.plan import PlanRow
from flows.process.workers import Cancelled, prepare_environment
from flows.runner import Outcome, Runner, explain
from flows.stopping import stop_behind, stop_code
from tempering.artifacts.kinds import ReportArtifact
from tempering.artifacts.runs import Run
from tempering.artifacts.store import Store
from tempering.errors import UserError
from tempering.runtime import RuntimeConfig

_PATIENCE = 4.0  # seconds that a stopped flow may take to end in order


@dataclass(frozen=True)
class Planned:
    """A pipeline and what would be done for each of its nodes."""

    config: PipelineConfig
    runtime: RuntimeConfig
    store: Store
    nodes: tuple[Node, ...]
    rows: tuple[PlanRow, ...]
    forced: frozenset[str]


@dataclass(frozen=True)
class Ended:
    """What was done: one row per node, the exit code, and the run record's id."""

    rows: list[dict[str, Any]]
    code: int
    run: str
    pages: tuple[Path, ...] = ()


@dataclass
class Session:
    """A run in progress, from the first process started to its record closed."""

    planned: Planned
    port: int | None
    run: Run
    runner: Runner
    display: Display
    stop: KeyboardInterrupt | None = None
    """What ended the run early."""

    def reuse(self) -> None:
        """Everything is cached: record it without starting anything."""
        for row in self.planned.rows:
            assert row.artifact is not None
            self._record(Outcome(row.stage, "cached", self.planned.store.get(row.artifact, check=False)))
        count = len(self.planned.rows)
        self.display.note(f"{self.planned.config.name}: all {count} stages are Cached, nothing to do")

    def run_all(self) -> None:
        """Start the servers, then run the flow; a stop at any moment ends both."""
        try:
            self._with_servers()
        except BaseException as error:
            stop = stop_behind(error)
            if stop is None:
                raise
            self._cancel(stop)

    def _with_servers(self) -> None:
        from flows.process.prefect_server import client_environment, start_server

        # The servers start in the background while Prefect is imported.
        root = self.planned.store.root
        prepare_environment()
        server = start_server(root, self.port)
        self.display.add(node.name for node in self.planned.nodes)
        try:
            with self.display:
                self.runner.workers.warm_up()
                os.environ.update(client_environment(server, root))
                from flows.flow import NO_ANSWER, close_dead_runs, run_flow

                server.wait()
                if self.port is not None:
                    self.display.note(f"Prefect's pages: {server.url.removesuffix('/api')}")
                # The flow calls `_execute` for each node, in threads.
                name, nodes = self.planned.config.name, self.planned.nodes
                try:
                    if server.process is not None:
                        close_dead_runs()
                    self._follow(lambda: run_flow(name, self.run.id, nodes, self._execute))
                except NO_ANSWER as error:
                    raise server.trouble(str(error).partition("\n")[0]) from None
        finally:
            self.runner.workers.close()
            server.stop()

    def _follow(self, flow: Callable[[], None]) -> None:
        """Call `flow` in a thread and wait for its end; after a stop not for long."""
        ended: Future[None] = Future()

        def work() -> None:
            try:
                flow()
                ended.set_result(None)
            except BaseException as error:
                ended.set_exception(error)

        threading.Thread(target=work, daemon=True).start()
        try:
            ended.result()
        except KeyboardInterrupt as stop:
            self._cancel(stop)
            with contextlib.suppress(Exception):
                ended.result(_PATIENCE)
            self._cancel_rest()

    def _cancel(self, stop: KeyboardInterrupt) -> None:
        if self.stop is None:
            self.stop = stop
            stop_code(stop)
            self.runner.workers.stop()
            self.display.note("interrupted: ending the stages; run again to resume from their checkpoints")

    def end(self) -> Ended:
        """Close the record, explain failures and make the rows."""
        if self.stop is not None:
            self._cancel_rest()
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

    def _cancel_rest(self) -> None:
        """Whatever has no outcome after a stop was cancelled."""
        for row in self.planned.rows:
            if row.stage not in self.runner.outcomes:
                error = Cancelled("cancelled")
                self._record(Outcome(row.stage, "cancelled", error=error, root=row.stage))
                self.display.end(row.stage, "cancelled")

    def _code(self, complete: bool, errors: Sequence[Outcome]) -> int:
        if self.stop is not None:
            return stop_code(self.stop)
        if complete:
            return 0
        # A malformed row shows only while a stage runs; it is the user's mistake all the same.
        return 2 if errors and all(isinstance(outcome.error, UserError) for outcome in errors) else 1

    def _execute(self, node: Node, log: Any) -> Outcome:
        try:
            if not self.runner.workers.cancel.is_set():
                self.run.stage(node.name, "running")
            outcome = self.runner.run_node(node, log)
            self._record(outcome)
        except Exception as error:  # the record cannot be written, as on a full disk
            outcome = Outcome(node.name, "failed", error=error, root=node.name)
            self.runner.outcomes[node.name] = outcome
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
    return {"stage": row.stage, "action": row.action, "why": row.why, "artifact": row.artifact}

"""The graph as Prefect sees it: one task per node, submitted with futures, so that the UI draws it.

Prefect schedules and shows; deciding, caching and running are the runner's. Tasks carry artifact ids
only. The store is the one cache (NO_CACHE). Failures come back as states with the root failure's
message, since raising through `.submit()` chains ends in an unhelpful `UnfinishedRun`; a task whose
inputs failed is started all the same (`allow_failure`) and says `NotRun`. While the graph runs nothing asks
Prefect's server for anything, so that the server may die: a task with tags would ask for a slot of each, and
gets its tags only once it runs.

Imported only when something has to run: importing Prefect takes 1.7 s.
"""

import asyncio
from collections.abc import Mapping
from concurrent.futures import wait
from typing import Any

import httpx
from prefect import allow_failure, get_run_logger, task
from prefect._internal.concurrency.threads import get_global_loop
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.events.worker import EventsWorker
from prefect.exceptions import PrefectHTTPStatusError
from prefect.logging.handlers import APILogWorker
from prefect.states import Cancelled, Completed, Failed
from prefect.utilities.engine import emit_task_run_state_change_event

from flows.graph import Node
from flows.outcome import Outcome
from flows.session import Session
from tempering.credentials import masked
from tempering.errors import StageFailed

NO_ANSWER = (PrefectHTTPStatusError, httpx.HTTPError)
"""What Prefect raises where its server is not there, or has no disk to write to."""


class Tasks:
    """The tasks of a session's nodes, from their submission to their last states."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.pipeline = session.planned.config.name
        self.futures: dict[str, Any] = {}
        self.runs: dict[str, TaskRun] = {}

    def submit(self) -> None:
        """Submit all; each begins when those before it have ended. Only inside of a flow run."""
        for node in self.session.planned.nodes:
            upstream = {parent: allow_failure(self.futures[parent]) for parent in node.before()}
            self.futures[node.name] = self._task(node).submit(upstream=upstream)

    def wait(self, seconds: float) -> bool:
        """Wait until all have their last states, for so many seconds; whether all have."""
        return not wait([future.wrapped_future for future in self.futures.values()], seconds).not_done

    def _task(self, node: Node) -> Any:
        @task(
            name=node.stage.name,
            task_run_name=f"{node.name} · {self.pipeline}",
            cache_policy=NO_CACHE,
            retries=0,
            persist_result=False,
        )
        def run(upstream: Mapping[str, Any]) -> State[Any]:
            # `upstream` is for Prefect alone: it waits for it and draws the graph from it.
            return self._run(node)

        return run

    def _run(self, node: Node) -> State[Any]:
        context = TaskRunContext.get()
        assert context is not None
        self.runs[node.name] = context.task_run
        context.task_run.tags = sorted({self.pipeline, node.stage.name})
        return _state(self.session.execute(node, get_run_logger().info))

    def tell_again(self) -> None:
        """Send the last state of every task once more: a server that was away has missed some."""
        for name, run in self.runs.items():
            state = self.futures[name].state
            if state.is_final():
                emit_task_run_state_change_event(run, None, state)


def verdict(session: Session) -> State[Any]:
    """The flow run's own state, from all outcomes, and what a person does next."""
    outcomes, count = session.runner.outcomes, len(session.planned.nodes)
    if session.stop is not None or any(outcome.action == "cancelled" for outcome in outcomes.values()):
        return Cancelled(message=f"interrupted. To go on from the checkpoints: {_retry(session)}")
    failures = [outcome for outcome in outcomes.values() if outcome.action == "failed"]
    if not failures and len(outcomes) == count:
        cached = sum(outcome.action == "cached" for outcome in outcomes.values())
        return Completed(message=f"{count} stages: {count - cached} made, {cached} Cached")
    reasons = "; ".join(f"{outcome.node}: {outcome.reason}" for outcome in failures)
    error = StageFailed(reasons or "a stage did not run")
    return Failed(
        message=f"{error}. When the cause is gone: {_retry(session)}; the rest is Cached", data=error
    )


def _retry(session: Session) -> str:
    """What makes what is missing: a run without a deployment cannot be retried from the pages."""
    options = session.planned.options
    return "press Retry in the menu ⋮" if options.flow_run else f"`{masked(options.retry)}`"


def drain(seconds: float) -> None:
    """Send what Prefect still queues: after its server has gone, its exit hooks would retry for minutes."""
    APILogWorker.drain_all(timeout=seconds)
    EventsWorker.drain_all(timeout=seconds)


def give_up() -> None:
    """End what Prefect still tries with a server that has gone: at the exit it would go on for a minute."""
    senders: list[Any] = [APILogWorker, EventsWorker]
    for service in [service for sender in senders for service in sender._instances.values()]:
        with service._queue.mutex:
            service._queue.queue.clear()
    loop = get_global_loop()._loop
    if loop is not None:
        loop.call_soon_threadsafe(_cancel_requests, loop)


def _cancel_requests(loop: asyncio.AbstractEventLoop) -> None:
    for request in asyncio.all_tasks(loop):
        name = getattr(request.get_coro(), "__qualname__", "")
        if not name.endswith("_run_until_shutdown"):  # the loop itself
            request.cancel()


def _state(outcome: Outcome) -> State[Any]:
    if outcome.artifact is not None:
        cached = outcome.action == "cached"
        return Completed(
            name="Cached" if cached else None, message=outcome.artifact.id, data=outcome.artifact.id
        )
    if outcome.action == "cancelled":
        return Cancelled(message="interrupted")
    error = StageFailed(outcome.reason)
    return Failed(name="Failed" if outcome.action == "failed" else "NotRun", message=str(error), data=error)

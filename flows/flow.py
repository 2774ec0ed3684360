"""The Prefect flow: one task per node, submitted with futures, so that the UI draws the real graph.

Prefect schedules and shows; deciding, caching and running are the runner's. Tasks carry artifact ids
only. The store is the one cache (NO_CACHE). Failures come back as states with the root failure's
message, since raising through `.submit()` chains ends in an unhelpful `UnfinishedRun`; a task whose
inputs failed is started all the same (`allow_failure`) and says `NotRun`.

Imported only when something has to run: importing Prefect takes 1.7 s.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx
from prefect import allow_failure, flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import State, StateType
from prefect.events.worker import EventsWorker
from prefect.exceptions import PrefectHTTPStatusError
from prefect.logging.handlers import APILogWorker
from prefect.states import Cancelled, Completed, Crashed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from flows.graph import Node
from flows.runner import Outcome
from tempering.errors import StageFailed
from tempering.printable import clock, headline

_DRAIN_LIMIT = 5.0  # seconds
Execute = Callable[[Node, Callable[[str], None]], Outcome]
"""Run one node, sending its log lines to a callback; a stage's failure is in the outcome."""


NO_ANSWER = (PrefectHTTPStatusError, httpx.HTTPError)
"""What Prefect raises where its server is not there, or has no disk to write to."""


def run_flow(name: str, run_id: str, nodes: Sequence[Node], execute: Execute) -> None:
    """Run `nodes` (topologically sorted) as the flow `name`; the flow run is called `run_id`.

    Prefect refuses some characters in a name, which is a dash there.

    Raises:
        StageFailed: Prefect ended the run, and no stage did.
        PrefectHTTPStatusError, httpx.HTTPError: its server failed (`NO_ANSWER`).
    """
    outcomes: dict[str, Outcome] = {}

    def run_task(node: Node) -> State[Any]:
        outcome = outcomes[node.name] = execute(node, get_run_logger().info)
        return _state(outcome)

    # A thread per node: those that wait for a place must not keep others from it.
    threads: Any = ThreadPoolTaskRunner(max_workers=len(nodes) + 1)

    @flow(name=re.sub(r"[/%&<>]", "-", name), flow_run_name=run_id, task_runner=threads)
    def pipeline(run: str) -> State[Any]:
        futures: dict[str, Any] = {}
        for node in nodes:
            upstream = {parent: allow_failure(futures[parent]) for parent in node.parents()}
            futures[node.name] = _make_task(node, run_task).submit(upstream=upstream)
        # The flow's own state and summary come last, from all outcomes.
        for future in futures.values():
            future.wait()
        _publish(name, outcomes)
        return _verdict(outcomes, len(nodes))

    try:
        state = pipeline(run_id, return_state=True)
    except RuntimeError as error:
        if str(error).startswith("Failed to reach API"):
            raise httpx.ConnectError("it cannot be reached") from error
        raise
    finally:
        _drain()
    if state.is_crashed():  # not by a stage: those failures are in the outcomes
        raise StageFailed(f"Prefect ended the run: {state.message}")


def close_dead_runs() -> None:
    """Mark flow runs that a kill left `Running` as crashed. Only for a database that no other run uses."""
    with get_client(sync_client=True) as client:
        running = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING]))
        for flow_run in client.read_flow_runs(flow_run_filter=FlowRunFilter(state=running)):
            client.set_flow_run_state(flow_run.id, Crashed(message="its process was killed"), force=True)


def _drain() -> None:
    """Send what Prefect still queues: after its server has gone, its exit hooks would retry for minutes."""
    APILogWorker.drain_all(timeout=_DRAIN_LIMIT)
    EventsWorker.drain_all(timeout=_DRAIN_LIMIT)


def _make_task(node: Node, run_task: Callable[[Node], State[Any]]) -> Any:
    @task(name=node.name, task_run_name=node.name, cache_policy=NO_CACHE, retries=0, persist_result=False)
    def run(upstream: Mapping[str, Any]) -> State[Any]:
        # `upstream` is for Prefect alone: it waits for it and draws the graph from it.
        return run_task(node)

    return run


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


def _verdict(outcomes: Mapping[str, Outcome], count: int) -> State[Any]:
    failures = [outcome for outcome in outcomes.values() if outcome.action == "failed"]
    if any(outcome.action == "cancelled" for outcome in outcomes.values()):
        return Cancelled(message="interrupted")
    if not failures and len(outcomes) == count:
        return Completed(message=f"{count} stages")
    reasons = "; ".join(f"{outcome.node}: {outcome.reason}" for outcome in failures)
    error = StageFailed(reasons or "a stage did not run")
    return Failed(message=str(error), data=error)


def _publish(name: str, outcomes: Mapping[str, Outcome]) -> None:
    """The run's summary as a Prefect artifact; its key may hold lowercase letters, digits, dashes."""
    rows = [
        {
            "stage": outcome.node,
            "action": outcome.action,
            "artifact": outcome.artifact.id if outcome.artifact else "",
            "headline": headline(outcome.artifact.manifest.metrics) if outcome.artifact else outcome.reason,
            "time": clock(outcome.seconds) if outcome.seconds else "",
        }
        for outcome in outcomes.values()
    ]
    key = re.sub(r"[^a-z0-9]+", "-", f"tempering-{name}".lower()).strip("-")
    create_table_artifact(table=rows, key=key, description=f"What the run of {name} did, stage by stage")

"""Prefect's flow runs that a kill left unfinished: the next run of the store gives them a final state.

Prefect sees to runs of deployments alone, by their heartbeats. Of the others the store's run records tell
whose process is gone. A server may be shared, so a flow run counts as ours only by the id of one of this
store's records; in the database of an embedded server, which no other run uses, every one does.
"""

import contextlib
import re
from collections.abc import Iterable, Iterator
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    TaskRunFilter,
    TaskRunFilterFlowRunId,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Cancelled, Completed, Crashed, Failed

from flows.flow import NO_ANSWER
from tempering.artifacts.runs import RunRecord, Runs

_UNFINISHED = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
_ENDED: dict[str, Any] = {"completed": Completed, "failed": Failed, "cancelled": Cancelled}
_ID = re.compile(r"\d{4}-\d\d-\d\d__[^/\0]{1,150}")
_PAGE = 200  # the most that a server gives at once
_MOST = 1000  # unfinished runs of a shared server that are looked at
_ANSWER = 10.0  # seconds


def close_dead_runs(runs: Runs, *, alone: bool) -> list[str]:
    """Give flow runs whose process is gone, and their task runs, a final state; the names of those flow runs.

    Where the server does not answer in time, the next run sees to the rest.

    Args:
        alone: the database is used by no other run.
    """
    closed = []
    quick = temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0})
    with contextlib.suppress(*NO_ANSWER), quick:
        client: SyncPrefectClient
        with get_client(sync_client=True, httpx_settings={"timeout": _ANSWER}) as client:
            for flow_run in list(_unfinished(client)):
                record = _record(runs, flow_run)
                if alone or (record is not None and record.gone):
                    _close(client, flow_run, record)
                    closed.append(flow_run.name)
    return closed


def _close(client: SyncPrefectClient, flow_run: FlowRun, record: RunRecord | None) -> None:
    """Give a flow run and its task runs the state that its record tells."""
    dead: State[Any] = Crashed(message="its process was killed")
    state = dead
    if record is not None and record.state != "running":  # it ended while its server was away
        state = _ENDED[record.state](message="it ended while this server did not answer")
        dead = state if record.state == "completed" else Crashed(message=state.message)
    for task_run in _tasks(client, flow_run):
        client.set_task_run_state(task_run.id, dead, force=True)
    client.set_flow_run_state(flow_run.id, state, force=True)


def _unfinished(client: SyncPrefectClient) -> Iterator[FlowRun]:
    """Flow runs without a deployment that have not ended, the newest first."""
    ours = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_UNFINISHED)),
        deployment_id=FlowRunFilterDeploymentId(is_null_=True),
    )
    for offset in range(0, _MOST, _PAGE):
        page = client.read_flow_runs(
            flow_run_filter=ours, limit=_PAGE, offset=offset, sort=FlowRunSort.START_TIME_DESC
        )
        yield from page
        if len(page) < _PAGE:
            return


def _tasks(client: SyncPrefectClient, flow_run: FlowRun) -> Iterable[Any]:
    unfinished = [*_UNFINISHED, StateType.SCHEDULED]
    ours = TaskRunFilter(
        flow_run_id=TaskRunFilterFlowRunId(any_=[flow_run.id]),
        state=TaskRunFilterState(type=TaskRunFilterStateType(any_=unfinished)),
    )
    return client.read_task_runs(task_run_filter=ours, limit=_PAGE)


def _record(runs: Runs, flow_run: FlowRun) -> RunRecord | None:
    """The record of the run that this flow run shows, if it is in this store.

    Its name is the record's id, but for a moment after its creation; its parameters hold it at once.
    """
    for name in (flow_run.name, *flow_run.parameters.values()):
        record = runs.get(name) if isinstance(name, str) and _ID.fullmatch(name) else None
        if record is not None:
            return record
    return None

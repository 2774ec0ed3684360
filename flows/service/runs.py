"""Flow runs whose process has died or must end: none is left Running, and none keeps its slot.

Prefect alone would wait for missing heartbeats, and kills the runs of a worker that is told to end.
"""

import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.states import Cancelled, Crashed

from flows.service.processes import kill, of_runs, terminate
from flows.service.provision import POOL

_UNDERWAY = (StateType.RUNNING, StateType.PENDING, StateType.CANCELLING)


def close_dead(client: SyncPrefectClient, folder: Path, worker: str, why: str) -> list[str]:
    """Close the flow runs of `worker` that have no process here, as after a power cut; their names.

    Those of another worker of the pool run elsewhere, and are not touched.
    """
    alive = set(of_runs(folder))
    dead = [run for run in _underway(client) if str(run.id) not in alive and _is_of(run, worker)]
    for run in dead:
        _close(client, run, why)
    return [run.name for run in dead]


def stop_processes(folder: Path, patience: float) -> None:
    """End the processes of all flow runs: SIGTERM to those that lead, at last SIGKILL to all."""
    terminate(processes[0] for processes in of_runs(folder).values())
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline and of_runs(folder):
        time.sleep(0.2)
    for processes in of_runs(folder).values():
        kill(processes)


def _close(client: SyncPrefectClient, run: FlowRun, why: str) -> None:
    """Say that a flow run has crashed or, where that was asked for, that it is cancelled."""
    cancelled = run.state is not None and run.state.is_cancelling()
    state: State[Any] = Cancelled(message=why) if cancelled else Crashed(message=why)
    client.set_flow_run_state(run.id, state, force=True)


def _underway(client: SyncPrefectClient) -> Collection[FlowRun]:
    state = FlowRunFilterState(type=FlowRunFilterStateType(any_=list(_UNDERWAY)))
    pool = WorkPoolFilter(name=WorkPoolFilterName(any_=[POOL]))
    return client.read_flow_runs(flow_run_filter=FlowRunFilter(state=state), work_pool_filter=pool)


def _is_of(run: FlowRun, worker: str) -> bool:
    """Whether `worker` took the run; one that died between two steps has left no name."""
    return run.labels.get("prefect.worker.name", worker) == worker

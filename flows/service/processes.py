"""The processes of a service, told by the mark in their environment: its own, and those of flow runs.

A flow run's process goes on when its worker dies, and a new worker is not its parent. So parents say nothing,
and the environment, which every process hands on, says all.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import psutil

from flows.service.location import MARK

_RUN = "PREFECT__FLOW_RUN_ID"


def of_service(folder: Path) -> Iterator[tuple[psutil.Process, str | None]]:
    """Each process of the service of `folder`, and the id of the flow run that it belongs to."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            environment = process.environ()
            if environment.get(MARK) == str(folder):
                yield process, environment.get(_RUN)


def of_runs(folder: Path) -> dict[str, list[psutil.Process]]:
    """The processes of each flow run, by its id, the one that leads first."""
    runs: dict[str, list[psutil.Process]] = {}
    for process, run in of_service(folder):
        if run is not None:
            runs.setdefault(run, []).append(process)
    for run, processes in runs.items():
        ids = {process.pid for process in processes}
        runs[run] = sorted(processes, key=lambda process, ids=ids: _parent(process) in ids)  # type: ignore[misc]
    return runs


def kill(processes: Iterable[psutil.Process]) -> None:
    """Kill them, whatever they do."""
    _each(processes, psutil.Process.kill)


def terminate(processes: Iterable[psutil.Process]) -> None:
    """Ask them to end in order."""
    _each(processes, psutil.Process.terminate)


def _each(processes: Iterable[psutil.Process], tell: Callable[[psutil.Process], None]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            tell(process)


def _parent(process: psutil.Process) -> int:
    try:
        return int(process.ppid())
    except psutil.Error:
        return 0

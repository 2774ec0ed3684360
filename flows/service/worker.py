"""The worker of a service: `python -m flows.service.worker [LIMIT]`, started and ended by the supervisor.

Prefect's process worker, with a beginning and an end of its own. Before it takes runs, pool and automation
are there and the runs that died with the machine are closed. Told to end, it takes no more runs, asks those
that it has to stop at a checkpoint, and sees to it that Prefect knows how they ended.
"""

import asyncio
import os
import signal
import socket
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.service.location import MARK, answers

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

_START_LIMIT = 180.0  # seconds; PostgreSQL's first migrations take ten
_PATIENCE = 32.0  # seconds that a run may take to end in order: its default grace and what comes after
_REPORTING = 8.0  # seconds for the worker to tell the server


def main(limit: int | None) -> int:
    """Work until SIGTERM; the exit code."""
    # Prefect is imported while the server starts.
    from prefect.client.orchestration import get_client

    from flows.service.provision import provision

    folder = Path(os.environ[MARK])
    url = os.environ["PREFECT_API_URL"]
    deadline = time.monotonic() + _START_LIMIT
    while not answers(f"{url}/health"):
        if time.monotonic() > deadline:
            print(f"the Prefect server at {url} does not answer", flush=True)
            return 1
        time.sleep(0.2)
    # What must be there, and what must be gone, before a run starts.
    with get_client(sync_client=True) as client:
        for line in provision(client, limit):
            print(line, flush=True)
    name = f"temper-{socket.gethostname()}"
    _close(folder, name, "its process has died")
    asyncio.run(_work(name, folder))
    _close(folder, name, "the service was stopped")
    return 0


async def _work(name: str, folder: Path) -> None:
    from prefect.workers.process import ProcessWorker

    from flows.service.provision import POOL
    from flows.service.runs import stop_processes
    from flows.service.supervisor import READY

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Prefect tells of every subclass that keeps its type

        class Worker(ProcessWorker):
            """Takes no runs once it ends, and knows how many it has."""

            ending = False
            busy = 0

            async def get_and_submit_flow_runs(self) -> "list[FlowRun]":
                return [] if self.ending else await super().get_and_submit_flow_runs()

            async def run(self, *arguments: Any, **options: Any) -> Any:
                if self.ending:
                    raise RuntimeError("the service is ending")
                self.busy += 1
                try:
                    return await super().run(*arguments, **options)
                finally:
                    self.busy -= 1

    worker = Worker(work_pool_name=POOL, name=name, create_pool_if_not_found=False)
    watched = "PREFECT_WORKER_WEBSERVER_PORT" in os.environ  # by the health check of a container
    working = asyncio.create_task(worker.start(with_healthcheck=watched))
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    (folder / READY).write_text(str(os.getpid()))
    # Until it is told to end, or ends by itself.
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
    if working.done():
        raise SystemExit(f"the worker has failed: {working.exception()}")
    worker.ending = True
    await asyncio.to_thread(stop_processes, folder, _PATIENCE)
    deadline = time.monotonic() + _REPORTING
    while worker.busy and time.monotonic() < deadline:  # it tells the server what came of them
        await asyncio.sleep(0.1)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)


def _close(folder: Path, name: str, why: str) -> None:
    """Close the runs that seem to be underway and have no process."""
    from prefect.client.orchestration import get_client

    from flows.service.runs import close_dead

    with get_client(sync_client=True) as client:
        for run in close_dead(client, folder, name, why):
            print(f"{run}: {why}", flush=True)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else None))

"""What of a service works, asked of its parts: what `temper status` prints."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from flows.service.client import connected
from flows.service.location import Service, answers
from tempering.errors import StoreError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

_RUNS = 5


@dataclass
class Health:
    """The parts of a service, and what its server knows of deployments and runs."""

    service: Service
    parts: dict[str, str] = field(default_factory=dict)
    """Of each part what is wrong with it, or "" where it works."""
    version: str = ""
    pool: str = ""
    deployments: int | None = None
    """How many there are; this and what follows is None where the server did not say."""
    late: int | None = None
    runs: list[dict[str, Any]] | None = None

    def well(self) -> bool:
        """Whether every part works."""
        return not any(self.parts.values())

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "running": True,
            "well": self.well(),
            "url": self.service.url,
            "reports_url": self.service.reports_url,
            "pid": self.service.pid,
            "version": self.version,
            "parts": {name: trouble or "ok" for name, trouble in self.parts.items()},
            "pool": self.pool,
            "deployments": self.deployments,
            "late_runs": self.late,
            "runs": self.runs,
        }

    def lines(self) -> list[str]:
        """For people."""
        pages = self.service.url.removesuffix("/api")
        more = {"server": f"{pages} (Prefect {self.version})", "reports": self.service.reports_url}
        more["work pool"] = self.pool
        lines = [
            f"{name + ':':14}{trouble or ('ok  ' + more.get(name, ''))}"
            for name, trouble in self.parts.items()
        ]
        if self.deployments is not None:
            lines.append(f"{'deployments:':14}{self.deployments}")
        if self.late:
            lines.append(f"{'late runs:':14}{self.late}")
        title = "last runs:"
        for run in self.runs or []:
            name = f"{run['deployment'] or '-'}  {run['name']}"
            lines.append(f"{title:14}{run['state']:12}{run['started'] or '':18}{name}")
            title = ""
        return lines


def examine(service: Service) -> Health:
    """Ask each part of a service how it is; Prefect is imported only if its server answers."""
    # Its processes, and whether they answer.
    health = Health(service)
    children = service.facts.get("children", {})
    for name in ("server", "worker", "reports"):
        child = children.get(name, {})
        health.parts[name] = "" if child.get("pid") else _restarting(service, name)
    if not health.parts["server"] and not service.answers():
        health.parts["server"] = (
            f"{service.url} does not answer; see {service.folder / 'logs' / 'server.log'}"
        )
    if not health.parts["reports"] and not answers(f"{service.reports_url}/health"):
        health.parts["reports"] = (
            f"{service.reports_url} does not answer; see {service.folder / 'logs' / 'reports.log'}"
        )
    if health.parts["server"]:
        return health
    # What only the server can tell.
    try:
        with connected(service) as client:
            _ask(health, client)
    except StoreError as error:
        health.parts["server"] = f"{error.found}; {error.fix}"
    return health


def _restarting(service: Service, name: str) -> str:
    return f"has ended and is started again; see {service.folder / 'logs' / name}.log"


def _ask(health: Health, client: "SyncPrefectClient") -> None:
    """What the server knows."""
    import prefect
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.client.schemas.sorting import FlowRunSort
    from prefect.exceptions import ObjectNotFound

    from flows.service.deployments import was_refused
    from flows.service.provision import POOL, ZOMBIES

    health.version = client.api_version()
    if health.version != prefect.__version__:
        health.parts["server"] = (
            f"is {health.version}, installed is {prefect.__version__}: `temper down`, then `temper up`"
        )
    # The worker's signs of life, and what it works on.
    try:
        pool = client.read_work_pool(POOL)
        health.pool = f"{POOL}: {pool.concurrency_limit or 'any number of'} runs at the same time"
        health.pool += ", PAUSED" if pool.is_paused else ""
        health.parts["work pool"] = ""
        workers = client.read_workers_for_work_pool(POOL)
        if not any(worker.status == "ONLINE" for worker in workers) and not health.parts["worker"]:
            health.parts["worker"] = "gives no sign of life"
    except ObjectNotFound:
        health.parts["work pool"] = f"{POOL} is missing; `temper up` makes it"
    automations = client.read_automations_by_name(ZOMBIES)
    alive = any(automation.enabled for automation in automations)
    missing = "that ends dead runs is missing or off; `temper up` mends it"
    health.parts["automation"] = "" if alive else missing
    # Deployments and runs.
    names = {each.id: each.name for each in client.read_deployments()}
    health.deployments = len(names)
    late = FlowRunFilter.model_validate({"state": {"name": {"any_": ["Late"]}}})
    health.late = len(client.read_flow_runs(flow_run_filter=late))
    begun = FlowRunFilter.model_validate({"start_time": {"is_null_": False}})
    newest = client.read_flow_runs(flow_run_filter=begun, sort=FlowRunSort.START_TIME_DESC, limit=10 * _RUNS)
    health.runs = [
        {
            "name": run.name,
            "deployment": names.get(run.deployment_id) if run.deployment_id else None,
            "state": run.state_name,
            "started": _moment(run.start_time),
        }
        for run in [run for run in newest if not was_refused(run)][:_RUNS]
    ]


def _moment(time: datetime | None) -> str | None:
    return None if time is None else f"{time.astimezone():%Y-%m-%d %H:%M}"

"""Deployments: a pipeline's config, overrides and schedule, kept by the Prefect server and run by a worker.

All are of one flow, `flows.deployed.temper`, which the worker imports from the folder where `temper deploy`
was called. At most one run of a deployment is underway; one that comes due meanwhile is cancelled rather than
kept waiting, so that no backlog grows while the machine is down.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import (
    ConcurrencyLimitConfig,
    ConcurrencyLimitStrategy,
    FlowRun,
    StateType,
    VersionInfo,
)
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import FlowRunSort
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.types.entrypoint import EntrypointType

from flows.service.provision import POOL
from flows.service.schedule import in_words
from flows.service.settings import job_variables
from tempering import __version__
from tempering.errors import UserError

if TYPE_CHECKING:
    from prefect.schedules import Schedule

FLOW = "tempering"
_RECENT = 50


@dataclass(frozen=True)
class Spec:
    """A deployment as it should be; what is None stays as it is, or as Prefect begins."""

    name: str
    store: Path
    folder: Path
    parameters: Mapping[str, Any]
    schedule: "Schedule | None" = None
    paused: bool | None = None
    unscheduled: bool = False


@dataclass
class Deployed:
    """A deployment as the server knows it."""

    name: str
    config: str
    overrides: Sequence[str]
    store: str
    schedules: list[str]
    next_run: str | None
    paused: bool
    last_run: str | None
    last_state: str | None
    parameters: Mapping[str, Any] = field(repr=False)


def deploy(client: SyncPrefectClient, spec: Spec) -> bool:
    """Create or update a deployment; whether it is new.

    Raises:
        UserError: the server has no pool for its runs.
    """
    from flows.deployed import temper

    _require_pool(client)
    existing = _read(client, spec.name)
    paused = spec.paused if spec.paused is not None else existing is not None and existing.paused
    schedules = None  # an update without schedules would delete them
    if existing is not None and spec.schedule is None and not spec.unscheduled:
        schedules = [
            DeploymentScheduleCreate(schedule=each.schedule, active=each.active, parameters=each.parameters)
            for each in existing.schedules
        ]
    deployment = RunnerDeployment.from_flow(
        temper,
        spec.name,
        parameters=dict(spec.parameters),
        schedule=spec.schedule,
        schedules=schedules,
        paused=paused,
        concurrency_limit=ConcurrencyLimitConfig(
            limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW
        ),
        description=_description(spec),
        tags=[FLOW],
        version=__version__,
        work_pool_name=POOL,
        job_variables=job_variables(spec.store, spec.folder),
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    # A version of our own: Prefect's would hold the address of the Git remote, and whatever is in it.
    deployment.apply(version_info=VersionInfo(type="tempering", version=__version__))
    return existing is None


def deployments(client: SyncPrefectClient) -> list[Deployed]:
    """All of ours, by name."""
    ours = client.read_deployments(flow_filter=FlowFilter(name=FlowFilterName(any_=[FLOW])))
    return [_look(client, each) for each in sorted(ours, key=lambda each: each.name)]


def look(client: SyncPrefectClient, name: str) -> Deployed:
    """One of them.

    Raises:
        UserError: there is none of that name.
    """
    return _look(client, _get(client, name))


def run(client: SyncPrefectClient, name: str) -> str:
    """Have a deployment run now; the flow run's name.

    Raises:
        UserError: there is none of that name.
    """
    return client.create_flow_run_from_deployment(_get(client, name).id).name


def delete(client: SyncPrefectClient, name: str) -> None:
    """Delete a deployment; what it has made stays.

    Raises:
        UserError: there is none of that name.
    """
    client.delete_deployment(_get(client, name).id)


def was_refused(run: FlowRun) -> bool:
    """Whether a run came due while another of its deployment was underway."""
    return run.run_count == 0 and run.state is not None and run.state.is_cancelled()


def _require_pool(client: SyncPrefectClient) -> None:
    try:
        client.read_work_pool(POOL)
    except ObjectNotFound:
        raise UserError(
            f"the Prefect server has no work pool {POOL}",
            expected="the server of `temper up`, or one that a worker of Tempering has spoken with",
            fix="`temper up` makes the pool; or correct PREFECT_API_URL",
        ) from None


def _read(client: SyncPrefectClient, name: str) -> DeploymentResponse | None:
    try:
        return client.read_deployment_by_name(f"{FLOW}/{name}")
    except ObjectNotFound:
        return None


def _get(client: SyncPrefectClient, name: str) -> DeploymentResponse:
    deployment = _read(client, name.removeprefix(f"{FLOW}/"))
    if deployment is None:
        names = ", ".join(each.name for each in deployments(client))
        raise UserError(f"there is no deployment {name}", expected=f"one of: {names or 'none so far'}")
    return deployment


def _look(client: SyncPrefectClient, deployment: DeploymentResponse) -> Deployed:
    only = DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id]))

    def runs(states: Sequence[StateType], sort: FlowRunSort) -> list[FlowRun]:
        in_states = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(states))))
        page = client.read_flow_runs(
            flow_run_filter=in_states, deployment_filter=only, sort=sort, limit=_RECENT
        )
        return [run for run in page if not was_refused(run)]

    begun = [state for state in StateType if state != StateType.SCHEDULED]
    coming = runs([StateType.SCHEDULED], FlowRunSort.EXPECTED_START_TIME_ASC)
    last = runs(begun, FlowRunSort.EXPECTED_START_TIME_DESC)
    variables = deployment.job_variables or {}
    return Deployed(
        name=deployment.name,
        config=str(deployment.parameters.get("config", "")),
        overrides=deployment.parameters.get("overrides", []),
        store=str(variables.get("env", {}).get("TEMPER_STORE", "")),
        schedules=[in_words(each.schedule) for each in deployment.schedules if each.active],
        next_run=_moment(coming[0].expected_start_time) if coming else None,
        paused=deployment.paused,
        last_run=_moment(last[0].start_time or last[0].expected_start_time) if last else None,
        last_state=last[0].state_name if last else None,
        parameters=deployment.parameters,
    )


def _moment(time: Any) -> str | None:
    return None if time is None else f"{time.astimezone():%Y-%m-%d %H:%M %Z}"


def _description(spec: Spec) -> str:
    words = " ".join(["temper run", spec.parameters["config"], *spec.parameters.get("overrides", ())])
    return (
        f"`{words}` in {spec.folder}, into the store {spec.store}. **Custom run** takes other stages and "
        "settings; **Retry** repeats what has failed."
    )

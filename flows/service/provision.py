"""What a service needs in its Prefect server: the work pool, and the automation that ends dead runs.

A flow run of a deployment sends a heartbeat each 30 seconds. Where none comes for 90 seconds, nor anything
else of the run, its process is dead: the automation makes it Crashed, which frees its slot. Every event of a
run counts as a sign of life (the wildcard): states have names of ours, such as Cached.
"""

from datetime import timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.workers.process import ProcessWorker

from flows.service.settings import HEARTBEAT
from tempering.errors import UserError

POOL = "temper"
ZOMBIES = "tempering: runs without a heartbeat"


def provision(client: SyncPrefectClient, limit: int | None = None) -> list[str]:
    """Make, or mend, pool and automation; what was done, in words.

    Args:
        limit: runs at the same time (a new pool: 1; an old one keeps its own where None).

    Raises:
        UserError: the pool is one of another kind.
    """
    return [line for line in (_pool(client, limit), _automation(client)) if line]


def zombie_automation() -> AutomationCore:
    """The automation that marks runs without a sign of life as Crashed."""
    return AutomationCore(
        name=ZOMBIES,
        enabled=True,  # said, since an update sends what is said
        description="A run whose process has died is Crashed within two minutes, and its place is free.",
        trigger=EventTrigger(
            match=ResourceSpecification.model_validate({"prefect.resource.id": "prefect.flow-run.*"}),
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.*"},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=3 * HEARTBEAT),
        ),
        actions=[
            ChangeFlowRunState(state=StateType.CRASHED, message="no sign of life: its process has died")
        ],
    )


def _pool(client: SyncPrefectClient, limit: int | None) -> str:
    try:
        pool = client.read_work_pool(POOL)
    except ObjectNotFound:
        creation = WorkPoolCreate(
            name=POOL,
            type=ProcessWorker.type,
            description="Runs of deployments, on this machine",
            base_job_template=ProcessWorker.get_default_base_job_template(),
            concurrency_limit=limit or 1,
        )
        try:
            client.create_work_pool(creation)
        except ObjectAlreadyExists:  # another was faster
            return ""
        return f"work pool {POOL} made"
    if pool.type != ProcessWorker.type:
        raise UserError(
            f"the Prefect server has a work pool {POOL} of type {pool.type}",
            expected=f"one of type {ProcessWorker.type}",
            fix="delete it there, or use another database",
        )
    if limit is not None and pool.concurrency_limit != limit:
        client.update_work_pool(POOL, WorkPoolUpdate(concurrency_limit=limit))
        return f"work pool {POOL}: {limit} runs at the same time"
    return ""


def _automation(client: SyncPrefectClient) -> str:
    automation = zombie_automation()
    existing = client.read_automations_by_name(ZOMBIES)
    if not existing:
        client.create_automation(automation)
        return f"automation {ZOMBIES!r} made"
    for other in existing[1:]:
        client.delete_automation(other.id)
    if _parts(existing[0]) != _parts(automation):
        client.update_automation(existing[0].id, automation)
        return f"automation {ZOMBIES!r} mended"
    return ""


def _parts(automation: AutomationCore) -> tuple[object, ...]:
    """What makes the automation do its work."""
    trigger, actions = automation.trigger, automation.actions
    assert isinstance(trigger, EventTrigger)
    states = [action.state for action in actions if isinstance(action, ChangeFlowRunState)]
    return automation.enabled, trigger.after, trigger.expect, trigger.posture, trigger.within, states

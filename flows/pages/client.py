"""Prefect's API as the pages use it: artifacts by key, log lines, events. Whatever leaves is masked here.

An artifact is made once a run and then updated in place; the next run makes the next version under the same
key. Events go over the API, not by `emit_event`, whose socket forgets them when the server is away. Imported
in the sender's thread, after a run has begun.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate, LogCreate
from prefect.events import Event, RelatedResource, Resource
from prefect.exceptions import PrefectHTTPStatusError

from flows.pages.messages import LogLine, RunIds, StageEvent
from tempering.credentials import masked

_PASSING = (401, 403, 404, 408, 425, 429)
"""Codes, besides those of 500 and more, that a server gives while it, or what is before it, starts."""


class Client:
    """A connection for one thread."""

    def __init__(self) -> None:
        self._artifacts: dict[str, UUID] = {}

    @cached_property
    def _client(self) -> SyncPrefectClient:
        return get_client(sync_client=True)

    def artifact(self, key: str, kind: str, content: Any, description: str, ids: RunIds) -> None:
        """Make or update this run's artifact: a `table` of rows, `markdown`, or `progress` in percent."""
        content = json.dumps(clean(content)) if kind == "table" else clean(content)
        description = masked(description)
        artifact = self._artifacts.get(key)
        if artifact is None:
            creation = ArtifactCreate(key=key, type=kind, data=content, description=description)
            creation.flow_run_id, creation.task_run_id = ids.flow_run, ids.task_run
            self._artifacts[key] = self._client.create_artifact(creation).id
            return
        # Not `update_artifact`, which would leave an event each two seconds in the server's database.
        update = ArtifactUpdate(data=content, description=description).model_dump(mode="json")
        update.pop("metadata_", None)
        try:
            self._client.request("PATCH", "/artifacts/{id}", json=update, path_params={"id": artifact})
        except PrefectHTTPStatusError as error:
            if error.response.status_code == 404:  # somebody has removed it: made anew with the next try
                del self._artifacts[key]
            raise

    def log(self, lines: Sequence[LogLine]) -> None:
        """Add lines to the logs of their runs."""
        self._client.create_logs(
            LogCreate(
                name="tempering",
                level=line.level,
                message=masked(line.text),
                timestamp=line.time,
                flow_run_id=line.ids.flow_run,
                task_run_id=line.ids.task_run,
            )
            for line in lines
        )

    def event(self, event: StageEvent) -> None:
        """Send an event, with the pipeline and the runs that it is about."""
        role = "prefect.resource.role"
        related = [{"prefect.resource.id": f"tempering.pipeline.{event.pipeline}", role: "pipeline"}]
        runs = {"flow-run": event.ids.flow_run, "task-run": event.ids.task_run}
        related += [
            {"prefect.resource.id": f"prefect.{name}.{run}", role: name} for name, run in runs.items() if run
        ]
        resource = {
            "prefect.resource.id": f"tempering.{event.resource}",
            "prefect.resource.name": event.title,
        }
        body = Event(
            event=f"tempering.{event.name}",
            resource=Resource.model_validate(clean(resource)),
            related=[RelatedResource.model_validate(clean(one)) for one in related],
            payload=clean(event.payload),
            occurred=event.time,
            id=event.id,
        )
        self._client.request("POST", "/events", json=[body.model_dump(mode="json")])


def temporary(error: Exception) -> bool:
    """Whether another try may help: the server cannot be reached, or does not answer as it should."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code >= 500 or error.response.status_code in _PASSING
    return isinstance(error, httpx.TransportError) or str(error).startswith("Failed to reach API")


def clean(value: Any) -> Any:
    """`value` with every text in it masked."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, Mapping):
        return {masked(str(key)): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    return value

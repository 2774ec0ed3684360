"""What is sent to Prefect besides artifacts, in plain types: this module imports no Prefect."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4


@dataclass(frozen=True)
class RunIds:
    """The runs of Prefect that something belongs to."""

    flow_run: UUID | None = None
    task_run: UUID | None = None


@dataclass(frozen=True)
class LogLine:
    """A line of a run's log."""

    ids: RunIds
    level: int
    text: str
    time: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(frozen=True)
class StageEvent:
    """An event that automations can wait for; sent twice it counts once, by its id."""

    name: str
    """Without `tempering.` in front, as `resource` is."""
    resource: str
    title: str
    pipeline: str
    payload: Mapping[str, Any]
    ids: RunIds
    time: datetime = field(default_factory=lambda: datetime.now(UTC))
    id: UUID = field(default_factory=uuid4)

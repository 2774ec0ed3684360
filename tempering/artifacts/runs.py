"""Run records: what each run did, stage by stage, written as it happens.

`runs/<id>.json` is replaced atomically after every stage. A run that was killed stays "running" in its
record; the stages it recorded count all the same. Ids start with the time, so names sort by age: also where
the clock was put back, since a new id comes after all others.
"""

import contextlib
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from tempering.artifacts.atomic import process_birth, process_exists, read_file, store_errors, write_atomic
from tempering.artifacts.manifest import Inside, plain
from tempering.artifacts.names import slug
from tempering.credentials import masked
from tempering.errors import StoreError

_TIME = "%Y-%m-%d__%H-%M-%S-%f"
State = Literal["running", "completed", "failed", "cancelled"]
Action = Literal["running", "cached", "run", "resume", "skipped", "failed", "cancelled"]


class StageRecord(BaseModel):
    """What one run did for one node."""

    model_config = ConfigDict(extra="ignore")

    artifact: Inside | None = None
    action: Action = "run"
    fingerprint: str = ""
    seconds: float = 0.0
    tokens: int = 0
    metrics: dict[str, float | int | str | None] = {}
    resumed_from_tokens: int | None = None
    crashes: list[str] = []
    """How the tries before the last one ended."""
    why: list[dict[str, Any]] = []
    error: str | None = None


class RunRecord(BaseModel):
    """One run of one pipeline."""

    model_config = ConfigDict(extra="ignore")

    id: str
    pipeline: str
    command: str = ""
    config: dict[str, Any] = {}
    stages: dict[str, StageRecord] = {}
    started: str
    ended: str | None = None
    state: State = "running"
    pid: int = 0
    host: str = ""
    flow_run: str | None = None
    """Prefect's id of the flow run that showed it; retries of a flow run are runs of their own here."""
    born: str = ""
    """When the process began: after a reboot, and in containers, another one may have its number."""

    @property
    def killed(self) -> bool:
        """Still "running" in the record, while its process on this host is gone."""
        return self.state == "running" and self.gone

    @property
    def gone(self) -> bool:
        """Whether its process, on this host, is no more."""
        if self.host != socket.gethostname():
            return False
        birth = process_birth(self.pid)
        other = self.born != "" and birth not in ("", self.born)
        return not process_exists(self.pid) or birth == "ended" or other


class Run:
    """A run in progress; every change is on disk when the call returns. Safe between threads."""

    def __init__(self, path: Path, record: RunRecord) -> None:
        self.path, self.record = path, record
        self._lock = threading.Lock()

    @property
    def id(self) -> str:
        """The record's name."""
        return self.record.id

    def stage(self, node: str, action: Action, **fields: Any) -> None:
        """Record what happened to `node` (fields of `StageRecord`), replacing an earlier entry."""
        entry = StageRecord.model_validate(
            {"action": action, **{key: plain(value) for key, value in fields.items()}}
        )
        if entry.error is not None:
            entry.error = masked(entry.error)
        with self._lock:
            self.record.stages[node] = entry
            self._write()

    def note_flow_run(self, flow_run: str) -> None:
        """Record which flow run of Prefect shows this run."""
        with self._lock:
            self.record.flow_run = flow_run
            self._write()

    def finish(self, state: State) -> None:
        """Close the record."""
        with self._lock:
            self.record.state = state
            self.record.ended = datetime.now(UTC).isoformat()
            self._write()

    def _write(self) -> None:
        try:
            with store_errors(f"cannot write the run record {self.path}"):
                write_atomic(self.path, (self.record.model_dump_json(indent=1) + "\n").encode())
        except FileNotFoundError:
            raise StoreError(
                f"cannot write the run record {self.path}: its folder is gone",
                expected="the store to stay where it is while a run works on it",
                fix="see what removed or unmounted it; run again, what is in the store is kept",
            ) from None


class Runs:
    """All run records of a store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self, pipeline: str, *, command: str = "", config: Mapping[str, Any] | None = None) -> Run:
        """Open a new record in state "running"."""
        # An id of its own: two runs may start in the same microsecond.
        with store_errors(f"cannot write run records to {self.folder}"):
            self.folder.mkdir(parents=True, exist_ok=True)
            while True:
                now = datetime.now(UTC)
                name = f"{max(now, self._after_all()):{_TIME}}__{slug(pipeline)}"
                try:
                    (self.folder / f"{name}.json").touch(exist_ok=False)
                    break
                except FileExistsError:
                    continue
        # Who runs what, on the disk before anything is done.
        record = RunRecord(
            id=name,
            pipeline=pipeline,
            command=masked(command),
            config=plain(config or {}),
            started=now.isoformat(),
            pid=os.getpid(),
            host=socket.gethostname(),
            born=process_birth(os.getpid()),
        )
        run = Run(self.folder / f"{name}.json", record)
        run._write()
        return run

    def _after_all(self) -> datetime:
        """A moment after the newest id."""
        for name in sorted((entry.name for entry in self.folder.iterdir()), reverse=True):
            with contextlib.suppress(ValueError, OverflowError):
                moment = datetime.strptime(name.rpartition("__")[0], _TIME)
                return moment.replace(tzinfo=UTC) + timedelta(microseconds=1)
        return datetime.min.replace(tzinfo=UTC)

    def newest(self, pipeline: str | None = None) -> Iterator[RunRecord]:
        """Records, newest first, of one pipeline or of all; damaged ones are skipped.

        Raises:
            OSError: one may not be read: an older one in its place would be another answer.
        """
        try:
            names = [entry.name for entry in self.folder.iterdir()]
        except FileNotFoundError:
            return
        for name in sorted(names, reverse=True):
            record = _read(self.folder / name) if name.endswith(".json") else None
            if record is not None and pipeline in (None, record.pipeline):
                yield record

    def made_in(self, flow_run: str) -> set[str]:
        """The nodes that earlier attempts of a flow run have made."""
        records = [record for record in self.newest() if record.flow_run == flow_run]
        made = [(node, entry) for record in records for node, entry in record.stages.items()]
        return {node for node, entry in made if entry.artifact and entry.action in ("run", "resume")}

    def last_run(self, pipeline: str | None = None) -> RunRecord | None:
        """The newest record of the pipeline."""
        return next(self.newest(pipeline), None)

    def get(self, run_id: str) -> RunRecord | None:
        """The record with this id."""
        return _read(self.path(run_id))

    def path(self, run_id: str) -> Path:
        """Where the record with this id is; an id is a name, and leads nowhere else."""
        return self.folder / f"{slug(run_id) if {'/', chr(0)} & set(run_id) else run_id}.json"


def _read(path: Path) -> RunRecord | None:
    try:
        return RunRecord.model_validate_json(read_file(path))
    except (FileNotFoundError, ValidationError):
        return None

"""Running one node: look it up, wait for a place and for the lease, run it in a child, commit.

No Prefect here. The store is asked twice: before anything is waited for, and under the lease, since
another run may have made the artifact meanwhile. The parent holds the lease and commits; the child
only writes into the draft's folder and sends back small facts. A stage whose process was killed, or which
the network failed, is tried again from its checkpoint, after a while that grows; what fails by itself fails
again, so it is not.
"""

import contextlib
import os
import shutil
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from flows.display import Display
from flows.graph import Node, Ref, Source
from flows.listener import Log, StageListener
from flows.outcome import Action, Outcome
from flows.process.run_stage import work
from flows.process.slots import Slots, light_slots
from flows.process.workers import Cancelled, StageCrashed, Workers
from flows.retries import Retries
from flows.spent import Spent
from tempering.artifacts.draft import LOG_FILE, Draft, checkpoints_in
from tempering.artifacts.fingerprint import Fingerprint
from tempering.artifacts.kinds import Artifact, EvaluationArtifact, ModelArtifact, ReportArtifact
from tempering.artifacts.lease import Lease, Waiting, holder_name
from tempering.artifacts.resolution import Resolution
from tempering.artifacts.resolve import claim, resolve
from tempering.artifacts.store import Store
from tempering.errors import StageFailed, UserError
from tempering.printable import headline
from tempering.runtime import RuntimeConfig


@dataclass
class Runner:
    """Runs the nodes of one pipeline, from any number of threads."""

    store: Store
    runtime: RuntimeConfig
    display: Display
    workers: Workers
    forced: frozenset[str] = frozenset()
    nodes: Sequence[Node] = ()
    """All nodes in order, so that the earliest of those that could train does."""
    fingerprints: Mapping[str, Fingerprint] = field(default_factory=dict)
    """Of each node, as it was planned."""
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    name: str = ""
    """The pipeline's, after which models, evaluations and reports are called."""
    command: str = ""
    """What was typed, for the report."""

    def __post_init__(self) -> None:
        self._queued: set[str] = set()
        self._retries = Retries(self.runtime.retries, self.workers.cancel)
        self._training = Slots(self.runtime.max_parallel_stages)
        self._light = light_slots()

    def run_node(self, node: Node, log: Log = lambda text: None) -> Outcome:
        """Run `node`, whose parents have outcomes already. A stage's failure is in the outcome.

        A report is made from what there is; every other stage is skipped when an input is missing.
        """
        gaps = [outcome for name in node.before() if not (outcome := self._outcome(name)).ok]
        tolerant = node.stage.makes is ReportArtifact
        start = time.monotonic()
        # Skip it, or run it; whatever goes wrong is the outcome.
        try:
            if self.workers.cancel.is_set():
                raise Cancelled("cancelled")
            if gaps and not tolerant:
                outcome = Outcome(node.name, "skipped", error=gaps[0].error, root=gaps[0].root)
            else:
                failures = {entry.root: self._outcome(entry.root).reason for entry in gaps}
                outcome = self._make(node, self._inputs(node), failures, log)
        except Exception as error:
            spent = time.monotonic() - start
            action: Action = "cancelled" if isinstance(error, Cancelled) else "failed"
            outcome = Outcome(node.name, action, seconds=spent, error=error, root=node.name)
        outcome = replace(outcome, crashes=tuple(self._retries.crashes.pop(node.name, ())))
        self.outcomes[node.name] = outcome
        self._show(outcome)
        return outcome

    def _outcome(self, name: str) -> Outcome:
        """The outcome of a node before this one; one that Prefect did not start has failed."""
        error = StageFailed("Prefect did not start it")
        return self.outcomes.get(name) or Outcome(name, "failed", error=error, root=name)

    def _inputs(self, node: Node) -> dict[str, Any]:
        """Role -> artifact or mapping of artifacts; parents that failed are left out."""
        inputs: dict[str, Any] = {}
        for role, source in node.inputs.items():
            if isinstance(source, Mapping):
                artifacts = {key: self._artifact(parent) for key, parent in source.items()}
                inputs[role] = {key: artifact for key, artifact in artifacts.items() if artifact is not None}
            else:
                inputs[role] = self._artifact(source)
        return inputs

    def _artifact(self, source: Source) -> Artifact | None:
        return self.store.get(source.ref) if isinstance(source, Ref) else self._outcome(source).artifact

    def _make(self, node: Node, inputs: dict[str, Any], failures: Mapping[str, str], log: Log) -> Outcome:
        if node.reuse is not None:
            return Outcome(node.name, "cached", self.store.get(node.reuse))
        # A report names failures, which are in no fingerprint: it is never taken from the store then.
        force = node.name in self.forced or bool(failures)
        strict = self.runtime.strict_code
        earlier = self.fingerprints.get(node.name)
        resolution = resolve(
            self.store, node.stage, node.config, inputs, force=force, strict_code=strict, earlier=earlier
        )
        if resolution.cached is not None:
            return Outcome(node.name, "cached", resolution.cached)
        self.display.start(node.name, "queued")
        waiting = self._waiting(node)
        with self._slot(node), claim(self.store, resolution, waiting=waiting) as (resolution, lease):
            if resolution.cached is not None:
                return Outcome(node.name, "cached", resolution.cached)
            if self.workers.cancel.is_set():
                raise Cancelled("cancelled")
            return self._work(node, resolution, lease, inputs, failures, log)

    def _slot(self, node: Node) -> contextlib.AbstractContextManager[None]:
        self._queued.add(node.name)
        slots = self._training if node.stage.slot else self._light
        rank = next((index for index, peer in enumerate(self.nodes) if peer.name == node.name), 0)
        earlier = [peer for peer in self.nodes[:rank] if peer.stage.slot == node.stage.slot]

        def coming() -> bool:
            return any(
                peer.name not in self._queued
                and peer.name not in self.outcomes
                and all(parent in self.outcomes for parent in peer.before())
                for peer in earlier
            )

        return slots.take(rank, self.workers.cancel, coming)

    def _work(
        self,
        node: Node,
        resolution: Resolution,
        lease: Lease,
        inputs: dict[str, Any],
        failures: Mapping[str, str],
        log: Log,
    ) -> Outcome:
        listener = StageListener(node.name, self.display, log)
        spent = Spent(lambda: listener.waited)
        # Each try has a folder to write in, with the checkpoints of the one before.
        while True:
            draft = self._open(node, resolution, lease, failures)
            spent.open(draft.path)
            listener.resumes = bool(checkpoints_in(draft.path))
            listener.tick = partial(spent.note, draft.path)
            listener.begin()
            try:
                summary, outcome = self._call(node, draft, inputs, listener)
                break
            except StageCrashed as crash:
                self._retries.wait(node.name, crash, listener.note)
            finally:
                spent.note(draft.path, now=True)
            resolution = replace(resolution, fresh=False)
        # Only this process, which holds the lease, makes an artifact of it.
        draft.adopt(outcome)
        # Where all checkpoints were damaged it began anew.
        resumed = draft.resumed_from_tokens is not None
        seconds = spent.here
        artifact = self.store.commit(draft, summary, seconds=spent.total if resumed else seconds)
        return Outcome(node.name, "resume" if resumed else "run", artifact, seconds)

    def _open(self, node: Node, resolution: Resolution, lease: Lease, failures: Mapping[str, str]) -> Draft:
        """The folder to write in, under the names that people know."""
        draft = self.store.draft(node.name, resolution, lease, runtime=self.runtime)
        if issubclass(node.stage.makes, ModelArtifact | EvaluationArtifact | ReportArtifact):
            draft.name = self.name
        if failures:
            draft.details["failures"] = dict(failures)
        if self.command and node.stage.makes is ReportArtifact:
            draft.details["command"] = self.command
        if crashes := self._retries.of(node.name):
            draft.log(f"try {len(crashes) + 1}; the one before ended: {crashes[-1]}")
        return draft

    def _call(
        self, node: Node, draft: Draft, inputs: dict[str, Any], listener: StageListener
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Let the stage work in its own process, which sends back small facts."""
        arguments = (node.stage.module, node.stage.name, draft, node.config, inputs)
        grace = self.runtime.stop_grace
        try:
            answer: tuple[dict[str, Any], dict[str, Any]] = self.workers.run(
                work, *arguments, log=draft.path / LOG_FILE, listener=listener, grace=grace
            )
        except UserError:
            if not checkpoints_in(draft.path):  # nothing half-written stays behind a mistake
                shutil.rmtree(draft.path, ignore_errors=True)
            raise
        return answer

    def _waiting(self, node: Node) -> Waiting:
        """Say once for whom `node` waits, and give up when the run has been cancelled."""
        holders = {""}  # an unknown holder has no name to show
        ours = holder_name(os.getpid(), socket.gethostname())

        def waiting(holder: str) -> None:
            if self.workers.cancel.is_set():
                raise Cancelled("cancelled")
            if holder not in holders:
                holders.add(holder)
                self.display.note(
                    f"{node.name}: waiting for {self._twin(node) if holder == ours else holder}"
                )

        return waiting

    def _twin(self, node: Node) -> str:
        """The other stage of this run that makes the artifact of `node`."""
        twins = [
            name
            for name, key in self.fingerprints.items()
            if name != node.name
            and node.name in self.fingerprints
            and key.hex == self.fingerprints[node.name].hex
        ]
        return f"{' or '.join(twins) or 'another stage'} of this run, whose artifact is the same"

    def _show(self, outcome: Outcome) -> None:
        artifact = outcome.artifact
        if artifact is not None:
            state = "Cached" if outcome.action == "cached" else "done"
            self.display.end(
                outcome.node,
                state,
                seconds=None if state == "Cached" else outcome.seconds,
                shown=headline(artifact.manifest.metrics),
            )
        elif outcome.action == "cancelled":
            shown = "" if str(outcome.error) == "cancelled" else outcome.reason
            self.display.end(outcome.node, "cancelled", shown=shown)
        else:
            state = "failed" if outcome.action == "failed" else "not run"
            spent = outcome.seconds if state == "failed" else None
            # Why, once: the failed stage's own line says it.
            shown = outcome.reason if outcome.root == outcome.node else f"{outcome.root} failed"
            self.display.end(outcome.node, state, seconds=spent, shown=shown)

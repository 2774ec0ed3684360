"""The plan: which nodes are cached, which run, and why, field by field.

A node's fingerprint is made of its config and its inputs' *fingerprints*, so it is known before
anything has run. What an upstream stage will write is not: of a forced or damaged one we expect
the same payload as before (the runner looks again when the run gets there).
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from flows.graph import Node, Source
from flows.reasons import Why, reasons
from tempering.artifacts.code import code_changes, code_files
from tempering.artifacts.fingerprint import Fingerprint
from tempering.artifacts.kinds import Artifact
from tempering.artifacts.manifest import Manifest, read_manifest
from tempering.artifacts.resolution import Miss
from tempering.artifacts.resolve import stage_fingerprint
from tempering.artifacts.store import Store
from tempering.errors import ArtifactError, ConfigError, UserError

Names = str | Iterable[str] | None
PlanAction = Literal["cached", "resume", "run", "skipped"]


@dataclass(frozen=True)
class PlanRow:
    """One node: what will happen, why, and the artifact's id where it is there already."""

    stage: str
    action: PlanAction
    fingerprint: Fingerprint
    why: list[Why] = field(default_factory=list)
    artifact: str | None = None
    resume_from: str | None = None
    """The checkpoint that the stage goes on from."""
    forced: bool = False
    node: Node | None = field(default=None, repr=False, compare=False)
    made: Artifact | None = field(default=None, repr=False, compare=False)
    """The artifact that `artifact` names."""


@dataclass(frozen=True)
class _Input:
    """What is known of an input: `payload` is None where it will only be known after its stage ran."""

    fingerprint: str
    payload: str | None
    id: str | None


def plan(
    nodes: Sequence[Node],
    store: Store,
    force: Names = (),
    from_: Names = None,
    only: Names = None,
    strict_code: bool = False,
    *,
    pipeline: str | None = None,
) -> list[PlanRow]:
    """One row a node, in order. Names are nodes, or kinds of stages (all of their nodes).

    Args:
        nodes: topologically sorted.
        force: make these again; what comes after them is expected to stay.
        from_: make these and everything after them again.
        only: run nothing else; other nodes are cached or skipped.
        strict_code: an artifact made by other code is made again.
        pipeline: compare with the last run of this name; None: with the last run of any.

    Raises:
        UserError: an unknown name, or `only` needs an input that is not there.
        ConfigError: a role that is unknown, missing, or filled with the wrong kind.
    """
    check(nodes)
    forced = dict.fromkeys(select(nodes, force), "--force")
    forced |= dict.fromkeys(downstream(nodes, select(nodes, from_)), "--from")
    planner = _Planner(store, forced, select(nodes, only) if only else None, strict_code)
    planner.previous = previous_manifests(store, [node.name for node in nodes], pipeline)
    return [planner.row(node) for node in nodes]


def forced_nodes(nodes: Sequence[Node], force: Names = (), from_: Names = None) -> set[str]:
    """The nodes that `force` and `from_` name, as `plan` takes them."""
    return select(nodes, force) | downstream(nodes, select(nodes, from_))


def select(nodes: Sequence[Node], names: Names) -> set[str]:
    """The nodes called so; a name that no node has, but a kind of stage, means all nodes of that kind.

    Raises:
        UserError: an unknown name, with the nearest ones.
    """
    found: set[str] = set()
    for name in [names] if isinstance(names, str) else names or ():
        matching = {node.name for node in nodes if node.name == name}
        matching = matching or {node.name for node in nodes if node.stage.name == name}
        if not matching:
            known = list(dict.fromkeys(word for node in nodes for word in (node.name, node.stage.name)))
            near = difflib.get_close_matches(name, known, n=3) or [node.name for node in nodes]
            raise UserError(
                f"there is no stage {name!r} in this pipeline", expected=f"one of: {', '.join(near)}"
            )
        found |= matching
    return found


def downstream(nodes: Sequence[Node], start: Iterable[str]) -> set[str]:
    """`start` and every node that depends on it."""
    found = set(start)
    for node in nodes:
        if found.intersection(node.parents()):
            found.add(node.name)
    return found


def check(nodes: Sequence[Node]) -> None:
    """Refuse a graph whose roles do not fit, before anything is computed."""
    made: dict[str, type[Artifact]] = {}
    for node in nodes:
        node.stage.check_roles(node.inputs)
        for name, source in node.sources().items():
            role = node.stage.roles[name.split(".")[0]]
            if isinstance(source, str) and source not in made:
                raise ConfigError(
                    f"{node.name}: its input {name} is the stage {source!r}, which this pipeline lacks",
                    expected=f"one of: {', '.join(made) or 'none before it'}",
                    fix=f"switch {source} on, or set the input to another stage or an artifact id",
                )
            if isinstance(source, str) and not role.accepts(made[source]):
                raise ConfigError(
                    f"{node.name}: its input {name} is {source}, which makes a {made[source].kind}",
                    expected=f"a stage that makes a {role.wants}",
                )
        assert node.name not in made, f"two nodes are called {node.name!r}"
        made[node.name] = node.stage.makes


def previous_manifests(
    store: Store, names: Sequence[str], pipeline: str | None
) -> dict[str, tuple[str, Manifest | None]]:
    """Node -> the artifact it had in the pipeline's newest run that got so far (None: removed since)."""
    found: dict[str, tuple[str, Manifest | None]] = {}
    for record in store.runs.newest(pipeline):
        for name in names:
            entry = record.stages.get(name)
            if name not in found and entry is not None and entry.artifact:
                found[name] = (entry.artifact, _manifest(store, entry.artifact))
        if len(found) == len(names):
            break
    return found


def _manifest(store: Store, artifact_id: str) -> Manifest | None:
    try:
        return read_manifest(store.root / artifact_id, sealed=False)
    except ArtifactError:
        return None


class _Planner:
    """Goes through the nodes in order, keeping what is known of each one's output."""

    def __init__(
        self, store: Store, forced: Mapping[str, str], only: set[str] | None, strict_code: bool
    ) -> None:
        self.store, self.forced, self.only, self.strict_code = store, forced, only, strict_code
        self.previous: dict[str, tuple[str, Manifest | None]] = {}
        self.outputs: dict[str, _Input] = {}
        self._code: dict[str, dict[str, str]] = {}

    def row(self, node: Node) -> PlanRow:
        inputs = {role: self._input(source) for role, source in node.sources().items()}
        given = {role: known.fingerprint for role, known in inputs.items()}
        payloads = {role: known.payload for role, known in inputs.items()}
        key = stage_fingerprint(self.store, node.stage, node.config, given)
        code = self._code_of(node) if self.strict_code else None
        found = self.store.lookup(key.hex, payloads, code=code)
        row = self._decide(node, key, found, inputs, payloads)
        self.outputs[node.name] = _Input(
            key.hex,
            found.payload_digest if isinstance(found, Artifact) else None,
            row.artifact,
        )
        return row

    def _input(self, source: Source) -> _Input:
        if isinstance(source, str):
            return self.outputs[source]
        artifact = self.store.get(source.ref)
        return _Input(artifact.fingerprint, artifact.payload_digest, artifact.id)

    def _decide(
        self,
        node: Node,
        key: Fingerprint,
        found: Artifact | Miss,
        inputs: Mapping[str, _Input],
        payloads: Mapping[str, str | None],
    ) -> PlanRow:
        wanted = self.only is None or node.name in self.only
        forced = self.forced.get(node.name) if wanted else None
        if isinstance(found, Artifact) and forced is None:
            notes = self._code_notes(node, found)
            return PlanRow(node.name, "cached", key, notes, found.id, node=node, made=found)
        ids = {role: known.id for role, known in inputs.items()}
        why = reasons(node.name, key, found, ids, self.previous.get(node.name), forced, self._manifest_of)
        if not wanted:
            return PlanRow(node.name, "skipped", key, why, node=node)
        self._need_inputs(node)
        code = self._code_of(node) if self.strict_code else None
        point = None if forced else self.store.resume_point(node.stage.name, key.hex, payloads, code=code)
        action: PlanAction = "resume" if point else "run"
        return PlanRow(node.name, action, key, why, None, point, forced is not None, node)

    def _manifest_of(self, artifact_id: str) -> Manifest | None:
        return _manifest(self.store, artifact_id)

    def _need_inputs(self, node: Node) -> None:
        if self.only is None:
            return
        lacking = [name for name in node.parents() if self.outputs[name].id is None and name not in self.only]
        if lacking:
            raise UserError(
                f"--only {node.name}: its input {', '.join(lacking)} is not in the store as configured",
                expected="every input of the stage to be there",
                fix="run without --only, which makes what is missing first",
            )

    def _code_of(self, node: Node) -> dict[str, str]:
        module = node.stage.module
        if module not in self._code:
            self._code[module] = code_files(module)
        return self._code[module]

    def _code_notes(self, node: Node, artifact: Artifact) -> list[Why]:
        """Cached all the same; said, because people should know."""
        changes = code_changes(artifact.manifest.code.files, self._code_of(node))
        return [Why(kind="code", field=name, old=old, new=new) for name, old, new in changes]

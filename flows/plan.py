"""The plan: which nodes are cached, which run, and why, field by field.

A node's fingerprint comes from its config and its inputs' *fingerprints*, so it is known before anything
runs. What an upstream stage will write is not: a forced or damaged one is expected to write the same payload
as before (the runner checks again when the run gets there).
"""

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from flows.graph import Node, Source
from flows.reasons import Why, in_words, reasons
from tempering.artifacts.code import code_changes, code_files
from tempering.artifacts.fingerprint import Fingerprint
from tempering.artifacts.kinds import Artifact
from tempering.artifacts.manifest import Manifest, read_manifest
from tempering.artifacts.names import stage_folder
from tempering.artifacts.resolution import Miss
from tempering.artifacts.resolve import stage_fingerprint
from tempering.artifacts.store import Store
from tempering.artifacts.tables import read_rows
from tempering.errors import ArtifactError, ConfigError, StoreError, UserError
from tempering.evaluation.gates import Check, GateConfig, checks

Names = str | Iterable[str] | None
PlanAction = Literal["cached", "resume", "run", "skipped"]


@dataclass(frozen=True)
class PlanRow:
    """One node: what will happen, why, and the artifact's id if it exists."""

    stage: str
    action: PlanAction
    fingerprint: Fingerprint
    why: list[Why] = field(default_factory=list)
    artifact: str | None = None
    resume_from: str | None = None
    """The checkpoint that the stage resumes from."""
    forced: bool = False
    node: Node | None = field(default=None, repr=False, compare=False)
    made: Artifact | None = field(default=None, repr=False, compare=False)
    """The artifact that `artifact` names."""
    evaluation: Artifact | None = field(default=None, repr=False, compare=False)
    """Of a gate: what it looks at, where that is cached."""

    @property
    def wants(self) -> Mapping[str, str]:
        """The conditions, where it is a gate."""
        config = self.node.config if self.node is not None else None
        return config.conditions if isinstance(config, GateConfig) else {}

    @property
    def checks(self) -> list[Check]:
        """What a gate will say of an evaluation that is cached."""
        if self.evaluation is None or self.node is None:
            return []
        assert isinstance(self.node.config, GateConfig)
        return checks(self.node.config, read_rows(self.evaluation.path / "metadata" / "metrics.parquet"))

    def in_words(self) -> list[str]:
        """What a gate wants, or will say; why, for people, and where it resumes."""
        wants = [
            f"would {'pass' if check.passes else 'stop'}: {check}, wants {check.condition}"
            for check in self.checks
        ] or [f"wants {metric} {condition}" for metric, condition in self.wants.items()]
        resumes = [f"resumes from {self.resume_from}"] if self.resume_from else []
        return wants + in_words(self.why) + resumes


@dataclass(frozen=True)
class _Input:
    """An input as the plan sees it; `payload` and `id` are None until its stage has run."""

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
    done: Collection[str] = (),
) -> list[PlanRow]:
    """One row per node, in order. Names are nodes, or kinds of stages (all of their nodes).

    Args:
        nodes: topologically sorted.
        force: make these again; later nodes are expected to stay.
        from_: make these and everything after them again.
        only: run nothing else; other nodes are cached or skipped.
        strict_code: make artifacts of other code again.
        pipeline: compare with the last run of this name; None: with the last run of any.
        done: forced, and made since by an earlier attempt of the same run.

    Raises:
        UserError: an unknown name, or `only` needs an input that does not exist.
        ConfigError: a role that is unknown, missing, or filled with the wrong kind.
    """
    check(nodes)
    # Node -> the option that forces it, as the reasons name it.
    forced = dict.fromkeys(select(nodes, force), "--force")
    forced |= dict.fromkeys(downstream(nodes, select(nodes, from_)), "--from")
    forced = {name: option for name, option in forced.items() if name not in done}
    # In order: a node's inputs are outputs of nodes before it.
    planner = _Planner(store, forced, select(nodes, only) if only else None, strict_code)
    planner.previous = previous_manifests(store, [node.name for node in nodes], pipeline)
    return [planner.row(node) for node in nodes]


def forced_nodes(nodes: Sequence[Node], force: Names = (), from_: Names = None) -> set[str]:
    """The nodes that `force` and `from_` name, as `plan` takes them."""
    return select(nodes, force) | downstream(nodes, select(nodes, from_))


def select(nodes: Sequence[Node], names: Names) -> set[str]:
    """The nodes with these names; a kind of stage that is not a node's name means all nodes of that kind.

    Raises:
        UserError: an unknown name, with the nearest ones.
    """
    selected: set[str] = set()
    for name in [names] if isinstance(names, str) else names or ():
        matching = {node.name for node in nodes if node.name == name}
        matching = matching or {node.name for node in nodes if node.stage.name == name}
        if not matching:
            choices = list(dict.fromkeys(word for node in nodes for word in (node.name, node.stage.name)))
            near = difflib.get_close_matches(name, choices, n=3) or [node.name for node in nodes]
            raise UserError(
                f"there is no stage {name!r} in this pipeline", expected=f"one of: {', '.join(near)}"
            )
        selected |= matching
    return selected


def downstream(nodes: Sequence[Node], start: Iterable[str]) -> set[str]:
    """`start` and every node that depends on it."""
    dependents = set(start)
    for node in nodes:
        if dependents.intersection(node.parents()):
            dependents.add(node.name)
    return dependents


def check(nodes: Sequence[Node]) -> None:
    """Refuse a graph whose roles do not fit, before anything is computed.

    Raises:
        ConfigError: an input is not a node before this one, or makes an artifact of the wrong kind.
    """
    outputs: dict[str, type[Artifact]] = {}
    folders: dict[str, str] = {}
    for node in nodes:
        if node.reuse is None:
            node.stage.check_roles(node.inputs)
        for name, source in node.sources().items():
            role = node.stage.roles[name.split(".")[0]]
            # Artifacts of the store are checked when the stage is called.
            if isinstance(source, str) and source not in outputs:
                raise ConfigError(
                    f"{node.name}: its input {name} is the stage {source!r}, which is not in this pipeline",
                    expected=f"one of: {', '.join(outputs) or 'none before it'}",
                    fix=f"switch {source} on, or set the input to another stage or an artifact id",
                )
            if isinstance(source, str) and not role.accepts(outputs[source]):
                raise ConfigError(
                    f"{node.name}: its input {name} is {source}, which makes a {outputs[source].kind}",
                    expected=f"a stage that makes a {role.wants}",
                )
        assert node.name not in outputs, f"two nodes are called {node.name!r}"
        other = folders.setdefault(stage_folder(node.name), node.name)
        if other != node.name and not ("[" in other and node.key):
            raise ConfigError(
                f"artifacts of {other} and {node.name} would lie in one folder, {stage_folder(node.name)}",
                fix="give one of them another name",
            )
        outputs[node.name] = node.stage.makes


def previous_manifests(
    store: Store, names: Sequence[str], pipeline: str | None
) -> dict[str, tuple[str, Manifest | None]]:
    """Node -> its artifact in the newest run that got so far, with the manifest (None: removed since)."""
    manifests: dict[str, tuple[str, Manifest | None]] = {}
    for record in store.runs.newest(pipeline):
        for name in names:
            entry = record.stages.get(name)
            if name not in manifests and entry is not None and entry.artifact:
                manifests[name] = (entry.artifact, _manifest(store, entry.artifact))
        if len(manifests) == len(names):
            break
    return manifests


def _manifest(store: Store, artifact_id: str) -> Manifest | None:
    try:
        return read_manifest(store.root / artifact_id, sealed=False)
    except (ArtifactError, StoreError):
        return None


class _Planner:
    """Plans the nodes in order, keeping each one's output for the nodes after it."""

    def __init__(
        self, store: Store, forced: Mapping[str, str], only: set[str] | None, strict_code: bool
    ) -> None:
        self.store, self.forced, self.only, self.strict_code = store, forced, only, strict_code
        self.previous: dict[str, tuple[str, Manifest | None]] = {}
        self.outputs: dict[str, _Input] = {}
        self.made: dict[str, Artifact | None] = {}
        self._code: dict[str, dict[str, str]] = {}

    def row(self, node: Node) -> PlanRow:
        row = self._planned(node)
        self.made[node.name] = row.made
        source = node.inputs.get("evaluation") if isinstance(node.config, GateConfig) else None
        return replace(row, evaluation=self.made[source]) if isinstance(source, str) else row

    def _planned(self, node: Node) -> PlanRow:
        if node.reuse is not None:
            return self._reused(node, self.store.get(node.reuse))
        inputs = {role: self._input(node, role, source) for role, source in node.sources().items()}
        fingerprints = {role: item.fingerprint for role, item in inputs.items()}
        payloads = {role: item.payload for role, item in inputs.items()}
        key = stage_fingerprint(self.store, node.stage, node.config, fingerprints)
        code = self._code_of(node) if self.strict_code else None
        entry = self.store.lookup(key.hex, payloads, code=code)
        row = self._decide(node, key, entry, inputs, payloads)
        payload = entry.payload_digest if isinstance(entry, Artifact) else None
        self.outputs[node.name] = _Input(key.hex, payload, row.artifact)
        return row

    def _reused(self, node: Node, artifact: Artifact) -> PlanRow:
        """Its own fingerprint is what the stages after it are made from."""
        key = Fingerprint(artifact.fingerprint, artifact.manifest.hashed)
        self.outputs[node.name] = _Input(key.hex, artifact.payload_digest, artifact.id)
        why = [Why(kind="reused", field="--reuse", old=None, new=artifact.id)]
        return PlanRow(node.name, "cached", key, why, artifact.id, node=node, made=artifact)

    def _input(self, node: Node, name: str, source: Source) -> _Input:
        if isinstance(source, str):
            return self.outputs[source]
        artifact = self.store.get(source.ref)
        role = node.stage.roles[name.partition(".")[0]]
        if not role.accepts(artifact):
            raise ConfigError(
                f"{node.name}: its input {name} is {artifact.id}, a {artifact.kind}",
                expected=f"a {role.wants}",
            )
        return _Input(artifact.fingerprint, artifact.payload_digest, artifact.id)

    def _decide(
        self,
        node: Node,
        key: Fingerprint,
        entry: Artifact | Miss,
        inputs: Mapping[str, _Input],
        payloads: Mapping[str, str | None],
    ) -> PlanRow:
        # A usable artifact is enough, unless an option forces the node.
        selected = self.only is None or node.name in self.only
        forced = self.forced.get(node.name) if selected else None
        if isinstance(entry, Artifact) and forced is None:
            notes = self._code_notes(node, entry)
            return PlanRow(node.name, "cached", key, notes, entry.id, node=node, made=entry)
        # Why it would run, also where `--only` leaves it out.
        ids = {role: item.id for role, item in inputs.items()}
        why = reasons(node.name, key, entry, ids, self.previous.get(node.name), forced, self._manifest_of)
        if not selected:
            return PlanRow(node.name, "skipped", key, why, node=node)
        # It runs: from the start, or from the newest checkpoint of the same inputs.
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
        missing = [name for name in node.parents() if self.outputs[name].id is None and name not in self.only]
        if missing:
            raise UserError(
                f"--only {node.name}: its input {', '.join(missing)} is not in the store as configured",
                expected="all inputs of the stage in the store",
                fix="run without --only, which makes the missing ones first",
            )

    def _code_of(self, node: Node) -> dict[str, str]:
        module = node.stage.module
        if module not in self._code:
            self._code[module] = code_files(module)
        return self._code[module]

    def _code_notes(self, node: Node, artifact: Artifact) -> list[Why]:
        """Changes of code since the artifact was made: it stays cached, but people should know."""
        changes = code_changes(artifact.manifest.code.files, self._code_of(node))
        return [Why(kind="code", field=name, old=old, new=new) for name, old, new in changes]

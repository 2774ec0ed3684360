"""Measuring models that are there: the graph of `temper evaluate`.

An evaluation's fingerprint holds no names: that of `ppo@latest` with a pipeline's benchmarks is the
pipeline's own `evaluate[ppo]`, cached where that was made. A model is called as its stage is, so that judge
and baseline find it. What else a config names must be in the store as configured; nothing is trained here.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flows.build import Graph
from flows.config import PipelineConfig
from flows.data_graph import is_ref
from flows.graph import Node, Ref, Source
from flows.plan import PlanRow, plan
from tempering.artifacts.kinds import ModelArtifact
from tempering.artifacts.stage import section_kinds
from tempering.artifacts.store import Store
from tempering.errors import ArtifactError, ConfigError, UserError
from tempering.evaluation.config import EvaluateConfig

_BRACKETS = re.compile(r"(?:merge|adopt)\[(.*)\]")


@dataclass(frozen=True)
class Subject:
    """A model to measure: as it was written, its name in the graph, and its artifact if the store has it."""

    ref: str
    name: str
    artifact: ModelArtifact | None = None

    @property
    def node(self) -> str:
        """The node that measures it."""
        return f"evaluate[{self.name}]"

    @property
    def place(self) -> str:
        """A folder as an adoption takes it: without a slash it could be anything."""
        return self.ref if "/" in self.ref else f"./{self.ref}"

    def base(self) -> Ref | None:
        """The model that it is an adapter on; None for a whole model."""
        if self.artifact is None or not (self.artifact.model_dir / "adapter_config.json").exists():
            return None
        return Ref(self.artifact.manifest.inputs["model"].id)

    def sample(self) -> Ref | None:
        """What its stage was trained on, which `merge[STAGE]` is tested with; None for a checkpoint."""
        artifact = self.artifact
        if artifact is None or artifact.checkpoint is not None or "sample" not in artifact.manifest.inputs:
            return None
        return Ref(artifact.manifest.inputs["sample"].id)


class SubjectGraph(Graph):
    """The graph of a config, in which some models are artifacts instead of what their stages would make."""

    def __init__(self, config: PipelineConfig, store: Store, refs: Sequence[str]) -> None:
        super().__init__(config)
        self.store = store
        self.subjects: dict[str, Subject] = {}
        for ref in refs:
            subject = self._subject(ref)
            twin = next((other for other in self.subjects.values() if _same(other, subject)), None)
            if twin is not None:
                raise UserError(f"{twin.ref} and {ref} are the same model", fix="leave one of them out")
            self.subjects[subject.name] = subject
        self.config = config.model_copy(update={"evaluate": self._settings()})

    def evaluations(self) -> list[Node]:
        """The evaluation of each subject, in order; what they need is in `made`."""
        return [self.made[self.evaluation(name)] for name in self._evaluated()]

    def _subject(self, ref: str) -> Subject:
        if ref in self.on or ref in self.config.models:
            return Subject(ref, ref)
        if not is_ref(ref) and ("/" in ref or Path(ref).is_dir()):  # a folder, or owner/name on the Hub
            return Subject(ref, self._free(self.called(Subject(ref, "").place), ref))
        artifact = self.store.get(ref)
        if not isinstance(artifact, ModelArtifact):
            raise ArtifactError(
                f"{artifact.id} is a {artifact.kind}",
                expected="a model artifact",
                fix="`temper artifacts list model` shows them",
            )
        inside = _BRACKETS.fullmatch(artifact.manifest.stage)
        stage = inside[1] if inside else artifact.manifest.stage
        name = "-".join(filter(None, [stage, artifact.checkpoint]))
        return Subject(ref, self._free(name, artifact.fingerprint[:8]), artifact)

    def _free(self, name: str, more: str) -> str:
        """A name that no subject has yet."""
        return name if name not in self.subjects else f"{name}-{more.replace('/', '-').strip('.-')}"

    def _settings(self) -> EvaluateConfig:
        """The `evaluate` section for the subjects; judge and baseline may be written as the models are."""
        settings = self.config.evaluate
        assert settings is not None
        names: Mapping[str | None, str] = {item.ref: item.name for item in self.subjects.values()}
        judge, baseline = settings.reward_model, settings.baseline
        return settings.model_copy(
            update={
                "models": list(self.subjects),
                "reward_model": names.get(judge, judge),
                "baseline": names.get(baseline, baseline),
            }
        )

    # -- a subject stands where its stage would ------------------------------------------------

    def _is_stage(self, name: str) -> bool:
        return name in self.subjects or super()._is_stage(name)

    def _exists(self, name: str | None) -> bool:
        return name in self.subjects or super()._exists(name)

    def _head(self, name: str) -> str:
        subject = self.subjects.get(name)
        if subject is None or subject.ref in self.on:
            return super()._head(name)
        if subject.artifact is None:
            return self._adopt_config(self._adopted_as(subject)).head
        return str(subject.artifact.details.get("head", "causal_lm"))

    def _adopted_as(self, subject: Subject) -> str:
        return subject.ref if subject.ref in self.config.models else subject.place

    def called(self, name: str) -> str:
        """A subject has its name already."""
        return name if name in self.subjects else super().called(name)

    def model(self, name: str, used_by: str) -> Source:
        """The source of a subject: its artifact, merged where it is an adapter; else as in a pipeline."""
        subject = self.subjects.get(name)
        if subject is None and name not in self.on and name in section_kinds():
            place = self._setting(name, used_by)
            raise ConfigError(
                f"{place}: no model {name!r} is measured here",
                expected="a model: an artifact such as sft@latest, a folder, or owner/name on the Hub",
                fix=f"name it: {place}={name}@latest",
            )
        if subject is None or subject.ref in self.on:
            return super().model(name, used_by)
        if subject.artifact is None:
            return self.add(f"adopt[{name}]", "adopt", self._adopt_config(self._adopted_as(subject)), {})
        source, base, sample = Ref(subject.artifact.id), subject.base(), subject.sample()
        if base is None or sample is None:
            return source
        parts = {"adapter": source, "base": base, "sample": sample}
        return self.add(f"merge[{name}]", "merge", self.config.merge, parts)

    def _setting(self, model: str, used_by: str) -> str:
        """The setting of a benchmark that names a model; `used_by` where it is none's."""
        benchmarks = self.config.evaluate.benchmarks if self.config.evaluate else {}
        benchmark = benchmarks.get(used_by.removeprefix("evaluate.benchmarks."))
        settings = {} if benchmark is None else benchmark.model_dump()
        waiting = [(used_by, settings)]
        while waiting:
            place, tree = waiting.pop()
            for key, value in tree.items():
                if value == model:
                    return f"{place}.{key}"
                if isinstance(value, dict):
                    waiting.append((f"{place}.{key}", value))
        return used_by

    def evaluation(self, name: str) -> str:
        """As in a pipeline; a checkpoint of an adapter is merged by the stage, which needs its base."""
        node, subject = super().evaluation(name), self.subjects.get(name)
        base = subject.base() if subject is not None else None
        if subject is not None and base is not None and subject.sample() is None:
            self.made[node] = replace(self.made[node], inputs={**self.made[node].inputs, "base": base})
        return node


def _same(one: Subject, other: Subject) -> bool:
    if one.artifact is None or other.artifact is None:
        return one.ref == other.ref
    return one.artifact.id == other.artifact.id


def evaluation_nodes(
    config: PipelineConfig, store: Store, refs: Sequence[str]
) -> tuple[list[Node], list[Subject]]:
    """The nodes that measure these models and make what the store does not have yet.

    Raises:
        UserError: a model that is not there or that no benchmark measures, or a stage that would have to
            be trained first.
    """
    graph = SubjectGraph(config, store, refs)
    subjects = list(graph.subjects.values())
    for subject, node in zip(subjects, graph.evaluations(), strict=True):
        assert isinstance(node.config, EvaluateConfig)
        if not node.config.benchmarks:
            sort = "a reward model" if graph._head(subject.name) == "score" else "a language model"
            raise ConfigError(
                f"{subject.ref} is {sort}, which none of the benchmarks measures",
                expected="models of the sort that a benchmark measures (docs/evaluation.md)",
                fix="leave it out, or name another benchmark",
            )
    return _untrained(list(graph.made.values()), store, {subject.node for subject in subjects}), subjects


def _untrained(nodes: list[Node], store: Store, targets: set[str]) -> list[Node]:
    """The nodes that make `targets`; what is in the store stands there by its id and needs nothing."""
    rows = {row.stage: row for row in plan(nodes, store)}
    needed, kept = set(targets), dict[str, Node]()
    for node in reversed(nodes):
        if node.name not in needed:
            continue
        if node.stage.name in section_kinds():
            raise ConfigError(
                f"the stage {node.name} of the config is not in the store as configured",
                expected="every model that is measured, judges or is compared with",
                fix=f"run the pipeline first, or name an artifact in its place, such as {node.name}@latest",
            )
        inputs = {role: _in_store(source, rows) for role, source in node.inputs.items()}
        kept[node.name] = replace(node, inputs=inputs)
        needed.update(kept[node.name].parents())
    return [kept[node.name] for node in nodes if node.name in kept]


def _in_store(
    source: Source | Mapping[str, Source], rows: Mapping[str, PlanRow]
) -> Source | Mapping[str, Source]:
    if isinstance(source, Mapping):
        return {key: _made(item, rows) for key, item in source.items()}
    return _made(source, rows)


def _made(source: Source, rows: Mapping[str, PlanRow]) -> Source:
    artifact = None if isinstance(source, Ref) else rows[source].artifact
    return source if artifact is None else Ref(artifact)

"""From a pipeline's configuration to its graph.

A training stage's `model:` may be another stage of the pipeline (its merged model where that trained an
adapter) or an artifact of the store. A stage's roles say what it needs: each is filled from the setting of
the same name. Data sets and samples that nothing uses are left out.
"""

import difflib
import re
from collections.abc import Mapping
from typing import Any

from flows.config import PipelineConfig
from flows.data_graph import DataGraph, is_ref
from flows.gates import with_gates
from flows.graph import Node, Ref, Source
from tasks.publish import PublishConfig
from tempering.artifacts.kinds import DatasetArtifact, ModelArtifact, SampleArtifact, TokenizerArtifact
from tempering.artifacts.stage import Head, Role, get_stage, section_kinds
from tempering.config import StageConfig
from tempering.errors import ConfigError
from tempering.evaluation.config import EvaluateConfig
from tempering.model_config import AdoptConfig
from tempering.printable import shown_name
from tempering.rewards.config import MixtureReward, RewardConfig, learned, reward_inputs


def build_graph(config: PipelineConfig) -> list[Node]:
    """All nodes, parents before children.

    Raises:
        ConfigError: a name that is not a stage, sample or data set of this pipeline, a gate on what is not
            measured, or a cycle.
    """
    return with_gates(Graph(config).nodes(), config.gates, config.stages)


class Graph(DataGraph):
    """Builds nodes on demand, starting from what the pipeline is for."""

    def __init__(self, config: PipelineConfig) -> None:
        super().__init__(config)
        self.on = list(config.stages)

    def nodes(self) -> list[Node]:
        """Training stages, then evaluations, then the report, each after the data it needs."""
        for name in self.on:
            self.training(name)
            self.model(name, name)
        models = self._evaluated()
        for name in models:
            self.evaluation(name)
        for name in self.on:
            self.publication(name)
        if not self.made:  # a pipeline of data alone
            for name in self.config.datasets:
                self.dataset(name)
            for name in self.config.samples:
                self.sample(name)
        if self.config.report is not None:
            self.report(models)
        return list(self.made.values())

    def _evaluated(self) -> list[str]:
        """The models to evaluate: those in the config, else every stage's."""
        config = self.config.evaluate
        if config is None:
            return []
        names = self._in_order() if config.models is None else config.models
        settings = [("models", name) for name in names]
        settings += [(field, getattr(config, field)) for field in ("reward_model", "baseline")]
        for field, name in settings:
            if name is not None and not self._is_stage(name):
                self._refuse_unknown(name, f"evaluate.{field}")
            if name is not None and field != "models":
                head: Head = "score" if field == "reward_model" else "causal_lm"
                self._check_head(name, f"evaluate.{field}", head)
        return [name for name in names if self._exists(name)]

    def _is_stage(self, name: str) -> bool:
        """Whether `name` is a stage: one of this pipeline, or a kind that is switched off."""
        return name in self.on or name in section_kinds()

    def _exists(self, name: str | None) -> bool:
        """Whether there is such a model: a stage that is switched off makes none and is skipped."""
        return name is not None and (name in self.on or name not in section_kinds())

    def _head(self, name: str) -> str:
        """The head of a model, where its stage, its reference or its folder tells; else ""."""
        if name in self.on:
            return get_stage(self.config.stages[name].kind).head
        if name not in self.config.models and is_ref(name):
            kind = section_kinds().get(re.split("[@/]", name)[0])
            return "" if kind is None else kind.head
        outside = name in self.config.models or ("/" in name and not self._is_stage(name))
        return self._adopt_config(name).head if outside else ""

    # -- models ------------------------------------------------------------------------------

    def training(self, name: str) -> str:
        """One training stage with its inputs."""
        if name in self.made:
            return name
        config = self.config.stages[name]
        stage = get_stage(config.kind)
        with self._opened(name):
            # Data first: the graph lists nodes in the order in which they are created.
            roles = sorted(stage.roles.values(), key=lambda role: role.kinds == (ModelArtifact,))
            sources = {role.name: self._source(name, config, role) for role in roles}
        inputs = {role: source for role, source in sources.items() if source is not None}
        return self.add(name, stage.name, config, inputs)

    def _source(self, name: str, config: StageConfig, role: Role) -> Source | Mapping[str, Source] | None:
        """The source of a stage's input `role`: what the setting of that name says."""
        if role.kinds == (TokenizerArtifact,):
            return self.tokenizer()
        if role.name == "reward_models":
            reward = getattr(config, "reward", None)
            return None if reward is None else self._reward_models(name, reward)
        setting = getattr(config, role.name, None)
        if setting is None:
            return None
        if role.kinds == (ModelArtifact,) and not role.many:
            self._check_head(setting, f"{name}.{role.name}", "causal_lm")
        makers = {SampleArtifact: self.sample, DatasetArtifact: self.dataset, ModelArtifact: self.model}
        make = makers[role.kinds[0]]
        if role.many:
            return {key: make(key, f"{name}.{role.name}") for key in setting}
        return make(setting, f"{name}.{role.name}")

    def _reward_models(self, name: str, reward: RewardConfig) -> dict[str, Source]:
        """The sources of a reward's models, by its components."""
        part = ".components.{}" if isinstance(reward, MixtureReward) else ""
        sources: dict[str, Source] = {}
        for key, model in reward_inputs(reward).items():
            used_by = f"{name}.reward{part.format(key)}.model"
            self._check_head(model, used_by, "score" if key in learned(reward) else "causal_lm")
            sources[key] = self.model(model, used_by)
        return sources

    def _check_head(self, name: str, used_by: str, head: Head) -> None:
        """Refuse a model that has the other head, before anything is trained."""
        if self._head(name) in ("", head):
            return
        words = {"score": "a reward model", "causal_lm": "a language model"}
        fitting = [stage for stage in self.on if get_stage(self.config.stages[stage].kind).head == head]
        raise ConfigError(
            f"{used_by}: the stage {name!r} does not make {words[head]}"
            if name in self.on
            else f"{used_by}: {name!r} is not {words[head]}",
            expected=f"a stage that does, such as {', '.join(fitting)}" if fitting else words[head],
        )

    def model(self, name: str, used_by: str) -> Source:
        """The source of the complete model `name`: a stage, its merge, the store, or an external model."""
        if not self._is_stage(name):
            return self._outside(name, used_by)
        if name not in self.on:
            raise ConfigError(
                f"{used_by}: the stage {name!r} is switched off",
                expected=f"one of {self.on}",
                fix=f"switch {name} on, or name an artifact, e.g. {name}@latest",
            )
        node = self.made[self.training(name)]
        if getattr(node.config, "adapter", None) is None:
            return node.name
        inputs = {"adapter": node.name, "base": node.inputs["model"], "sample": node.inputs["sample"]}
        return self.add(f"merge[{name}]", "merge", self.config.merge, inputs)

    def publication(self, name: str) -> None:
        """publish[NAME], where the stage names a repository: its complete model, after its evaluation."""
        config: Any = self.config.stages[name]
        if getattr(config, "hub_repo", None) is None:
            return
        inputs: dict[str, Source | Mapping[str, Source]] = {"model": self.model(name, name)}
        if f"evaluate[{name}]" in self.made:
            inputs["evaluation"] = f"evaluate[{name}]"
        target = PublishConfig(repo=config.hub_repo, private=config.hub_private)
        for node in self.made.values():
            if isinstance(node.config, PublishConfig) and node.config.repo == target.repo:
                raise ConfigError(
                    f"{name}.hub_repo: {node.key} is pushed to {target.repo} as well",
                    fix="give each model a repository of its own",
                )
        self.add(f"publish[{name}]", "publish", target, inputs)

    def _outside(self, name: str, used_by: str) -> Source:
        """A model of `models:` or of the store, or a folder or Hub name."""
        self._refuse_unknown(name, used_by)
        return Ref(name) if name not in self.config.models and is_ref(name) else self.adopted(name)

    def _refuse_unknown(self, name: str, used_by: str) -> None:
        """Refuse what is not under `models:` and does not look like an artifact, path or Hub name."""
        if name in self.config.models or is_ref(name) or "/" in name:
            return
        names = [*self.on, *self.config.models]
        near = difflib.get_close_matches(name, names, n=1)
        raise ConfigError(
            f"{used_by}: {shown_name(name)!r} is not a stage",
            fix=f"did you mean {near[0]!r}?" if near else "",
            expected=f"one of {names}, an artifact id such as sft@latest, a folder, or owner/name on the Hub",
        )

    def adopted(self, name: str) -> str:
        """adopt[NAME]: an external model, brought into the store."""
        config = self._adopt_config(name)
        node = f"adopt[{self.called(name)}]"
        if self.called(name) in self.on or (node in self.made and self.made[node].config != config):
            raise ConfigError(
                f"two models would both be called {self.called(name)}, one of them {name}",
                fix="give it a name under `models:`",
            )
        return self.add(node, "adopt", config, {})

    def _adopt_config(self, name: str) -> AdoptConfig:
        return self.config.models.get(name) or AdoptConfig(name_or_path=name)

    def called(self, name: str) -> str:
        """A model's name in nodes and on the page: of a path the last part, since the rest may be private."""
        if name in self.on or name in self.config.models or "/" not in name:
            return name
        folder = None if is_ref(name) else self._adopt_config(name).folder
        return name.replace("/", "-") if folder is None else folder.resolve().name

    # -- evaluation and report ---------------------------------------------------------------

    def evaluation(self, name: str) -> str:
        """evaluate[MODEL] with the benchmarks that apply to that kind of model."""
        settings = self.config.evaluate
        assert settings is not None
        # The benchmarks that fit the model, and a judge and a baseline only where one of them uses them:
        # an evaluation repeats when its inputs change.
        scorer = self._head(name) == "score" or name == settings.reward_model
        benchmarks = settings.measuring("scorer" if scorer else "policy")
        judged = any(benchmark.judged for benchmark in benchmarks.values())
        judge = settings.reward_model if judged and self._exists(settings.reward_model) else None
        compared = any(benchmark.compared for benchmark in benchmarks.values())
        baseline = settings.baseline if compared and self._exists(settings.baseline) else None
        if baseline == name:
            baseline = None
        config: EvaluateConfig = settings.model_copy(
            update={
                "models": [self.called(name)],
                "benchmarks": benchmarks,
                "reward_model": judge,
                "baseline": baseline,
            }
        )
        # The judge is a model, the baseline another model's evaluation.
        inputs: dict[str, Source | Mapping[str, Source]] = {
            "model": self.model(name, "evaluate.models"),
            "datasets": {
                dataset: self.dataset(dataset, f"evaluate.benchmarks.{key}")
                for key, benchmark in benchmarks.items()
                for dataset in benchmark.dataset_names
            },
        }
        for key, benchmark in benchmarks.items():
            for model in benchmark.scorer_names:
                self._check_head(model, f"evaluate.benchmarks.{key}.judge", "score")
        for key, benchmark in benchmarks.items():
            benchmark.check_split(key, self.config.datasets)
        others = {
            model: self.model(model, f"evaluate.benchmarks.{key}")
            for key, benchmark in benchmarks.items()
            for model in benchmark.model_names
        }
        if others:
            inputs["models"] = others
        if config.every_checkpoint:
            inputs |= self._with_checkpoints(name)
        if judge:
            inputs["reward_model"] = self.model(judge, "evaluate.reward_model")
        if baseline:
            inputs["baseline"] = self.evaluation(baseline)
        return self.add(f"evaluate[{self.called(name)}]", "evaluate", config, inputs)

    def _with_checkpoints(self, name: str) -> dict[str, Source | Mapping[str, Source]]:
        """Where the checkpoints of a merged model are: adapters, which need their base."""
        merged = self.made.get(f"merge[{name}]")
        return {} if merged is None else {"trained": merged.inputs["adapter"], "base": merged.inputs["base"]}

    def report(self, models: list[str]) -> str:
        """The report on everything in the graph."""
        assert self.config.report is not None
        stages = self._in_order()
        outside = [name for name in models if name not in stages]
        evaluated = [name for name in [*stages, *outside] if name in models]
        inputs: dict[str, Source | Mapping[str, Source]] = {
            "evaluations": {self.called(name): self.evaluation(name) for name in evaluated},
            "models": {
                **{name: name for name in stages},
                **{self.called(name): self.model(name, "evaluate.models") for name in outside},
            },
            "samples": self._nodes_of("sample"),
            "datasets": self._nodes_of("dataset"),
        }
        # The page says whose it is.
        title = self.config.report.title or self.config.name
        config = self.config.report.model_copy(update={"title": title})
        return self.add("report", "report", config, inputs)

    def _in_order(self) -> list[str]:
        """The training stages in the graph's order: a stage comes after the model it starts from."""
        return [name for name in self.made if name in self.on]

    def _nodes_of(self, kind: str) -> dict[str, Source]:
        return {node.key: node.name for node in self.made.values() if node.stage.name == kind}

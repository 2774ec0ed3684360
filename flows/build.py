"""From a pipeline's configuration to its graph.

Each training stage's `model:` may be another stage of the pipeline (its merged model where it
trained an adapter) or an artifact of the store. Data sets and samples that nothing uses are
left out.
"""

import difflib
from collections.abc import Mapping

import tasks  # noqa: F401  registers the stages
from flows.config import TRAINING, PipelineConfig
from flows.data_graph import DataGraph, is_ref
from flows.graph import Node, Ref, Source
from tasks.publish import PublishConfig
from tempering.errors import ConfigError
from tempering.evaluation.config import CompletionsBenchmark, EvaluateConfig, PreferencesBenchmark
from tempering.model_config import AdoptConfig
from tempering.rewards.config import MixtureReward, RewardConfig, reward_inputs


def build_graph(config: PipelineConfig) -> list[Node]:
    """All nodes, parents before children.

    Raises:
        ConfigError: a name that is no stage, sample or data set of this pipeline, or a circle.
    """
    return Graph(config).nodes()


class Graph(DataGraph):
    """Builds nodes on demand, starting from what the pipeline is for."""

    def __init__(self, config: PipelineConfig) -> None:
        super().__init__(config)
        self.on = [name for name in TRAINING if getattr(config, name) is not None]

    def nodes(self) -> list[Node]:
        """Training stages, then evaluations, then the report; their data comes with them."""
        for name in self.on:
            self.training(name)
            self.model(name, name)
        models = (
            [name for name in self.config.evaluate.models if self._there(name)]
            if self.config.evaluate
            else []
        )
        self._check_models()
        for name in models:
            self.evaluation(name)
        for name in self.on:
            self.publication(name)
        if self.config.report is not None:
            self.report(models)
        if not self.made:  # a pipeline of data alone
            for name in self.config.datasets:
                self.dataset(name)
            for name in self.config.samples:
                self.sample(name)
        return list(self.made.values())

    def _check_models(self) -> None:
        whole = self.config.evaluate
        if whole is None:
            return
        named = [("models", name) for name in whole.models]
        for field, name in [*named, ("reward_model", whole.reward_model), ("baseline", whole.baseline)]:
            if name is not None and name not in TRAINING:
                self._refuse_unknown(name, f"evaluate.{field}")

    def _there(self, name: str | None) -> bool:
        """Whether there is such a model: a stage that is switched off has none, and is passed over."""
        return name is not None and (name in self.on or name not in TRAINING)

    # -- models ------------------------------------------------------------------------------

    def training(self, name: str) -> str:
        """One training stage with its inputs."""
        if name in self.made:
            return name
        config = getattr(self.config, name)
        with self._opened(name):
            inputs: dict[str, Source | Mapping[str, Source]] = {
                "sample": self.sample(config.sample, f"{name}.sample")
            }
            if name == "pretrain":
                inputs["tokenizer"] = self.tokenizer()
            if config.model is not None:
                inputs["model"] = self.model(config.model, f"{name}.model")
            reward = getattr(config, "reward", None)
            if reward is not None:
                inputs["reward_models"] = self._reward_models(name, reward)
        return self.add(name, name, config, inputs)

    def _reward_models(self, name: str, reward: RewardConfig) -> dict[str, Source]:
        """Where the models of a reward come from, by its components."""
        part = ".components.{}" if isinstance(reward, MixtureReward) else ""
        return {
            key: self.model(model, f"{name}.reward{part.format(key)}.model")
            for key, model in reward_inputs(reward).items()
        }

    def model(self, name: str, used_by: str) -> Source:
        """Where a whole model called `name` comes from: a stage, its merge, the store, or elsewhere."""
        if name not in TRAINING:
            return self._outside(name, used_by)
        if name not in self.on:
            raise ConfigError(
                f"{used_by}: the stage {name!r} is switched off",
                expected=f"one of {self.on}",
                fix=f"switch {name} on, or name an artifact, e.g. {name}@latest",
            )
        made = self.training(name)
        config = getattr(self.config, name)
        if config.adapter is None:
            return made
        node = self.made[made]
        base = node.inputs["model"]
        return self.add(
            f"merge[{name}]",
            "merge",
            self.config.merge,
            {"adapter": made, "base": base, "sample": node.inputs["sample"]},
        )

    def publication(self, name: str) -> None:
        """publish[NAME], where the stage names a repository: its whole model, after its evaluation."""
        config = getattr(self.config, name)
        if config.hub_repo is None:
            return
        inputs: dict[str, Source | Mapping[str, Source]] = {"model": self.model(name, name)}
        if f"evaluate[{name}]" in self.made:
            inputs["evaluation"] = f"evaluate[{name}]"
        to = PublishConfig(repo=config.hub_repo, private=config.hub_private)
        self.add(f"publish[{name}]", "publish", to, inputs)

    def _outside(self, name: str, used_by: str) -> Source:
        """A model of `models:`, of the store, or by itself a folder or Hub name."""
        self._refuse_unknown(name, used_by)
        return Ref(name) if name not in self.config.models and is_ref(name) else self.adopted(name)

    def _refuse_unknown(self, name: str, used_by: str) -> None:
        """Refuse what is not under `models:` and looks like no artifact, path or Hub name."""
        if name in self.config.models or is_ref(name) or "/" in name:
            return
        named = [*TRAINING, *self.config.models]
        near = difflib.get_close_matches(name, named, n=1)
        raise ConfigError(
            f"{used_by}: {name!r} is no stage",
            fix=f"did you mean {near[0]!r}?" if near else "",
            expected=f"one of {named}, an artifact id such as sft@latest, a folder, or owner/name on the Hub",
        )

    def adopted(self, name: str) -> str:
        """adopt[NAME]: a model from elsewhere, brought into the store."""
        config = self._from_elsewhere(name)
        node = f"adopt[{self.called(name)}]"
        if node in self.made and self.made[node].config != config:
            raise ConfigError(
                f"two models from elsewhere would both be called {node}",
                fix="give them names of their own under `models:`",
            )
        return self.add(node, "adopt", config, {})

    def _from_elsewhere(self, name: str) -> AdoptConfig:
        return self.config.models.get(name) or AdoptConfig(name_or_path=name)

    def called(self, name: str) -> str:
        """A model's name in nodes and on the page: of a path its last part, the rest is nobody's business."""
        if name in TRAINING or name in self.config.models or "/" not in name:
            return name
        place = None if is_ref(name) else self._from_elsewhere(name).folder
        return name.replace("/", "-") if place is None else place.resolve().name

    # -- evaluation and report ---------------------------------------------------------------

    def evaluation(self, name: str) -> str:
        """evaluate[MODEL] with the benchmarks that apply to that kind of model."""
        whole = self.config.evaluate
        assert whole is not None
        scorer = name in ("reward_model", whole.reward_model)
        benchmarks = {
            key: one
            for key, one in whole.benchmarks.items()
            if isinstance(one, PreferencesBenchmark) == scorer
        }
        completes = any(isinstance(one, CompletionsBenchmark) for one in benchmarks.values())
        judge = whole.reward_model if completes and self._there(whole.reward_model) else None
        baseline = (
            whole.baseline if judge and self._there(whole.baseline) and whole.baseline != name else None
        )
        config: EvaluateConfig = whole.model_copy(
            update={
                "models": [self.called(name)],
                "benchmarks": benchmarks,
                "reward_model": judge,
                "baseline": baseline,
            }
        )
        inputs: dict[str, Source | Mapping[str, Source]] = {
            "model": self.model(name, "evaluate.models"),
            "datasets": {
                one.dataset: self.dataset(one.dataset, f"evaluate.benchmarks.{key}")
                for key, one in benchmarks.items()
            },
        }
        if judge:
            inputs["reward_model"] = self.model(judge, "evaluate.reward_model")
        if baseline:
            inputs["baseline"] = self.evaluation(baseline)
        return self.add(f"evaluate[{self.called(name)}]", "evaluate", config, inputs)

    def report(self, models: list[str]) -> str:
        """The report over everything that was made."""
        assert self.config.report is not None
        inside = {
            kind: {name[len(kind) + 1 : -1]: name for name in self.made if name.startswith(f"{kind}[")}
            for kind in ("sample", "dataset")
        }
        return self.add(
            "report",
            "report",
            self.config.report,
            {
                "evaluations": {self.called(name): self.evaluation(name) for name in models},
                "models": {
                    **{
                        self.called(name): self.model(name, "evaluate.models")
                        for name in models
                        if name not in self.on
                    },
                    **{name: name for name in self.on},
                },
                "samples": inside["sample"],
                "datasets": inside["dataset"],
            },
        )

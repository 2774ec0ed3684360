"""From a pipeline's configuration to its graph.

Each training stage's `model:` may be another stage of the pipeline (its merged model where it
trained an adapter) or an artifact of the store. Data sets and samples that nothing uses are
left out.
"""

import difflib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import tasks  # noqa: F401  registers the stages
from flows.config import PipelineConfig
from flows.graph import Node, Ref, Source
from tempering.config import Config, ConfigT
from tempering.data.tokenizers import ExistingTokenizerConfig, TrainTokenizerConfig
from tempering.errors import ConfigError
from tempering.evaluation.config import CompletionsBenchmark, EvaluateConfig, PreferencesBenchmark
from tempering.model_config import AdoptConfig
from tempering.rewards.config import ModelReward
from tempering.stage import get_stage

TRAINING = ("pretrain", "sft", "reward_model", "dpo", "ppo", "rloo")


def build_graph(config: PipelineConfig) -> list[Node]:
    """All nodes, parents before children.

    Raises:
        ConfigError: a name that is no stage, sample or data set of this pipeline, or a circle.
    """
    return Graph(config).nodes()


class Graph:
    """Builds nodes on demand, starting from what the pipeline is for."""

    def __init__(self, config: PipelineConfig) -> None:
        self.config = config
        self.on = [name for name in TRAINING if getattr(config, name) is not None]
        self.made: dict[str, Node] = {}
        self.open: list[str] = []

    def nodes(self) -> list[Node]:
        """Training stages, then evaluations, then the report; their data comes with them."""
        for name in self.on:
            self.training(name)
            self.model(name, f"{name}")
        models = (
            [name for name in self.config.evaluate.models if self._there(name)]
            if self.config.evaluate
            else []
        )
        self._check_models()
        for name in models:
            self.evaluation(name)
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
                self._outside(name, f"evaluate.{field}")

    def _there(self, name: str | None) -> bool:
        """Whether there is such a model: a stage that is switched off has none, and is passed over."""
        return name is not None and (name in self.on or name not in TRAINING)

    def add(
        self, name: str, stage: str, config: Config, inputs: Mapping[str, Source | Mapping[str, Source]]
    ) -> str:
        """Make the node if it is not there yet."""
        self.made.setdefault(name, Node(name, get_stage(stage), config, inputs))
        return name

    @contextmanager
    def _opened(self, name: str) -> Iterator[None]:
        """While the inputs of `name` are made, nothing among them may need `name`."""
        if name in self.open:
            raise ConfigError(
                f"stages feed each other in a circle: {' -> '.join([*self.open, name])}",
                fix="start one of these stages from another model, or leave out one of these data sets",
            )
        self.open.append(name)
        yield
        self.open.remove(name)

    # -- data --------------------------------------------------------------------------------

    def dataset(self, name: str, used_by: str = "") -> str:
        """dataset[NAME], after the evaluation sets whose text it must not hold."""
        config = _named(self.config.datasets, name, "data set", used_by)
        inside = f"datasets.{name}.quality.decontaminate"
        with self._opened(f"dataset[{name}]"):
            against = {key: self.dataset(key, inside) for key in config.quality.decontaminate}
        return self.add(f"dataset[{name}]", "dataset", config, {"against": against} if against else {})

    def tokenizer(self) -> str:
        """The tokenizer, trained on data sets or taken from elsewhere."""
        config = self.config.tokenizer
        inputs: dict[str, Source | Mapping[str, Source]] = {}
        if isinstance(config, TrainTokenizerConfig):
            inputs["datasets"] = {name: self.dataset(name, "tokenizer.datasets") for name in config.datasets}
        elif isinstance(config, ExistingTokenizerConfig):
            named = config.name_or_path
            if named in self.config.models:
                inputs["base"] = self.adopted(named)
            elif _is_ref(named):
                inputs["base"] = Ref(named)
        return self.add("tokenizer", "tokenizer", config, inputs)

    def sample(self, name: str, used_by: str = "") -> str:
        """sample[NAME]."""
        config = _named(self.config.samples, name, "sample", used_by)
        datasets = {key: self.dataset(key, f"samples.{name}.datasets") for key in config.datasets}
        inputs: dict[str, Source | Mapping[str, Source]] = {
            "tokenizer": self.tokenizer(),
            "datasets": datasets,
        }
        if config.curriculum is not None and config.curriculum.model is not None:
            inputs["model"] = self.model(config.curriculum.model, f"samples.{name}.curriculum.model")
        return self.add(f"sample[{name}]", "sample", config, inputs)

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
            if isinstance(reward, ModelReward):
                inputs["reward_model"] = self.model(reward.model, f"{name}.reward.model")
        return self.add(name, name, config, inputs)

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

    def _outside(self, name: str, used_by: str) -> Source:
        """A model of `models:`, of the store, or by itself a folder or Hub name."""
        if name in self.config.models:
            return self.adopted(name)
        if _is_ref(name):
            return Ref(name)
        if "/" in name:
            return self.adopted(name)
        named = [*TRAINING, *self.config.models]
        near = difflib.get_close_matches(name, named, n=1)
        raise ConfigError(
            f"{used_by}: {name!r} is no stage",
            fix=f"did you mean {near[0]!r}?" if near else "",
            expected=f"one of {named}, an artifact id such as sft@latest, a folder, or owner/name on the Hub",
        )

    def adopted(self, name: str) -> str:
        """adopt[NAME]: a model from elsewhere, brought into the store."""
        config = self.config.models.get(name) or AdoptConfig(name_or_path=name)
        node = f"adopt[{name.strip('./~').replace('/', '-')}]"
        if node in self.made and self.made[node].config != config:
            raise ConfigError(
                f"two models from elsewhere would both be called {node}",
                fix="give them names of their own under `models:`",
            )
        return self.add(node, "adopt", config, {})

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
            update={"models": [name], "benchmarks": benchmarks, "reward_model": judge, "baseline": baseline}
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
        return self.add(f"evaluate[{name}]", "evaluate", config, inputs)

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
                "evaluations": {name: f"evaluate[{name}]" for name in models},
                "models": {name: name for name in self.on},
                "samples": inside["sample"],
                "datasets": inside["dataset"],
            },
        )


def _named(section: Mapping[str, ConfigT], name: str, what: str, used_by: str) -> ConfigT:
    if name not in section:
        near = difflib.get_close_matches(name, list(section), n=1)
        raise ConfigError(
            f"{used_by}: there is no {what} {name!r}",
            expected=f"one of {sorted(section)}",
            fix=f"did you mean {near[0]!r}?" if near else f"add it, or name another {what}",
        )
    return section[name]


def _is_ref(name: str) -> bool:
    """Whether a name is meant for the store: `sft@latest`, `sft/folder`, or a fingerprint.

    A Hub name has a slash too; its owner is not called like one of our stages.
    """
    looks_hex = len(name) >= 6 and all(char in "0123456789abcdef" for char in name)
    stage = name.split("/")[0]
    return "@" in name or looks_hex or ("/" in name and stage in {*TRAINING, "merge", "tokenizer"})

"""The part of the graph that makes data: data sets, the tokenizer, samples.

Nodes are created on demand, so what nothing uses is left out.
"""

import difflib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from flows.config import PipelineConfig
from flows.graph import Node, Ref, Source
from tempering.artifacts.kinds import ModelArtifact, TokenizerArtifact
from tempering.artifacts.names import fingerprint8
from tempering.artifacts.stage import get_stage, stages
from tempering.config import Config, ConfigT
from tempering.data.tokenizers import ExistingTokenizerConfig, TrainTokenizerConfig
from tempering.errors import ConfigError
from tempering.printable import shown_name


class DataGraph(ABC):
    """Nodes by name, and how those of data are created; `build.Graph` adds the models."""

    def __init__(self, config: PipelineConfig) -> None:
        self.config = config
        self.made: dict[str, Node] = {}
        self.open: list[str] = []

    @abstractmethod
    def model(self, name: str, used_by: str) -> Source:
        """The source of the complete model called `name`."""

    @abstractmethod
    def adopted(self, name: str) -> str:
        """adopt[NAME]: an external model, brought into the store."""

    def add(
        self, name: str, stage: str, config: Config, inputs: Mapping[str, Source | Mapping[str, Source]]
    ) -> str:
        """Create the node unless it exists."""
        self.made.setdefault(name, Node(name, get_stage(stage), config, inputs))
        return name

    @contextmanager
    def _opened(self, name: str) -> Iterator[None]:
        """While the inputs of `name` are created, none of them may need `name`."""
        if name in self.open:
            circle = [*self.open[self.open.index(name) :], name]
            raise ConfigError(
                f"stages feed each other in a circle: {' -> '.join(circle)}",
                fix="start one of these stages from another model, or remove one of these data sets",
            )
        self.open.append(name)
        yield
        self.open.remove(name)

    def dataset(self, name: str, used_by: str = "") -> str:
        """dataset[NAME], after the evaluation sets whose text it must not contain."""
        config = _named(self.config.datasets, name, "data set", used_by)
        inside = f"datasets.{name}.quality.decontaminate"
        with self._opened(f"dataset[{name}]"):
            against = {key: self.dataset(key, inside) for key in config.quality.decontaminate}
        return self.add(f"dataset[{name}]", "dataset", config, {"against": against} if against else {})

    def tokenizer(self) -> str:
        """The tokenizer, trained on data sets or an existing one."""
        config = self.config.tokenizer
        inputs: dict[str, Source | Mapping[str, Source]] = {}
        if isinstance(config, TrainTokenizerConfig):
            inputs["datasets"] = {name: self.dataset(name, "tokenizer.datasets") for name in config.datasets}
        elif isinstance(config, ExistingTokenizerConfig):
            name = config.name_or_path
            if name in self.config.models:
                inputs["base"] = self.adopted(name)
            elif is_ref(name):
                inputs["base"] = Ref(name)
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
            with self._opened(f"sample[{name}]"):
                inputs["model"] = self.model(config.curriculum.model, f"samples.{name}.curriculum.model")
        return self.add(f"sample[{name}]", "sample", config, inputs)


def _named(section: Mapping[str, ConfigT], name: str, noun: str, used_by: str) -> ConfigT:
    if name not in section:
        near = difflib.get_close_matches(name, list(section), n=1)
        raise ConfigError(
            f"{used_by}: there is no {noun} {shown_name(name)!r}",
            expected=f"one of {sorted(section)}",
            fix=f"did you mean {near[0]!r}?" if near else f"add it, or name another {noun}",
        )
    return section[name]


def is_ref(name: str) -> bool:
    """Whether a name refers to the store: `sft@latest`, `sft/folder`, or a fingerprint.

    A Hub name has a slash too, but its owner is not a kind of stage.
    """
    if any(fingerprint8(part) for part in name.split("/")):
        return True  # an artifact's folder: its id, its name or its path
    looks_hex = len(name) >= 6 and all(char in "0123456789abcdef" for char in name)
    return "@" in name or looks_hex or ("/" in name and name.split("/")[0] in _model_kinds())


def _model_kinds() -> set[str]:
    """The kinds of stages whose artifacts are models or tokenizers."""
    return {
        kind.name for kind in stages().values() if issubclass(kind.makes, ModelArtifact | TokenizerArtifact)
    }

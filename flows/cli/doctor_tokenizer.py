"""Which tokenizer `temper data doctor` counts with.

In this order: the one that the command line names; the external one that the pipeline names; the one in
the store, if it is what this config gives; one trained in memory, as the config says, on the rows that
were seen. Nothing is written to the store.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.build import Graph
from flows.config import PipelineConfig
from flows.graph import Node, Ref
from flows.plan import plan
from tempering.artifacts.kinds import ModelArtifact, TokenizerArtifact
from tempering.artifacts.store import Store
from tempering.data.prepare import PARTS
from tempering.data.tokenizers import ExistingTokenizerConfig, TrainTokenizerConfig, load_tokenizer
from tempering.doctor.tokenizer import Chosen, complete, train_as, train_small
from tempering.errors import ArtifactError, UserError
from tempering.model_config import AdoptConfig

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from flows.cli.doctor_options import Wish
    from tempering.doctor.dataset import Dataset
    from tempering.doctor.examine import Choose


def for_path(wish: "Wish") -> "Choose":
    """The tokenizer for data without a pipeline."""
    named = _named(wish)
    return lambda datasets: named or train_small(_running_text(datasets.values()))


def for_pipeline(wish: "Wish", config: PipelineConfig) -> tuple["Choose", tuple[str, ...]]:
    """The tokenizer of a pipeline, and the data sets that it must be trained on, if it is not there.

    Raises:
        UserError: when the one that is asked for cannot be loaded.
    """
    graph = Graph(config)
    node = graph.made[graph.tokenizer()]
    ready = _named(wish) or _ready(wish, node, list(graph.made.values()))
    if ready is not None:
        return lambda datasets: ready, ()
    train = config.tokenizer
    assert isinstance(train, TrainTokenizerConfig), "one that exists is ready"
    return lambda datasets: _trained(train, datasets), train.datasets


def _named(wish: "Wish") -> Chosen | None:
    """The tokenizer that the command line names: a folder, an artifact, or a name on the Hub."""
    if wish.tokenizer is None:
        return None
    place: Path | str = wish.tokenizer
    try:
        if not Path(place).is_dir():
            place = _folder(wish.store, wish.tokenizer)
    except (ArtifactError, OSError):  # no artifact is called so: a name on the Hub
        pass
    return complete(load_tokenizer(place), wish.tokenizer)


def _ready(wish: "Wish", node: Node, nodes: Sequence[Node]) -> Chosen | None:
    """The external tokenizer, or the one in the store, if it is what this config gives."""
    config = node.config
    if isinstance(config, ExistingTokenizerConfig):
        by_name = {other.name: other for other in nodes}
        tokenizer = _existing(wish, config, node.inputs.get("base"), by_name)
        return complete(tokenizer, f"{config.name_or_path}, as the config says")
    try:
        made = plan(nodes, Store(wish.store, writable=False))[-1].made
    except UserError:  # a data file is missing, which is said where that data set is read
        return None
    if not isinstance(made, TokenizerArtifact):
        return None
    return Chosen(load_tokenizer(made.tokenizer_dir), made.id)


def _existing(
    wish: "Wish", config: ExistingTokenizerConfig, base: Any, nodes: Mapping[str, Node]
) -> "PreTrainedTokenizerBase":
    """The external tokenizer: that of an artifact, of a model under `models:`, or a folder or Hub name."""
    if isinstance(base, Ref):
        return load_tokenizer(_folder(wish.store, base.ref))
    model = nodes[base].config if isinstance(base, str) else None
    if isinstance(model, AdoptConfig):
        place = model.folder or model.name_or_path
        return load_tokenizer(place, model.revision, trust_remote_code=model.trust_remote_code)
    return load_tokenizer(config.name_or_path, config.revision)


def _trained(config: TrainTokenizerConfig, datasets: Mapping[str, "Dataset"]) -> Chosen:
    """The tokenizer that a config trains, of the rows seen; where they hold none, of any other rows."""
    there = [datasets[name] for name in sorted(config.datasets) if name in datasets]
    if not any(dataset.totals.rows["train"] for dataset in there):
        return train_small(_running_text(datasets.values()))
    whole = len(there) == len(config.datasets) and not any(dataset.more for dataset in there)
    return train_as(config, _running_text(there, ["train"]), whole=whole)


def _folder(store: str, ref: str) -> Path:
    artifact = Store(store, writable=False).get(ref)
    if isinstance(artifact, ModelArtifact):
        return artifact.model_dir
    if isinstance(artifact, TokenizerArtifact):
        return artifact.tokenizer_dir
    raise ArtifactError(f"{artifact.id} is a {artifact.kind}", expected="a tokenizer or a model")


def _running_text(datasets: Iterable["Dataset"], parts: Sequence[str] = PARTS) -> Iterator[str]:
    for dataset in datasets:
        yield from dataset.running_text(parts)

"""Which tokenizer `temper data doctor` counts with.

In this order: the one that the command line names; the one the pipeline takes from elsewhere; the one in
the store, if it is what this config gives; one trained in memory, as the config says, on the rows that
were seen. Nothing is written to the store.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from flows.build import Graph
from flows.config import PipelineConfig
from flows.graph import Node, Ref
from flows.plan import plan
from tempering.artifacts.kinds import ModelArtifact, TokenizerArtifact
from tempering.artifacts.store import Store
from tempering.data.tokenizers import ExistingTokenizerConfig, TrainTokenizerConfig, load_tokenizer
from tempering.errors import ArtifactError, UserError

if TYPE_CHECKING:
    from flows.cli.doctor_options import Wish
    from tempering.doctor.dataset import Dataset
    from tempering.doctor.examine import Choose
    from tempering.doctor.tokenizer import Chosen


def for_path(wish: "Wish") -> "Choose":
    """The tokenizer for data without a pipeline."""
    from tempering.doctor.tokenizer import train_small

    asked = _asked_for(wish)
    return lambda read: asked or train_small(_running_text(read.values()))


def for_pipeline(wish: "Wish", config: PipelineConfig) -> tuple["Choose", tuple[str, ...]]:
    """The tokenizer of a pipeline, and the data sets that it must be trained on, if it is not there.

    Raises:
        UserError: when the one that is asked for cannot be loaded.
    """
    ready, wanted = _ready(wish, config), config.tokenizer
    if ready is not None:
        return lambda read: ready, ()
    assert isinstance(wanted, TrainTokenizerConfig), "one that exists is ready"
    return lambda read: _trained(wanted, read), wanted.datasets


def _ready(wish: "Wish", config: PipelineConfig) -> "Chosen | None":
    from tempering.doctor.tokenizer import Chosen, complete

    asked = _asked_for(wish)
    if asked is not None:
        return asked
    wanted = config.tokenizer
    if isinstance(wanted, ExistingTokenizerConfig):
        base = _node(config).inputs.get("base")
        folder = _folder(wish.root, base.ref) if isinstance(base, Ref) else wanted.name_or_path
        return complete(load_tokenizer(folder, wanted.revision), f"{wanted.name_or_path}, as the config says")
    made = _cached(wish, config)
    return None if made is None else Chosen(load_tokenizer(made.tokenizer_dir), made.id)


def _trained(config: TrainTokenizerConfig, read: Mapping[str, "Dataset"]) -> "Chosen":
    """The tokenizer that a config trains, of the rows seen; where they hold none, of any other rows."""
    from tempering.doctor.tokenizer import train_as, train_small

    there = [read[name] for name in sorted(config.datasets) if name in read]
    if not any(one.totals.rows["train"] for one in there):
        return train_small(_running_text(read.values()))
    whole = len(there) == len(config.datasets) and not any(one.more for one in there)
    return train_as(config, _running_text(there, ("train",)), whole=whole)


def _asked_for(wish: "Wish") -> "Chosen | None":
    """The tokenizer that the command line names: a folder, an artifact, or a name on the Hub."""
    from tempering.doctor.tokenizer import complete

    if wish.tokenizer is None:
        return None
    try:
        place: Path | str = (
            wish.tokenizer if Path(wish.tokenizer).is_dir() else _folder(wish.root, wish.tokenizer)
        )
    except (ArtifactError, OSError):
        place = wish.tokenizer
    return complete(load_tokenizer(place), wish.tokenizer)


def _folder(store: str, ref: str) -> Path:
    found = Store(store, writable=False).get(ref)
    if isinstance(found, ModelArtifact):
        return found.model_dir
    if isinstance(found, TokenizerArtifact):
        return found.tokenizer_dir
    raise ArtifactError(f"{found.id} is a {found.kind}", expected="a tokenizer or a model")


def _cached(wish: "Wish", config: PipelineConfig) -> TokenizerArtifact | None:
    """The tokenizer in the store, if it is what this config gives."""
    graph = Graph(config)
    graph.tokenizer()
    try:
        rows = plan(list(graph.made.values()), Store(wish.root, writable=False))
    except UserError:  # a data file is missing, which is said where that data set is read
        return None
    made = rows[-1].made
    return made if isinstance(made, TokenizerArtifact) else None


def _node(config: PipelineConfig) -> Node:
    graph = Graph(config)
    return graph.made[graph.tokenizer()]


def _running_text(datasets: Iterable["Dataset"], parts: tuple[str, ...] = ("train", "eval")) -> Iterator[str]:
    for one in datasets:
        for part in parts:
            yield from one.running_text([part])

"""What the memory estimate of a stage starts from: in the plan, in the store, or in the config.

The model at the root of a chain of stages, the tokenizer's size, the longest row. What is in the store is
read; else the config says what it can be at most, and the row says so.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.graph import Node, Ref, Source
from flows.plan import PlanRow
from tempering.artifacts.kinds import Artifact, ModelArtifact, SampleArtifact
from tempering.data.sample.config import SampleConfig
from tempering.data.tokenizers import ExistingTokenizerConfig, TrainTokenizerConfig
from tempering.errors import ArtifactError, UserError
from tempering.model_config import AdoptConfig, MergeConfig
from tempering.onpolicy.config import OnPolicyConfig
from tempering.training.config import PretrainConfig

if TYPE_CHECKING:
    from flows.session import Planned
    from tempering.memory.models import Source as Shape
    from tempering.memory.parts import Estimate


@dataclass
class MemoryRow:
    """One training stage: its estimate, or why there is none, and what was assumed."""

    stage: str
    estimate: "Estimate | None" = None
    problem: str | None = None
    notes: list[str] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        """As `temper plan --memory --json` prints it, in bytes."""
        parts = self.estimate.row() if self.estimate else {}
        return {**parts, "problem": self.problem, "notes": list(dict.fromkeys(self.notes))}


class Look:
    """Finds in the plan and the store what the arithmetic needs."""

    def __init__(self, planned: "Planned", on_gpu: bool) -> None:
        self.store, self.on_gpu = planned.store, on_gpu
        self.rows: dict[str, PlanRow] = {row.stage: row for row in planned.rows}

    def row(self, node: Node) -> MemoryRow:
        """The estimate of one stage; what cannot be looked at is said, and stops nothing."""
        from tempering.memory.estimate import arithmetic, estimate
        from tempering.memory.parts import Inputs

        row, sources = MemoryRow(node.name), node.sources()
        try:
            arithmetic(node.config)  # a config without an estimate may have any inputs
            length, held_out = self._sample(node, row)
            inputs = Inputs(
                model=self._start(node, row),
                length=length,
                reward_models={
                    role.removeprefix("reward_models."): self._model(source, row)
                    for role, source in sources.items()
                    if role.startswith("reward_models.")
                },
                reference=self._model(sources["reference"], row) if "reference" in sources else None,
                held_out=held_out,
                on_gpu=self.on_gpu,
            )
            row.estimate = estimate(node.config, inputs)
        except UserError as error:
            row.problem = error.found
        return row

    def _look_up(self, source: Source) -> tuple[Artifact | None, Node | None]:
        """What is there of a source, and the stage that makes it; of the store's artifacts there is none."""
        if isinstance(source, Ref):
            return self.store.get(source.ref), None
        return self.rows[source].made, self.rows[source].node

    # -- models ------------------------------------------------------------------------------

    def _start(self, node: Node, row: MemoryRow) -> "Shape":
        """What a training stage starts from."""
        from tempering.memory.models import FromArchitecture

        sources = node.sources()
        if "model" in sources:
            return self._model(sources["model"], row)
        assert isinstance(node.config, PretrainConfig), f"{node.name} starts from nothing"
        return FromArchitecture(node.config.architecture, self._vocabulary(sources["tokenizer"], row))

    def _model(self, source: Source, row: MemoryRow) -> "Shape":
        """The shape of a model: every stage of a chain keeps that of the one before it."""
        from tempering.memory.models import FromFolder

        artifact, node = self._look_up(source)
        if node is None or (isinstance(artifact, ModelArtifact) and _has_config(artifact)):
            return self._artifact(artifact)
        config = node.config
        if isinstance(config, AdoptConfig):
            return FromFolder(config.name_or_path, config.revision, config.trust_remote_code)
        if isinstance(config, MergeConfig):
            return self._model(node.sources()["base"], row)
        return self._start(node, row)

    def _artifact(self, artifact: Artifact | None) -> "Shape":
        from tempering.memory.models import FromFolder

        assert artifact is not None, "an artifact of the store is there"
        if not isinstance(artifact, ModelArtifact):
            raise ArtifactError(f"{artifact.id} is a {artifact.kind}", expected="a model")
        if not _has_config(artifact):  # an adapter: its base has the shape
            return self._artifact(self.store.get(artifact.manifest.inputs["model"].id))
        trust = bool(artifact.details.get("trust_remote_code"))
        return FromFolder(artifact.model_dir, trust_remote_code=trust)

    def _vocabulary(self, source: Source, row: MemoryRow) -> int:
        """The tokenizer's size; at most what its config asks for, before it is made."""
        artifact, node = self._look_up(source)
        size = artifact.manifest.metrics.get("vocab_size") if artifact else None
        if isinstance(size, int | float):
            return int(size)
        assert node is not None, "every tokenizer in the store has its size"
        if isinstance(node.config, TrainTokenizerConfig):
            row.notes.append(f"a vocabulary of at most {node.config.vocab_size}, until the tokenizer is made")
            return node.config.vocab_size
        return self._existing_vocabulary(node)

    def _existing_vocabulary(self, node: Node) -> int:
        """Of a tokenizer that is loaded: from an artifact, or by the name in its config or its model's."""
        from tempering.data.tokenizers import load_tokenizer

        base = node.sources().get("base")
        artifact, maker = self._look_up(base) if base else (None, node)
        if artifact is not None and maker is None:
            return len(load_tokenizer(getattr(artifact, "tokenizer_dir", artifact.path / "model")))
        config = maker.config if maker else None
        assert isinstance(config, ExistingTokenizerConfig | AdoptConfig), "nothing else names a tokenizer"
        place = (config.folder if isinstance(config, AdoptConfig) else None) or config.name_or_path
        return len(load_tokenizer(place, config.revision))

    # -- rows --------------------------------------------------------------------------------

    def _sample(self, node: Node, row: MemoryRow) -> tuple[int, bool]:
        """Tokens of the longest row, and whether rows are held out."""
        artifact, maker = self._look_up(node.sources()["sample"])
        block = getattr(node.config, "block_size", None)
        if isinstance(artifact, SampleArtifact):
            return block or longest_row(artifact), count(artifact, "eval") > 0

        # The sample is not there yet: its config says what it can be at most.
        assert maker is not None
        assert isinstance(maker.config, SampleConfig)
        parents = [self.rows[parent].node for parent in maker.parents()]
        held_out = any(getattr(parent.config, "eval_fraction", 0) > 0 for parent in parents if parent)
        if block:
            return block, held_out
        config, most = maker.config, maker.config.max_length
        if isinstance(node.config, OnPolicyConfig):
            most = min(most, config.query_max_length or most, config.max_prompt_length or most)
        row.notes.append(f"rows of at most {most} tokens, until the sample is made")
        return most, held_out


def _has_config(artifact: ModelArtifact) -> bool:
    """Whether a model lies there whole; an adapter has no config.json."""
    return (artifact.model_dir / "config.json").exists()


def _shards(sample: SampleArtifact, part: str) -> list[Path]:
    return sorted(sample.rows_path(part).glob("*.parquet"))


def count(sample: SampleArtifact, part: str) -> int:
    """Rows of a part, from the files' own metadata."""
    import pyarrow.parquet as pq

    return sum(pq.read_metadata(path).num_rows for path in _shards(sample, part))


def longest_row(sample: SampleArtifact) -> int:
    """Tokens of the longest training row; of a preference, prompt and the longer side."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    longest = 1
    for path in _shards(sample, "train"):
        file = pq.ParquetFile(path)
        names = [name for name in _LENGTHS if name in file.schema_arrow.names]
        for batch in file.iter_batches(columns=names):
            sizes = {name: pc.list_value_length(batch.column(name)) for name in names}
            if "input_ids" in sizes:
                whole = sizes["input_ids"]
            else:
                sides = pc.max_element_wise(sizes["chosen_ids"], sizes["rejected_ids"])
                whole = pc.add(sizes["prompt_ids"], sides)
            longest = max(longest, pc.max(whole).as_py() or 0)
    return longest


_LENGTHS = ("input_ids", "prompt_ids", "chosen_ids", "rejected_ids")

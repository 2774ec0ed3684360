"""What the memory estimate of a stage starts from: in the plan, in the store, or in the config.

The model at the root of a chain of stages, the tokenizer's size, the longest row. What is in the store is
read; else the config says what it can be at most, and the row says so.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from flows.graph import Node, Ref, Source
from flows.plan import PlanRow
from tempering.artifacts.kinds import ModelArtifact, SampleArtifact
from tempering.data.sample.config import SampleConfig
from tempering.data.tokenizers import ExistingTokenizerConfig, TrainTokenizerConfig
from tempering.errors import ArtifactError, UserError
from tempering.model_config import AdoptConfig

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
        self.planned, self.on_gpu = planned, on_gpu
        self.rows: dict[str, PlanRow] = {row.stage: row for row in planned.rows}

    def row(self, node: Node) -> MemoryRow:
        """The estimate of one stage; what cannot be looked at is said, and stops nothing."""
        from tempering.memory.estimate import estimate
        from tempering.memory.parts import Inputs

        found = MemoryRow(node.name)
        try:
            rewards = cast("Mapping[str, Source]", node.inputs.get("reward_models", {}))
            length, held_out = self._sample(node, found)
            given = Inputs(
                model=self._start(node, found),
                length=length,
                reward_models={name: self._model(source, found) for name, source in rewards.items()},
                held_out=held_out,
                on_gpu=self.on_gpu,
            )
            found.estimate = estimate(node.config, given)
        except UserError as error:
            found.problem = error.found
        return found

    # -- models ------------------------------------------------------------------------------

    def _start(self, node: Node, found: MemoryRow) -> "Shape":
        """What a training stage starts from."""
        from tempering.memory.models import FromArchitecture

        if "model" in node.inputs:
            return self._model(_one(node.inputs["model"]), found)
        architecture: Any = getattr(node.config, "architecture")  # noqa: B009  the pretrain stage alone
        return FromArchitecture(architecture, self._vocabulary(found))

    def _model(self, source: Source, found: MemoryRow) -> "Shape":
        """The shape of a model: every stage of a chain keeps that of the one before it."""
        from tempering.memory.models import FromFolder

        if isinstance(source, Ref):
            return self._artifact(self.planned.store.get(source.ref))
        row = self.rows[source]
        assert row.node is not None, "every row of a plan has its node"
        if isinstance(row.made, ModelArtifact) and (row.made.model_dir / "config.json").exists():
            return self._artifact(row.made)
        config = row.node.config
        if isinstance(config, AdoptConfig):
            return FromFolder(config.name_or_path, config.revision, config.trust_remote_code)
        if row.node.stage.name == "merge":
            return self._model(_one(row.node.inputs["base"]), found)
        return self._start(row.node, found)

    def _artifact(self, artifact: Any) -> "Shape":
        from tempering.memory.models import FromFolder

        if not isinstance(artifact, ModelArtifact):
            raise ArtifactError(f"{artifact.id} is a {artifact.kind}", expected="a model")
        if not (artifact.model_dir / "config.json").exists():  # an adapter: its base has the shape
            return self._artifact(self.planned.store.get(artifact.manifest.inputs["model"].id))
        trust = bool(artifact.details.get("trust_remote_code"))
        return FromFolder(artifact.model_dir, trust_remote_code=trust)

    def _vocabulary(self, found: MemoryRow) -> int:
        """The tokenizer's size; at most what its config asks for, before it is made."""
        row = self.rows["tokenizer"]
        known = row.made.manifest.metrics.get("vocab_size") if row.made else None
        if isinstance(known, int | float):
            return int(known)
        config = row.node.config if row.node else None
        if isinstance(config, TrainTokenizerConfig):
            found.notes.append(f"a vocabulary of at most {config.vocab_size}, until the tokenizer is made")
            return config.vocab_size
        assert isinstance(config, ExistingTokenizerConfig), f"no tokenizer of kind {config!r}"
        return self._existing_vocabulary(row.node, config)

    def _existing_vocabulary(self, node: Node | None, config: ExistingTokenizerConfig) -> int:
        from tempering.data.tokenizers import load_tokenizer

        base = node.inputs.get("base") if node else None
        if isinstance(base, Ref):
            artifact = self.planned.store.get(base.ref)
            return len(load_tokenizer(getattr(artifact, "tokenizer_dir", artifact.path / "model")))
        if isinstance(base, str):
            adopted = self.rows[base].node
            assert adopted is not None
            assert isinstance(adopted.config, AdoptConfig)
            return len(load_tokenizer(adopted.config.name_or_path, adopted.config.revision))
        return len(load_tokenizer(config.name_or_path, config.revision))

    # -- rows --------------------------------------------------------------------------------

    def _sample(self, node: Node, found: MemoryRow) -> tuple[int, bool]:
        """Tokens of the longest row, and whether rows are held out."""
        row = self.rows[str(node.inputs["sample"])]
        assert row.node is not None
        assert isinstance(row.node.config, SampleConfig)
        block = getattr(node.config, "block_size", None)
        if isinstance(row.made, SampleArtifact):
            return block or longest_row(row.made), count(row.made, "eval") > 0
        config, datasets = row.node.config, self.planned.config.datasets
        held_out = any(getattr(datasets[name], "eval_fraction", 0) > 0 for name in config.datasets)
        if block:
            return block, held_out
        most = config.max_length
        if node.stage.name in ("ppo", "rloo"):
            most = min(most, config.query_max_length or most, config.max_prompt_length or most)
        found.notes.append(f"rows of at most {most} tokens, until the sample is made")
        return most, held_out


def _one(given: Source | Mapping[str, Source]) -> Source:
    assert not isinstance(given, Mapping), "a model is one input"
    return given


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

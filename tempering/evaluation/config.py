"""What to measure, on which data sets. A benchmark is an evaluation set with its metric."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field, field_validator

from tempering.config import MOST_SEED, MOST_SEQUENCES, SET, Config, Readers, added_field, runtime_field
from tempering.evaluation.benchmarks import AnyBenchmark
from tempering.evaluation.benchmarks.base import Measured


class EvaluateConfig(Config):
    """One `evaluate[MODEL]` per model in `models`."""

    read_by: ClassVar[Mapping[str, Readers]] = {
        "reward_model": {"judged_benchmarks": SET},
        "baseline": {"compared_benchmarks": SET},
    }

    # Names are not hashed: which artifacts they stand for is.
    models: list[str] | None = runtime_field(
        None,
        description="stages whose models are evaluated (those switched off are skipped); null: all",
    )
    benchmarks: dict[str, AnyBenchmark] = Field(default_factory=dict, description="name -> benchmark")
    every_checkpoint: bool = added_field(
        False, description="measure the kept checkpoints of every model too, for curves over tokens"
    )
    reward_model: str | None = runtime_field(
        "reward_model", description="scores completions; null: no reward metric"
    )
    baseline: str | None = runtime_field(
        "sft", description="model whose completions others are compared with; null: none"
    )
    seed: int = Field(0, ge=0, le=MOST_SEED, description="of the sampling; by default the pipeline's")
    batch_size: int = Field(
        128,
        ge=1,
        le=MOST_SEQUENCES,
        description="sequences per forward pass; changes which samples are drawn",
    )

    @field_validator("benchmarks", mode="before")
    @classmethod
    def _those_on(cls, benchmarks: Any) -> Any:
        """Those that are not null: one of an extended config is taken away so."""
        if not isinstance(benchmarks, dict):
            return benchmarks
        return {name: benchmark for name, benchmark in benchmarks.items() if benchmark is not None}

    @property
    def judged_benchmarks(self) -> list[str]:
        """The benchmarks whose completions a reward model scores."""
        return [name for name, benchmark in self.benchmarks.items() if benchmark.judged]

    @property
    def compared_benchmarks(self) -> list[str]:
        """The benchmarks whose completions are compared with the baseline's."""
        return [name for name, benchmark in self.benchmarks.items() if benchmark.compared]

    def measuring(self, measured: Measured) -> dict[str, AnyBenchmark]:
        """The benchmarks for models of this sort."""
        return {name: item for name, item in self.benchmarks.items() if item.measures == measured}

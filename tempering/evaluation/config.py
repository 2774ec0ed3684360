"""What is measured, on which data sets. A benchmark is an evaluation set with its metric."""

from typing import Annotated, Literal

from pydantic import Field

from tempering.config import Config


class Benchmark(Config):
    """Common settings."""

    dataset: str = Field(description="data set (its eval part where it has one)")
    max_rows: int | None = Field(None, ge=1, description="use the first rows only")


class CompletionsBenchmark(Benchmark):
    """Complete prompts; measure gold score (embedded world), reward, win rate, EOS share."""

    kind: Literal["completions"]
    gold: bool = Field(False, description="the prompts are the embedded world's: score them exactly")
    max_new_tokens: int = Field(48, ge=1, description="longest completion, in tokens")
    temperature: float = Field(1.0, ge=0, description="sampling temperature; 0: greedy")


class PerplexityBenchmark(Benchmark):
    """Mean negative log-likelihood a token (nats) of texts, or of completions given their prompts."""

    kind: Literal["perplexity"]
    max_length: int = Field(512, ge=8, description="texts are cut to this many tokens")


class QuestionsBenchmark(Benchmark):
    """Greedy answers to questions on a context; exact match and F1 after SQuAD normalisation."""

    kind: Literal["questions"]
    max_new_tokens: int = Field(12, ge=1, description="longest answer, in tokens")
    max_length: int = Field(
        384, ge=8, description="longest prompt, in tokens; the context is cut on the left"
    )


class MinimalPairsBenchmark(Benchmark):
    """Share of pairs whose good sentence is likelier; EOS first, ties count half, scored in fp32."""

    kind: Literal["minimal_pairs"]


class PreferencesBenchmark(Benchmark):
    """Share of pairs that a reward model orders as labelled."""

    kind: Literal["preferences"]


AnyBenchmark = Annotated[
    CompletionsBenchmark
    | PerplexityBenchmark
    | QuestionsBenchmark
    | MinimalPairsBenchmark
    | PreferencesBenchmark,
    Field(discriminator="kind"),
]


class EvaluateConfig(Config):
    """One `evaluate[MODEL]` per model in `models`."""

    models: list[str] | None = Field(
        None,
        description="stages whose models are evaluated (those switched off are passed over); null: all",
    )
    benchmarks: dict[str, AnyBenchmark] = Field(default_factory=dict, description="name -> benchmark")
    reward_model: str | None = Field("reward_model", description="scores completions; null: no reward metric")
    baseline: str | None = Field("sft", description="model that win rates are against; null: none")
    seed: int = Field(0, ge=0, description="of the sampling; the pipeline's unless given")
    batch_size: int = Field(
        128, ge=1, description="sequences a forward pass; decides the samples that are drawn"
    )

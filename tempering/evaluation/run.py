"""Evaluating one model: run its benchmarks and write the tables."""

from collections.abc import Mapping
from itertools import islice
from typing import Any

from tempering.artifacts.draft import Draft
from tempering.artifacts.kinds import DatasetArtifact, EvaluationArtifact, ModelArtifact
from tempering.artifacts.tables import read_rows
from tempering.data.shards import count_rows, iter_rows
from tempering.errors import DataError
from tempering.evaluation.benchmarks import Findings, Tools, run_benchmark
from tempering.evaluation.config import Benchmark, EvaluateConfig
from tempering.generation.language_model import LanguageModel
from tempering.models.device import prepare_device
from tempering.models.loading import load_causal_lm
from tempering.rewards.learned import LearnedReward


def evaluate_model(
    out: Draft,
    config: EvaluateConfig,
    model: ModelArtifact,
    datasets: Mapping[str, DatasetArtifact],
    reward_model: ModelArtifact | None,
    baseline: EvaluationArtifact | None,
) -> dict[str, float | int | str]:
    """Run every benchmark that applies; the first metrics are the headline."""
    for name, benchmark in config.benchmarks.items():
        check_rows(name, benchmark.kind, datasets[benchmark.dataset])
    device = prepare_device(out)
    is_scorer = model.details.get("head") == "score"
    scorer = model if is_scorer else reward_model
    prompt_format: Any = model.details.get("prompt_format", "chat")
    tools = Tools(
        policy=None if is_scorer else language_model(model, prompt_format, device, config.batch_size),
        scorer=LearnedReward.of(scorer, device) if scorer else None,
        seed=out.seed,
        baseline=baseline_rewards(baseline),
        evaluates_scorer=is_scorer,
    )
    found = Findings()
    for number, (name, benchmark) in enumerate(config.benchmarks.items()):
        run_benchmark(
            name, benchmark, benchmark_rows(datasets[benchmark.dataset], benchmark, out), tools, found
        )
        out.progress(number + 1, len(config.benchmarks), unit="benchmarks")
    if tools.policy is not None and tools.policy.cut:
        out.warn(
            f"{tools.policy.cut} prompts lost their beginning: the model has {tools.policy.room} positions"
        )
    assert config.models, "the graph names the one model of this evaluation"
    label = config.models[0]
    out.write_table("metrics", [metric.row(label) for metric in found.metrics])
    out.write_table("completions", found.completions)
    out.write_table("scores", found.scores)
    return headline(found)


def language_model(model: ModelArtifact, prompt_format: Any, device: Any, batch_size: int) -> LanguageModel:
    """The model that is evaluated; its own code runs where it was adopted with that permission."""
    loaded = load_causal_lm(model.model_dir, trust_remote_code=model.trusts_remote_code)
    return LanguageModel(model.model_dir, prompt_format, device, batch_size, model=loaded)


ROW_TYPES: dict[str, tuple[str, ...]] = {
    "completions": ("prompt", "prompt_completion"),
    "perplexity": ("text", "prompt_completion", "preference"),
    "questions": ("question",),
    "minimal_pairs": ("minimal_pair",),
    "preferences": ("preference",),
}
"""Benchmark -> the rows it can be run on."""


def check_rows(name: str, kind: str, dataset: DatasetArtifact) -> None:
    """Refuse a data set of another row type before any model is loaded."""
    if dataset.row_type not in ROW_TYPES[kind]:
        raise DataError(
            f"benchmark {name} ({kind}) names {dataset.id}, which holds {dataset.row_type} rows",
            expected=" or ".join(ROW_TYPES[kind]) + " rows",
            fix="name another data set in evaluate.benchmarks",
        )


def benchmark_rows(dataset: DatasetArtifact, benchmark: Benchmark, out: Draft) -> list[dict[str, Any]]:
    """The eval part of a data set; with a warning the train part where nothing is held out."""
    part = "eval"
    if not count_rows(dataset.rows_path(part)):
        out.warn(f"{dataset.id} holds nothing out (eval_fraction: 0): its train part is used")
        part = "train"
    return list(islice(iter_rows(dataset.rows_path(part)), benchmark.max_rows))


def baseline_rewards(baseline: EvaluationArtifact | None) -> dict[tuple[str, int], float]:
    """(benchmark, row) -> reward of the baseline model's completion."""
    if baseline is None:
        return {}
    rows = read_rows(baseline.path / "metadata" / "completions.parquet")
    return {(row["benchmark"], row["row"]): row["reward"] for row in rows if row.get("reward") is not None}


def headline(found: Findings) -> dict[str, float | int | str]:
    """The first metrics; a metric that several benchmarks have carries the benchmark's name."""
    names = [metric.metric for metric in found.metrics]
    return {
        one.metric if names.count(one.metric) == 1 else f"{one.benchmark} {one.metric}": round(one.value, 4)
        for one in found.metrics[:6]
    }

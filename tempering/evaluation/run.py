"""Evaluating one model: run its benchmarks and write the tables."""

from collections.abc import Mapping
from typing import Any

from tempering.artifacts.draft import Draft
from tempering.artifacts.kinds import DatasetArtifact, EvaluationArtifact, ModelArtifact
from tempering.artifacts.tables import read_rows
from tempering.evaluation.benchmarks import Findings, Tools, run_benchmark
from tempering.evaluation.config import Benchmark, EvaluateConfig
from tempering.evaluation.language_model import LanguageModel
from tempering.models.device import prepare_device
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
    device = prepare_device(out)
    is_scorer = model.details.get("head") == "score"
    scorer = model if is_scorer else reward_model
    prompt_format: Any = model.details.get("prompt_format", "chat")
    tools = Tools(
        policy=None
        if is_scorer
        else LanguageModel(model.model_dir, prompt_format, device, config.batch_size),
        scorer=LearnedReward(scorer.model_dir, device) if scorer else None,
        seed=out.seed,
        baseline=baseline_rewards(baseline),
        evaluates_scorer=is_scorer,
    )
    found = Findings()
    for number, (name, benchmark) in enumerate(config.benchmarks.items()):
        run_benchmark(name, benchmark, benchmark_rows(datasets[benchmark.dataset], benchmark), tools, found)
        out.progress(number + 1, len(config.benchmarks), unit="benchmarks")
    label = config.models[0]
    out.write_table("metrics", [metric.row(label) for metric in found.metrics])
    out.write_table("completions", found.completions)
    out.write_table("scores", found.scores)
    return {metric.metric: round(metric.value, 4) for metric in found.metrics[:6]}


def benchmark_rows(dataset: DatasetArtifact, benchmark: Benchmark) -> list[dict[str, Any]]:
    """The eval part of a data set; the train part where nothing is held out."""
    rows = read_rows(dataset.rows_path("eval")) or read_rows(dataset.rows_path("train"))
    return rows[: benchmark.max_rows]


def baseline_rewards(baseline: EvaluationArtifact | None) -> dict[str, float]:
    """Prompt -> reward of the baseline model's completion."""
    if baseline is None:
        return {}
    rows = read_rows(baseline.path / "metadata" / "completions.parquet")
    return {row["prompt"]: row["reward"] for row in rows if row.get("reward") is not None}

"""Evaluating one model, and its checkpoints where that is asked for: run the benchmarks, write the tables."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from tempering.artifacts.draft import Draft
from tempering.artifacts.kinds import DatasetArtifact, EvaluationArtifact, ModelArtifact
from tempering.artifacts.tables import read_rows
from tempering.data.rows import RowType
from tempering.data.shards import count_rows, iter_rows
from tempering.errors import DataError
from tempering.evaluation.benchmarks.base import Benchmark, Measured, Row, Tools
from tempering.evaluation.checkpoints import Point, curve_tables, kept_checkpoints, whole
from tempering.evaluation.config import EvaluateConfig
from tempering.evaluation.findings import Findings, findings_of, run_benchmark, tables_of
from tempering.evaluation.metrics import Metric, is_part
from tempering.evaluation.overoptimisation import training_rows
from tempering.evaluation.pieces import drop_pieces, finished_piece, keep_piece
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
    models: Mapping[str, ModelArtifact],
    trained: ModelArtifact | None = None,
    base: ModelArtifact | None = None,
) -> dict[str, float | int | str]:
    """Run every benchmark that applies to the model; the first metrics are the headline.

    Args:
        trained: the artifact with the checkpoints, where `model` was merged from its adapter.
        base: the model that the adapters of these checkpoints are on.
    """
    # Refuse wrong rows before any model is loaded.
    for name, benchmark in config.benchmarks.items():
        benchmark.check_machine(name)
        for dataset in benchmark.dataset_names:
            check_rows(name, benchmark, datasets[dataset], benchmark.takes(dataset))
        benchmark.check(name, Tools(model=model, models=models, datasets=datasets))

    # What every point of the training is measured with: the judge, and the benchmarks for such a model.
    device = prepare_device(out)
    is_scorer = model.details.get("head") == "score"
    judge = LearnedReward.of(reward_model, device) if reward_model and not is_scorer else None
    tools = Tools(scorer=judge, seed=out.seed, models=models, datasets=datasets, out=out)
    rows_of_baseline = baseline_rows(baseline)
    measured: Measured = "scorer" if is_scorer else "policy"
    benchmarks = config.measuring(measured)
    for name in [name for name in config.benchmarks if name not in benchmarks]:
        out.warn(f"benchmark {name} is skipped: {model.id} is a {measured}, which it does not measure")

    # The finished model first: what is wrong with a benchmark shows before the checkpoints are measured.
    finished = Point(model, (trained or model).manifest.tokens)
    points = [finished, *(kept_checkpoints(trained or model) if config.every_checkpoint else [])]
    total, curve = len(benchmarks) * len(points), []
    for point in points:
        # What a killed run has measured is not measured again; a model alone has nothing worth keeping.
        key = f"measured-{point.checkpoint or 'finished'}"
        piece = finished_piece(out, key) if len(points) > 1 else None
        if piece is not None:
            curve.append((point, findings_of(piece, benchmarks)))
            continue
        findings: list[Findings] = []
        with whole(point.model, base, out) as whole_model:
            toolbox = replace(tools, model=whole_model, **_opened(whole_model, device, config.batch_size))
            for done, (name, benchmark) in enumerate(benchmarks.items(), len(curve) * len(benchmarks) + 1):
                heard = out if point is finished else None
                rows = benchmark_rows(datasets, benchmark, heard)
                of_baseline = rows_of_baseline.get(name, {})
                findings.append(run_benchmark(name, benchmark, rows, replace(toolbox, baseline=of_baseline)))
                out.progress(done, total, unit="benchmarks")
        policy = toolbox.policy
        if policy is not None and policy.cut and point is finished:
            room = f"the model has {policy.room} positions, and a benchmark may read less (`max_length`)"
            out.warn(f"{policy.cut} prompts lost their beginning: {room}")
        if toolbox.scorer is not None and point is finished:
            for message in toolbox.scorer.cuts("the model" if is_scorer else "the reward model"):
                out.warn(message)
        if len(points) > 1:
            piece = keep_piece(out, key, {finding.name: finding.piece() for finding in findings})
            findings = findings_of(piece, benchmarks)
        curve.append((point, findings))

    # Write the tables; the finished model stands last on the curve.
    assert config.models, "the graph names the one model of this evaluation"
    metrics = [metric for finding in curve[0][1] for metric in finding.metrics]
    out.write_table("metrics", [metric.row(config.models[0]) for metric in metrics])
    tables = tables_of(curve[0][1])
    if len(points) > 1:
        tables |= curve_tables(config.models[0], [*curve[1:], curve[0]])
        last = [{**row, **finished.place} for row in tables["scores"]]
        training = training_rows(trained or model, [*tables["checkpoint_scores"], *last])
        tables.setdefault("overoptimisation", []).extend(training)
    for table, rows in tables.items():
        out.write_table(table, rows)
    drop_pieces(out)
    return headline(metrics)


def _opened(model: ModelArtifact, device: Any, batch_size: int) -> dict[str, Any]:
    """A model's weights as the tool that they are: a scorer, or a policy."""
    if model.details.get("head") == "score":
        return {"scorer": LearnedReward.of(model, device)}
    prompt_format: Any = model.details.get("prompt_format", "chat")
    return {"policy": language_model(model, prompt_format, device, batch_size)}


def language_model(model: ModelArtifact, prompt_format: Any, device: Any, batch_size: int) -> LanguageModel:
    """The model that is evaluated; its own code runs where it was adopted with that permission."""
    weights = load_causal_lm(model.model_dir, trust_remote_code=model.trusts_remote_code)
    return LanguageModel(
        model.model_dir,
        prompt_format,
        device,
        batch_size,
        model=weights,
        trained_on_rows=model.trained_on_rows,
    )


def check_rows(
    name: str, benchmark: Benchmark, dataset: DatasetArtifact, row_types: Sequence[RowType]
) -> None:
    """Refuse a data set of another row type."""
    if dataset.row_type not in row_types:
        raise DataError(
            f"benchmark {name} ({benchmark.kind_name()}) names {dataset.id}, "
            f"which holds {dataset.row_type} rows",
            expected=" or ".join(row_types) + " rows",
            fix="name another data set in evaluate.benchmarks",
        )


def benchmark_rows(
    datasets: Mapping[str, DatasetArtifact], benchmark: Benchmark, out: Draft | None
) -> list[Row]:
    """The eval part of its data set; with a warning to `out` the train part where nothing is held out."""
    if benchmark.own_rows:
        return []
    dataset, part = datasets[benchmark.dataset], "eval"
    if not count_rows(dataset.rows_path(part)):
        if out is not None:
            out.warn(f"{dataset.id} holds nothing out (eval_fraction: 0): its train part is used")
        part = "train"
    return list(islice(iter_rows(dataset.rows_path(part)), benchmark.max_rows))


def baseline_rows(baseline: EvaluationArtifact | None) -> dict[str, dict[int, Row]]:
    """Benchmark -> row -> the baseline model's row of `completions`."""
    if baseline is None:
        return {}
    rows: dict[str, dict[int, Row]] = {}
    for row in read_rows(baseline.path / "metadata" / "completions.parquet"):
        rows.setdefault(row["benchmark"], {})[row["row"]] = row
    return rows


def headline(metrics: Sequence[Metric]) -> dict[str, float | int | str]:
    """The first metrics but those of parts; what several benchmarks have carries the benchmark's name."""
    beside: dict[str, set[str]] = {}
    for metric in metrics:
        beside.setdefault(metric.benchmark, set()).add(metric.metric)
    metrics = [metric for metric in metrics if not is_part(metric.metric, beside[metric.benchmark])]
    names = [metric.metric for metric in metrics]
    ambiguous = {name for name in names if names.count(name) > 1}
    return {
        f"{metric.benchmark} {metric.metric}" if metric.metric in ambiguous else metric.metric: round(
            metric.value, 4
        )
        for metric in metrics[:6]
    }

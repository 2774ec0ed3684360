"""`every_checkpoint: true`: the kept checkpoints are measured as models of their own would be."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tempering.artifacts.draft import checkpoints_in
from tempering.artifacts.resolve import build
from tempering.evaluation import run
from tests.conftest import tiny_nodes
from tests.tiny import CPU, inputs_of, run_nodes

pytestmark = pytest.mark.slow

FEW = {
    "held_out": {"kind": "perplexity", "dataset": "demonstrations"},
    "pairs": {"kind": "minimal_pairs", "dataset": "pairs"},
    "preferences": {"kind": "preferences", "dataset": "preferences"},
}
CURVES = {"evaluate.every_checkpoint": True, "evaluate.benchmarks": FEW}
STORIES = {"kind": "completions", "dataset": "prompts", "max_new_tokens": 8}
REWARDED = {
    "evaluate.every_checkpoint": True,
    "evaluate.baseline": None,
    "evaluate.benchmarks": {
        "stories": {**STORIES, "gold": True},
        "judged": {**STORIES, "judge": "reward_model"},
    },
}
LORA = {"kind": "lora", "rank": 4}


@pytest.fixture(scope="module")
def curves(tiny_store: Any, tiny: Any) -> Any:
    """The tiny pipeline's evaluations with the checkpoints in them."""
    tiny("sft")
    made: dict[str, Any] = {}
    return lambda name: run_nodes(tiny_store, tiny_nodes(CURVES), name, made)


def test_the_curve_ends_in_the_finished_model(curves: Any, tiny: Any) -> None:
    evaluation, model = curves("evaluate[sft]"), tiny("sft")
    curve = evaluation.read("checkpoints")
    names = list(dict.fromkeys(curve["checkpoint"]))
    folders = [folder.name for folder in checkpoints_in(model.path)]
    assert names == [*folders[:-1], ""]  # the last checkpoint is the finished model
    assert curve["tokens"].is_monotonic_increasing
    assert curve["tokens"].iloc[-1] == model.manifest.tokens
    last = curve[curve["checkpoint"] == ""].drop(columns=["checkpoint", "tokens"]).reset_index(drop=True)
    assert last.equals(evaluation.read("metrics"))
    loss = curve[curve["metric"] == "loss"]["value"].tolist()
    assert loss == sorted(loss, reverse=True)
    assert loss[0] > loss[-1]


def test_a_killed_run_measures_no_finished_checkpoint_again(
    tiny: Any, tiny_store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutations: no piece is kept; a checkpoint gets another's piece; a table is left out of it."""
    (node,) = [node for node in tiny_nodes(REWARDED) if node.name == "evaluate[rloo]"]
    inputs = inputs_of(node, tiny)
    measured, measure = list[str](), run.run_benchmark

    def cut_short(name: str, *arguments: Any) -> Any:
        measured.append(f"{arguments[-1].model.checkpoint} {name}")
        if len(measured) == 6:  # in the middle of the third point
            raise KeyboardInterrupt
        return measure(name, *arguments)

    def evaluated(**options: Any) -> Any:
        return build(tiny_store, node.stage, node.config, inputs, runtime=CPU, **options)

    monkeypatch.setattr(run, "run_benchmark", cut_short)
    with pytest.raises(KeyboardInterrupt):
        evaluated()
    resumed = evaluated()
    again = measured[6:]
    assert measured[0] == "None stories", "the finished model is the first point"
    assert again[:2] == measured[4:6], "the point in whose middle it was, whole"
    assert not set(again) & set(measured[:4])
    assert resumed.manifest.resumed_from_tokens
    assert not any("measured" in name for name in resumed.manifest.files)

    # As if nothing had happened: made again from the beginning, file by file.
    whole = evaluated(force=True)
    assert len(measured) == 6 + len(again) + 4 + len(again)
    tables = {path.name: path.read_bytes() for path in (whole.path / "metadata").iterdir()}
    assert {"metrics.parquet", "checkpoints.parquet", "overoptimisation.parquet"} <= tables.keys()
    assert tables == {path.name: path.read_bytes() for path in (resumed.path / "metadata").iterdir()}


def test_a_training_on_a_reward_has_its_curve(tiny_store: Any, tiny: Any) -> None:
    evaluation = run_nodes(tiny_store, tiny_nodes(REWARDED), "evaluate[rloo]")
    both, curve = (
        table.groupby("benchmark") for table in map(evaluation.read, ("overoptimisation", "checkpoints"))
    )
    table, judged, curve = both.get_group("stories"), both.get_group("judged"), curve.get_group("stories")
    for column, metric in (("proxy", "reward"), ("gold", "gold_score")):
        assert table[column].tolist() == curve[curve["metric"] == metric]["value"].tolist()
    assert table["tokens"].tolist() == curve[curve["metric"] == "reward"]["tokens"].tolist()
    logged = tiny("rloo").read("training_stats")["kl"]
    assert table["kl"].between(logged.min(), logged.max()).all()
    assert judged["gold"].tolist() == judged["proxy"].tolist(), "the same model is both judges"


def test_a_checkpoint_alone_is_measured_the_same(curves: Any, tiny: Any, tiny_store: Any) -> None:
    """As `temper evaluate sft@latest/checkpoint_...` does it: one code for every model."""
    curve = curves("evaluate[sft]").read("checkpoints")
    name = curve["checkpoint"].iloc[0]
    (node,) = [node for node in tiny_nodes({"evaluate.benchmarks": FEW}) if node.name == "evaluate[sft]"]
    inputs: dict[str, Any] = {
        "model": replace(tiny("sft"), checkpoint=name),
        "datasets": {key: tiny(f"dataset[{key}]") for key in ("demonstrations", "pairs")},
    }
    alone = build(tiny_store, node.stage, node.config, inputs, runtime=CPU).read("metrics")
    rows = curve[curve["checkpoint"] == name].drop(columns=["checkpoint", "tokens"]).reset_index(drop=True)
    assert rows.equals(alone)


def test_a_reward_model_has_a_curve_too(curves: Any) -> None:
    curve = curves("evaluate[reward_model]").read("checkpoints")
    assert "accuracy" in set(curve["metric"])
    assert curve["checkpoint"].nunique() > 1


def test_a_checkpoint_of_an_adapter_is_merged_into_its_base(tiny_store: Any, tiny: Any) -> None:
    from tempering.evaluation.benchmarks import PerplexityBenchmark, Tools
    from tempering.evaluation.findings import run_benchmark
    from tempering.generation.language_model import LanguageModel
    from tempering.models.adapters import load_adapter
    from tempering.models.loading import load_causal_lm

    tiny("pretrain")
    nodes = tiny_nodes({**CURVES, "sft.adapter": LORA, "sft.learning_rate": 1e-2})
    made: dict[str, Any] = {}
    evaluation = run_nodes(tiny_store, nodes, "evaluate[sft]", made)
    curve = evaluation.read("checkpoints").set_index(["checkpoint", "metric"])["value"]
    assert not any(".tmp" in name for name in evaluation.manifest.files)
    # The same adapter on its base, unmerged.
    name = curve.index[0][0]
    folder: Path = made["sft"].path / "checkpoints" / name
    unmerged = load_adapter(load_causal_lm(tiny("pretrain").model_dir), folder)
    model = LanguageModel(folder, "chat", "cpu", 8, model=unmerged, trained_on_rows=True)
    rows = tiny("dataset[demonstrations]").rows("eval").to_dict("records")
    benchmark = PerplexityBenchmark.model_validate({"kind": "perplexity", "dataset": "x"})
    findings = run_benchmark("held_out", benchmark, rows, Tools(policy=model))
    losses = {metric.metric: metric.value for metric in findings.metrics}
    assert curve[name, "loss"] == pytest.approx(losses["loss"], abs=1e-4)
    assert abs(curve[name, "loss"] - curve["", "loss"]) > 1e-3

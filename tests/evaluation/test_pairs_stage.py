"""The evaluate stage with judges, references and real prompts, on tiny models."""

import math
from typing import Any

import pytest

from tests.data.real_samples import real_sample
from tests.tiny import run_nodes

pytestmark = pytest.mark.slow

JUDGED = {"kind": "comparison", "judge": {"kind": "reward_model"}, "max_new_tokens": 8}


def test_a_policy_beside_its_reference(tiny_store: Any, nodes: Any) -> None:
    """What differs is measured, what is equal is 0; the baseline is not compared with itself."""
    benchmarks = {
        "stories": {"kind": "completions", "dataset": "prompts", "max_new_tokens": 8},
        "judged": {**JUDGED, "dataset": "prompts"},
        "rows": {**JUDGED, "dataset": "demonstrations", "reference": "rows"},
        "moved": {"kind": "kl_divergence", "dataset": "prompts", "max_new_tokens": 8},
        "varied": {
            "kind": "diversity",
            "dataset": "prompts",
            "max_new_tokens": 8,
            "word_budget": 10,
            "train_dataset": "corpus",  # of another row type than the prompts
            "copied_words": 3,
        },
    }
    made: dict[str, Any] = {}
    graph = nodes({"evaluate.benchmarks": benchmarks})
    tables = {
        name: run_nodes(tiny_store, graph, f"evaluate[{name}]", made).read("metrics")
        for name in ("sft", "dpo")
    }
    found = {
        name: {(row.benchmark, row.metric): row for row in table.itertuples()}
        for name, table in tables.items()
    }
    dpo, sft = found["dpo"], found["sft"]

    # By the reward model of the stage, and by the same one as a judge.
    for metric in ("win_rate", "length_controlled_win_rate", "length_ratio", "empty_share"):
        assert ("stories", metric) in dpo
        assert ("judged", metric) in dpo
    assert dpo["judged", "length_ratio"].value == dpo["stories", "length_ratio"].value
    assert dpo["judged", "judged_share"].value == 1
    assert ("judged", "win_rate") not in sft
    assert ("rows", "win_rate") in sft

    # The reference does not differ from itself: there is nothing to measure.
    assert ("moved", "kl_per_token") not in sft
    assert dpo["moved", "kl_per_token"].value > 1e-6
    assert dpo["moved", "kl_per_token"].convention == "exact"
    assert {metric for kind, metric in dpo if kind == "varied"} >= {
        "distinct_1",
        "self_bleu",
        "repeated_share",
    }
    for row in dpo.values():
        assert math.isnan(row.low) or row.low <= row.value <= row.high


@pytest.mark.parametrize(
    ("file", "reference", "count"),
    [("mt_bench/question.jsonl", "baseline", 80), ("alpaca_eval.json.gz", "rows", 551)],
)
def test_real_prompts(tiny_store: Any, nodes: Any, file: str, reference: str, count: int) -> None:
    """MT-Bench's questions and AlpacaEval's instructions, these with text-davinci-003's answers."""
    path = real_sample(f"evaluation/{file}")
    # Spelled out, since the folder `evaluation` would choose the use of the rows.
    source = {"kind": "auto", "path": str(path), "eval_fraction": 1}
    judged = {**JUDGED, "dataset": "real", "reference": reference, "max_rows": 12}
    graph = nodes({"datasets.real": source, "evaluate.benchmarks": {"real": judged}})
    made: dict[str, Any] = {}
    evaluation = run_nodes(tiny_store, graph, "evaluate[dpo]", made)
    table = evaluation.read("metrics").set_index("metric")
    assert len(made["dataset[real]"].rows("eval")) == count
    assert table.loc["win_rate", "n"] == 12
    assert 0 <= table.loc["length_controlled_win_rate", "value"] <= 1
    verdicts = evaluation.read("verdicts")
    assert (verdicts["status"] == "ok").all()
    assert (verdicts["reference"].str.len() > 0).any()

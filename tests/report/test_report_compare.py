"""A comparison: differences paired by rows, settings to the field, the same prompts."""

from pathlib import Path
from typing import Any

import pytest
from fabricate import EVALUATED, artifact, evaluation_tables, input_ref, side

from tempering.artifacts.kinds import EvaluationArtifact
from tempering.artifacts.manifest import InputRef
from tempering.evaluation.benchmarks import BENCHMARKS
from tempering.evaluation.findings import Findings, tables_of
from tempering.report.compare import Change, Comparison, Side, changes, compare


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    folder = tmp_path_factory.mktemp("compare")
    return compare(side(folder, "sft", "<old>"), side(folder, "ppo", "new"))


def test_a_difference_is_the_mean_over_rows(made: Comparison) -> None:
    gold = next(delta for delta in made.deltas if delta.line.metric == "gold_score")
    assert gold.difference is not None
    assert gold.before.value is not None
    assert gold.after.value is not None
    assert gold.difference.mean == pytest.approx(gold.after.value - gold.before.value)
    assert gold.difference.n == 60
    # Rows are drawn together: far narrower than two separate intervals.
    assert gold.difference.low is not None
    assert gold.difference.high is not None
    assert gold.difference.high - gold.difference.low < (gold.after.high or 0) - (gold.after.low or 0)
    assert gold.effect == "better"
    loss = next(delta for delta in made.deltas if delta.line.metric == "loss")
    assert loss.difference is not None
    assert loss.difference.mean < 0
    assert loss.effect == "better", "lower is better"


def test_rows_of_other_data_or_another_convention_are_not_paired(tmp_path: Path) -> None:
    inputs = {"datasets.d": InputRef(id="dataset-d/x", payload_digest="1", fingerprint="f")}
    config = {
        "benchmarks": {name: {**item, "dataset": "d"} for name, item in EVALUATED["benchmarks"].items()}
    }
    tables = evaluation_tables("sft", 20)
    one = artifact(EvaluationArtifact, tmp_path, "evaluate[a]", tables, config=config, inputs=inputs)
    other = {"datasets.d": input_ref("dataset-d/y")}
    two = artifact(EvaluationArtifact, tmp_path, "evaluate[b]", tables, config=config, inputs=other)
    deltas = compare(Side("a", {}, {"m": one}), Side("b", {}, {"m": two})).deltas
    assert {(delta.note, delta.effect) for delta in deltas} == {("measured on other data", "")}
    tables["metrics"] = [{**row, "convention": "bos"} for row in tables["metrics"]]
    three = artifact(EvaluationArtifact, tmp_path, "evaluate[c]", tables, config=config, inputs=inputs)
    deltas = compare(Side("a", {}, {"m": one}), Side("c", {}, {"m": three})).deltas
    assert {delta.note for delta in deltas} == {"scored by another convention"}


@pytest.mark.parametrize(
    ("role", "note", "metrics"),
    [
        ("reward_model", "scored by another reward model", {"stories reward", "stories win_rate"}),
        ("baseline", "compared with another baseline", {"stories win_rate", "judged win_rate"}),
        ("models.rm", "measured with another judge", {"judged win_rate", "judged score"}),
        ("models.sft", "measured with another reference", {"moved kl_per_completion"}),
        ("datasets.trained", "measured on other data", {"rte accuracy"}),
        ("judge", "measured with another judge", {"judged win_rate", "judged score"}),
    ],
)
def test_numbers_by_other_yardsticks_are_not_paired(
    tmp_path: Path, role: str, note: str, metrics: set[str]
) -> None:
    benchmarks: dict[str, dict[str, Any]] = {
        "stories": {"kind": "completions", "dataset": "d"},
        "judged": {"kind": "comparison", "dataset": "d", "judge": {"kind": "reward_model", "model": "rm"}},
        "moved": {"kind": "kl_divergence", "dataset": "d", "reference": "sft"},
        "rte": {"kind": "finetuning", "dataset": "d", "train_dataset": "trained"},
    }
    measured = {
        "stories": ("gold_score", "reward", "win_rate", "ended_share"),
        "judged": ("win_rate", "score", "ended_share"),
        "moved": ("kl_per_completion",),
        "rte": ("accuracy",),
    }
    roles = ("datasets.d", "datasets.trained", "reward_model", "baseline", "models.rm", "models.sft")
    inputs = {name: InputRef(id=f"{name}/x", payload_digest="1", fingerprint="f") for name in roles}

    # The same rows on both sides; of one input, or of how the judge asks, another one.
    sides = []
    for side_name in ("a", "b"):
        findings = [
            Findings(name, BENCHMARKS[item["kind"]].model_construct()) for name, item in benchmarks.items()
        ]
        for finding in findings:
            for metric in measured[finding.name]:
                finding.add(metric, [0.25, 0.5, 1.0] * 5)
        tables = {
            "metrics": [row.row("m") for item in findings for row in item.metrics],
            **tables_of(findings),
        }
        config: dict[str, Any] = {"benchmarks": benchmarks}
        hashed = {
            "config": {
                "benchmarks": {"judged": {"judge": {"template": side_name if role == "judge" else ""}}}
            }
        }
        mine = inputs if side_name == "a" or role == "judge" else inputs | {role: input_ref("other/y")}
        about = {"config": config, "inputs": mine, "hashed": hashed}
        made = artifact(EvaluationArtifact, tmp_path, f"evaluate[{side_name}]", tables, **about)
        sides.append(Side(side_name, {}, {"m": made}))
    deltas = compare(*sides).deltas
    notes = {f"{delta.line.benchmark} {delta.line.metric}": delta.note for delta in deltas}
    assert notes == {name: note if name in metrics else "" for name in notes}
    assert {delta.effect for delta in deltas} == {"", "same"}


def test_a_weighted_number_is_not_paired_by_plain_rows(tmp_path: Path) -> None:
    tables = evaluation_tables("sft", 20)
    for row in tables["metrics"]:
        row["value"] += 0.01
    one = artifact(EvaluationArtifact, tmp_path, "evaluate[a]", tables, config=EVALUATED)
    deltas = compare(Side("a", {}, {"m": one}), Side("b", {}, {"m": one})).deltas
    assert {delta.note for delta in deltas} == {"no mean of its rows"}
    assert all(delta.difference is not None and delta.difference.low is None for delta in deltas)


def test_a_part_is_paired_by_its_rows(tmp_path: Path) -> None:
    """`accuracy[islands]` has no rows of its own in `scores`: they are those of `accuracy` with that part."""
    sides = []
    for name, better in (("a", False), ("b", True)):
        findings = Findings("grammar", BENCHMARKS["minimal_pairs"].model_construct())
        right = [float(row % 2 or (better and row in (0, 2, 4, 6, 8, 10))) for row in range(40)]
        findings.add("accuracy", right, parts=["islands"] * 20 + ["npi"] * 20)
        metrics = [metric.row(name) for metric in findings.metrics]
        tables = {"metrics": metrics, **tables_of([findings])}
        evaluation = artifact(EvaluationArtifact, tmp_path, f"evaluate[{name}]", tables, config=EVALUATED)
        sides.append(Side(name, {}, {"m": evaluation}))
    found = {delta.line.metric: delta for delta in compare(*sides).deltas}
    islands, npi = (found[f"accuracy[{part}]"] for part in ("islands", "npi"))
    assert islands.difference is not None
    assert (islands.difference.mean, islands.difference.n) == (pytest.approx(0.3), 20)
    assert (islands.effect, npi.effect, islands.note) == ("better", "same", "")


def test_settings_differ_to_the_field() -> None:
    before = {"dpo": {"beta": 0.1, "loss": {"kind": "sigmoid"}, "epochs": 1}, "seed": 0, "gone": {}}
    after = {"dpo": {"beta": 0.2, "loss": {"kind": "sigmoid"}, "epochs": 1}, "seed": None}
    assert changes(before, after) == [
        Change("dpo.beta", "0.1", "0.2"),
        Change("seed", "0", "null"),
        Change("gone", "{}", None),
    ]

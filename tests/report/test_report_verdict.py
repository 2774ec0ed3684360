"""The verdict follows from the numbers, also where they say that a stage did not help."""

import re
from pathlib import Path
from statistics import fmean

import pytest
from fabricate import artifact, contents

import tasks  # noqa: F401  stages say how they are called
from tempering.artifacts.kinds import EvaluationArtifact, ModelArtifact
from tempering.evaluation.benchmarks.completions import CompletionsBenchmark as Completions
from tempering.evaluation.benchmarks.preferences import PreferencesBenchmark as Pairs
from tempering.evaluation.metrics import Metric
from tempering.report.names import cast
from tempering.report.pairing import Difference, difference, differences, parents_of
from tempering.report.scoreboard import score_tables
from tempering.report.table import Figure, Line, described, families, figures, headline, lines, metric_rows
from tempering.report.verdict import _in_a_sentence, judge


def figure(
    model: str,
    value: float | None,
    half: float = 0.01,
    better: str = "higher",
    metric: str = "gold_score",
    baseline: float | None = None,
) -> Figure:
    low, high = (None, None) if value is None else (value - half, value + half)
    return Figure(model, metric, value, low, high, 100, baseline, better, "b")


def line_of(*found: Figure) -> Line:
    return Line("b", found[0].metric, {item.model: item for item in found})


def said(*found: Figure, deltas: dict[str, Difference] | None = None) -> str:
    line = line_of(*found)
    verdict = judge(line, cast(line.figures), deltas or {})
    return " ".join([verdict.sentence, *verdict.notes])


def test_a_clear_gain() -> None:
    text = said(figure("sft", 0.70), figure("ppo", 0.80), figure("rloo", 0.90))
    assert "RLOO is the best of 2 aligned models in gold score: 0.900 (95% interval 0.890 to 0.910)" in text
    assert "wholly above SFT’s 0.700 (0.690 to 0.710)" in text


def test_a_judge_that_nobody_learned_from_needs_no_caveat() -> None:
    rewards = figure("sft", 0.1, metric="reward"), figure("ppo", 0.9, metric="reward")
    line = Line("b", "reward", {item.model: item for item in rewards}, Completions)
    for learned in (True, False):
        notes = judge(line, cast(line.figures), {}, learned=learned).notes
        assert any("what the aligned stages were trained on" in note for note in notes) == learned


def test_lower_is_better() -> None:
    text = said(
        figure("sft", 2.0, better="lower", metric="loss"), figure("ppo", 1.5, better="lower", metric="loss")
    )
    assert "PPO reaches 1.50 (95% interval 1.49 to 1.51) in loss" in text
    assert "wholly below SFT’s" in text


def test_an_overlap_is_no_gain() -> None:
    assert "no clear gain from alignment" in said(figure("sft", 0.70), figure("ppo", 0.71))


def test_pairs_decide_where_intervals_overlap() -> None:
    delta = Difference("ppo", "sft", 0.01, 0.004, 0.016, 100, "higher")
    text = said(figure("sft", 0.70), figure("ppo", 0.71), deltas={"ppo": delta})
    assert "row by row the difference is +0.010 (+0.004 to +0.016), better" in text


def test_a_loss_is_called_one() -> None:
    worse = Difference("ppo", "sft", -0.1, -0.12, -0.08, 100, "higher")
    unclear = Difference("dpo", "sft", 0.0, -0.02, 0.02, 100, "higher")
    text = said(
        figure("sft", 0.7), figure("dpo", 0.65), figure("ppo", 0.6), deltas={"dpo": unclear, "ppo": worse}
    )
    assert "wholly below SFT’s 0.700 (0.690 to 0.710): alignment did not help." in text
    assert "DPO did not clearly help: 0.000 (−0.020 to +0.020) against SFT." in text
    assert "PPO made it worse: −0.10 (−0.12 to −0.08) against SFT." in text


def test_a_tie_at_the_top_is_said() -> None:
    text = said(figure("sft", 0.5), figure("ppo", 0.9), figure("rloo", 0.905))
    assert "RLOO is not clearly ahead of PPO" in text


def test_no_better_than_guessing() -> None:
    text = said(figure("sft", 0.5, baseline=0.5))
    assert "SFT is not clearly better than guessing (0.5) in gold score of b." in text
    text = said(figure("sft", 0.3, baseline=0.5), figure("ppo", 0.4, baseline=0.5))
    assert "Every model is worse than guessing (0.5) in gold score of b." in text
    assert "guessing" not in said(figure("sft", 0.3, baseline=0.5), figure("ppo", 0.6, baseline=0.5))


def test_a_guess_that_no_model_beats_is_said_of_every_metric() -> None:
    headlined = line_of(figure("sft", 0.7), figure("ppo", 0.8))
    worse = [
        Line("quiz", metric, {key: figure(key, 0.1, metric=metric, baseline=0.25) for key in ("sft", "ppo")})
        for metric in ("em", "f1")
    ]
    notes = judge(headlined, cast(headlined.figures), {}, [headlined, *worse]).notes
    assert "Every model is worse than guessing (0.25) in em and F1 of quiz." in notes


@pytest.mark.parametrize("label", ["F1", "KL per token", "SQuAD exact match", "ECE"])
def test_names_stay_as_they_are_in_a_sentence(label: str) -> None:
    assert _in_a_sentence(label) == label
    assert _in_a_sentence("Exact match") == "exact match"


def test_the_parts_of_a_metric_stand_together() -> None:
    flaws = [
        Line(
            "flaws", metric, {"reward_model": figure("reward_model", 0.5, metric=metric, baseline=0.5)}, Pairs
        )
        for metric in ("accuracy[other name]", "accuracy[other place]")
    ]
    notes = judge(line_of(figure("sft", 0.7)), cast(["sft", "reward_model"]), {}, flaws).notes
    assert notes == [
        "Reward model is not clearly better than guessing (0.5) in pairs ordered right "
        "(other name, other place) of flaws."
    ]


def test_many_parts_are_counted_and_metrics_listed() -> None:
    def scored(metric: str, value: float) -> Line:
        return Line("blimp", metric, {"sft": figure("sft", value, metric=metric, baseline=0.5)}, Pairs)

    names = [f"accuracy[{name}]" for name in "abcdefgh"]
    every = [scored(name, 0.9 if name == "accuracy[a]" else 0.5) for name in ["accuracy", *names]]
    every += [scored("other", 0.5), scored("third", 0.5)]
    notes = judge(line_of(figure("sft", 0.7)), cast(["sft"]), {}, every).notes
    assert notes == [
        "SFT is not clearly better than guessing (0.5) in pairs ordered right "
        "(as a whole and in 7 of 8 parts), other and third of blimp."
    ]


def test_the_parts_of_a_metric_share_a_scale() -> None:
    values = {"accuracy": 0.7, "accuracy[other name]": 0.5, "accuracy[sad ending]": 0.9}
    items = [figure("reward_model", value, metric=metric, baseline=0.5) for metric, value in values.items()]
    group = [Line("flaws", item.metric, {item.model: item}, Pairs) for item in items]
    (table,) = score_tables([group], cast(["reward_model"]))
    dots = [
        float(re.findall(r'<circle cx="([\d.]+)%', row.cells[0].chart)[0])
        for row in [*table.rows, *table.folds[0].rows]
    ]
    assert dots[1] < dots[0] < dots[2]
    assert dots[0] - dots[1] == pytest.approx(dots[2] - dots[0], abs=0.02)


def test_one_model_and_none_measured() -> None:
    assert "no other model to compare it with" in said(figure("sft", 0.5))
    assert "could not be measured" in said(figure("sft", None))
    assert "no model before alignment" in said(figure("ppo", 0.5))


@pytest.mark.parametrize(("one", "other", "side"), [(0.9, 0.7, 1), (0.7, 0.9, -1), (0.7, 0.71, 0)])
def test_separated_knows_the_direction(one: float, other: float, side: int) -> None:
    assert figure("a", one).separated(figure("b", other)) == side
    assert figure("a", one, better="lower").separated(figure("b", other, better="lower")) == -side


def test_differences_are_paired_by_row(tmp_path: Path) -> None:
    def scores(stage: str, values: dict[int, float | None], off: float = 0.0) -> EvaluationArtifact:
        rows = [
            {"benchmark": "b", "metric": "m", "row": row, "value": value} for row, value in values.items()
        ]
        mean = fmean(value for value in values.values() if value is not None) + off
        metrics = [{"benchmark": "b", "metric": "m", "value": mean}]
        made: EvaluationArtifact = artifact(
            EvaluationArtifact, tmp_path, f"evaluate[{stage}]", {"scores": rows, "metrics": metrics}
        )
        return made

    # Row 11 is in one model only and row 3 has no score: both are left out.
    base = {row: float(row) for row in range(11)}
    evaluations = {
        "sft": scores("sft", base),
        "ppo": scores(
            "ppo", {row: value + 0.5 for row, value in base.items()} | {3: None, 11: 99.0, 0: 0.25}
        ),
    }
    found = differences(evaluations, {"ppo": "sft"}, "b", "m", "lower")["ppo"]
    assert (found.mean, found.n) == (0.475, 10)
    assert found.effect == "worse"
    # A number with weights is no mean of its rows, and nothing is paired.
    evaluations["ppo"] = scores("ppo", base, off=0.1)
    assert not differences(evaluations, {"ppo": "sft"}, "b", "m", "lower")


def test_a_verdict_needs_rows_and_rows_that_differ() -> None:
    def change(*deltas: float, base: float = 2.0) -> Difference:
        ours = {row: base + delta for row, delta in enumerate(deltas)}
        found = difference("ppo", "sft", ours, dict.fromkeys(ours, base), "higher")
        assert found is not None
        return found

    # Three rows up by the same, nine rows up, twenty up alike: the bootstrap is sure, we are not.
    assert change(1, 1, 1).effect == "unclear"
    assert change(*[1, 2, 3] * 3).effect == "unclear"
    assert change(*[0.1] * 20).effect == "unclear"
    assert change(*[1, 2, 3] * 3, 1).effect == "better"
    # From no to yes on all rows is a share: Wilson's 0.839 leaves 0.161 that may go the other way.
    found = change(*[1.0] * 20, base=0.0)
    assert (found.low, found.high) == (pytest.approx(0.6775, abs=1e-3), 1.0)
    assert found.effect == "better"
    assert change(*[-1.0] * 20, base=1.0).high == pytest.approx(-0.6775, abs=1e-3)


def test_parents_come_from_lineage(tmp_path: Path) -> None:
    sft = artifact(ModelArtifact, tmp_path, "sft")
    dpo = artifact(ModelArtifact, tmp_path, "dpo", parent=sft)
    ppo = artifact(ModelArtifact, tmp_path, "ppo", parent=dpo)
    stranger = artifact(ModelArtifact, tmp_path, "stranger", parent=artifact(ModelArtifact, tmp_path, "hub"))
    models = {"sft": sft, "dpo": dpo, "ppo": ppo, "stranger": stranger}
    assert parents_of(models) == {"dpo": "sft", "ppo": "dpo"}


def test_the_parent_of_what_was_trained_from_a_merge_is_the_adapters_stage(tmp_path: Path) -> None:
    sft = artifact(ModelArtifact, tmp_path, "sft")
    merged = artifact(ModelArtifact, tmp_path, "merge", id="merge-sft/toy__2026-11-21__10-15-30__3f9c1a2b")
    dpo = artifact(ModelArtifact, tmp_path, "dpo", parent=merged)
    assert parents_of({"sft": sft, "dpo": dpo}) == {"dpo": "sft"}


def test_a_second_round_is_compared_with_what_alignment_began_with() -> None:
    line = line_of(figure("sft_a", 0.7), figure("sft_b", 0.6), figure("dpo", 0.8), figure("dpo_again", 0.9))
    kinds = {"sft_a": "sft", "sft_b": "sft", "dpo_again": "dpo"}
    models = cast(line.figures, kinds, {"dpo": "sft_a", "dpo_again": "dpo"})
    assert "wholly above sft a’s 0.700" in judge(line, models, {}).sentence


def test_families_and_headline(tmp_path: Path) -> None:
    run = contents(tmp_path, stages=("sft", "reward_model", "ppo"))
    found = lines(figures(run.evaluations), described(run.evaluations))
    assert [[line.metric for line in group] for group in families(found)][1:] == [["accuracy"]]
    top = headline(found)
    assert top is not None
    assert top.metric == "gold_score"
    assert headline([line for line in found if "reward_model" in line.figures]) is None
    rows = metric_rows(run.evaluations)
    assert list(rows[0])[:6] == ["model", "metric", "value", "low", "high", "n"]
    assert [row["model"] for row in rows] == ["sft"] * 5 + ["reward_model"] + ["ppo"] * 5


def test_a_model_from_elsewhere_is_no_aligned_one() -> None:
    models = cast(["base", "sft", "rloo"], {"base": "adopt"})
    assert [key for key, model in models.items() if model.aligned] == ["rloo"]


def test_a_metric_is_called_what_its_benchmark_says(tmp_path: Path) -> None:
    """Three benchmarks with an `accuracy`; the reward model, under whatever name, is not the headline."""
    kinds = {"pairs": {"kind": "preferences"}, "quiz": {"kind": "multiple_choice"}, "old": {"kind": "gone"}}

    def evaluation(model: str, *benchmarks: str) -> EvaluationArtifact:
        rows = [Metric("accuracy", 0.5, 0.4, 0.6, 9, name).row(model) for name in benchmarks]
        made: EvaluationArtifact = artifact(
            EvaluationArtifact,
            tmp_path,
            f"evaluate[{model}]",
            {"metrics": rows},
            config={"benchmarks": {name: kinds[name] for name in benchmarks}},
        )
        return made

    evaluations = {"judge": evaluation("judge", "pairs"), "sft": evaluation("sft", "quiz", "old")}
    every = lines(figures(evaluations), described(evaluations))
    labels = {line.benchmark: line.measure.label for line in every}
    assert labels == {"pairs": "Pairs ordered right", "quiz": "Right choices", "old": "Accuracy"}
    top = headline(every)
    assert top is not None
    assert top.benchmark == "quiz"

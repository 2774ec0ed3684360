"""Costs, lineage, folded parts and conventions: what stands beside the charts."""

import re
from pathlib import Path
from typing import Any

from fabricate import EVALUATED, artifact, contents, input_ref

import tasks  # noqa: F401  stages say how they are called
from tempering.artifacts.kinds import DatasetArtifact, EvaluationArtifact, ModelArtifact, SampleArtifact
from tempering.artifacts.manifest import CodeState
from tempering.report.config import ReportConfig
from tempering.report.costs import costs, money, operations, total
from tempering.report.graph import lineage_graph
from tempering.report.names import cast
from tempering.report.page import Contents, make_report
from tempering.report.scoreboard import score_tables
from tempering.report.table import described, families, figures, lines


def test_the_cost_of_a_training(tmp_path: Path) -> None:
    used = {"resources": {"peak_memory": 2.5e9, "machine": "Chip · 2 cores · 8 GB"}}
    models = {
        "sft": artifact(
            ModelArtifact,
            tmp_path,
            "sft",
            tokens=1000,
            seconds=1800.0,
            details={"parameters": 50_000, **used},
        ),
        "dpo": artifact(
            ModelArtifact, tmp_path, "dpo", tokens=10, details={"parameters": 100, "adapter": True}
        ),
    }
    sft, dpo = costs({}, models, {}, cast(models), 0.5)
    assert (sft.operations, sft.compute) == (6 * 1000 * 50_000, "300 MFLOP")
    assert dpo.operations == 4 * 10 * 100
    assert (sft.peak, sft.price) == ("2.5 GB", "0.25")
    assert dpo.peak == "–"
    every = total([sft, dpo], 0.5)
    assert every is not None
    assert every.operations == sft.operations + dpo.operations
    assert [operations(amount) for amount in (3.74e12, 1e21)] == ["3.74 TFLOP", "1 ZFLOP"]
    assert [money(36, 1.0), money(36, None), money(3_600_000, 2.0)] == ["0.01", "", "2,000.00"]
    page = make_report(
        Contents(models=models, command="/x/y/temper run a.yaml"), ReportConfig(price_per_hour=0.5)
    )
    assert "at 0.5 an hour" in page.html
    assert "cpu, Chip · 2 cores · 8 GB" in page.html
    assert '<code class="text">temper run a.yaml</code>' in page.html


def test_the_lineage_leaves_out_what_a_longer_way_says(tmp_path: Path) -> None:
    data = artifact(DatasetArtifact, tmp_path, "dataset[stories]")
    unused = artifact(DatasetArtifact, tmp_path, "dataset[test]")
    sample = artifact(SampleArtifact, tmp_path, "sample[sft]", inputs={"datasets.stories": data.ref})
    sft = artifact(
        ModelArtifact, tmp_path, "sft", inputs={"sample": sample.ref, "tokenizer": input_ref("t/x")}
    )
    inputs = {"model": sft.ref, "sample": sample.ref}
    ppo = artifact(ModelArtifact, tmp_path, "ppo", inputs=inputs)
    models = {"sft": sft, "ppo": ppo}
    graph = lineage_graph({"stories": data, "test": unused}, {"sft": sample}, models, cast(models))
    assert graph is not None
    assert len(re.findall('class="edge"', graph)) == 3
    assert "sft from stories; sft from sft; ppo from sft" in graph.lower()
    assert ">test<" not in graph
    assert lineage_graph({}, {}, {}, {}) is None


def test_equal_models_have_no_best_and_other_commits_are_counted(tmp_path: Path) -> None:
    row = {"value": 0.7, "low": 0.6, "high": 0.8, "n": 10, "benchmark": "theirs", "metric": "score"}
    evaluations: dict[str, Any] = {
        key: artifact(
            EvaluationArtifact, tmp_path, f"evaluate[{key}]", {"metrics": [row]}, created=created, code=code
        )
        for key, created, code in (
            ("sft", "2026-11-21T10:00:00+00:00", CodeState(commit="aaaa", dirty=False)),
            ("dpo", "2026-11-22T10:00:00+00:00", CodeState(commit="bbbb", dirty=True)),
        )
    }
    html = make_report(Contents(evaluations), ReportConfig()).html
    assert 'class="best' not in html
    assert "code bbbb with changes and 1 earlier" in html


def test_parts_without_a_whole_are_shown(tmp_path: Path) -> None:
    row = {"value": 0.7, "low": 0.6, "high": 0.8, "n": 10, "benchmark": "theirs"}
    tables = {"metrics": [{"metric": f"my_score[{part}]", **row} for part in ("one_a", "two")]}
    made: Any = artifact(EvaluationArtifact, tmp_path, "evaluate[sft]", tables)
    html = make_report(Contents({"sft": made}), ReportConfig()).html
    assert "<b>My score: one a</b>" in html
    assert 'class="scores parts"' not in html


def test_artifacts_are_folded_by_what_they_are(tmp_path: Path) -> None:
    html = make_report(contents(tmp_path, stages=("sft", "ppo")), ReportConfig()).html
    made = html[html.index('<section id="provenance">') :]
    summaries = re.findall("<summary>(.*?)</summary>", made)
    groups = ["Data sets (1)", "Samples (1)", "Models (2)", "Evaluations (2)"]
    assert [summary for summary in summaries if "(" in summary] == groups
    assert summaries[4:] == ["Models (2)", "SFT", "PPO", "Evaluations (2)", "SFT", "PPO"]


def test_each_benchmark_shows_its_first_metrics(tmp_path: Path) -> None:
    """Those of the lowest rank; what is the same in all stands above them, once."""
    row = {"value": 0.7, "low": 0.6, "high": 0.8, "n": 10, "convention": "honest"}
    names = ("perfect_share", "win_rate", "ended_share", "empty_share", "length_ratio", "gold_score")
    rows = [{"benchmark": "stories", "metric": name, **row} for name in names]
    rows += [{"benchmark": "text", "metric": name, **row} for name in ("loss", "bits_per_byte")]
    rows[-1]["n"] = 7
    made: Any = artifact(EvaluationArtifact, tmp_path, "evaluate[sft]", {"metrics": rows}, config=EVALUATED)
    every = lines(figures({"sft": made}), described({"sft": made}))
    stories, text = score_tables(families(every), cast(["sft"]))
    assert [row.metric for row in stories.rows] == ["perfect_share", "win_rate", "ended_share", "gold_score"]
    assert [row.metric for row in stories.more] == ["empty_share", "length_ratio"]
    assert stories.facts == ["10 rows", "honest"]
    assert stories.rows[0].facts == []
    assert (text.facts, text.rows[1].facts, text.more) == (["honest"], ["7 rows"], [])
    page = make_report(Contents({"sft": made}), ReportConfig())
    assert page.html.count("<summary>2 more metrics</summary>") == 1
    assert "10 rows, honest" in page.markdown
    assert "| Empty ↑ |" in page.markdown


def test_parts_are_folded_and_conventions_explained(tmp_path: Path) -> None:
    row = {"value": 0.7, "low": 0.6, "high": 0.8, "n": 10, "benchmark": "grammar", "convention": "bos"}
    names = ("accuracy", "accuracy[wh_island]", "accuracy[npi]")
    tables = {"metrics": [{"metric": name, **row} for name in names]}
    made: Any = artifact(EvaluationArtifact, tmp_path, "evaluate[sft]", tables, config=EVALUATED)
    html = make_report(Contents({"sft": made}), ReportConfig()).html
    assert "<summary>Minimal pairs: 2 parts</summary>" in html
    assert "<b>wh island</b>" in html
    assert '>grammar <span class="quiet">10 rows · bos</span></h3>' in html
    assert re.search("<dt>grammar</dt><dd>minimal_pairs, <b>bos</b>. Sum of a sentence", html)
    assert 'href="#scores"' in html

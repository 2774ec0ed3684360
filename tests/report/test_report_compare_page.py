"""The page and the JSON of a comparison."""

import re
from dataclasses import replace

import pytest
from fabricate import input_ref, side

from tempering.report.compare import Comparison, compare
from tempering.report.compare_page import compare_page, document, summary


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    folder = tmp_path_factory.mktemp("compare")
    return compare(side(folder, "sft", "<old>"), side(folder, "ppo", "new"))


def test_the_same_evaluation_does_not_differ(made: Comparison) -> None:
    same = compare(made.before, replace(made.before, name="twin"))
    assert {delta.effect for delta in same.deltas} == {"same"}
    assert "no row differs" in summary(same).lower()


def test_the_page_needs_nothing_and_escapes_everything(made: Comparison) -> None:
    html = compare_page(made)
    assert html == compare_page(made), "same artifacts, same bytes"
    assert "&lt;old&gt;" in html
    assert "<old>" not in html
    assert not re.search(r"<script|<link|<img|https?://|@import|url\(", html)
    assert 'pill better">better<' in html
    assert html.count('class="answer ') == 6, "three prompts, two sides"
    assert "default-src 'none'" in html


def test_fields_of_one_side_are_folded(made: Comparison) -> None:
    config = {"dpo": {"beta": 0.2, "loss": "ipo", "label_smoothing": None}}
    html = compare_page(compare(made.before, replace(made.after, config=config)))
    shown, _, folded = html.partition("<summary>2 fields that only B has</summary>")
    assert "<td>0.1</td><td>0.2</td>" in shown
    assert "dpo.loss" not in shown
    assert '<th scope="row">dpo.loss</th><td>ipo</td>' in folded
    assert "that only A has" not in html
    alone = compare_page(compare(made.before, replace(made.after, config={})))
    assert "No field that both have differs." in alone
    assert "<summary>1 field that only A has</summary>" in alone


def test_only_paired_differences_are_drawn(made: Comparison) -> None:
    data = {"inputs": {"datasets.None": input_ref("dataset-d/x")}}
    artifact = made.after.evaluations["dpo"]
    other = replace(artifact, manifest=artifact.manifest.model_copy(update=data))
    html = compare_page(compare(made.before, replace(made.after, evaluations={"dpo": other})))
    assert "not paired: measured on other data" in html
    assert 'class="strip' not in html


def test_the_document_has_all_numbers(made: Comparison) -> None:
    rows = document(made)
    assert (rows["before"], rows["after"]) == ("<old>", "new")
    gold = next(row for row in rows["metrics"] if row["metric"] == "gold_score")
    assert gold["effect"] == "better"
    assert (gold["model"], gold["benchmark"], gold["part"], gold["n"]) == ("dpo", "stories", None, 60)
    assert len(rows["prompts"]) == 3
    assert rows["prompts"][0].keys() == {"model", "benchmark", "prompt", "before", "after"}


def test_models_of_one_side_are_named(made: Comparison) -> None:
    lone = compare(made.before, replace(made.after, evaluations={"ppo": made.after.evaluations["dpo"]}))
    assert not lone.deltas
    assert "no metric that both have" in summary(lone)
    assert re.search(r"Only one of them has (dpo|DPO), (ppo|PPO)\.", summary(lone))

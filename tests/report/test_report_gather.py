"""A report of whatever a run has come to, as a page and as Markdown."""

from pathlib import Path
from typing import Any

import pytest
from fabricate import artifact, contents, evaluation_tables

from tempering.artifacts.kinds import Artifact, EvaluationArtifact
from tempering.artifacts.runs import RunRecord, StageRecord
from tempering.errors import ArtifactError
from tempering.report.config import ReportConfig
from tempering.report.gather import gather, settings
from tempering.report.page import Contents, make_report


class Shelf:
    """As much of a store as gathering asks for."""

    def __init__(self, run: Contents) -> None:
        self.artifacts = {item.id: item for item in run.artifacts}

    def get(self, ref: str) -> Artifact:
        if ref not in self.artifacts:
            raise ArtifactError(f"{ref} is gone", expected="")
        return self.artifacts[ref]


def record_of(run: Contents, **more: Any) -> RunRecord:
    groups = {"dataset[{}]": run.datasets, "sample[{}]": run.samples, "evaluate[{}]": run.evaluations}
    names = [(form.format(key), item) for form, group in groups.items() for key, item in group.items()]
    names += run.models.items()
    stages = {name: StageRecord(artifact=item.id) for name, item in names}
    facts = {"id": "r", "pipeline": "mine", "started": "2026-11-21T10:00:00+00:00", "stages": stages}
    return RunRecord(**facts | {"state": "completed", **more})


def test_a_record_gives_the_same_page(tmp_path: Path) -> None:
    run = contents(tmp_path, stages=("pretrain", "ppo"), command="temper run mine.yaml")
    record = record_of(run, command="temper run mine.yaml")
    assert make_report(gather(Shelf(run), record), ReportConfig()) == make_report(run, ReportConfig())  # type: ignore[arg-type]


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    run = contents(tmp_path, stages=("pretrain", "sft"))
    record = record_of(run, state="cancelled")
    record.stages["dpo"] = StageRecord(action="failed", error="no pairs\nsecond line")
    record.stages["ppo"] = StageRecord(action="cancelled")
    record.stages["rloo"] = StageRecord(artifact="rloo/away")
    made = make_report(gather(Shelf(run), record), settings(record))  # type: ignore[arg-type]
    for text in (made.html, made.markdown):
        assert "It was interrupted, with 7 stages done; not made: ppo." in text
        assert "no pairs" in text
        assert "second line" not in text
        assert "rloo/away is gone" in text
    assert "<h1>mine</h1>" in made.html
    assert made.markdown.startswith("# mine\n")


@pytest.mark.parametrize(
    ("state", "host", "words"),
    [("running", "elsewhere", "It is still running, with 0 stages done; begun: sft."), ("failed", "", "")],
)
def test_a_run_in_progress(state: str, host: str, words: str) -> None:
    record = record_of(Contents(), state=state, host=host)
    record.stages["sft"] = StageRecord(action="running")
    assert gather(Shelf(Contents()), record).unfinished == words  # type: ignore[arg-type]


def test_settings_of_another_version_do_not_hide_the_report() -> None:
    record = record_of(Contents(), config={"report": {"title": "Mine", "prompts": 3}})
    assert (settings(record).title, settings(record).prompts) == ("Mine", 3)
    record = record_of(Contents(), config={"report": {"colour": "red"}})
    assert settings(record).title == "mine"


def test_markdown_has_the_numbers_and_no_foreign_markup(tmp_path: Path) -> None:
    run = contents(tmp_path, stages=("pretrain", "sft"), failures={"dpo": "<b>a|b</b>\n# not a title"})
    made = make_report(run, ReportConfig(title="*Mine*\n## no", price_per_hour=2))
    lines = made.markdown.splitlines()
    assert lines[0] == "# \\*Mine\\* \\#\\# no"
    assert "- dpo: \\<b\\>a\\|b\\</b\\> \\# not a title" in lines
    assert f"**{made.verdict.sentence}**" in lines
    table = [line for line in lines if line.startswith("| Gold score")]
    assert len(table) == 1
    assert table[0].count("|") == 4
    assert table[0].startswith("| Gold score ↑ (guess 0.5) |")
    gold = [item.value for item in made.figures if item.metric == "gold_score"]
    assert all(f"{value:.3f}" in table[0] for value in gold)
    assert all(
        line == "" or line[0] in "#-|*" or line[0].isalnum() or line.startswith("    $") for line in lines
    )
    assert "Cost: at 2 an hour." in made.markdown


def test_a_model_without_a_value_has_a_dash(tmp_path: Path) -> None:
    tables = evaluation_tables("sft", 20)
    tables["metrics"] = [row for row in tables["metrics"] if row["metric"] != "reward"]
    evaluations = {
        "pretrain": artifact(
            EvaluationArtifact, tmp_path, "evaluate[pretrain]", evaluation_tables("pretrain", 20)
        ),
        "sft": artifact(EvaluationArtifact, tmp_path, "evaluate[sft]", tables),
    }
    made = make_report(Contents(evaluations), ReportConfig())
    row = next(line for line in made.markdown.splitlines() if line.startswith("| Reward ↑"))
    assert row.endswith(" – |")

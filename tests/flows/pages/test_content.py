"""What finished stages show: read from their tables, for people, and never more than a page can hold."""

import math
import re
from pathlib import Path

import pytest

from flows.pages import content
from flows.pages.charts import curves
from tempering.artifacts.kinds import ReportArtifact
from tempering.artifacts.manifest import FileEntry, Manifest
from tempering.artifacts.tables import write_parquet


def outputs(folder: Path, count: int) -> Path:
    rows = [
        {"step": step, "tokens": 1000 * step, "prompt": f"say {step}", "completion": f"I | <b>{step}</b>"}
        | {"score": step / 10, "reward": 0.5, "kl": 0.1, "length": 3, "ended": True}
        for step in range(count)
    ]
    return write_parquet(folder / "generated_outputs.parquet", rows)


def test_samples_are_the_first_and_the_last_completions_with_their_scores(tmp_path: Path):
    text = content.samples(outputs(tmp_path, 100))
    first, last = text.split("At the end:")
    assert first.count("say") == 4
    assert last.count("say") == 8
    assert "| 99.0K | 9.9 | 0.5 | say 99 | I \\| \\<b\\>99\\</b\\> |" in last


@pytest.mark.parametrize(("count", "shown"), [(0, 0), (1, 1), (4, 4), (6, 6), (12, 12)])
def test_no_completion_of_a_short_table_is_shown_twice(tmp_path: Path, count: int, shown: int):
    if count:
        assert content.samples(outputs(tmp_path, count)).count("say") == shown
    else:
        assert content.samples(write_parquet(tmp_path / "completions.parquet", [])) == ""


def test_a_huge_table_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(content, "_LARGEST", 10)
    text = content.samples(outputs(tmp_path, 11))
    assert text.count("say") == 4
    assert "too large" in text


def test_curves_are_charts_over_tokens_with_the_last_values(tmp_path: Path):
    rows = [
        {"tokens": 500 * step, "loss": 9.0, "score": 0.01 * step, "kl": math.nan if step < 50 else 2.0}
        for step in range(1, 101)
    ]
    text = curves(write_parquet(tmp_path / "stats.parquet", rows))
    assert text.count("xychart-beta") == 2
    score, kl = re.findall(r'"tokens \(K\)" (.*) --> (.*)\n  line \[(.*)\]', text)
    assert [round(float(number)) for number in (*score[:2], *kl[:2])] == [1, 50, 25, 50]
    assert [float(point) for point in score[2].split(", ")] == pytest.approx(
        [0.02 * float(place) * 50 / 60 + 0.018 for place in range(60)], abs=0.02
    )
    assert "Loss" not in text
    assert "nan" not in text
    assert "| KL to the starting model: nats per completion | 2 |" in text


@pytest.mark.parametrize("rows", [[], [{"tokens": 1, "grad_norm": 0.1}], [{"tokens": 1, "loss": math.nan}]])
def test_without_a_curve_there_is_no_chart(tmp_path: Path, rows: list[dict[str, float]]):
    assert curves(write_parquet(tmp_path / "stats.parquet", rows)) == ""


def test_the_verdict_is_the_reports_markdown_without_keys(tmp_path: Path):
    (tmp_path / "report.md").write_text("# Mine\n\nfailed at hf_abcdefghijklmnopqrstuvwxyz012345\n")
    manifest = Manifest(stage="report", kind="report", id="report/x", fingerprint="f")
    entry = {"report.md": FileEntry(size=1, mtime_ns=0, sha256="")}
    report = ReportArtifact(tmp_path, manifest.model_copy(update={"files": entry}))
    text = content.verdict(report, "http://here/report")
    assert text.startswith("[Open the report](http://here/report)\n\n# Mine\n")
    assert "hf_abc" not in text
    bare = ReportArtifact(tmp_path, manifest)
    assert "The report: " in content.verdict(bare, None)

"""report: everything a run made, on one self-contained page, and its numbers as Markdown."""

from collections.abc import Mapping

from tempering.artifacts.draft import Draft
from tempering.artifacts.kinds import (
    DatasetArtifact,
    EvaluationArtifact,
    GateArtifact,
    ModelArtifact,
    ReportArtifact,
    SampleArtifact,
)
from tempering.artifacts.stage import Summary, stage
from tempering.report.config import ReportConfig


@stage("report", version=4, makes=ReportArtifact)
def report(
    out: Draft,
    config: ReportConfig,
    *,
    evaluations: Mapping[str, EvaluationArtifact],
    models: Mapping[str, ModelArtifact],
    samples: Mapping[str, SampleArtifact],
    datasets: Mapping[str, DatasetArtifact],
    gates: Mapping[str, GateArtifact] | None = None,
) -> Summary:
    """Render the page from what the run made, naming the stages that failed; `gates` are those passed."""
    from tempering.report.page import Contents, make_report
    from tempering.report.table import metric_rows, schema

    failures, command = out.details.get("failures", {}), str(out.details.get("command", ""))
    page = make_report(Contents(evaluations, models, samples, datasets, failures, command), config)
    # The page and its Markdown, its numbers as a table, and its verdict for the log.
    (out.path / "report.html").write_text(page.html, encoding="utf-8", newline="\n")
    (out.path / "report.md").write_text(page.markdown, encoding="utf-8", newline="\n")
    out.write_table("report_table", metric_rows(evaluations), schema())
    out.details["verdict"] = page.verdict.sentence
    out.log(page.verdict.sentence)
    # The headline: the best model by the metric that the verdict is about.
    summary: dict[str, float | int | str] = {"models": len({*models, *evaluations})}
    best = page.verdict.best
    if best is not None and best.value is not None:
        summary |= {"best": best.model, best.metric: best.value}
    return summary | ({"failed": len(failures)} if failures else {})

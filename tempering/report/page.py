"""From artifacts to the page: gather, judge, render.

Rendered in Jinja's immutable sandbox with autoescaping and StrictUndefined: all text is data, and
only `Markup` made by `svg` is not escaped. No clock is read: same artifacts, same bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jinja2 import FileSystemLoader, StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tempering.artifacts.kinds import (
    Artifact,
    DatasetArtifact,
    EvaluationArtifact,
    ModelArtifact,
    SampleArtifact,
)
from tempering.report import inventory, markdown, overoptimisation, provenance
from tempering.report.answers import side_by_side
from tempering.report.config import ReportConfig
from tempering.report.costs import costs, total
from tempering.report.curves import loss_panels, on_policy_panels
from tempering.report.graph import lineage_graph
from tempering.report.headline import headline_chart
from tempering.report.names import Model, cast
from tempering.report.numbers import count, duration, guess, visible
from tempering.report.pairing import differences, parents_of
from tempering.report.progress import checkpoint_panels, stage_panels
from tempering.report.reward_quality import reliability_panels, reward_panels
from tempering.report.scoreboard import score_tables
from tempering.report.table import Figure, Line, described, families, figures, headline, lines
from tempering.report.verdict import Verdict, judge


@dataclass(frozen=True)
class Contents:
    """The artifacts that a report is made from; any may be missing."""

    evaluations: Mapping[str, EvaluationArtifact] = field(default_factory=dict)
    models: Mapping[str, ModelArtifact] = field(default_factory=dict)
    samples: Mapping[str, SampleArtifact] = field(default_factory=dict)
    datasets: Mapping[str, DatasetArtifact] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    """What the user typed."""
    unfinished: str = ""
    """In words how far a run has come that has not ended; "" where it has."""

    @property
    def artifacts(self) -> Sequence[Artifact]:
        """Each of them once: stages of the same settings share one artifact."""
        groups = (self.datasets, self.samples, self.models, self.evaluations)
        return list({artifact.id: artifact for group in groups for artifact in group.values()}.values())


@dataclass(frozen=True)
class Report:
    """The page, and the numbers and the verdict in it."""

    html: str
    markdown: str
    figures: Sequence[Figure]
    line: Line | None
    verdict: Verdict


def make_report(contents: Contents, config: ReportConfig) -> Report:
    """The report of `contents`; models in the order of its mapping, which is the graph's."""
    kinds = {key: str(model.manifest.hashed.get("stage", key)) for key, model in contents.models.items()}
    parents = parents_of(contents.models)
    models = cast([*contents.models, *contents.evaluations], kinds, parents)
    evaluations = {key: contents.evaluations[key] for key in models if key in contents.evaluations}
    contents = replace(contents, evaluations=evaluations)
    # The scores, and the one line that the verdict is about.
    scores = figures(contents.evaluations)
    score_lines = lines(scores, described(contents.evaluations))
    line = headline(score_lines)
    deltas = {}
    if line is not None:
        deltas = differences(contents.evaluations, parents, line.benchmark, line.metric, line.better)
        deltas = {key: deltas[key] for key in models if key in deltas}
    judged = _judged(contents, models)
    named = any("reward_model" in evaluation.manifest.inputs for evaluation in evaluations.values())
    verdict = judge(line, models, deltas, score_lines, learned=bool(judged) or not named)
    values = dict(
        title=visible(config.title),
        facts=_facts(contents),
        verdict=verdict,
        failures=provenance.failures(contents.failures),
        failed=len(contents.failures),
        command=visible(provenance.typed(contents.command)),
        unfinished=visible(contents.unfinished),
        headline=headline_chart(line, models, deltas) if line else None,
        tables=score_tables(families(score_lines), models, judged),
        judged=judged,
        conventions=provenance.conventions(contents.evaluations),
        stages=stage_panels(score_lines, models),
        checkpoints=checkpoint_panels(evaluations, score_lines, models),
        overoptimisation=overoptimisation.curves(evaluations, models),
        rewards=reward_panels(evaluations, models),
        reliability=reliability_panels(evaluations, models),
        losses=loss_panels(contents.models, models),
        on_policy=on_policy_panels(contents.models, models),
        answers=side_by_side(contents.evaluations, models, config.prompts),
        price=guess(config.price_per_hour),
        **_inventory(contents, models, config.price_per_hour),
    )
    return Report(render("page.html.jinja", values), markdown.render(values), scores, line, verdict)


def _facts(contents: Contents) -> list[str]:
    """The line under the title."""
    artifacts = contents.artifacts
    trained = [artifact for artifact in artifacts if isinstance(artifact, ModelArtifact)]
    tokens = sum(artifact.manifest.tokens for artifact in trained)
    seconds = sum(artifact.manifest.seconds for artifact in artifacts)
    models = len(contents.models)
    facts = [
        provenance.newest(artifacts),
        provenance.machines(artifacts),
        f"{models} model{'s' if models != 1 else ''}" if models else "",
        f"{count(tokens)} tokens trained on" if tokens else "",
        f"computed in {duration(seconds)}" if seconds else "",
        provenance.commits(artifacts),
    ]
    return [fact for fact in facts if fact]


def _judged(contents: Contents, models: Mapping[str, Model]) -> str:
    """Who was trained on the rewards of the reward model that judges the completions, in words; or ""."""
    labels = []
    for key in models:
        evaluation, model = contents.evaluations.get(key), contents.models.get(key)
        judge = evaluation.manifest.inputs.get("reward_model") if evaluation else None
        if judge is None or model is None:
            continue
        roles = model.manifest.inputs.items()
        if judge.id in {artifact.id for role, artifact in roles if role.startswith("reward_models.")}:
            labels.append(models[key].label)
    return f"judged by the reward model that {' and '.join(labels)} learned from" if labels else ""


def _inventory(contents: Contents, models: Mapping[str, Model], price: float | None) -> dict[str, Any]:
    inputs = {"Data sets": contents.datasets, "Samples": contents.samples}
    sources = {**inputs, "Models": contents.models, "Evaluations": contents.evaluations}
    stages = costs(inputs, contents.models, {"Evaluations": contents.evaluations}, models, price)
    return {
        "costs": stages,
        "total": total(stages, price),
        "graph": lineage_graph(contents.datasets, contents.samples, contents.models, models),
        "datasets": inventory.dataset_rows(contents.datasets),
        "samples": inventory.sample_rows(contents.samples),
        "origins": provenance.origins(sources),
        "versions": provenance.versions(contents.artifacts),
    }


def render(template: str, values: Mapping[str, Any]) -> str:
    """A page from one of the templates beside this file."""
    environment = ImmutableSandboxedEnvironment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["count"] = count
    return environment.get_template(template).render(**values)

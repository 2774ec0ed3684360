"""What a run has made so far, from its record: so that an unfinished or failed run has a report too."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from tempering.artifacts.kinds import (
    Artifact,
    DatasetArtifact,
    EvaluationArtifact,
    ModelArtifact,
    SampleArtifact,
)
from tempering.artifacts.runs import RunRecord
from tempering.errors import ArtifactError
from tempering.report.config import ReportConfig
from tempering.report.page import Contents

if TYPE_CHECKING:
    from tempering.artifacts.store import Store


def gather(store: "Store", record: RunRecord) -> Contents:
    """The artifacts of a run by their stages' names, its failures, and how far it has come.

    An artifact that is no longer in the store, or damaged, is named among the failures.
    """
    failures = {name: entry.error for name, entry in record.stages.items() if entry.action == "failed"}
    groups: dict[type[Artifact], dict[str, Any]] = {
        DatasetArtifact: {},
        SampleArtifact: {},
        ModelArtifact: {},
        EvaluationArtifact: {},
    }
    for name, entry in record.stages.items():
        if not entry.artifact or name.startswith("merge["):  # the page shows the adapter's own stage
            continue
        try:
            artifact = store.get(entry.artifact)
        except ArtifactError as error:
            failures[name] = error.found
            continue
        if type(artifact) in groups:
            groups[type(artifact)][name.partition("[")[2].removesuffix("]") or name] = artifact
    models, measured = _ordered(record, groups[ModelArtifact]), groups[EvaluationArtifact]
    return Contents(
        evaluations={key: measured[key] for key in [*models, *measured] if key in measured},
        models=models,
        samples=groups[SampleArtifact],
        datasets=groups[DatasetArtifact],
        failures={name: (error or "it failed").splitlines()[0] for name, error in failures.items()},
        command=record.command,
        unfinished=_progress(record),
    )


def settings(record: RunRecord) -> ReportConfig:
    """The report's settings in a run's config; the page is called like the run where they give no title."""
    section: Mapping[str, Any] = record.config.get("report") or {}
    try:
        config = ReportConfig.model_validate(section)
    except ValidationError:  # of an older or a newer version
        config = ReportConfig()
    return config.model_copy(update={"title": config.title or record.pipeline})


def _ordered(record: RunRecord, models: Mapping[str, Any]) -> dict[str, Any]:
    """In the order of the config; what it does not name, and older records, in that in which they ended.

    A config may name a stage before the one that it is trained from, so that comes first.
    """
    ids = {artifact.id: key for key, artifact in models.items()}
    ordered: dict[str, Any] = {}

    def add(key: str) -> None:
        for ref in models[key].manifest.inputs.values():
            parent = ids.get("/".join(ref.id.split("/")[:2]))
            if parent is not None and parent != key and parent not in ordered:
                add(parent)
        ordered[key] = models[key]

    named = [*(record.config.get("stages") or record.config), *models]
    for key in named:
        if key in models and key not in ordered:
            add(key)
    return ordered


def _progress(record: RunRecord) -> str:
    """How far a run has come that has not ended; "" where it has."""
    if record.state in ("completed", "failed"):
        return ""
    entries = record.stages.items()
    done = sum(entry.artifact is not None for _, entry in entries)
    begun = [name for name, entry in entries if entry.action == "running"]
    left = [name for name, entry in entries if entry.action == "cancelled"]
    ended = "It was interrupted" if record.state == "cancelled" else "It was killed"
    parts = [ended if record.state == "cancelled" or record.killed else "It is still running"]
    parts[0] += f", with {done} stage{'s' if done != 1 else ''} done"
    parts += [f"begun: {', '.join(begun)}"] if begun else []
    parts += [f"not made: {', '.join(left)}"] if left else []
    return f"{'; '.join(parts)}."

"""What a number was measured with, beside the model: data, convention, reward model, baseline, judge.

Two numbers differ by their models only where these are the same: a reward by another reward model is on
another scale, a win rate over another baseline another question. An artifact's manifest has the digests of
them all; the benchmark's class says which of them a metric hangs on.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from tempering.artifacts.kinds import EvaluationArtifact
from tempering.artifacts.manifest import Manifest
from tempering.report.table import Line


def other_yardstick(line: Line, before: EvaluationArtifact, after: EvaluationArtifact) -> str:
    """What of it is not the same on both sides, in words; "" where all is."""
    if len({item.convention for item in line.figures.values()}) > 1:
        return "scored by another convention"
    old, new = (_yardsticks(line, artifact) for artifact in (before, after))
    return next((words for words in old if old[words] != new.get(words)), "")


def _yardsticks(line: Line, artifact: EvaluationArtifact) -> dict[str, Any]:
    """What is to be said where it is another one -> what tells it apart."""
    manifest, measure = artifact.manifest, line.measure
    settings = manifest.config.get("benchmarks", {}).get(line.benchmark, {})
    digests = {role: ref.payload_digest for role, ref in manifest.inputs.items()}
    # The data sets and models that it names: names say nothing, digests do.
    names = [*_texts(settings)] if measure.named else [settings.get("dataset")]
    datasets, models = (
        [digests[role] for name in names if (role := f"{kind}.{name}") in digests]
        for kind in ("datasets", "models")
    )
    # The baseline's completions, unless the rows bring what ours are compared with.
    baseline = "rows" if settings.get("reference") == "rows" else digests.get("baseline")
    judge = _judge(line.benchmark, manifest) if measure.named else None
    other = "judge" if "judge" in settings else "reference"
    return {
        "measured on other data": datasets,
        "scored by another reward model": digests.get("reward_model") if measure.judged else None,
        "compared with another baseline": baseline if measure.relative else None,
        f"measured with another {other}": [models, judge],
    }


def _judge(benchmark: str, manifest: Manifest) -> Any:
    """How a judge asks, without how often it may fail; of its own model the weights say which it is."""
    settings = manifest.hashed.get("config", {}).get("benchmarks", {}).get(benchmark, {}).get("judge")
    if not isinstance(settings, Mapping):
        return None
    files = dict(manifest.hashed.get("files", []))
    return {
        name: files.get(value, value) if isinstance(value, str) else value
        for name, value in settings.items()
        if name not in ("model", "max_unjudged")
    }


def _texts(tree: Any) -> Iterator[str]:
    """All texts among the settings of a benchmark, which may name an input of the stage."""
    if isinstance(tree, Mapping):
        for item in tree.values():
            yield from _texts(item)
    elif isinstance(tree, str):
        yield tree

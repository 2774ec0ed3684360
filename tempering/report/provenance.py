"""Where everything came from: config, code, versions, inputs and seed of every stage, and failures."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

import yaml

from tempering.artifacts.kinds import Artifact, EvaluationArtifact
from tempering.artifacts.manifest import Manifest
from tempering.report.names import label_of
from tempering.report.numbers import moment, visible
from tempering.report.table import described, figures


@dataclass(frozen=True)
class Origin:
    """One artifact's manifest, as shown."""

    label: str
    facts: Sequence[tuple[str, str]]
    inputs: Sequence[tuple[str, str]]
    config: str


@dataclass(frozen=True)
class Failure:
    """Stages that failed with the same message."""

    stages: str
    message: str


def origins(groups: Mapping[str, Mapping[str, Artifact]]) -> dict[str, list[Origin]]:
    """Every artifact of `groups` (what they are -> artifacts), under its group and their number."""
    return {
        f"{label} ({len(artifacts)})": [
            _origin(label_of(name), artifacts[name].manifest) for name in artifacts
        ]
        for label, artifacts in groups.items()
        if artifacts
    }


def _origin(label: str, manifest: Manifest) -> Origin:
    code = manifest.code.commit or "not in a git repository"
    facts = [
        ("Artifact", manifest.id),
        ("Fingerprint", manifest.fingerprint),
        ("Made", moment(manifest.created)),
        ("Code", f"{code}, with uncommitted changes" if manifest.code.dirty else code),
        ("Device", manifest.device),
        ("Seed", str(manifest.seed)),
    ]
    inputs = [(role, artifact.id) for role, artifact in sorted(manifest.inputs.items())]
    config = yaml.safe_dump(manifest.config, sort_keys=False, allow_unicode=True, width=100)
    return Origin(label, [fact for fact in facts if fact[1]], inputs, visible(config, 20_000))


def versions(artifacts: Iterable[Artifact]) -> list[tuple[str, str]]:
    """Library -> version; all of them where stages were made with different ones."""
    libraries: dict[str, set[str]] = {}
    for artifact in artifacts:
        for name, version in artifact.manifest.versions.items():
            libraries.setdefault(name, set()).add(version)
    return [(name, ", ".join(sorted(libraries[name]))) for name in sorted(libraries)]


def failures(messages: Mapping[str, str]) -> list[Failure]:
    """Failed stages in pipeline order; those that say the same stand together."""
    groups: dict[str, list[str]] = {}
    for name, message in messages.items():
        groups.setdefault(message, []).append(name)
    return [Failure(", ".join(names), visible(message, 2000)) for message, names in groups.items()]


def newest(artifacts: Sequence[Artifact]) -> str:
    """When the newest artifact was made: the report's date, which does not depend on today."""
    return moment(max((artifact.manifest.created for artifact in artifacts), default=""))


def machines(artifacts: Sequence[Artifact]) -> str:
    """All devices that were used, and the machines where the manifests name them."""
    names = {artifact.manifest.device for artifact in artifacts} - {""}
    used = [artifact.manifest.details.get("resources") or {} for artifact in artifacts]
    for key in ("accelerator", "machine"):
        names |= {visible(facts[key], 200) for facts in used if facts.get(key)}
    return ", ".join(sorted(names, key=lambda name: (len(name), name)))


def typed(command: str) -> str:
    """A command without the folder of its program, which is another one elsewhere."""
    program, space, words = command.partition(" ")
    name = PurePath(program).name
    return f"{'temper' if name == 'main.py' else name}{space}{words}"


def commits(artifacts: Sequence[Artifact]) -> str:
    """The commit of the code that made the newest of them, and how many others there are."""
    newest = sorted(artifacts, key=lambda artifact: (artifact.manifest.created, artifact.id), reverse=True)
    states = [artifact.manifest.code for artifact in newest]
    names = dict.fromkeys(
        f"{state.commit[:10]}{' with changes' if state.dirty else ''}" for state in states if state.commit
    )
    first, more = next(iter(names), ""), len(names) - 1
    return f"code {first}{f' and {more} earlier' if more > 0 else ''}" if first else ""


@dataclass(frozen=True)
class Convention:
    """How a benchmark scores."""

    benchmark: str
    kind: str
    names: str
    text: str


def conventions(evaluations: Mapping[str, EvaluationArtifact]) -> list[Convention]:
    """Of each benchmark whose class is known: the short names in its metrics, and its class's words."""
    names: dict[str, dict[str, None]] = {}
    for item in figures(evaluations):
        names.setdefault(item.benchmark, {}).update({item.convention: None} if item.convention else {})
    return [
        Convention(name, benchmark.kind_name(), ", ".join(names.get(name, ())), benchmark.convention)
        for name, benchmark in described(evaluations).items()
        if name in names
    ]

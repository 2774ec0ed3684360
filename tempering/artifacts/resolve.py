"""From a stage, its config and its input artifacts to a cached artifact or a new one.

`resolve` decides; `build` decides and makes, in this process: what a test or a script uses, and in
short what the flow's runner does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tempering.artifacts.code import code_files
from tempering.artifacts.digests import external_digests
from tempering.artifacts.draft import OnLog, OnProgress
from tempering.artifacts.fingerprint import Fingerprint, fingerprint
from tempering.artifacts.kinds import Artifact
from tempering.artifacts.lease import Waiting
from tempering.artifacts.manifest import InputRef
from tempering.artifacts.stage import Stage
from tempering.artifacts.store import Miss, Store
from tempering.config import Config, external_revisions, named_files
from tempering.runtime import RuntimeConfig


@dataclass(frozen=True)
class Resolution:
    """`cached`, or what is needed to open a draft. `resume_from`: the checkpoint it would go on from."""

    fingerprint: Fingerprint
    inputs: Mapping[str, InputRef]
    cached: Artifact | None
    miss: Miss | None = None
    resume_from: str | None = None
    fresh: bool = False
    """Leftovers of an earlier attempt must not be used (forced, or made by other code)."""


def stage_fingerprint(store: Store, stage: Stage, config: Config, inputs: Mapping[str, str]) -> Fingerprint:
    """The fingerprint of `stage` with `config`, given its inputs' fingerprints."""
    files = [*external_digests(named_files(config), store.digests), *external_revisions(config)]
    return fingerprint(stage.name, stage.version, config, inputs, files)


def resolve(
    store: Store,
    stage: Stage,
    config: Config,
    inputs: Mapping[str, Any],
    *,
    force: bool = False,
    strict_code: bool = False,
) -> Resolution:
    """Find the artifact, or say how to make it.

    Args:
        inputs: role -> artifact, None, or a mapping of artifacts, as the stage is called.
        force: make it again even where it is there.
    """
    stage.check_inputs(inputs)
    given = {role: artifact.ref for role, artifact in flatten(inputs).items()}
    key = stage_fingerprint(store, stage, config, {role: ref.fingerprint for role, ref in given.items()})
    digests = {role: ref.payload_digest for role, ref in given.items()}
    if force:
        return Resolution(key, given, None, fresh=True)
    code = code_files(stage.module) if strict_code else None
    found = store.lookup(key.hex, digests, code=code)
    if isinstance(found, Artifact):
        return Resolution(key, given, found)
    resume_from = store.resume_point(stage.name, key.hex, digests, code=code)
    return Resolution(key, given, None, found, resume_from, fresh=resume_from is None)


def flatten(inputs: Mapping[str, Any]) -> dict[str, Artifact]:
    """Inputs by the names manifests use: `datasets.corpus` for a mapping's entries, no Nones."""
    flat: dict[str, Artifact] = {}
    for role, given in inputs.items():
        if isinstance(given, Mapping):
            flat.update({f"{role}.{key}": artifact for key, artifact in given.items()})
        elif given is not None:
            flat[role] = given
    return flat


def build(
    store: Store,
    stage: Stage,
    config: Config,
    inputs: Mapping[str, Any] | None = None,
    *,
    node: str | None = None,
    runtime: RuntimeConfig | None = None,
    force: bool = False,
    on_progress: OnProgress | None = None,
    on_log: OnLog | None = None,
    waiting: Waiting | None = None,
) -> Artifact:
    """The artifact of `stage`, cached or made now in this process."""
    given = inputs or {}
    strict = runtime.strict_code if runtime else False
    first = resolve(store, stage, config, given, force=force, strict_code=strict)
    if first.cached is not None:
        return first.cached
    with store.lease(stage.name, first.fingerprint.hex, waiting=waiting):
        # Somebody may have made it while we waited.
        found = resolve(store, stage, config, given, force=force, strict_code=strict)
        if found.cached is not None:
            return found.cached
        with store.draft(
            node or stage.name, stage, found.fingerprint, found.inputs, config,
            runtime=runtime, fresh=found.fresh, on_progress=on_progress, on_log=on_log,
        ) as out:  # fmt: skip
            return store.commit(out, stage(out, config, **given))

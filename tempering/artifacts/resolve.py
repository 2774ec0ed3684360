"""From a stage, its config and its input artifacts to a cached artifact or a new one.

`resolve` decides, and decides again when `claim` has the lease; `build` decides and makes, in this
process: what a test or a script uses, and in short what the flow's runner does.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from tempering.artifacts.code import code_files
from tempering.artifacts.digests import external_digests
from tempering.artifacts.draft import OnLog
from tempering.artifacts.fingerprint import Fingerprint, fingerprint
from tempering.artifacts.kinds import Artifact
from tempering.artifacts.lease import Lease, Waiting
from tempering.artifacts.manifest import InputRef
from tempering.artifacts.resolution import Resolution
from tempering.artifacts.stage import Stage
from tempering.artifacts.store import Store
from tempering.config import Config, external_revisions, named_files
from tempering.runtime import RuntimeConfig


def stage_fingerprint(
    store: Store,
    stage: Stage,
    config: Config,
    inputs: Mapping[str, str],
    earlier: Fingerprint | None = None,
) -> Fingerprint:
    """The fingerprint of `stage` with `config`, given its inputs' fingerprints.

    Args:
        earlier: that of the same stage and config, handed back if inputs and external files are the same.
    """
    files = [*external_digests(named_files(config), store.digests), *external_revisions(config)]
    if earlier is not None and earlier.is_of(inputs, files):
        return earlier
    return fingerprint(stage.name, stage.version, config, inputs, files)


def resolve(
    store: Store,
    stage: Stage,
    config: Config,
    inputs: Mapping[str, Any],
    *,
    force: bool = False,
    strict_code: bool = False,
    earlier: Fingerprint | None = None,
) -> Resolution:
    """Find the artifact, or say how to make it.

    Args:
        inputs: role -> artifact, None, or a mapping of artifacts, as the stage is called.
        force: make it again even if it exists.
        strict_code: an artifact made by other code does not count.
        earlier: the fingerprint it was planned with.
    """
    stage.check_inputs(inputs)
    refs = {role: artifact.ref for role, artifact in flatten(inputs).items()}
    key = _fingerprint(store, stage, config, refs, earlier)
    code = code_files(stage.module) if strict_code else {}  # `claim` reads it again, when the stage begins
    return _look(store, Resolution(stage, config, refs, key, code, force, strict_code))


def _fingerprint(
    store: Store, stage: Stage, config: Config, refs: Mapping[str, InputRef], earlier: Fingerprint | None
) -> Fingerprint:
    inputs = {role: ref.fingerprint for role, ref in refs.items()}
    return stage_fingerprint(store, stage, config, inputs, earlier)


def _look(store: Store, resolution: Resolution) -> Resolution:
    """`resolution` with what the store has of it now."""
    if resolution.force:
        return replace(resolution, fresh=True)
    stage, key = resolution.stage, resolution.fingerprint.hex
    digests = {role: ref.payload_digest for role, ref in resolution.inputs.items()}
    code = resolution.code if resolution.strict_code else None
    entry = store.lookup(key, digests, code=code)
    if isinstance(entry, Artifact):
        return replace(resolution, cached=entry, miss=None, resume_from=None, fresh=False)
    point = store.resume_point(stage.name, key, digests, code=code)
    return replace(resolution, cached=None, miss=entry, resume_from=point, fresh=point is None)


def flatten(inputs: Mapping[str, Any]) -> dict[str, Artifact]:
    """Inputs by the names manifests use: `datasets.corpus` for a mapping's entries, no Nones."""
    flat: dict[str, Artifact] = {}
    for role, source in inputs.items():
        if isinstance(source, Mapping):
            flat.update({f"{role}.{key}": artifact for key, artifact in source.items()})
        elif source is not None:
            flat[role] = source
    return flat


@contextmanager
def claim(
    store: Store, resolution: Resolution, *, waiting: Waiting = lambda holder: None
) -> Iterator[tuple[Resolution, Lease]]:
    """Hold the lease of a missing artifact, and look again: it may have been made meanwhile.

    An external file that changed meanwhile makes it another artifact, with another lease.
    """
    stage, config, refs = resolution.stage, resolution.config, resolution.inputs
    while True:
        key = resolution.fingerprint
        with store.lease(stage.name, key.hex, waiting=waiting) as lease:
            resolution = replace(resolution, fingerprint=_fingerprint(store, stage, config, refs, key))
            if resolution.fingerprint == key:
                # The code as it is now: waiting for the slot and the lease may have taken hours.
                now = replace(resolution, code=code_files(stage.module))
                yield _look(store, now), lease
                return


def build(
    store: Store,
    stage: Stage,
    config: Config,
    inputs: Mapping[str, Any] | None = None,
    *,
    node: str | None = None,
    runtime: RuntimeConfig | None = None,
    force: bool = False,
    on_log: OnLog | None = None,
) -> Artifact:
    """The artifact of `stage`, cached or made now in this process."""
    # Without a lease first: most calls end here.
    inputs = inputs or {}
    strict = runtime.strict_code if runtime else False
    resolution = resolve(store, stage, config, inputs, force=force, strict_code=strict)
    if resolution.cached is not None:
        return resolution.cached
    # Another process may have made it while this one waited.
    with claim(store, resolution) as (resolution, lease):
        if resolution.cached is not None:
            return resolution.cached
        with store.draft(node or stage.name, resolution, lease, runtime=runtime) as out:
            out.on_log = on_log
            return store.commit(out, stage(out, config, **inputs))

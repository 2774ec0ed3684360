"""The store: one folder with every artifact, the only cache of the project.

    <root>/<stage>/<folder>/        artifacts, complete and never changed
    <root>/.partial/                work in progress, never looked at for artifacts
    <root>/.locks/  .cache/  runs/  leases, file digests, run records

Local disk for now; callers use only the methods here and paths of artifacts and drafts, so that an
object store can come behind the same class.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from tempering.artifacts import partial, refs
from tempering.artifacts.atomic import probe, store_errors
from tempering.artifacts.code import code_changes, code_state
from tempering.artifacts.commit import commit
from tempering.artifacts.digests import DigestCache
from tempering.artifacts.draft import Draft, Ticket
from tempering.artifacts.integrity import Damage, first_damage, verify_folder
from tempering.artifacts.kinds import Artifact, artifact_from
from tempering.artifacts.lease import Lease, Waiting, acquire
from tempering.artifacts.leftovers import sweep_store
from tempering.artifacts.manifest import FILE_NAME, InputRef, Manifest, read_manifest
from tempering.artifacts.names import fingerprint8, slug, stage_folder
from tempering.artifacts.resolution import Miss, Resolution
from tempering.artifacts.runs import Runs
from tempering.errors import ArtifactError, StoreError
from tempering.runtime import RuntimeConfig


class Store:
    """The artifact store at `root`.

    Raises:
        StoreError: `root` cannot be made, is not a folder, or (`writable`) cannot be written to.
    """

    def __init__(self, root: str | Path, *, writable: bool = True) -> None:
        self.root = Path(root).expanduser().absolute()
        if writable:
            self._check_writable()
        elif self.root.exists() and not self.root.is_dir():
            raise StoreError(
                f"the store {self.root} is a file", expected="a folder", fix="choose another --store"
            )
        self.digests = DigestCache(self.root / ".cache" / "digests.json")

    def _check_writable(self) -> None:
        with store_errors(f"cannot write to the artifact store {self.root}"):
            (self.root / ".partial").mkdir(parents=True, exist_ok=True)
            probe(self.root / ".partial")
        sweep_store(self.root, self.folders())

    @cached_property
    def runs(self) -> Runs:
        """The records of all runs."""
        return Runs(self.root / "runs")

    # -- finding ---------------------------------------------------------------------------------

    def lookup(
        self,
        fingerprint: str,
        inputs: Mapping[str, str | None],
        *,
        code: Mapping[str, str] | None = None,
    ) -> Artifact | Miss:
        """The newest intact artifact with this fingerprint, made from these input payloads.

        Args:
            inputs: role -> payload digest; None where it is not known yet (it matches any).
            code: module -> digest; if set, an artifact made by other code is a miss.
        """
        misses: list[Miss] = []
        for folder, manifest in self._with_fingerprint(fingerprint):
            miss = self._why_not(folder, manifest, inputs, code)
            if miss is None:
                self.digests.save()
                assert manifest is not None
                return artifact_from(folder, manifest)
            misses.append(miss)
        rank = {"damaged": 0, "code": 1, "inputs": 2}
        return min(misses, key=lambda miss: rank.get(miss.kind, 3), default=Miss("absent"))

    def _with_fingerprint(self, fingerprint: str) -> list[tuple[Path, Manifest | None]]:
        entries: list[tuple[Path, Manifest | None]] = []
        for folder in self.folders():
            if fingerprint8(folder.name) == fingerprint[:8]:
                try:
                    manifest = read_manifest(folder)
                except ArtifactError:
                    entries.append((folder, None))
                else:
                    entries += [(folder, manifest)] if manifest.fingerprint == fingerprint else []
        return sorted(entries, key=lambda pair: pair[1].created if pair[1] else "", reverse=True)

    def _why_not(
        self,
        folder: Path,
        manifest: Manifest | None,
        inputs: Mapping[str, str | None],
        code: Mapping[str, str] | None,
    ) -> Miss | None:
        if manifest is None:
            return Miss("damaged", _id(folder), ((FILE_NAME, None, "it is missing or was changed"),))
        # Inputs first: comparing them reads no file of the artifact.
        changes = [
            (role, ref.payload_digest if ref else None, inputs.get(role))
            for role in sorted(manifest.inputs.keys() | inputs.keys())
            if not _same_input(ref := manifest.inputs.get(role), role, inputs)
        ]
        if changes:
            return Miss("inputs", _id(folder), tuple(changes))
        damage = first_damage(folder, manifest, self.digests)
        if damage is not None:
            return Miss("damaged", _id(folder), ((damage.file, None, damage.what),))
        if code is not None and (modules := code_changes(manifest.code.files, dict(code))):
            return Miss("code", _id(folder), tuple(modules))
        return None

    def get(self, ref: str, *, check: bool = True) -> Artifact:
        """The artifact that `ref` names (see `refs`); `check` refuses a damaged one.

        Raises:
            ArtifactError: no such artifact (with the nearest names), ambiguous, or damaged.
        """
        folder, checkpoint = refs.find(self, ref)
        manifest = read_manifest(folder, sealed=check)
        if check and (damage := first_damage(folder, manifest, self.digests)) is not None:
            raise ArtifactError(
                f"{manifest.id} is damaged: {damage.file}: {damage.what}",
                expected="every file as the stage wrote it",
                fix="restore the file, or run the pipeline: the stage is made again",
            )
        return artifact_from(folder, manifest, checkpoint)

    def folders(self, unreadable: dict[str, str] | None = None) -> Iterator[Path]:
        """All artifact folders; work in progress under `.partial` does not count.

        Args:
            unreadable: collects the stages whose folder cannot be read, with the reason.

        Raises:
            OSError: a stage's folder cannot be read, without `unreadable`.
        """
        for stage in _folders_in(self.root):
            if not stage.name.startswith(".") and stage.name != "runs":
                try:
                    yield from (folder for folder in _folders_in(stage) if fingerprint8(folder.name))
                except OSError as error:
                    if unreadable is None:
                        raise
                    unreadable[stage.name] = f"cannot be read: {error.strerror}"

    def verify(self, ref: str | None = None) -> Mapping[str, Sequence[Damage]]:
        """Id -> its damage, for one artifact or all; every file is hashed."""
        unreadable: dict[str, str] = {}
        folders = [refs.find(self, ref)[0]] if ref else sorted(self.folders(unreadable))
        damages: dict[str, Sequence[Damage]] = {_id(folder): verify_folder(folder) for folder in folders}
        return damages | {name: [Damage(name, what)] for name, what in unreadable.items()}

    def list(self, unreadable: dict[str, str] | None = None) -> list[Artifact]:
        """All artifacts with a readable manifest, newest first.

        Args:
            unreadable: collects the ids of the others, with the reason.
        """
        artifacts: list[Artifact] = []
        skipped: dict[str, str] = {} if unreadable is None else unreadable
        for folder in self.folders(skipped):
            try:
                artifacts.append(artifact_from(folder, read_manifest(folder, sealed=False)))
            except (ArtifactError, StoreError) as error:
                skipped[_id(folder)] = error.found
        return sorted(artifacts, key=lambda artifact: artifact.manifest.created, reverse=True)

    # -- making ----------------------------------------------------------------------------------

    def lease(self, stage: str, fingerprint: str, *, waiting: Waiting = lambda holder: None) -> Lease:
        """The right to make this artifact; waits while somebody has it. Look up again after it (`claim`)."""
        path = self.root / ".locks" / f"{slug(stage)}-{fingerprint}.lock"
        with store_errors(f"cannot lock in the artifact store {self.root}"):
            return acquire(path, waiting=waiting)

    def draft(
        self,
        node: str,
        resolution: Resolution,
        lease: Lease,
        *,
        runtime: RuntimeConfig | None = None,
    ) -> Draft:
        """Open a draft of a missing artifact; it takes over the lease of its fingerprint.

        It keeps the checkpoints of a killed run made from the same inputs, unless it must be fresh.
        """
        stage, config, key = resolution.stage, resolution.config, resolution.fingerprint
        # The folder: what a killed run left there, or an empty one.
        with store_errors(f"cannot write to the artifact store {self.root}"):
            if (folder := self.root / stage_folder(node)).exists():
                probe(folder)  # the commit writes there, after all the work
            digests = {role: ref.payload_digest for role, ref in resolution.inputs.items()}
            path = self._partial(stage.name, key.hex)
            note = partial.open_partial(
                path, digests, resolution.code, stage.makes.payload, fresh=resolution.fresh
            )
        # What the manifest will say of it.
        ticket = Ticket(
            node=node,
            makes=stage.makes,
            fingerprint=key.hex,
            hashed=key.hashed,
            inputs=dict(resolution.inputs),
            config=config.model_dump(mode="json"),
            code=code_state(resolution.code),
        )
        seed = int(getattr(config, "seed", 0) or 0)
        draft = Draft(path, seed=seed, runtime=runtime, ticket=ticket, lease=lease)
        if note:
            draft.warn(note)
        return draft

    def commit(
        self, draft: Draft, summary: Mapping[str, Any] | None = None, *, seconds: float | None = None
    ) -> Artifact:
        """Make the draft an artifact and give its lease back.

        Raises:
            StoreError: the lease was lost, or the disk is full.
        """
        with store_errors(f"cannot commit {draft.path}"):
            artifact = commit(self.root, draft, summary or {}, seconds)
        draft.close()
        return artifact

    def resume_point(
        self,
        stage: str,
        fingerprint: str,
        inputs: Mapping[str, str | None],
        *,
        code: Mapping[str, str] | None = None,
    ) -> str | None:
        """The newest checkpoint's name in a partial that `draft` would keep, or None."""
        return partial.resume_point(self._partial(stage, fingerprint), inputs, code)

    def _partial(self, stage: str, fingerprint: str) -> Path:
        return self.root / ".partial" / f"{slug(stage)}-{fingerprint}"


def _same_input(ref: InputRef | None, role: str, inputs: Mapping[str, str | None]) -> bool:
    if ref is None or role not in inputs:
        return False
    return inputs[role] is None or inputs[role] == ref.payload_digest


def _folders_in(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            yield from [Path(entry.path) for entry in entries if entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return


def _id(folder: Path) -> str:
    return f"{folder.parent.name}/{folder.name}"

"""Committing a draft: hash, write the manifest last, one rename.

Until the rename the work lies under `.partial`, where nobody looks for artifacts; after it the artifact
is complete. A process killed at any point in between leaves one or the other.
"""

import contextlib
import importlib.metadata
import os
import platform
import stat
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tempering.artifacts.atomic import sync, write_atomic
from tempering.artifacts.digests import sha256_file
from tempering.artifacts.draft import Draft, Ticket
from tempering.artifacts.kinds import Artifact, artifact_from, payload_digest
from tempering.artifacts.manifest import FILE_NAME, FileEntry, Manifest, plain, read_manifest
from tempering.artifacts.names import artifact_folder, fingerprint8, stage_folder
from tempering.artifacts.partial import INPUTS_FILE, remove
from tempering.errors import StoreError, UserError

_LIBRARIES = (
    "tempering",
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "tokenizers",
    "safetensors",
    "datasets",
    "pyarrow",
    "numpy",
    "vllm",
)


def commit(root: Path, draft: Draft, summary: Mapping[str, Any], seconds: float | None) -> Artifact:
    """Turn `draft` into an artifact under `root`; the lease is checked first and again before the rename."""
    ticket = draft.ticket
    assert ticket is not None, "this draft was not opened by a store"
    assert draft.lease is not None, "only the process that opened a draft can commit it, and once"
    draft.lease.check()
    # The folder as it will stay, hashed and on the disk.
    _tidy(draft.path)
    config = yaml.safe_dump(plain(ticket.config), sort_keys=False, allow_unicode=True)
    (draft.path / "config.yaml").write_text(config, encoding="utf-8")
    files = _seal_files(draft.path)
    folder = root / stage_folder(ticket.node)
    folder.mkdir(exist_ok=True)
    created = _now(folder, ticket.fingerprint)
    manifest = _manifest(draft, ticket, files, summary, seconds, created)
    # The manifest last, then the name; another run may take that name first.
    while True:
        name = _free_name(folder, draft, ticket, manifest)
        manifest = manifest.model_copy(update={"id": f"{folder.name}/{name}"})
        write_atomic(draft.path / FILE_NAME, manifest.to_json())
        draft.lease.check()
        if _rename(draft.path, folder / name):
            break
    sync(folder)
    (folder / name / INPUTS_FILE).unlink(missing_ok=True)
    return artifact_from(folder / name, read_manifest(folder / name))  # as the next run reads it


def _rename(source: Path, target: Path) -> bool:
    """False where another run has taken the name meanwhile."""
    try:
        source.rename(target)
    except OSError:
        if target.exists():
            return False
        raise
    return True


def _tidy(folder: Path) -> None:
    """Drop temporary files, an older manifest and empty folders."""
    (folder / FILE_NAME).unlink(missing_ok=True)
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.name.startswith((".tmp-", ".old-")):
            remove(path)
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def _seal_files(folder: Path) -> dict[str, FileEntry]:
    """Make all files as open as the umask had the folder, hash them and bring them to the disk.

    Libraries write weights that the owner alone may read, whatever the umask says.
    """
    entries: dict[str, FileEntry] = {}
    mode = stat.S_IMODE(folder.stat().st_mode)
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():  # what it leads to may change, and is not ours to open to all
            raise StoreError(
                f"the stage has left a link: {path}",
                expected="files of its own, which are checked and copied with the artifact",
                fix="copy the file there instead",
            )
        if path.is_dir():
            path.chmod(mode)
            sync(path)
        elif path.parent != folder or path.name != INPUTS_FILE:
            path.chmod(mode & 0o666)
            sync(path)
            digest, status = sha256_file(path), path.stat()
            name = path.relative_to(folder).as_posix()
            entries[name] = FileEntry(size=status.st_size, mtime_ns=status.st_mtime_ns, sha256=digest)
    return entries


def _manifest(
    draft: Draft,
    ticket: Ticket,
    files: Mapping[str, FileEntry],
    summary: Mapping[str, Any],
    seconds: float | None,
    created: datetime,
) -> Manifest:
    # In the order of the file: what it is, what made it, what it cost, what it holds.
    return Manifest(
        stage=ticket.node,
        kind=ticket.makes.kind,
        id="",
        fingerprint=ticket.fingerprint,
        hashed=dict(ticket.hashed),
        config=plain(ticket.config),
        runtime=plain(draft.runtime),
        inputs=dict(ticket.inputs),
        payload_digest=payload_digest(files, ticket.makes.payload),
        code=ticket.code,
        versions=_versions(),
        device=draft.device,
        seed=draft.seed,
        tokens=draft.tokens,
        seconds=round(time.monotonic() - ticket.started if seconds is None else seconds, 3),
        resumed_from_tokens=draft.resumed_from_tokens,
        metrics=plain(summary),
        details=plain(draft.details),
        files=dict(files),
        created=created.isoformat(),
    )


def _now(folder: Path, fingerprint: str) -> datetime:
    """Now, and later than what `folder` has of this fingerprint, whose newest is used; clocks jump."""
    moments = [datetime.now(UTC)]
    for path in folder.iterdir():
        if fingerprint8(path.name) == fingerprint[:8]:
            with contextlib.suppress(UserError, ValueError):
                created = datetime.fromisoformat(read_manifest(path).created)
                moments.append(created + timedelta(microseconds=1))
    return max(moments)


def _free_name(folder: Path, draft: Draft, ticket: Ticket, manifest: Manifest) -> str:
    created = datetime.fromisoformat(manifest.created)
    base = artifact_folder(draft.name or ticket.node, draft.name_tokens, created, ticket.fingerprint)
    return next(name for name in _candidates(base) if not os.path.lexists(folder / name))


def _candidates(base: str) -> Iterator[str]:
    yield base
    number = 2
    while True:
        yield f"{base}-{number}"
        number += 1


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "platform": platform.platform()}
    for name in _LIBRARIES:
        try:
            versions[name] = _version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


@cache
def _version(library: str) -> str:
    return importlib.metadata.version(library)

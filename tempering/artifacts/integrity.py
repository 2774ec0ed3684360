"""Is an artifact what its manifest says? Quickly for a cache hit, thoroughly for `verify`.

Quick: size and modification time of each file; hashed again only where the time differs (a copy
is still a hit). Thorough: every file is hashed, and the manifest is checked against itself.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from tempering.artifacts.digests import DigestCache, sha256_file
from tempering.artifacts.fingerprint import canonical_json
from tempering.artifacts.kinds import KINDS, payload_digest
from tempering.artifacts.manifest import FILE_NAME, FileEntry, Manifest, read_manifest
from tempering.errors import ArtifactError


@dataclass(frozen=True)
class Damage:
    """One file that is not as the manifest says."""

    file: str
    what: str


def first_damage(folder: Path, manifest: Manifest, digests: DigestCache) -> Damage | None:
    """The first file that is missing or changed, or None where the artifact is intact."""
    for name, entry in manifest.files.items():
        path = folder / name
        try:
            stat = path.stat()
            if stat.st_size != entry.size:
                return _resized(name, entry, stat.st_size)
            if stat.st_mtime_ns != entry.mtime_ns and digests.sha256(path) != entry.sha256:
                return Damage(name, "its content has changed")
        except OSError as error:
            return Damage(name, _reason(error))
    return None


def verify_folder(folder: Path) -> list[Damage]:
    """All damage to the artifact in `folder`; every file is hashed."""
    try:
        manifest = read_manifest(folder, sealed=False)
    except ArtifactError as error:
        return [Damage(FILE_NAME, error.found)]
    damages = _manifest_damages(folder, manifest)
    for name, entry in manifest.files.items():
        path = folder / name
        try:
            size = path.stat().st_size
            if size != entry.size:
                damages.append(_resized(name, entry, size))
            elif sha256_file(path) != entry.sha256:
                damages.append(Damage(name, "its content has changed"))
        except OSError as error:
            damages.append(Damage(name, _reason(error)))
    return damages


def _manifest_damages(folder: Path, manifest: Manifest) -> list[Damage]:
    """Edits by hand: each shows as a contradiction inside the manifest."""
    damages = []
    kind = KINDS.get(manifest.kind)
    if kind is None or payload_digest(manifest.files, kind.payload) != manifest.payload_digest:
        damages.append(Damage(FILE_NAME, "the payload digest does not match the files it lists"))
    hashed = hashlib.sha256(canonical_json(manifest.hashed).encode()).hexdigest()
    if hashed != manifest.fingerprint:
        damages.append(Damage(FILE_NAME, "the fingerprint does not match what was hashed"))
    if manifest.id != f"{folder.parent.name}/{folder.name}":
        damages.append(Damage(FILE_NAME, f"it is the manifest of {manifest.id}; the folder was renamed"))
    try:
        read_manifest(folder)
    except ArtifactError as error:
        if not damages:
            damages.append(Damage(FILE_NAME, error.found))
    return damages


def _resized(name: str, entry: FileEntry, size: int) -> Damage:
    return Damage(name, f"it has {size} bytes instead of {entry.size}")


def _reason(error: OSError) -> str:
    return "it is missing" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"

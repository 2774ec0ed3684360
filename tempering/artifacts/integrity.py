"""Is an artifact what its manifest says? Quickly for a cache hit, thoroughly for `verify`.

Quick: size and modification time of each file; hashed again only where the time differs (a copy
is still a hit). Thorough: every file is hashed, and the manifest is checked against itself.
"""

import hashlib
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tempering.artifacts.digests import DigestCache, sha256_file
from tempering.artifacts.fingerprint import canonical_json
from tempering.artifacts.kinds import KINDS, payload_digest
from tempering.artifacts.manifest import FILE_NAME, FileEntry, Manifest, read_manifest
from tempering.errors import ArtifactError, StoreError


@dataclass(frozen=True)
class Damage:
    """One file that is not as the manifest says."""

    file: str
    what: str


def first_damage(folder: Path, manifest: Manifest, digests: DigestCache) -> Damage | None:
    """The first file that is missing or changed, or None where the artifact is intact."""
    damages = (_file_damage(folder, name, entry, digests) for name, entry in manifest.files.items())
    return next((damage for damage in damages if damage), None)


def verify_folder(folder: Path) -> list[Damage]:
    """All damage to the artifact in `folder`; every file is hashed."""
    try:
        manifest = read_manifest(folder, sealed=False)
    except (ArtifactError, StoreError) as error:
        return [Damage(FILE_NAME, error.found)]
    return _manifest_damages(folder, manifest) + files_damage(folder, manifest.files)


def files_damage(folder: Path, files: Mapping[str, FileEntry]) -> list[Damage]:
    """Which of the `files` of a folder are not as they were sealed; every one is hashed."""
    damages = (_file_damage(folder, name, entry) for name, entry in files.items())
    return [damage for damage in damages if damage]


def seal(path: Path) -> FileEntry:
    """What a file is now."""
    digest, status = sha256_file(path), path.stat()
    return FileEntry(size=status.st_size, mtime_ns=status.st_mtime_ns, sha256=digest)


def _file_damage(
    folder: Path, name: str, entry: FileEntry, digests: DigestCache | None = None
) -> Damage | None:
    """Hashed, unless there is a cache of `digests` and its size and time are those of the entry."""
    path = folder / name
    try:
        if any(
            (folder / above).is_symlink()
            for above in (PurePosixPath(name), *PurePosixPath(name).parents[:-1])
        ):
            return Damage(name, "it is a link, or in a folder that is one")
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe might never end
            return Damage(name, "it is not a regular file")
        if status.st_size != entry.size:
            return Damage(name, f"it has {status.st_size} bytes instead of {entry.size}")
        if digests is not None and status.st_mtime_ns == entry.mtime_ns:
            return None
        digest = sha256_file(path) if digests is None else digests.sha256(path)
    except OSError as error:
        return Damage(name, _reason(error))
    return None if digest == entry.sha256 else Damage(name, "its content has changed")


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


def _reason(error: OSError) -> str:
    return "it is missing" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"

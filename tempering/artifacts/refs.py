"""References: the ways a person may name an artifact.

- `ppo/quickstart_300K_tokens__2026-11-21__10-15-30__3f9c1a2b`   the id, or the folder's name alone
- `3f9c1a2b`                                                     a unique fingerprint prefix
- `ppo@latest`                                                   what the newest run made or reused
- `artifacts/ppo/quickstart...`                                  a path, as the shell completes it

Each may end in `/checkpoint_100K_tokens`.
"""

import difflib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from tempering.artifacts.manifest import FILE_NAME, read_manifest
from tempering.artifacts.names import CHECKPOINT, fingerprint8, stage_folder
from tempering.errors import ArtifactError

if TYPE_CHECKING:
    from tempering.artifacts.store import Store

_TAIL = re.compile(rf"(?:/checkpoints)?/({CHECKPOINT.pattern})$")


def find(store: "Store", ref: str) -> tuple[Path, str | None]:
    """The artifact's folder and the checkpoint's name that `ref` asks for.

    Raises:
        ArtifactError: nothing has that name (with the nearest ones), or several have.
    """
    text = ref.strip().rstrip("/")
    tail = _TAIL.search(text)
    body, checkpoint = (text[: tail.start()], tail[1]) if tail else (text, None)
    folder = _by_stage(store, body) if "@" in body else _by_name(store, body)
    if folder is None:
        raise _unknown(store, ref)
    if checkpoint is not None and not (folder / "checkpoints" / checkpoint).is_dir():
        raise _no_checkpoint(folder, checkpoint)
    return folder, checkpoint


def latest(store: "Store", node: str) -> Path | None:
    """What the newest run made or reused for `node`; without such a run the newest by creation."""
    for record in store.runs.newest():
        for name, entry in record.stages.items():
            if entry.artifact and node in (name, stage_folder(name)):
                folder = store.root / entry.artifact
                if _has_manifest(folder):
                    return folder
    artifacts = [
        artifact for artifact in store.list() if node in (artifact.manifest.stage, artifact.path.parent.name)
    ]
    return artifacts[0].path if artifacts else None


def _has_manifest(folder: Path) -> bool:
    """Also where it may not be read: who asks for it shall hear that, and get no older artifact."""
    try:
        (folder / FILE_NAME).stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):  # a NUL is in no name
        return False
    except OSError:
        return True
    return True


def _by_stage(store: "Store", body: str) -> Path | None:
    node, _, version = body.partition("@")
    if version != "latest":
        raise ArtifactError(f"unknown reference {body!r}", expected=f"{node}@latest")
    return latest(store, node)


def _by_name(store: "Store", body: str) -> Path | None:
    if "/" in body:
        for folder in (store.root / body, Path(body).expanduser().absolute()):
            if _has_manifest(folder) and not folder.is_relative_to(store.root / ".partial"):
                return folder
        return None
    folders = list(store.folders())
    matches = [folder for folder in folders if folder.name == body]
    if matches:
        return _only(matches, body)
    if re.fullmatch(r"[0-9a-f]{4,64}", body):
        return _by_fingerprint(folders, body)
    return None


def _by_fingerprint(folders: list[Path], prefix: str) -> Path | None:
    """Several artifacts of one fingerprint (forced rebuilds) are not ambiguous: the newest is meant."""
    matches = []
    for folder in folders:
        if (fingerprint8(folder.name) or "").startswith(prefix[:8]):
            try:
                manifest = read_manifest(folder, sealed=False)
            except ArtifactError:
                continue
            if manifest.fingerprint.startswith(prefix):
                matches.append((manifest.created, folder, manifest.fingerprint))
    if len({fingerprint for _, _, fingerprint in matches}) > 1:
        return _only([folder for _, folder, _ in matches], prefix)
    return max(matches)[1] if matches else None


def _only(folders: list[Path], text: str) -> Path:
    if len(folders) > 1:
        ids = ", ".join(sorted(f"{folder.parent.name}/{folder.name}" for folder in folders))
        raise ArtifactError(f"{text!r} names {len(folders)} artifacts", expected=f"one of: {ids}")
    return folders[0]


def _unknown(store: "Store", ref: str) -> ArtifactError:
    ids = [f"{folder.parent.name}/{folder.name}" for folder in store.folders()]
    if not ids:
        return ArtifactError(
            f"there is no artifact {ref!r}; the store {store.root} is empty",
            fix="run a pipeline first, or name another store with --store",
        )
    names = {f"{stage}@latest": None for stage in sorted(folder.split("/")[0] for folder in ids)}
    choices = {**names, **dict.fromkeys(ids), **{folder.split("/")[1]: None for folder in ids}}
    near = difflib.get_close_matches(ref, choices, n=3, cutoff=0.4) or list(names)[:5]
    return ArtifactError(
        f"there is no artifact {ref!r} in {store.root}",
        expected=f"an artifact; the nearest are: {', '.join(near)}",
        fix="see `temper artifacts list`",
    )


def _no_checkpoint(folder: Path, checkpoint: str) -> ArtifactError:
    inside = folder / "checkpoints"
    names = sorted(path.name for path in inside.iterdir()) if inside.is_dir() else []
    return ArtifactError(
        f"{folder.parent.name}/{folder.name} has no {checkpoint}",
        expected=f"one of: {', '.join(names) or 'none; it keeps no checkpoints'}",
    )

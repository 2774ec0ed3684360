"""Checkpoint folders: written beside, sealed, synced, renamed; only complete ones can be resumed from.

A checkpoint is named by the token threshold it crossed (`checkpoint_100K_tokens`); the exact
count is in its trainer state. The two newest keep optimizer and random state, older ones only
their weights. transformers writes straight into the final folder and resumes from the
highest number even when half written, so the folder and its rotation are ours. The size and digest
of every file are in the folder too, so that damage is seen before anything is loaded.
"""

import os
import shutil
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from tempering.artifacts import atomic
from tempering.artifacts.integrity import files_damage, seal
from tempering.artifacts.manifest import FileEntry
from tempering.artifacts.names import checkpoint_tokens

DIGESTS = "digests.json"
OPTIMIZER = "optimizer.pt"
STOPPED = "stopped"
"""Marks a checkpoint between thresholds, written at a stop; it goes when nothing resumes from it any more."""
RESUME_FILES = (DIGESTS, OPTIMIZER, "scheduler.pt", "rng_state*.pth", "scaler.pt")
KEEP_RESUMABLE = 2
_ENTRIES = TypeAdapter(dict[str, FileEntry])


def publish(temporary: Path, final: Path) -> None:
    """Make the checkpoint in `temporary` visible as `final`, all of it or nothing."""
    entries = {path.relative_to(temporary).as_posix(): seal(path) for path in _files(temporary)}
    (temporary / DIGESTS).write_bytes(_ENTRIES.dump_json(entries, indent=1))
    # A resumed run crosses a threshold again: then `final` exists already, with the same content.
    atomic.publish_folder(temporary, final, durable=True)
    prune(final.parent)


def damage(checkpoint: Path) -> str | None:
    """What is not as `publish` left it, or None; without digests (of an older version) what can't be read."""
    if not checkpoint.is_dir():
        return "it is not a folder"
    try:
        # A pipe is never opened: reading it might never end.
        irregular = [path.name for path in _files(checkpoint) if not path.is_file()]
        if irregular:
            return f"{irregular[0]} is not a regular file"
        entries = _ENTRIES.validate_json((checkpoint / DIGESTS).read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError:
        return f"{DIGESTS} is malformed"
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    return next((f"{one.file}: {one.what}" for one in files_damage(checkpoint, entries)), None)


def newest_first(folder: Path) -> list[Path]:
    """All checkpoints, also those that cannot be resumed from."""
    named = [(checkpoint_tokens(path.name), path) for path in folder.iterdir()]
    return [
        path for _, path in sorted(((tokens, path) for tokens, path in named if tokens is not None))[::-1]
    ]


def has_state(checkpoint: Path) -> bool:
    """Whether it keeps training state, beside the weights."""
    return os.access(checkpoint / OPTIMIZER, os.F_OK)  # says no, where `exists` may raise


def sweep(folder: Path) -> None:
    """Remove half-written checkpoints that a kill left behind; one that stood aside gets its place back."""
    for aside in folder.glob(".old-checkpoint_*"):
        atomic.sweep(folder / aside.name.removeprefix(".old-").partition(".")[0])
    for leftover in folder.glob(".tmp-*"):
        shutil.rmtree(leftover)


def prune(folder: Path) -> None:
    """Keep training state in the newest `KEEP_RESUMABLE` checkpoints only."""
    for checkpoint in [path for path in newest_first(folder) if has_state(path)][KEEP_RESUMABLE:]:
        stopped = (checkpoint / STOPPED).exists()
        for pattern in RESUME_FILES:  # the digests first: what has none is not missed
            for path in checkpoint.glob(pattern):
                path.unlink()
        if stopped:
            shutil.rmtree(checkpoint)


def _files(folder: Path) -> list[Path]:
    """Everything in `folder` but its folders."""
    return sorted(path for path in folder.rglob("*") if not path.is_dir())

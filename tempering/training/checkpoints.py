"""Checkpoint folders: written beside, synced, renamed; only complete ones can be resumed from.

A checkpoint is named by the token threshold it crossed (`checkpoint_100K_tokens`); the exact
count is in its trainer state. The two newest keep optimizer and random state, older ones only
their weights. transformers writes straight into the final folder and resumes from the
highest number even when half written, so the folder and its rotation are ours.
"""

import json
import shutil
from pathlib import Path

from tempering.artifacts import atomic

RESUME_FILES = ("optimizer.pt", "scheduler.pt", "rng_state*.pth", "scaler.pt")
KEEP_RESUMABLE = 2


def publish(temporary: Path, final: Path) -> None:
    """Make the checkpoint in `temporary` visible as `final`, all of it or nothing."""
    # A resumed run crosses a threshold again: then `final` exists already, with the same content.
    atomic.publish_folder(temporary, final, durable=True)
    prune(final.parent)


def tokens_of(checkpoint: Path) -> int:
    """The exact token count of a checkpoint."""
    state = json.loads((checkpoint / "trainer_state.json").read_text())
    return int(state["num_input_tokens_seen"])


def resumable(folder: Path) -> list[Path]:
    """Complete checkpoints with training state, oldest first."""
    checkpoints = [path for path in folder.glob("checkpoint_*_tokens") if (path / "optimizer.pt").exists()]
    return sorted(checkpoints, key=lambda path: (tokens_of(path), path.stat().st_mtime_ns))


def sweep(folder: Path) -> None:
    """Remove half-written checkpoints that a kill left behind; one that stood aside gets its place back."""
    for aside in folder.glob(".old-checkpoint_*"):
        atomic.sweep(folder / aside.name.removeprefix(".old-").partition(".")[0])
    for leftover in folder.glob(".tmp-*"):
        shutil.rmtree(leftover)


def prune(folder: Path) -> None:
    """Keep training state in the newest `KEEP_RESUMABLE` checkpoints only."""
    for checkpoint in resumable(folder)[:-KEEP_RESUMABLE]:
        for pattern in RESUME_FILES:
            for path in checkpoint.glob(pattern):
                path.unlink()

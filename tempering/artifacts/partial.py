"""Partials: work in progress that a killed run left, and what of it may be used.

`inputs.json` says from which input payloads and by which code it was made, and how long that took. Made from
others, it is discarded; otherwise its checkpoints and logs stay and the stage resumes from them. What is
damaged is set aside in `.damaged`, beside the partials and outside what becomes an artifact: somebody can
look at it.
"""

import contextlib
import json
import shutil
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from tempering.artifacts.atomic import beside, read_file, store_errors, write_atomic
from tempering.artifacts.draft import LOG_FILE, checkpoints_in
from tempering.artifacts.manifest import FILE_NAME

INPUTS_FILE = "inputs.json"
KEEP_DAMAGED = 3  # checkpoints are large


def resume_point(
    partial: Path, inputs: Mapping[str, str | None], code: Mapping[str, str] | None = None
) -> str | None:
    """The newest checkpoint's name, or None where there is nothing to resume from.

    Args:
        inputs: role -> payload digest; None matches any.
        code: module -> digest; if set, a partial made by other code does not count.
    """
    origin = _origin(partial)
    if origin is None or (code is not None and origin["code"] != dict(code)):
        return None
    payloads = origin["inputs"]
    if payloads.keys() != inputs.keys():
        return None
    if any(digest is not None and digest != payloads[role] for role, digest in inputs.items()):
        return None
    checkpoints = checkpoints_in(partial)
    return checkpoints[-1].name if checkpoints else None


def open_partial(
    partial: Path, inputs: Mapping[str, str], code: Mapping[str, str], outputs: Iterable[str], *, fresh: bool
) -> str | None:
    """Make `partial` ready for a stage. `outputs` (files, folders) are written again in any case.

    Returns:
        what was damaged in it and has been set aside, for the log.
    """
    note = None
    if checkpoints_in(partial) and _origin(partial) is None:
        place = set_aside(partial, partial)
        note = f"{INPUTS_FILE} is damaged, so nobody knows what the checkpoints were made from: begun anew. "
        note += f"They are set aside: {place}"
    if fresh or resume_point(partial, inputs) is None:
        _discard(partial)
        partial.mkdir(parents=True)
        origin = {"inputs": dict(inputs), "code": dict(code)}
        write_atomic(partial / INPUTS_FILE, json.dumps(origin).encode())
    else:
        for name in (FILE_NAME, "config.yaml", *outputs):
            remove(partial / name)
        for path, is_folder in ((partial / "metadata", True), (partial / LOG_FILE, False)):
            if path.exists() and path.is_dir() != is_folder:
                note = f"{path.name} is damaged and set aside: {set_aside(path, partial)}"
    return note


def seconds_spent(partial: Path) -> float:
    """How long the runs before have worked on it, as far as it was noted."""
    try:
        return float(json.loads(read_file(partial / INPUTS_FILE))["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0


def note_seconds(partial: Path, seconds: float) -> None:
    """Keep how long all runs have worked on it; what cannot be kept is left out."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        origin = json.loads(read_file(partial / INPUTS_FILE)) | {"seconds": round(seconds, 3)}
        write_atomic(partial / INPUTS_FILE, json.dumps(origin).encode(), durable=False)


def set_aside(path: Path, partial: Path) -> Path:
    """Move `path`, a part of `partial` or all of it, to what else is damaged; the newest few are kept.

    Returns:
        where it is now.

    Raises:
        StoreError: it cannot be moved.
    """
    shelf = partial.parent / ".damaged"
    moment = datetime.now(UTC).strftime("%Y-%m-%d__%H-%M-%S-%f")
    name = partial.name if path == partial else f"{partial.name}__{path.name}"
    place = shelf / f"{moment}__{name}"
    with store_errors(f"cannot set {path} aside"):
        shelf.mkdir(exist_ok=True)
        path.rename(place)
    for older in sorted(shelf.iterdir(), reverse=True)[KEEP_DAMAGED:]:
        with contextlib.suppress(OSError):
            remove(older)
    return place


def remove(path: Path) -> None:
    """Remove a file or a folder, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _origin(partial: Path) -> dict[str, dict[str, str]] | None:
    try:
        tree = json.loads(read_file(partial / INPUTS_FILE))
        return {"inputs": dict(tree["inputs"]), "code": dict(tree["code"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _discard(partial: Path) -> None:
    """Move it away first: a removal cut short must not leave half a checkpoint to resume from."""
    if partial.exists():
        trash = beside(partial, "trash")  # what a kill leaves of it goes with the next writing to the store
        shutil.rmtree(trash, ignore_errors=True)
        partial.rename(trash)
        shutil.rmtree(trash, ignore_errors=True)

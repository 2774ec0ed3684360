"""What killed processes left in a store and nobody looks at; it goes when the store is opened for writing.

Work in progress is none of it: a stage resumes from its checkpoints under `.partial`.
"""

import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from tempering.artifacts.atomic import sweep_all
from tempering.artifacts.lease import free_locks
from tempering.artifacts.partial import INPUTS_FILE

_YOUNG = 60.0  # seconds: a run that starts right now has not written its record yet


def sweep_store(root: Path, artifacts: Iterable[Path]) -> None:
    """Clear half-written files, discarded work, locks that nobody holds, and records without content."""
    for name, mark in ((".partial", "tmp"), (".partial", "trash"), (".cache", "tmp"), ("runs", "tmp")):
        sweep_all(root / name, mark)
    free_locks(root / ".locks")
    with suppress(OSError):
        for record in (root / "runs").glob("*.json"):
            stat = record.stat()
            if stat.st_size == 0 and time.time() - stat.st_mtime > _YOUNG:
                record.unlink()
    # A commit that was killed right after its rename.
    with suppress(OSError):
        for folder in artifacts:
            (folder / INPUTS_FILE).unlink(missing_ok=True)

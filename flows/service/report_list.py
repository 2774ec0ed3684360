"""The reports of a store, as the report server lists and reads them.

Artifacts never change, so each folder is looked at once; a listing costs one scan of the store (50 ms at
10,000 artifacts). What lies outside of the store, behind a symbolic link, is not there.
"""

import hashlib
import os
import stat
import threading
from dataclasses import dataclass
from pathlib import Path

from tempering.artifacts.manifest import Manifest, read_manifest
from tempering.artifacts.names import slug
from tempering.artifacts.store import Store
from tempering.errors import ArtifactError, StoreError

_PAGE = "report.html"


@dataclass(frozen=True)
class Report:
    """One report; `manifest` is None where it cannot be read, and `verdict` says so then."""

    id: str
    folder: Path
    manifest: Manifest | None
    verdict: str

    @property
    def pipeline(self) -> str:
        """The name of the pipeline, as folders have it."""
        return self.folder.name.partition("__")[0]

    @property
    def created(self) -> str:
        """When, in ISO format; from the folder's name where nothing else tells."""
        if self.manifest is not None:
            return self.manifest.created
        day, _, rest = self.folder.name.partition("__")[2].partition("__")
        return f"{day}T{rest[:8].replace('-', ':')}+00:00"


class ReportList:
    """The reports of `store`; safe between threads."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._known: dict[Path, Report | None] = {}
        self._lock = threading.Lock()

    def newest(self) -> list[Report]:
        """All of them, newest first.

        Raises:
            OSError: the store cannot be read.
        """
        with self._lock:
            root = self.store.root.resolve()
            folders = set(self.store.folders())
            for gone in self._known.keys() - folders:
                del self._known[gone]
            # What could not be read may be mended, so it is looked at again.
            reports = []
            for folder in folders:
                report = self._known.get(folder) or (None if folder in self._known else _look(folder, root))
                if report is None or report.manifest is not None:
                    self._known[folder] = report
                if report is not None:
                    reports.append(report)
        return sorted(reports, key=lambda report: (report.created, report.id), reverse=True)

    def get(self, name: str) -> Report | None:
        """The report with this id."""
        return next((report for report in self.newest() if report.id == name), None)

    def latest(self, pipeline: str) -> Report | None:
        """What the newest run of the pipeline made or reused; without a record, the report made last."""
        reports = [report for report in self.newest() if report.pipeline == slug(pipeline)]
        if not reports:
            return None
        known = {report.id: report for report in reports}
        for record in self.store.runs.newest():
            if slug(record.pipeline) == slug(pipeline):
                for entry in record.stages.values():
                    if entry.artifact in known:
                        return known[entry.artifact]
        return reports[0]

    def read(self, report: Report) -> bytes:
        """Its page.

        Raises:
            ArtifactError: it is not what the stage wrote, or leads out of the store.
            OSError: it cannot be read.
        """
        content = _bytes(report.folder / _PAGE)
        entry = report.manifest.files.get(_PAGE) if report.manifest else None
        if content is None or entry is None or hashlib.sha256(content).hexdigest() != entry.sha256:
            raise ArtifactError(
                f"{report.id} is damaged: {_PAGE} is not as the stage wrote it",
                expected="every file as the stage wrote it",
                fix="restore it, or run the pipeline: the report is made again",
            )
        return content


def _look(folder: Path, root: Path) -> Report | None:
    """The report in an artifact's folder, if it is one and lies in the store."""
    if not (folder / _PAGE).is_file() or not folder.resolve().is_relative_to(root):
        return None
    name = f"{folder.parent.name}/{folder.name}"
    try:
        manifest = read_manifest(folder)
    except (ArtifactError, StoreError):
        return Report(name, folder, None, "cannot be shown: its manifest is missing or was changed")
    if manifest.kind != "report":
        return None
    return Report(name, folder, manifest, str(manifest.details.get("verdict", "")))


def _bytes(path: Path) -> bytes | None:
    """The content of a plain file; None for anything else, links among it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        if path.is_symlink():
            return None
        raise
    with open(descriptor, "rb") as file:
        return file.read() if stat.S_ISREG(os.fstat(descriptor).st_mode) else None

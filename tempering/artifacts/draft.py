"""The draft: the folder a stage writes into, and its line to the outside.

A draft is made by `Store.draft` (then it holds a lease and can be committed) or, in a test, simply by
`Draft(folder)`. It can be sent to a child process: callbacks and lease stay behind, the child
sets its own callbacks and sends `outcome()` back for `adopt()`.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tempering.artifacts.kinds import Artifact
from tempering.artifacts.manifest import CodeState, InputRef
from tempering.artifacts.names import checkpoint_tokens
from tempering.artifacts.tables import write_parquet
from tempering.credentials import masked
from tempering.runtime import RuntimeConfig

if TYPE_CHECKING:
    from tempering.artifacts.lease import Lease

OnProgress = Callable[[int, int | None, str, Mapping[str, float]], None]
"""done, total, unit, live metrics"""
OnLog = Callable[[str, str], None]
"""level ("info" or "warning"), text"""

LOG_FILE = "log.txt"
PATIENCE = 60.0
"""Seconds after which a call of a user's code is named that has not come back."""
_PROGRESS_GAP = 0.1  # seconds between two calls of the callback
_OUTCOME = ("name", "name_tokens", "tokens", "details", "resumed_from_tokens", "device")
_log = logging.getLogger("tempering")


@dataclass(frozen=True)
class Ticket:
    """What the store needs to commit a draft."""

    node: str
    makes: type[Artifact]
    fingerprint: str
    hashed: Mapping[str, Any]
    inputs: Mapping[str, InputRef]
    config: Mapping[str, Any]
    code: CodeState
    started: float = field(default_factory=time.monotonic)


class Draft:
    """What a stage writes into. Folders appear when first asked for."""

    def __init__(
        self,
        path: Path,
        *,
        seed: int = 0,
        runtime: RuntimeConfig | None = None,
        on_progress: OnProgress | None = None,
        on_log: OnLog | None = None,
        ticket: Ticket | None = None,
        lease: "Lease | None" = None,
    ) -> None:
        # What it was opened with.
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        self.seed = seed
        self.runtime = runtime or RuntimeConfig()
        self.on_progress, self.on_log = on_progress, on_log
        self.on_doing: Callable[[str], None] | None = None
        self.on_device: Callable[[], None] | None = None
        self.on_stoppable: Callable[[bool], None] | None = None
        self.stop_asked = False
        """Whether the stage has been told to write a checkpoint and end; see `stoppable`."""
        self.ticket, self.lease = ticket, lease
        # What the stage sets: `_OUTCOME` travels back to the parent.
        self.name: str = ""
        """The model's or data set's name for the folder; the node's name where the stage sets none."""
        self.name_tokens: int | None = None
        """The token budget for the folder's name."""
        self.tokens: int = 0
        """Tokens this stage used."""
        self.details: dict[str, Any] = {}
        """Facts for later stages and readers; goes into the manifest."""
        self.resumed_from_tokens: int | None = None
        self.device: str = "cpu"
        """The device in use; a stage that chooses one sets it here."""
        self._last_progress = 0.0

    @property
    def model_dir(self) -> Path:
        """Weights and tokenizer in Hugging Face layout."""
        return self._folder("model")

    @property
    def checkpoints_dir(self) -> Path:
        """`checkpoint_100K_tokens/` and so on."""
        return self._folder("checkpoints")

    @property
    def metadata_dir(self) -> Path:
        """Parquet tables about the work."""
        return self._folder("metadata")

    @property
    def rows_dir(self) -> Path:
        """`train/` and `eval/` of data sets and samples: shards of Parquet."""
        return self._folder("rows")

    @property
    def tokenizer_dir(self) -> Path:
        """A tokenizer in Hugging Face layout."""
        return self._folder("tokenizer")

    def _folder(self, name: str) -> Path:
        folder = self.path / name
        folder.mkdir(exist_ok=True)
        return folder

    def write_table(self, name: str, rows: Any, schema: Any = None) -> Path:
        """Write `metadata/<name>.parquet` atomically from a DataFrame, a Table, columns or rows."""
        return write_parquet(self.metadata_dir / f"{name}.parquet", rows, schema)

    def progress(self, done: int, total: int | None, *, unit: str = "tokens", **live: float) -> None:
        """Say how far the work is; passed on at most ten times a second, and always at the end."""
        if self.on_progress is None:
            return
        now = time.monotonic()
        if now - self._last_progress >= _PROGRESS_GAP or done == total:
            self._last_progress = now
            self.on_progress(done, total, unit, live)

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Say what runs inside: all that is known where the process ends in it without a word, or hangs."""
        say = self.on_doing or (lambda what: None)
        waiting = threading.Timer(
            PATIENCE, lambda: self.warn(f"waiting for {what}, since {PATIENCE:g} seconds")
        )
        waiting.daemon = True
        say(what)
        waiting.start()
        try:
            yield
        finally:
            waiting.cancel()
            say("")

    @contextmanager
    def stoppable(self) -> Iterator[None]:
        """While the body runs, a SIGTERM does not end the process: it sets `stop_asked`.

        The body looks at it where it could write a checkpoint, does so, and ends; then raise `StageStopped`.
        """
        if threading.current_thread() is not threading.main_thread():  # which alone gets signals
            yield
            return

        def ask(number: int, frame: object) -> None:
            self.stop_asked = True

        say = self.on_stoppable or (lambda ready: None)
        previous = signal.signal(signal.SIGTERM, ask)
        say(True)
        try:
            yield
        finally:
            say(False)
            signal.signal(signal.SIGTERM, previous)

    def log(self, text: str) -> None:
        """A line to the log."""
        self._say("info", text)

    def warn(self, text: str) -> None:
        """A line to the log that people should see."""
        self._say("warning", text)

    def _say(self, level: str, text: str) -> None:
        text = masked(text)
        moment = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
        with (self.path / LOG_FILE).open("a", encoding="utf-8") as file:
            file.write(f"{moment} {level} {text}\n")
        if self.on_log is not None:
            self.on_log(level, text)
        else:
            _log.log(logging.WARNING if level == "warning" else logging.INFO, text)

    def outcome(self) -> dict[str, Any]:
        """What the stage set, to be sent from the child process to `adopt` in its parent."""
        return {key: getattr(self, key) for key in _OUTCOME}

    def adopt(self, outcome: Mapping[str, Any]) -> None:
        """Take over what a child process set on its copy of this draft."""
        for key in _OUTCOME:
            setattr(self, key, outcome[key])

    def close(self) -> None:
        """Give the lease back; the folder stays, so that the stage can resume from its checkpoints."""
        if self.lease is not None:
            self.lease.release()
            self.lease = None

    def __enter__(self) -> "Draft":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        ours = ("on_progress", "on_log", "on_doing", "on_device", "on_stoppable", "lease")
        return {**self.__dict__, **dict.fromkeys(ours)}


def checkpoints_in(folder: Path) -> list[Path]:
    """The complete checkpoints under `folder`/checkpoints, by tokens; `.tmp-*` does not count."""
    try:
        folders = [(checkpoint_tokens(path.name), path) for path in (folder / "checkpoints").iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [path for tokens, path in sorted((tokens, path) for tokens, path in folders if tokens is not None)]

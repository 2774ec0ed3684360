"""What the fork server imports before the first stage, so that each stage starts in 0.1 s, not 7 s.

Only imports happen here: no tensor, no thread pool and never CUDA, whose state does not survive a
fork. `multiprocessing` swallows an ImportError of a preloaded module, so the error is kept in
`ERROR` and every child calls `check()` first. While the imports run, the fork server does not watch
its parent yet; a thread does, so that `kill -9` of the parent leaves nothing behind.
"""

import importlib
import os
import signal
import sys
import threading
import traceback

MODULES = (
    "pandas",
    "pyarrow.parquet",
    "torch",
    "datasets",
    "accelerate",
    "transformers",
    "transformers.trainer",
    "transformers.models.auto.modeling_auto",
    "transformers.models.llama.modeling_llama",
    "transformers.models.llama.tokenization_llama",
    "tempering.models",
    "tasks",
)
"""What every stage needs; a kind says what else it needs (`@stage(preload=...)`)."""
ERROR: str | None = None


def check() -> None:
    """Raise if the preload failed.

    Raises:
        ImportError: with the traceback of the module that could not be imported.
    """
    if ERROR is not None:
        raise ImportError(f"the stage process could not import its libraries\n{ERROR}")


def load(modules: tuple[str, ...]) -> str | None:
    """Import `modules`; the traceback of the first that fails, or None."""
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception:
            return f"importing {name}:\n{traceback.format_exc()}"
    return None


def _wishes_of_stages() -> tuple[str, ...]:
    """The modules that the registered kinds want imported."""
    from tempering.artifacts.stage import stages

    return tuple(dict.fromkeys(module for kind in stages().values() for module in kind.preload))


def _watch_parent(parent: int, end: threading.Event) -> None:
    while not end.wait(0.2):
        if os.getppid() != parent:
            os._exit(1)


def _preload() -> None:
    global ERROR
    os.dup2(2, 1)  # the terminal's stdout belongs to `--json`
    end = threading.Event()
    watcher = threading.Thread(target=_watch_parent, args=(os.getppid(), end))
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    watcher.start()
    try:
        # For tests: a preload of toy stages does not need seven seconds of libraries.
        choice = os.environ.get("TEMPER_PRELOAD")
        ERROR = load(MODULES) or load(_wishes_of_stages()) if choice is None else load(tuple(choice.split()))
    finally:
        end.set()
        watcher.join()  # no other thread may live when the server forks
        signal.signal(signal.SIGINT, handler)


if "multiprocessing.forkserver" in sys.modules and os.environ.get("TEMPER_FORK_SERVER") == str(os.getppid()):
    _preload()

"""What the fork server imports before the first stage, so that each stage starts in 0.1 s, not 7 s.

Only imports happen here: no tensor, no thread pool and never CUDA, whose state does not survive a
fork. `multiprocessing` swallows an ImportError of a preloaded module, so the error is kept in
`ERROR` and every child calls `check()` first.

After a `kill -9` of its parent nothing of it may stay: a thread watches the parent while the imports run, a
clock afterwards, since nothing but the server's own thread may live when it forks. The pipe that
`multiprocessing` watches is not enough: whoever else holds its other end keeps the server alive. On Linux the
kernel kills a child with the server, also one that has only just been forked.
"""

import atexit
import ctypes
import gc
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
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_forked = False


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


def _watch_by_clock(parent: int) -> None:
    """Look for the parent twice a second, and let the children end with this server."""

    def look(number: int, frame: object) -> None:
        if os.getppid() != parent:
            os._exit(1)

    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, 0.5, 0.5)
    atexit.register(os._exit, 0)  # no library's clean-up may hold the server back, and its children have none
    server = os.getpid()
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def born() -> None:
        global _forked
        if _forked:  # what a stage forks is its own business
            return
        _forked = True
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # a child inherits no clock
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != server:  # it died meanwhile
                os._exit(1)

    os.register_at_fork(after_in_child=born)


def _preload() -> None:
    global ERROR
    # A scheduler may signal every process of a job: this one ends with its parent, and its children with it.
    # Blocked, not ignored: one that reaches a child before it knows what to do then is not lost.
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGHUP))
    os.dup2(2, 1)  # the terminal's stdout belongs to `--json`
    parent, end = os.getppid(), threading.Event()
    watcher = threading.Thread(target=_watch_parent, args=(parent, end))
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    watcher.start()
    try:
        # For tests: a preload of toy stages does not need seven seconds of libraries.
        choice = os.environ.get("TEMPER_PRELOAD")
        ERROR = load(MODULES) or load(_wishes_of_stages()) if choice is None else load(tuple(choice.split()))
        # No collection in a stage looks through the million objects of libraries again, and a stage shares
        # their memory with its siblings for longer: to look at an object is to write to it.
        gc.collect()
        gc.freeze()
    finally:
        end.set()
        watcher.join()  # no other thread may live when the server forks
        signal.signal(signal.SIGINT, handler)
    _watch_by_clock(parent)


# A `temper` that another one has started inherits the variable, and is no fork server.
_here = any("multiprocessing.forkserver" in word for word in sys.orig_argv)
if _here and os.environ.get("TEMPER_FORK_SERVER") == str(os.getppid()):
    _preload()

"""Processes of their own that need not import torch, which takes 8 s: forked from one that has.

Only libraries of others are there before the fork; every module of ours is imported anew in the child, as in
`python -c`, so an import that is missing is still missing. The first call starts the process that is forked.
"""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TEMPER = "import sys; from flows.cli.main import main; sys.exit(main())"
"""The command line."""
_LIBRARIES = (
    "pandas",
    "pyarrow.parquet",
    "torch",
    "datasets",
    "transformers.trainer",
    "transformers.generation.utils",
)
_SERVER = f"""
import importlib, json, os, sys
for name in {_LIBRARIES!r}:
    importlib.import_module(name)

def child(order):
    # In the place of what subprocess and Python do at a start.
    for number, (name, flags) in enumerate(order["files"]):
        os.dup2(os.open(name, flags, 0o600), number)
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.argv = ["-c", *order["arguments"]]
    sys.path[:1] = ["", *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    sys.stdin, sys.stdout, sys.stderr = (open(number, mode, encoding="utf-8", closefd=False)
                                         for number, mode in ((0, "r"), (1, "w"), (2, "w")))
    code = 1
    try:
        exec(order["code"], {{"__name__": "__main__"}})
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

for line in sys.stdin:
    order = json.loads(line)
    if isinstance(order, int):
        print(os.waitstatus_to_exitcode(os.waitpid(order, 0)[1]), flush=True)
    elif pid := os.fork():
        print(pid, flush=True)
    else:
        child(order)
"""


class Fork:
    """One that has been started."""

    def __init__(self, forks: "Forks", pid: int, place: Path) -> None:
        self.forks, self.pid, self.place = forks, pid, place

    def wait(self) -> "subprocess.CompletedProcess[str]":
        """Its end, as subprocess.run tells it."""
        code = self.forks.ask(self.pid)
        out, err = ((self.place / name).read_text() for name in ("out", "err"))
        return subprocess.CompletedProcess(["python", "-c"], code, out, err)


class Forks:
    """Starts `python -c` in processes that have the libraries."""

    def __init__(self, place: Path) -> None:
        self.place, self.numbers = place, itertools.count()
        self.server: subprocess.Popen[str] | None = None

    def start(
        self,
        code: str,
        *arguments: object,
        cwd: Path | None = None,
        env: Mapping[str, str] = os.environ,
        stdin: str = "",
    ) -> Fork:
        """Run `code` beside this process."""
        place = self.place / str(next(self.numbers))
        place.mkdir()
        (place / "in").write_text(stdin)
        writing = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        files = (("in", os.O_RDONLY), ("out", writing), ("err", writing))
        order = {
            "code": code,
            "arguments": [*map(str, arguments)],
            "folder": str(cwd or Path.cwd()),
            "environment": dict(env),
            "files": [(str(place / name), how) for name, how in files],
        }
        return Fork(self, self.ask(order), place)

    def run(self, code: str, *arguments: object, **options: Any) -> "subprocess.CompletedProcess[str]":
        """Run `code` and wait for its end."""
        return self.start(code, *arguments, **options).wait()

    def ask(self, order: Any) -> int:
        """What the server answers."""
        if self.server is None:
            command = [sys.executable, "-c", _SERVER]
            self.server = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=self.place
            )
        server = self.server
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            server.stdin.write(json.dumps(order) + "\n")
            server.stdin.flush()
            return int(server.stdout.readline())
        except BaseException:  # as a test's timeout: an answer that comes later would be taken for the next
            self.close()
            raise

    def close(self) -> None:
        """End the server."""
        if self.server is not None:
            self.server.kill()
            self.server.communicate()
            self.server = None

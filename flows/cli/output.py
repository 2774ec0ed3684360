"""What a command writes on stdout: tables for people, or one JSON document.

With `--json` everything else goes to stderr, down to the file descriptors, so that no library can spoil
the document.
"""

import contextlib
import io
import json
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

_PIPE_WIDTH = 240


def console(pipe_width: int = _PIPE_WIDTH) -> "Console":
    """A console on stdout, which takes no text for markup.

    It is as wide as the terminal; a pipe has no width, so ids and reasons come whole there.
    """
    from rich.console import Console

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # data may hold what the terminal's encoding does not
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = pipe_width
    return console


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    print(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False))


@contextlib.contextmanager
def stdout_to_stderr(active: bool) -> Iterator[None]:
    """Send what anything writes to file descriptor 1 to stderr, if `active`."""
    if not active:
        yield
        return
    sys.stdout.flush()
    stdout = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)

"""What a stage's process prints, by Python or below it: the parent reads it, hides keys, and keeps it.

It comes over a pipe and goes line by line to the stage's `log.txt` and to whoever listens. The parent does
so, since the child may end at any moment, and since a key must be in no file, not even for a moment. What
has been printed in the moment in which the parent is killed is lost.
"""

import os
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from tempering.credentials import masked

_BLOCK = 1 << 16  # bytes; also the longest line: a longer one is cut, and a key might be cut with it
_BLOCKS = 16  # at a time: what a pipe can hold at most


class Prints:
    """The prints of one process, from the reading end of its pipe into the file `log`."""

    def __init__(self, pipe: Connection, log: Path) -> None:
        self.log = log
        self.trouble = ""
        """Why a line is missing in the log."""
        self._pipe = pipe
        os.set_blocking(pipe.fileno(), False)
        self._open, self._torn, self._start = True, b"", log.stat().st_size

    def sources(self) -> list[Connection]:
        """What to wait for."""
        return [self._pipe] if self._open else []

    def take(self, *, all_of_it: bool = False) -> list[str]:
        """The lines that have come since the last call, written to the log already.

        Args:
            all_of_it: the process has ended, so a last line without its end is one too.
        """
        lines: list[str] = []
        for _ in range(_BLOCKS):
            if not (block := self._read()):
                break
            lines += self._keep(block)
        if all_of_it and self._torn:
            lines += self._keep(b"\n")
        return lines

    def last(self, count: int = 15) -> str:
        """The end of the log, of this process alone."""
        with suppress(FileNotFoundError), self.log.open("rb") as file:
            file.seek(max(self._start, self.log.stat().st_size - 8000))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-count:])
        return ""

    def _read(self) -> bytes:
        if not self._open:
            return b""
        try:
            block = os.read(self._pipe.fileno(), _BLOCK)
        except BlockingIOError:
            return b""
        self._open = bool(block)
        return block

    def _keep(self, block: bytes) -> list[str]:
        whole, end, self._torn = (self._torn + block).rpartition(b"\n")
        if not end and len(self._torn) >= _BLOCK:  # no line of a person
            whole, self._torn = self._torn, b""
        if not whole and not end:
            return []
        # A progress bar redraws itself with carriage returns: keep what stood last.
        text = masked(whole.decode(errors="replace"))
        lines = [line.rsplit("\r", 1)[-1] for line in text.split("\n")]
        try:
            with self.log.open("a", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in lines)
        except OSError as error:
            self.trouble = error.strerror or str(error)
        return lines

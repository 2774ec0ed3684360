"""The conversation of `temper chat`: what a typed line means, and what an interruption does.

Ctrl-C stops an answer and keeps what the model has said; a second one, with no question in between, ends
the program. The whole history stays, even where the model can no longer read its beginning.
"""

import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from flows.stopping import Stopped
from tempering.errors import UserError
from tempering.printable import visible

HELP = """\
/reset          forget the conversation (the system turn stays)
/undo           take the last question and its answer back
/system TEXT    set the system turn and forget the rest; without TEXT: none
/save FILE      write the conversation as a line of JSON that trains with `kind: chat`
/help           this
/quit           end (so does Ctrl-D); //text says /text to the model
Ctrl-C stops an answer; a second one ends the program"""


class Chat:
    """One conversation with a speaker (`tempering.talk.chat_model.Speaker`)."""

    def __init__(
        self, speaker: Any, system: str | None, out: TextIO | None = None, err: TextIO | None = None
    ) -> None:
        self.speaker, self.system = speaker, system
        self.out, self.err = out or sys.stdout, err or sys.stderr
        self.turns: list[dict[str, str]] = []
        self._dropped = 0

    @property
    def history(self) -> list[dict[str, str]]:
        """The conversation with its system turn."""
        return [*([{"role": "system", "content": self.system}] if self.system else []), *self.turns]

    def run(self, read: Callable[[], str]) -> int:
        """Answer what `read` gives until it is at its end; the exit code."""
        interrupted = False
        while True:
            try:
                line = read()
                interrupted = False
                if not self.line(line):
                    return 0
            except EOFError:
                self._tell("")
                return 0
            except Stopped:
                raise
            except KeyboardInterrupt:
                if interrupted:
                    return 130
                interrupted = True
                self._tell("\n(Ctrl-C again or /quit ends)")

    def line(self, text: str) -> bool:
        """Do what a line says; False where it ends the conversation."""
        text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        if not text.strip():
            return True
        if text.startswith("/") and not text.startswith("//"):
            word, _, argument = text[1:].partition(" ")
            try:
                return self._command(word, argument.strip())
            except UserError as error:
                self._tell(str(error))
            return True
        self.say(text.removeprefix("/") if text.startswith("//") else text)
        return True

    def say(self, text: str) -> None:
        """Ask and write the answer as it comes."""
        question = {"role": "user", "content": text}
        # What the model will read; a question that does not fit is refused here.
        try:
            prepared = self.speaker.prepare([*self.history, question])
        except UserError as error:
            self._tell(str(error))
            return
        self._tell_dropped(prepared.dropped)
        # The answer, each piece shown as it comes.
        pieces: list[str] = []
        stopped = False
        try:
            for piece in self.speaker.stream(prepared, self.speaker.seed + len(self.turns)):
                pieces.append(piece)
                self.out.write(harmless(piece))
                self.out.flush()
        except KeyboardInterrupt:
            stopped = True
            raise
        finally:
            self.out.write("\n")
            self.out.flush()
            # An interrupted answer stays in the history as far as it came.
            if pieces or not stopped:
                self.turns += [question, {"role": "assistant", "content": "".join(pieces)}]

    def _command(self, word: str, argument: str) -> bool:
        match word:
            case "quit" | "exit":
                return False
            case "reset":
                self.turns, self._dropped = [], 0
                self._tell("(forgotten)")
            case "undo":
                self.turns = self.turns[:-2]
                self._tell(f"({len(self.turns)} turns left)")
            case "system":
                self.system, self.turns, self._dropped = argument or None, [], 0
                self._tell("(a new conversation with this system turn)" if argument else "(no system turn)")
            case "save":
                self._save(argument)
            case "help":
                self._tell(HELP)
            case _:
                self._tell(f"there is no /{word}; /help lists the commands, //{word} says it to the model")
        return True

    def _save(self, name: str) -> None:
        if not name:
            raise UserError("/save needs a file", expected="/save FILE")
        path = Path(name).expanduser()
        content = json.dumps({"messages": self.history}, ensure_ascii=False) + "\n"
        try:
            # "x": a conversation never overwrites a file.
            with path.open("x", encoding="utf-8", newline="\n") as file:
                file.write(content)
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}", fix="choose another file") from None
        self._tell(f"({len(self.history)} turns in {path})")

    def _tell_dropped(self, dropped: int) -> None:
        if dropped > self._dropped:
            unit = "tokens" if self.speaker.is_plain else "turns"
            self._tell(f"(the conversation no longer fits: its first {dropped} {unit} are not read)")
        self._dropped = dropped

    def _tell(self, text: str) -> None:
        print(text, file=self.err, flush=True)


def typed_lines() -> Callable[[], str]:
    """Lines from the keyboard, with its history keys, or from a pipe."""
    if not sys.stdin.isatty():
        return input
    with contextlib.suppress(ImportError):
        import readline

        readline.set_history_length(1000)
    return lambda: input("> ")


def harmless(text: str) -> str:
    """What a model says may hold anything; a terminal obeys none of it."""
    if not sys.stdout.isatty():
        return text
    return "\t".join(visible(part, lines=True) for part in text.split("\t"))

"""Traces in running text of what happened to it before: wrong encodings, web pages, terminals.

None of them makes a row unusable by itself, so they are counted, not rejected, each with the place of
the first. Two- and three-letter traces of UTF-8 that was read as cp1252 are told from real letters by
what follows them: `Ã©` is a trace, the `Ã` of `SÃO` is not.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tempering.data.rows import Row
from tempering.doctor.check import Check, Level, rows, share

# How the continuation bytes 80-BF look in cp1252.
_CONTINUED = "\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ"


@dataclass(frozen=True)
class _Trace:
    name: str
    words: str
    pattern: re.Pattern[str]
    warned: float
    """Share of the rows from which it is a warning; below, a note."""


_TRACES = (
    _Trace("replacement_characters", "with U+FFFD: bytes were lost", re.compile("\ufffd"), 0.01),
    _Trace(
        "mojibake",
        "with UTF-8 that was read as cp1252 (â€œ, Ã©)",
        re.compile(f"â€[{_CONTINUED}]?|[ÃÂ][{_CONTINUED}]|ï»¿"),
        0.01,
    ),
    _Trace(
        "html",
        "with HTML",
        re.compile(
            r"</?(?:br|p|div|span|a|b|i|em|strong|li|ul|ol|td|tr|table|h[1-6]|script)(?:\s+[a-z-]+=[^<>]{0,200})?\s*/?>"
            r"|&(?:amp|lt|gt|quot|nbsp|#\d{2,5});",
            re.IGNORECASE,
        ),
        1.01,
    ),
    _Trace(
        "control_characters",
        "with control characters",
        re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"),
        0.01,
    ),
)


@dataclass
class Blemishes:
    """Rows by trace, and where each was first seen."""

    rows: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, row: Row, texts: Iterable[str]) -> None:
        """Look at the texts of one row."""
        self.rows += 1
        whole = "\n".join(texts)
        for trace in _TRACES:
            if trace.pattern.search(whole):
                self.counts[trace.name] += 1
                self.first.setdefault(trace.name, f"{row.file}:{row.line}")

    def checks(self) -> list[Check]:
        """One for each trace; those that are not there are told to people in one sentence."""
        absent = [
            trace.name.replace("_", " ").replace("html", "HTML")
            for trace in _TRACES
            if not self.counts[trace.name]
        ]
        clean = [Check("clean_text", Level.OK, f"no {', '.join(absent)}")] if absent else []
        return [*(self._check(trace) for trace in _TRACES), *clean]

    def _check(self, trace: _Trace) -> Check:
        count = self.counts[trace.name]
        numbers = {"rows": count}
        if not count:
            return Check(trace.name, Level.OK, "none", numbers=numbers, quiet=True)
        level = Level.WARNING if count >= trace.warned * self.rows else Level.NOTE
        place = self.first[trace.name]
        text = f"{rows(count)} ({share(count, self.rows)}) {trace.words}, first {place}"
        return Check(trace.name, level, text, numbers=numbers)

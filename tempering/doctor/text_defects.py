"""Traces in running text of what happened to it before: wrong encodings, web pages, terminals.

None of them makes a row unusable by itself, so they are counted, not rejected, each with the place of
the first. Two- and three-letter traces of UTF-8 that was read as cp1252 are told from real letters by
what follows them: `Ã©` is a trace, the `Ã` of `SÃO` is not.
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tempering.data.rows import Row
from tempering.doctor.check import Check, Level, graded, rows, share
from tempering.doctor.counters import Counts


class _Trace(NamedTuple):
    """`warning`: the share of the rows from which it is one; below, a note."""

    words: str
    pattern: re.Pattern[str]
    warning: float = 0.01


# How the continuation bytes 80-BF look in cp1252.
_CONTINUED = "\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ"
_MOJIBAKE = re.compile(f"â€[{_CONTINUED}]?|[ÃÂ][{_CONTINUED}]|ï»¿")
_HTML = re.compile(
    r"</?(?:br|p|div|span|a|b|i|em|strong|li|ul|ol|td|tr|table|h[1-6]|script)(?:\s+[a-z-]+=[^<>]{0,200})?\s*/?>"
    r"|&(?:amp|lt|gt|quot|nbsp|#\d{2,5});",
    re.IGNORECASE,
)
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_TRACES = {
    "replacement_characters": _Trace("with U+FFFD: bytes were lost", re.compile("\ufffd")),
    "mojibake": _Trace("with UTF-8 that was read as cp1252 (â€œ, Ã©)", _MOJIBAKE),
    "html": _Trace("with HTML", _HTML, warning=1.01),
    "control_characters": _Trace("with control characters", _CONTROL),
    "byte_order_marks": _Trace("with a byte order mark (U+FEFF) in the text", re.compile("\ufeff")),
}


def count_traces(counts: Counts, row: Row, texts: Iterable[str]) -> None:
    """Look at the texts of one row."""
    whole = "\n".join(texts)
    for name, trace in _TRACES.items():
        if trace.pattern.search(whole):
            counts.named[name] += 1
            counts.first.setdefault(name, f"{row.file}:{row.line}")


def trace_checks(counts: Counts, kept: int) -> Iterator[Check]:
    """One for each trace; those that are not there are told to people in one sentence."""
    absent = []
    for name, trace in _TRACES.items():
        count = counts.named[name]
        text = "none"
        if count:
            text = f"{rows(count)} ({share(count, kept)}) {trace.words}, first {counts.first[name]}"
        else:
            absent.append(name.replace("_", " ").replace("html", "HTML"))
        level = graded(count, kept, trace.warning)
        yield Check(name, level, text, numbers={"rows": count}, quiet=not count)
    if absent:
        yield Check("clean_text", Level.OK, f"no {', '.join(absent)}")

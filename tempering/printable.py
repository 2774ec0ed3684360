"""What a person reads on a terminal: foreign text, of which nothing may be obeyed there, and numbers.

Control characters, escape sequences and letters that turn the direction of writing are shown as
pictures or codes and never sent as they are. Numbers have one format each, so that a table, a line of
a log and the plan say the same.
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

_MARKUP = re.compile(r"([\\`*<>|#~&$\[\]]|(?<![^\W_])_|_(?![^\W_]))")
"""What Markdown and HTML begin with inside of a line; behind a backslash it stands for itself."""


def visible(text: str, *, lines: bool = False) -> str:
    """`text` without anything that a terminal would obey; `lines`: line ends stay."""
    return "".join(char if _harmless(char, lines) else _picture(char) for char in text)


def as_markdown(text: str) -> str:
    """`text` as Markdown in which it reads as itself."""
    return _MARKUP.sub(r"\\\1", text)


def shown_name(name: str, most: int = 60) -> str:
    """A column or a file as a message names it: visible, and cut where it is long."""
    return visible(name if len(name) <= most else f"{name[:most]}…")


def number(value: Any, form: str = ".4g") -> str:
    """A metric in few characters: `0.9412`, `27,000`; nothing where there is none. `form`: of a float."""
    if isinstance(value, float):
        return format(value, form)
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else str(value)


def headline(metrics: Mapping[str, Any]) -> str:
    """The first metric: `gold_score 0.94`."""
    return next((f"{name} {number(value)}" for name, value in metrics.items()), "")


def count(amount: int) -> str:
    """Tokens in few characters: `950`, `36.2K`, `1.50M`, `3.00B`."""
    for size, letter, digits in ((1_000_000_000, "B", 2), (1_000_000, "M", 2), (1000, "K", 1)):
        if amount >= size:
            return f"{amount / size:.{digits}f}{letter}"
    return str(amount)


def size(amount: float, *, least: str = "B", rough: bool = False) -> str:
    """Bytes: `345 B`, `1.2 kB`, `12 kB`, `340 MB`, `12.3 GB`; `rough`: no decimals below a GB.

    Args:
        least: the smallest unit.
    """
    units = _UNITS[_UNITS.index(least) :]
    amount /= 1000 ** _UNITS.index(least)
    while amount >= 1000 and len(units) > 1:
        amount, units = amount / 1000, units[1:]
    exact = units[0] in ("GB", "TB") or (amount < 10 and units[0] != "B" and not rough)
    return f"{amount:,.{int(exact)}f} {units[0]}"


_UNITS = ("B", "kB", "MB", "GB", "TB")


def clock(seconds: float | None) -> str:
    """`0.4 s`, `12 s`, `3:05`, `2:03:05`."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _harmless(char: str, lines: bool) -> bool:
    if char == "\n":
        return lines
    # Cc: control, Cf: formats such as changes of direction, Cs: lone surrogates, Zl and Zp: line ends.
    return unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def _picture(char: str) -> str:
    if char == "\t":
        return "⇥"
    if char == "\n":
        return "⏎"
    if ord(char) < 0x20:
        return chr(0x2400 + ord(char))
    if char in "\u200c\u200d":  # joiners, without which words and emoji fall apart
        return char
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"

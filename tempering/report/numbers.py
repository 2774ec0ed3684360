"""Numbers and texts as a person reads them.

Values that are compared with each other get the same number of decimals, so that digits line
up; three significant digits of the largest. A minus is the minus sign, a missing number a dash.
"""

import math
import re
import unicodedata
from collections.abc import Iterable
from datetime import datetime

MISSING = "–"
_MINUS = "−"
_SPAN_UNITS = ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))
_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c]")


def finite(value: object) -> float | None:
    """`value` as a float, or None where it is missing, not a number or not finite."""
    if value is None or isinstance(value, str | bytes):
        return None
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def decimals(values: Iterable[float | None], digits: int = 3) -> int:
    """Decimals that give the largest of `values` so many significant digits."""
    largest = max((abs(value) for value in values if value is not None), default=0.0)
    if largest == 0:
        return digits - 1
    return min(9, max(0, digits - 1 - math.floor(math.log10(largest))))


def number(value: float | None, places: int | None = None, *, sign: bool = False) -> str:
    """`value` with `places` decimals (three significant digits where None): `0.912`, `−1.30`, `12,300`."""
    if value is None or not math.isfinite(value):
        return MISSING
    places = decimals([value]) if places is None else places
    size = abs(value)
    text = f"{size:.2e}" if size >= 1e7 or 0 < size < 1e-5 else f"{size:,.{places}f}"
    if not any(char in "123456789" for char in text):
        return text
    return _MINUS + text if value < 0 else "+" + text if sign else text


def guess(value: float | None) -> str:
    """A baseline, which is a round number as a rule: `0.5`; nothing where there is none."""
    return "" if value is None else f"{value:.3g}".replace("-", _MINUS)


def interval(low: float | None, high: float | None, places: int | None = None, *, sign: bool = False) -> str:
    """`0.905 to 0.919`, or nothing where there is none."""
    if low is None or high is None:
        return ""
    places = decimals([low, high]) if places is None else places
    return f"{number(low, places, sign=sign)} to {number(high, places, sign=sign)}"


def count(value: float | None) -> str:
    """Tokens, rows: `950`, `12.3K`, `1.25M`, `3B`."""
    if value is None or not math.isfinite(value):
        return MISSING
    size, unit = abs(value), ""
    for unit in ("", "K", "M", "B", "T"):  # noqa: B007
        if float(f"{size:.3g}") < 1000:
            break
        size /= 1000
    text = f"{size:.0f}" if not unit and size == int(size) else f"{size:.3g}"
    return (_MINUS if value < 0 else "") + text + unit


def duration(seconds: float | None) -> str:
    """`0.8 s`, `42 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds is None or not math.isfinite(seconds):
        return MISSING
    if round(seconds) < 60:
        return f"{seconds:.0f} s" if seconds >= 9.95 or seconds == 0 else f"{seconds:.1f} s"
    for size, unit, part, part_unit in _SPAN_UNITS:
        if seconds >= size - 0.5:
            amount = round(seconds / part)
            per = size // part
            return f"{amount // per} {unit} {amount % per:02d} {part_unit}"
    return MISSING


def moment(created: str) -> str:
    """An ISO time as `21 November 2026, 10:15 UTC`; what is not one stays as it is."""
    try:
        time = datetime.fromisoformat(created)
    except ValueError:
        return created
    zone = " UTC" if time.tzinfo is not None and not time.utcoffset() else ""
    return f"{time.day} {time.strftime('%B %Y, %H:%M')}{zone}"


def visible(text: object, limit: int = 1500) -> str:
    """`text` without invisible surprises: control characters become their symbols, direction marks go.

    Escaping is the template's work; this is for what escaping leaves harmful or unreadable.
    """
    cut = str(text).encode("utf-8", "replace").decode("utf-8")
    plain = _BIDI.sub("", cut[:limit].replace("\r\n", "\n"))
    readable = "".join(_symbol(char) for char in plain)
    return readable if len(cut) <= limit else f"{readable}… ({len(cut) - limit:,} more characters)"


def _symbol(char: str) -> str:
    if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cn", "Co"):
        return char
    code = ord(char)
    return chr(0x2400 + code) if code < 0x20 else "\u2421" if code == 0x7F else "\ufffd"

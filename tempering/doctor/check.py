"""What a check found, from fine to fatal.

Fatal means that training (or measuring) on this would be meaningless; a warning that a person should
look; a note that something is worth knowing. One sentence says what was found, another what to do.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any


class Level(IntEnum):
    """How bad it is."""

    OK = 0
    NOTE = 1
    WARNING = 2
    FATAL = 3


@dataclass(frozen=True)
class Check:
    """One finding.

    Args:
        text: what was found, in one sentence; of a check that is fine, its name in a few words.
        fix: what to do about it.
        numbers: what the sentence was made from.
        quiet: another check says it already; kept for programs, not shown to people.
    """

    name: str
    level: Level
    text: str
    fix: str = ""
    numbers: Mapping[str, Any] = field(default_factory=dict)
    quiet: bool = False

    def to_json(self) -> dict[str, Any]:
        """As `temper data doctor --json` prints it."""
        fix = {"fix": self.fix} if self.fix else {}
        level = self.level.name.lower()
        return {"check": self.name, "level": level, "text": self.text, **fix, **self.numbers}


def worst(checks: Iterable[Check]) -> Level:
    """The worst level among checks."""
    return max((check.level for check in checks), default=Level.OK)


def share(part: float, whole: float) -> str:
    """`part` of `whole` as a percentage that is 0 only for nothing, and 100 only for everything."""
    if not whole:
        return "0%"
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return "<0.1%"
    if 99.9 < percent < 100:
        return ">99.9%"
    return f"{percent:.0f}%" if percent >= 10 or percent == int(percent) else f"{percent:.1f}%"


def rows(count: int, what: str = "row") -> str:
    """`1 row`, `1,181 rows`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"

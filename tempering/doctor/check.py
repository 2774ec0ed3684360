"""What a check says, from fine to fatal, and the data set or sample that it says it of.

Fatal means that training (or measuring) on this would be meaningless; a warning that a person should
look; a note that something is worth knowing. One sentence says what was found, another what to do.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from tempering.config import Config
from tempering.doctor.counters import Counts
from tempering.doctor.examples import Example
from tempering.errors import UserError


class Level(IntEnum):
    """How bad it is."""

    OK = 0
    NOTE = 1
    WARNING = 2
    FATAL = 3


@dataclass(frozen=True)
class Check:
    """What one check says.

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


@dataclass
class Examined:
    """A data set or a sample under examination.

    Args:
        error: why it could not be looked at; nothing else is known then.
        more: whether there are rows that were not looked at.
        examples: a few rows, as pieces of text.
    """

    name: str
    config: Config
    error: UserError | None = None
    more: bool = False
    counts: Counts = field(default_factory=Counts)
    checks: list[Check] = field(default_factory=list)
    examples: list[Example] = field(default_factory=list)

    @property
    def level(self) -> Level:
        """The worst of its checks."""
        return max((check.level for check in self.checks), default=Level.OK)

    def to_json(self) -> dict[str, Any]:
        """How it is; where it could be looked at, what is known of it, its checks and examples."""
        if self.error is not None:
            return {**self.called(), "level": "error", "error": str(self.error)}
        return {
            **self.called(),
            "level": self.level.name.lower(),
            **self.known(),
            "checks": [check.to_json() for check in self.checks],
            "examples": [[piece.to_json() for piece in example] for example in self.examples],
        }

    def called(self) -> dict[str, Any]:
        """What names it, for JSON."""
        raise NotImplementedError

    def known(self) -> dict[str, Any]:
        """What is known of it before it is judged, for JSON."""
        raise NotImplementedError


def graded(count: int, whole: int, warning: float, fatal: float = math.inf) -> Level:
    """How bad `count` of `whole` rows are, by the shares from which they are a warning, or fatal."""
    if count >= fatal * whole:
        return Level.FATAL
    if count:
        return Level.WARNING if count >= warning * whole else Level.NOTE
    return Level.OK


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

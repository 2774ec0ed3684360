"""What every quality filter does: judge a row, and remember the rows that stay."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from tempering.data.rows import Row


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a row is removed: the reason is short and constant, since it is counted; the detail varies."""

    reason: str
    detail: str = ""


class Rule(ABC):
    """One filter. Every rule judges a row first, and all remember it only if it stays.

    So a removed row always repeats one that stayed.
    """

    name: str
    held_out_too: bool = True
    """Whether it judges rows of the eval part as well."""

    @abstractmethod
    def fault(self, row: Row) -> Fault | None:
        """Why `row` has to be removed, or None."""

    def remember(self, row: Row) -> None:
        """Note that `row`, the last one that `fault` judged, stays."""
        return

    def state_bytes(self) -> int:
        """Bytes in memory for the rows remembered so far."""
        return 0


class Places:
    """Stores file and line of a row as one integer, so that a place costs a few bytes."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._names: list[str] = []

    def pack(self, row: Row) -> int:
        """The place of `row`."""
        number = self._numbers.setdefault(row.file, len(self._names))
        if number == len(self._names):
            self._names.append(row.file)
        return number << 40 | row.line

    def text(self, place: int) -> str:
        """`FILE:LINE` of a place."""
        return f"{self._names[place >> 40]}:{place & (1 << 40) - 1}"

"""What every quality filter can do: look at a row, and remember the rows that stay."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from tempering.data.rows import Row


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a row goes: the reason is short and constant, since reasons are counted; the detail is not."""

    reason: str
    detail: str = ""


class Rule(ABC):
    """One filter. A row is first shown to every rule, and remembered by all only if it stays.

    So what a later row repeats is always a row that is there.
    """

    name: str
    held_out_too: bool = True
    """Whether rows of the eval part are looked at as well."""

    @abstractmethod
    def fault(self, row: Row) -> Fault | None:
        """Why `row` has to go, or None."""

    def remember(self, row: Row) -> None:
        """`row`, the one that `fault` saw last, stays."""
        return

    def state_bytes(self) -> int:
        """Bytes that are kept because of the rows remembered so far."""
        return 0


class Places:
    """File and line of a row as one integer, so that a place costs a few bytes."""

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

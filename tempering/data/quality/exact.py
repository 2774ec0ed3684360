"""Repeated rows, by a 128-bit digest of the columns that their type requires.

Extra columns (ids, sources, scores of a crawl) differ between copies and do not count. A digest and the
place of its row take 105 to 135 bytes in a dict. Fewer bits would save nothing, since Python integers of 64
and of 128 bits take the same space.
"""

import hashlib
import json
import sys
from typing import Any

from tempering.data.quality.rule import Fault, Places, Rule
from tempering.data.rows import COLUMNS, Row, RowType


class ExactDuplicates(Rule):
    """Keeps the first of equal rows."""

    name = "exact_duplicate"

    def __init__(self, row_type: RowType) -> None:
        self._columns = tuple(COLUMNS[row_type])
        self._places = Places()
        self._first: dict[int, int] = {}
        self._digest = 0

    def fault(self, row: Row) -> Fault | None:
        """A repeated row; the detail says where it was first."""
        self._digest = digest([row.values[name] for name in self._columns])
        first = self._first.get(self._digest)
        return None if first is None else Fault("exact duplicate", f"of {self._places.text(first)}")

    def remember(self, row: Row) -> None:
        """Keep its digest and place."""
        self._first[self._digest] = self._places.pack(row)

    def state_bytes(self) -> int:
        """The dict, its digests and its places."""
        entry = sum(sys.getsizeof(number) + 15 & ~15 for number in (1 << 127, 1 << 40))  # 16-byte allocations
        return sys.getsizeof(self._first) + len(self._first) * entry


def digest(value: Any, size: int = 16) -> int:
    """A number of `size` bytes for a JSON value."""
    canonical = json.dumps(value, sort_keys=True).encode()
    return int.from_bytes(hashlib.blake2b(canonical, digest_size=size).digest(), "big")

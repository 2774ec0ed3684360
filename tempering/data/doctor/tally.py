"""Counting what every row has, in a few bytes a row: lengths (4) and digests (16).

Quantiles and repeated rows are exact, since all numbers are kept; a gigabyte of text has some
millions of rows, whose numbers take less room than one batch of a trainer.
"""

import hashlib
import json
from array import array
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from tempering.data.quality.rule import Places
from tempering.data.rows import COLUMNS, Row, RowType

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Spread:
    """The numbers of many rows in a few; quantiles are nearest ranks, so always one of the numbers."""

    count: int
    min: float
    median: float
    p95: float
    max: float
    total: float

    def to_json(self) -> dict[str, float]:
        """By name."""
        return asdict(self)


class Lengths:
    """A number for each row, such as its tokens."""

    def __init__(self, kind: str = "i") -> None:
        self._numbers: array[Any] = array(kind)

    def __len__(self) -> int:
        return len(self._numbers)

    def add(self, number: float) -> None:
        """Append the number of a row."""
        self._numbers.append(number)

    def spread(self) -> Spread | None:
        """All of them in a few; None where there are none."""
        import numpy as np

        if not self._numbers:
            return None
        found = np.sort(np.array(self._numbers))
        count = len(found)
        places = [0, (count - 1) // 2, -(-count * 95 // 100) - 1, count - 1]
        whole = found.sum(dtype=np.float64 if found.dtype.kind == "f" else np.int64).item()
        least, median, p95, most = (found[place].item() for place in places)
        return Spread(count, least, median, p95, most, whole)


class Repeats(NamedTuple):
    """Rows that repeat an earlier one, how many different rows there are, and the first pair's places."""

    repeated: int
    different: int
    first: tuple[str, str] | None


@dataclass
class Digests:
    """A 64-bit digest and the place of each row."""

    row_type: RowType
    digests: "array[int]" = field(default_factory=lambda: array("Q"))
    _packed: "array[int]" = field(default_factory=lambda: array("Q"))
    _places: Places = field(default_factory=Places)

    def add(self, row: Row) -> None:
        """Remember a row by the columns that its type requires."""
        self.digests.append(digest([row.values[name] for name in COLUMNS[self.row_type]]))
        self._packed.append(self._places.pack(row))

    def repeats(self) -> Repeats:
        """Rows that stand there more than once."""
        import numpy as np

        found = np.array(self.digests, dtype=np.uint64)
        different, first = np.unique(found, return_index=True)
        repeated = np.ones(len(found), dtype=bool)
        repeated[first] = False
        if not repeated.any():
            return Repeats(0, len(different), None)
        later = int(np.argmax(repeated))
        earlier = int(first[np.searchsorted(different, found[later])])
        pair = (self._places.text(self._packed[earlier]), self._places.text(self._packed[later]))
        return Repeats(int(repeated.sum()), len(different), pair)


@dataclass
class Openings:
    """A digest of what a row opens with (its prompt, its text), to find it in other sets and parts."""

    row_type: RowType
    digests: "array[int]" = field(default_factory=lambda: array("Q"))

    def add(self, values: Mapping[str, Any]) -> None:
        """Remember a row, unless it opens with nothing."""
        text = _opening(self.row_type, values)
        if text.strip():
            self.digests.append(digest(text))

    def among(self, others: "np.ndarray") -> int:
        """How many of these rows open as one of the others does."""
        import numpy as np

        return int(np.isin(self.all(), others).sum())

    def all(self) -> "np.ndarray":
        """All digests."""
        import numpy as np

        return np.array(self.digests, dtype=np.uint64)


def digest(value: Any) -> int:
    """64 bits of a value: among ten million rows, two different ones agree once in 400,000 times."""
    canonical = json.dumps(value, sort_keys=True).encode()
    return int.from_bytes(hashlib.blake2b(canonical, digest_size=8).digest(), "big")


def _opening(row_type: RowType, values: Mapping[str, Any]) -> str:
    if "messages" in values:
        return _up_to_answer(values["messages"])
    if "prompt" in values:
        return "\n".join(message["content"] for message in values["prompt"])
    return "\n".join(value for name in COLUMNS[row_type] if isinstance(value := values[name], str))


def _up_to_answer(messages: list[dict[str, str]]) -> str:
    opening: list[str] = []
    for message in messages:
        if message["role"] == "assistant" and opening:
            break
        opening.append(message["content"])
    return "\n".join(opening)

"""Counting what every row has, in a few bytes a row: lengths (4) and digests (16).

Quantiles and repeated rows are exact, since all numbers are kept; a gigabyte of text has some
millions of rows, whose numbers take less room than one batch of a trainer.
"""

from array import array
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from tempering.data.holdout import group_of
from tempering.data.quality.exact import digest
from tempering.data.quality.rule import Places
from tempering.data.rows import COLUMNS, Row, RowType

if TYPE_CHECKING:
    import numpy as np

_BYTES = 8
"""Of a digest: among ten million rows, two different ones agree once in 400,000 times."""


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
        self.digests.append(digest([row.values[name] for name in COLUMNS[self.row_type]], _BYTES))
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
    """A digest of what a row is held out by (prompt, text, context), to find it in other sets and parts."""

    row_type: RowType
    digests: "array[int]" = field(default_factory=lambda: array("Q"))

    def add(self, row: Row) -> None:
        """Remember a row, unless it opens with nothing."""
        text = _opening(self.row_type, row)
        if text.strip():
            self.digests.append(digest(text, _BYTES))

    def among(self, others: "np.ndarray") -> int:
        """How many of these rows open as one of the others does."""
        import numpy as np

        return int(np.isin(self.all(), others).sum())

    def all(self) -> "np.ndarray":
        """All digests."""
        import numpy as np

        return np.array(self.digests, dtype=np.uint64)


def _opening(row_type: RowType, row: Row) -> str:
    """What the hold-out groups the row by, as text, so that rows of other types can be found by it."""
    parts = [value if isinstance(value, list) else [value] for value in group_of(row_type, row)]
    return "\n".join(one if isinstance(one, str) else one["content"] for part in parts for one in part)


@dataclass
class Tokens:
    """What was counted.

    Args:
        special: rows in whose text a special token of the tokenizer is written out.
        longer: pairs whose chosen side has more tokens than the rejected one; `equal`: as many.
    """

    lengths: Lengths = field(default_factory=Lengths)
    special: int = 0
    special_token: str = ""
    pairs: int = 0
    longer: int = 0
    equal: int = 0

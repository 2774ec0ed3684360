"""Counting what every row has, in a few bytes a row: numbers (4 or 8) and digests (16).

Quantiles and repeated rows are exact, since all numbers are kept; a gigabyte of text has some
millions of rows, whose numbers take less room than one batch of a trainer.
"""

import math
from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tempering.data.holdout import group_of
from tempering.data.quality.exact import digest
from tempering.data.quality.rule import Places
from tempering.data.rows import COLUMNS, Row, RowType

if TYPE_CHECKING:
    import numpy as np

_BYTES = 8
"""Of a digest: among ten million rows, two different ones agree once in 400,000 times."""


Spread = dict[str, float]
"""Many numbers in a few: count, min, median, p95, max, total. Empty where there are none."""


class Numbers:
    """A number for each row, such as its tokens."""

    def __init__(self, kind: str = "i") -> None:
        self._numbers: array[Any] = array(kind)

    def __len__(self) -> int:
        return len(self._numbers)

    def add(self, number: float) -> None:
        """Append the number of a row."""
        self._numbers.append(number)

    def spread(self) -> Spread:
        """All of them in a few; quantiles are nearest ranks, so always one of the numbers."""
        import numpy as np

        if not self._numbers:
            return {}
        ordered = np.sort(np.array(self._numbers))
        count = len(ordered)
        places = {"min": 0, "median": (count - 1) // 2, "p95": -(-count * 95 // 100) - 1, "max": count - 1}
        quantiles = {name: ordered[place].item() for name, place in places.items()}
        total = ordered.sum(dtype=np.float64 if ordered.dtype.kind == "f" else np.int64).item()
        return {"count": count, **quantiles, "total": total}

    def far(self) -> tuple[list[float], float, float]:
        """The numbers far outside the scale of the others, and the ends of that scale.

        The scale grows from the middle four fifths outwards: to a number that is no farther away than the
        scale is wide, or than a quarter of that where it is the first below 0.
        """
        ordered = sorted(self._numbers)
        if not ordered:
            return [], 0.0, 0.0
        low, high = len(ordered) // 10, len(ordered) - 1 - len(ordered) // 10
        middle = abs(ordered[len(ordered) // 2])
        while True:
            # A scale of one number is as wide as that number is large.
            width = max(ordered[high] - ordered[low], middle)
            below = ordered[low - 1] if low else -math.inf
            above = ordered[high + 1] if high + 1 < len(ordered) else math.inf
            if ordered[low] - below <= (width / 4 if below < 0 <= ordered[low] else width):
                low -= 1
            elif above - ordered[high] <= width:
                high += 1
            else:
                return [*ordered[:low], *ordered[high + 1 :]], ordered[low], ordered[high]


@dataclass
class Counts:
    """What was counted in the rows of a data set or a sample.

    Args:
        tokens: of each row.
        named: how many rows (pairs, answers) have something; the names are those of the checks' numbers.
        first: the first of what `named` counts: its place, or what it is.
        values: labels, or places of the right choice.
        scores: of each row.
    """

    tokens: Numbers = field(default_factory=Numbers)
    named: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)
    values: Counter[Any] = field(default_factory=Counter)
    scores: Numbers = field(default_factory=lambda: Numbers("d"))

    def of(self, *names: str) -> dict[str, int]:
        """Some of what has a name; 0 for what never came."""
        return {name: self.named[name] for name in names}


class Digests:
    """A 64-bit digest of something that each row has."""

    def __init__(self) -> None:
        self.numbers: array[int] = array("Q")

    def add(self, content: Any) -> None:
        """Remember the content of a row: text, or what JSON can say."""
        self.numbers.append(digest(content, _BYTES))

    def to_numpy(self) -> "np.ndarray":
        """All of them (N,)."""
        import numpy as np

        return np.array(self.numbers, dtype=np.uint64)

    def among(self, others: "Digests") -> int:
        """How many of these the others have too."""
        import numpy as np

        return int(np.isin(self.to_numpy(), others.to_numpy()).sum())


class RowDigests(Digests):
    """Of the columns that a row's type requires, with the place of each row."""

    def __init__(self, row_type: RowType) -> None:
        super().__init__()
        self._columns = COLUMNS[row_type]
        self._places, self._packed = Places(), array("Q")

    def add_row(self, row: Row) -> None:
        """Remember a row and where it stands."""
        self.add([row.values[name] for name in self._columns])
        self._packed.append(self._places.pack(row))

    def repeats(self) -> tuple[int, int, tuple[str, str] | None]:
        """Rows that repeat an earlier one, how many different rows there are, the first pair's places."""
        import numpy as np

        digests = self.to_numpy()
        different, first = np.unique(digests, return_index=True)
        repeated = np.ones(len(digests), dtype=bool)
        repeated[first] = False
        if not repeated.any():
            return 0, len(different), None
        later = int(np.argmax(repeated))
        earlier = int(first[np.searchsorted(different, digests[later])])
        pair = (self._places.text(self._packed[earlier]), self._places.text(self._packed[later]))
        return int(repeated.sum()), len(different), pair


def opening(row_type: RowType, row: Row) -> str:
    """What the hold-out groups a row by (prompt, text, context), as text alike in all row types."""
    parts = [value if isinstance(value, list) else [value] for value in group_of(row_type, row)]
    return "\n".join(text if isinstance(text, str) else text["content"] for part in parts for text in part)

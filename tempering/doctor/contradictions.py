"""Rows that say the opposite of each other: the same two answers both ways round, one text with two labels.

Nothing can be learnt from them but noise. Of a row two digests and its place are kept: of what is judged,
whatever the verdict, and of both together.
"""

import json
from array import array
from collections.abc import Callable, Mapping
from typing import Any

from tempering.data.quality.rule import Places
from tempering.data.rows import Row, RowType, Values
from tempering.doctor.check import Check, Level, graded, rows, share
from tempering.doctor.counters import Digests

_MANY = 0.01

Judge = Callable[[Values], tuple[Any, Any]]
"""From a row to what is judged in it, and the verdict."""


def _both_ways(*sides: str) -> Judge:
    def judged(values: Values) -> tuple[Any, Any]:
        first, second = (json.dumps(values[side], sort_keys=True) for side in sides)
        return [values.get("prompt"), *sorted((first, second))], first < second

    return judged


_JUDGED: Mapping[RowType, tuple[Judge, str]] = {
    RowType.PREFERENCE: (_both_ways("chosen", "rejected"), "the same two answers the other way round"),
    RowType.MINIMAL_PAIR: (
        _both_ways("sentence_good", "sentence_bad"),
        "the same two sentences the other way round",
    ),
    RowType.UNPAIRED_PREFERENCE: (
        lambda values: ([values["prompt"], values["completion"]], values["label"]),
        "the same answer with the other label",
    ),
    RowType.CLASSIFICATION: (
        lambda values: ([values["text"], values["text_pair"]], values["label"]),
        "the same text with another label",
    ),
    RowType.SCORED_CONVERSATION: (
        lambda values: (values["messages"], float(values["score"])),
        "the same conversation with another score",
    ),
}
"""Row type -> what is judged and the verdict, and what a contradiction is called."""


class Contradictions:
    """What is judged in each row, and how."""

    def __init__(self, row_type: RowType) -> None:
        nothing: tuple[Judge | None, str] = (None, "")
        self._judged, self._called = _JUDGED.get(row_type, nothing)
        self._contents, self._verdicts = Digests(), Digests()
        self._places, self._packed = Places(), array("Q")

    def add_row(self, row: Row) -> None:
        """Remember a row, if rows of its type are judged."""
        if self._judged is None:
            return
        content, verdict = self._judged(row.values)
        self._contents.add(content)
        self._verdicts.add([content, verdict])
        self._packed.append(self._places.pack(row))

    def check(self) -> Check | None:
        """How many rows contradict others, and the first two; None where rows are not judged."""
        import numpy as np

        if self._judged is None:
            return None
        contents, verdicts = self._contents.to_numpy(), self._verdicts.to_numpy()
        different = np.unique(np.stack([contents, verdicts], axis=1), axis=0)[:, 0]
        judged, counts = np.unique(different, return_counts=True)
        against = np.isin(contents, judged[counts > 1])
        count, numbers = int(against.sum()), {"rows": int(against.sum())}
        if not count:
            return Check("contradictions", Level.OK, "no row contradicts another", numbers=numbers)
        # The first of them, and the first that says otherwise.
        first = int(np.argmax(against))
        other = int(np.argmax((contents == contents[first]) & (verdicts != verdicts[first])))
        places = [self._places.text(self._packed[place]) for place in (first, other)]
        text = (
            f"{rows(count)} ({share(count, len(contents))}) contradict others: {self._called}, "
            f"first {places[0]} and {places[1]}"
        )
        level = graded(count, len(contents), _MANY)
        return Check("contradictions", level, text, "keep one of each", {**numbers, "first": places})

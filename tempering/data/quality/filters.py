"""The quality filters over a stream of checked rows, and a table of what each removed.

Cheap filters come first: length, exact duplicates, near duplicates, decontamination. A filter that is off
costs nothing. A row is remembered as a first occurrence only if it passes every filter. Duplicates are
searched across both parts, so a row of the eval part never repeats one of the train part; decontamination
looks only at the train part.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tempering.data.files import excerpt
from tempering.data.quality.config import QualityConfig
from tempering.data.quality.decontamination import Decontamination
from tempering.data.quality.exact import ExactDuplicates
from tempering.data.quality.length import Length
from tempering.data.quality.near import NearDuplicates
from tempering.data.quality.rule import Fault, Rule
from tempering.data.rows import Rejected, Row, RowType, texts


@dataclass
class _Count:
    """One filter and what became of the rows it saw."""

    rule: Rule
    seen: int = 0
    removed: int = 0
    remembered: int = 0
    seconds: float = 0.0
    example: str = ""


class Filters:
    """All filters that a config switches on.

    Args:
        config: which filters are on.
        row_type: type of all rows.
        evaluation_texts: running text of the evaluation sets; read once, and only for decontamination.

    Raises:
        DataError: decontamination is on, and the evaluation sets hold no text.
    """

    def __init__(
        self, config: QualityConfig, row_type: RowType, evaluation_texts: Iterable[str] = ()
    ) -> None:
        self._row_type = row_type
        self._counts = [_Count(rule) for rule in _rules(config, row_type, evaluation_texts)]

    def removed(self, row: Row, *, held_out: bool) -> Rejected | None:
        """The rejection of a row; None if it stays, and then later rows are compared with it.

        Args:
            row: a checked row.
            held_out: whether it belongs to the eval part.
        """
        active = [count for count in self._counts if count.rule.held_out_too or not held_out]
        for count in active:
            started = time.perf_counter()
            fault = count.rule.fault(row)
            count.seconds += time.perf_counter() - started
            count.seen += 1
            if fault is not None:
                return self._rejected(count, row, fault)
        for count in active:
            started = time.perf_counter()
            count.rule.remember(row)
            count.seconds += time.perf_counter() - started
            count.remembered += 1
        return None

    def table(self) -> list[dict[str, Any]]:
        """One row per active filter, in order.

        `seen` rows reached it; `bytes_per_row` is its memory per row that stayed; `example` is the place
        and text of the first row it removed.
        """
        return [
            {
                "filter": count.rule.name,
                "seen": count.seen,
                "removed": count.removed,
                "share": count.removed / max(count.seen, 1),
                "bytes_per_row": count.rule.state_bytes() / max(count.remembered, 1),
                "seconds": count.seconds,
                "example": count.example,
            }
            for count in self._counts
        ]

    def _rejected(self, count: _Count, row: Row, fault: Fault) -> Rejected:
        text = next(filter(str.strip, texts(self._row_type, row.values)), "")
        example = excerpt(f"{fault.detail}: {text}")
        count.removed += 1
        count.example = count.example or f"{row.file}:{row.line}: {example}"
        return Rejected(row.file, row.line, fault.reason, example, filter=count.rule.name)


def _rules(config: QualityConfig, row_type: RowType, evaluation_texts: Iterable[str]) -> list[Rule]:
    rules: list[Rule] = []
    if config.min_characters or config.max_characters is not None:
        rules.append(Length(config, row_type))
    if config.duplicates != "keep":
        rules.append(ExactDuplicates(row_type))
    if config.duplicates == "near":
        rules.append(NearDuplicates(config, row_type))
    if config.decontaminate:
        rules.append(Decontamination(config, row_type, evaluation_texts))
    return rules

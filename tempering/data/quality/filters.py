"""The quality filters over a stream of checked rows, and a table of what each took out.

Cheap filters come first: length, exact duplicates, near duplicates, decontamination. A filter that
is off is not there at all. A row is remembered as a first occurrence only when every filter lets it
stay. Duplicates are looked for over both parts, so a row of the eval part never repeats one of the
train part; decontamination looks at rows of the train part alone.
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
        DataError: decontamination is on, and there is no evaluation text.
    """

    def __init__(
        self, config: QualityConfig, row_type: RowType, evaluation_texts: Iterable[str] = ()
    ) -> None:
        self._row_type = row_type
        self._counts = [_Count(rule) for rule in _rules(config, row_type, evaluation_texts)]

    def removed(self, row: Row, *, held_out: bool) -> Rejected | None:
        """The rejection of a row that goes; None: it stays, and later ones are compared with it.

        Args:
            row: a checked row.
            held_out: whether it belongs to the eval part.
        """
        looking = [count for count in self._counts if count.rule.held_out_too or not held_out]
        for count in looking:
            started = time.perf_counter()
            fault = count.rule.fault(row)
            count.seconds += time.perf_counter() - started
            count.seen += 1
            if fault is not None:
                return self._rejected(count, row, fault)
        for count in looking:
            started = time.perf_counter()
            count.rule.remember(row)
            count.seconds += time.perf_counter() - started
            count.remembered += 1
        return None

    def table(self) -> list[dict[str, Any]]:
        """One row a filter that is on, in their order.

        `seen` rows were looked at; `bytes_per_row` are kept for each row that stayed; `example` is the
        place and text of the first row that went.
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
        shown = excerpt(f"{fault.detail}: {text}")
        count.removed += 1
        count.example = count.example or f"{row.file}:{row.line}: {shown}"
        return Rejected(row.file, row.line, fault.reason, shown, filter=count.rule.name)


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

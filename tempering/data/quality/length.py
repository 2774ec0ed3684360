"""Rows with too little or too much running text."""

from tempering.data.quality.config import QualityConfig
from tempering.data.quality.rule import Fault, Rule
from tempering.data.rows import Row, RowType, texts


class Length(Rule):
    """Counts the characters of all running text of a row, including both sides of a pair."""

    name = "length"

    def __init__(self, config: QualityConfig, row_type: RowType) -> None:
        self._least, self._most, self._row_type = config.min_characters, config.max_characters, row_type

    def fault(self, row: Row) -> Fault | None:
        """Too short or too long; the detail says how long it is."""
        characters = sum(map(len, texts(self._row_type, row.values)))
        if characters < self._least:
            return Fault(f"shorter than {self._least} characters", f"{characters} characters")
        if self._most is not None and characters > self._most:
            return Fault(f"longer than {self._most} characters", f"{characters} characters")
        return None

"""What becomes of each column of a record: read by the builder, kept as an extra, or not used.

No builder lists its columns: a record tells which keys were asked for. That costs more than reading does, so
it is done for the first record of each set of columns that hold something; further ones are treated alike.
A column that judges the answer and was not read is refused (`verdicts`).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from tempering.data.builders.record import Record, renamed
from tempering.data.builders.verdicts import is_judge, judge_within, judging, remedy
from tempering.data.rows import COLUMNS, RowType, Values
from tempering.errors import DataError

_LONGEST_VERDICT, _TELLING = 20, (dict, bool)
TRAINED_ON_ANSWERS = (RowType.TEXT, RowType.MESSAGES, RowType.PROMPT_COMPLETION, RowType.PREFERENCE)


class Asked(Record):
    """A record that remembers which of its columns were asked for."""

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.names.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a column, which is remembered."""
        self.names.add(name)
        return super().get(name, default)


@dataclass(frozen=True)
class Fate:
    """Of the columns of records alike: those not used; those that may judge although nobody read them, by
    their names, and those that may by what they hold.
    """

    unused: tuple[str, ...]
    judges: tuple[str, ...]
    others: tuple[str, ...]


@dataclass
class Columns:
    """The columns of the records of one file.

    Args:
        passed_over: columns that judge, and may be passed over as the config says.
    """

    file: str
    kind: str
    row_type: RowType
    passed_over: Collection[str] = ()
    fates: dict[tuple[str, ...], Fate] = field(default_factory=dict)
    filled: tuple[str, ...] = ()
    """The columns of the record being read that hold something."""

    def to_read(self, record: Record) -> Record:
        """The record for the builder: the first of its set of columns remembers what was asked for."""
        self.filled = _filled(record)
        return record if self.filled in self.fates else Asked(record)

    def unused(self, record: Record, values: Values) -> tuple[str, ...]:
        """The columns that are in no part of the row that was made.

        Args:
            record: the last one from `to_read`, after the builder has read it.

        Raises:
            DataError: one of the columns that nobody read judges the answer.
        """
        fate = self.fates.get(self.filled)
        if fate is None:
            fate = self.fates[self.filled] = self._fate(record, self.filled, values)
        for name in fate.judges:
            if judging(name, dict.get(record, name), self.row_type):
                raise self._refusal(name, dict.get(record, name))
        for name in fate.others:
            value = dict.get(record, name)
            if isinstance(value, _TELLING) or (isinstance(value, str) and len(value) < _LONGEST_VERDICT):
                place = judge_within(name, value, self.row_type, self.passed_over)
                if place:
                    raise self._refusal(place, renamed(record, {place: place})[place])
        return fate.unused

    def _fate(self, record: Record, filled: tuple[str, ...], values: Values) -> Fate:
        asked = record.names if isinstance(record, Asked) else frozenset(filled)
        others = [name for name in filled if name not in asked]
        extras = values.keys() - COLUMNS[self.row_type].keys()
        unused = tuple(name for name in others if name not in extras)
        if self.row_type not in TRAINED_ON_ANSWERS:
            return Fate(unused, (), ())
        others = [name for name in others if name not in self.passed_over]
        judges = tuple(filter(is_judge, others))
        return Fate(unused, judges, tuple(name for name in others if name not in judges))

    def _refusal(self, column: str, value: Any) -> DataError:
        noun = {RowType.TEXT: "texts", RowType.PREFERENCE: "pairs"}.get(self.row_type, "answers")
        return DataError(
            f"{self.file}: the column {column!r} judges the {noun} (here {str(value)[:40]!r}), "
            f"and kind: {self.kind} would train on all of them",
            expected="no column that judges, or a kind that reads it",
            fix=f"{remedy(column, value, self.row_type)}; or, where it says nothing about the {noun}, "
            f"ignore_columns: [{column}]",
        )


def _filled(record: Mapping[str, Any]) -> tuple[str, ...]:
    """The columns of a record that hold something."""
    if None in record.values():
        return tuple(name for name, value in record.items() if value is not None)
    return tuple(record)

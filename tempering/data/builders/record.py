"""One record of a foreign file: what a builder takes from it, and how it reports faults.

Separate from the builders' configs, since conversations are normalised outside of any builder.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from tempering.data.rows import Values

Record = dict[str, Any]
Note = Callable[[str], None]
"""Called with each change of a record that is kept; changes are counted."""


_TRAINED_ON = frozenset(
    {
        "untrained_turns",
        "text",
        "messages",
        "prompt",
        "completion",
        "chosen",
        "rejected",
        "input_ids",
        "query",
        "num_tokens",
    }
)


class BadRow(Exception):
    """A foreign record cannot be normalised; it is counted under the message."""


def renamed(record: Record, columns: Mapping[str, str]) -> Record:
    """`record` with the columns of the map under the names a builder looks for."""
    if not columns:
        return record
    sources = {place.split(".")[0] for place in columns.values()}
    rest = {name: value for name, value in record.items() if name not in sources or name in columns}
    return {**rest, **{name: _reach(record, place) for name, place in columns.items()}}


def string(record: Record, column: str) -> str:
    """The string in `column`.

    Raises:
        BadRow: naming the column if it is missing, null or of another type.
    """
    value = record.get(column)
    if not isinstance(value, str):
        raise BadRow(f"{column}: is {called(value)}, not a string")
    return value


def number(record: Record, column: str) -> float | None:
    """The number in `column`, also one written as text (CSV holds only text); None where there is none.

    Raises:
        BadRow: naming the column if it holds something else.
    """
    value = record.get(column)
    if value is None or value == "":
        return None
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        with suppress(ValueError, OverflowError):
            return float(value)
    raise BadRow(f"{column}: is {called(value)} that is no number")


def scalars(record: Record, *columns: str) -> Values:
    """The extra columns of a record that a row keeps: texts, numbers, true or false, other than `columns`.

    One with the name of a column that rows are trained on is dropped, since it would be mistaken for it.
    """
    return {
        name: value
        for name, value in record.items()
        if name not in columns and name not in _TRAINED_ON and isinstance(value, str | bool | int | float)
    }


def called(value: object) -> str:
    """The type of a value in words, for a reason."""
    return "missing or null" if value is None else type(value).__name__


def _reach(record: Any, place: str) -> Any:
    if isinstance(record, dict) and place in record:
        return record[place]
    for name in place.split("."):
        if isinstance(record, list) and name.isdecimal():
            record = record[int(name)] if int(name) < len(record) else None
        else:
            record = record.get(name) if isinstance(record, dict) else None
    return record

"""One record of a foreign file: what a builder takes out of it, and how it says what is wrong.

Kept apart from the builders' configs, since conversations are normalised outside of any builder.
"""

from collections.abc import Callable, Mapping
from typing import Any

from tempering.data.rows import Values

Record = dict[str, Any]
Note = Callable[[str], None]
"""Called with what was changed in a record that is kept; each is counted."""


_TRAINED_ON = frozenset(
    {"text", "messages", "prompt", "completion", "chosen", "rejected", "input_ids", "query", "num_tokens"}
)


class BadRow(Exception):
    """This foreign record cannot be normalised; the message is the reason it is counted under."""


def renamed(record: Record, columns: Mapping[str, str]) -> Record:
    """`record` with the columns of the map under the names a builder looks for."""
    if not columns:
        return record
    taken = {place.split(".")[0] for place in columns.values()}
    rest = {name: value for name, value in record.items() if name not in taken or name in columns}
    return {**rest, **{name: _reach(record, place) for name, place in columns.items()}}


def string(record: Record, column: str) -> str:
    """The string in `column`.

    Raises:
        BadRow: naming the column when it is missing, null or of another type.
    """
    value = record.get(column)
    if not isinstance(value, str):
        raise BadRow(f"{column}: is {called(value)}, not a string")
    return value


def scalars(record: Record, *known: str) -> Values:
    """The further columns of a record that a row keeps: texts, numbers, true or false.

    One that bears the name of what rows are trained on is not kept: it would be taken for it.
    """
    return {
        name: value
        for name, value in record.items()
        if name not in known and name not in _TRAINED_ON and isinstance(value, str | bool | int | float)
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

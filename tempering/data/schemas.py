"""The Parquet schema of each row type, before and after tokenising.

The schema does not hang on the rows, so that an empty part can be read like a full one and the
same rows give the same bytes. Extra columns are typed over all rows of all parts and follow the
fixed ones by name; pandas, which adds metadata of its own, takes no part.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tempering.data.rows import COLUMNS, RowType, Values

if TYPE_CHECKING:
    import pyarrow as pa

_INT64 = range(-(2**63), 2**63)


def row_schema(row_type: RowType, rows: Iterable[Mapping[str, Any]] = ()) -> "pa.Schema":
    """The schema of text rows, with the extra columns found in `rows`."""
    import pyarrow as pa

    strings, number = pa.list_(pa.string()), pa.float64()
    kinds = {"prompt": _messages(), "completion": _messages(), "strings": strings, "number": number}
    columns = {name: kinds.get(kind, pa.string()) for name, kind in COLUMNS[row_type].items()}
    return pa.schema([*columns.items(), *_extra_fields(rows, columns)])


def token_schema(row_type: RowType, rows: Iterable[Mapping[str, Any]] = ()) -> "pa.Schema":
    """The schema of tokenised rows, with the extra columns found in `rows`."""
    import pyarrow as pa

    ids, mask = pa.list_(pa.int32()), pa.list_(pa.bool_())
    columns = {
        RowType.TEXT: {"input_ids": ids},
        RowType.PROMPT_COMPLETION: {"input_ids": ids, "completion_mask": mask},
        RowType.PREFERENCE: {"prompt_ids": ids, "chosen_ids": ids, "rejected_ids": ids},
        RowType.PROMPT: {"input_ids": ids, "query": pa.string(), "prompt": _messages()},
    }[row_type]
    columns = {**columns, "num_tokens": pa.int64()}
    return pa.schema([*columns.items(), *_extra_fields(rows, columns)])


def rejected_schema() -> "pa.Schema":
    """The schema of `metadata/rejected.parquet`; `kept` rows were changed, not left out."""
    import pyarrow as pa

    text = pa.string()
    columns = {"file": text, "line": pa.int64(), "reason": text, "excerpt": text, "kept": pa.bool_()}
    return pa.schema(list(columns.items()))


def to_table(rows: Sequence[Mapping[str, Any]], schema: "pa.Schema") -> "pa.Table":
    """`rows` with exactly the columns of `schema`; what is missing in a row is null."""
    import pyarrow as pa

    textual = [field.name for field in schema if field.type == pa.string()]
    return pa.Table.from_pylist([_as_text(row, textual) for row in rows], schema=schema)


def _messages() -> "pa.DataType":
    import pyarrow as pa

    return pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


def _extra_fields(rows: Iterable[Mapping[str, Any]], known: Iterable[str]) -> list[tuple[str, "pa.DataType"]]:
    seen: dict[str, set[type]] = {}
    fixed = set(known)
    for row in rows:
        for name in row.keys() - fixed:
            value = row[name]
            kind = str if isinstance(value, int) and value not in _INT64 else type(value)
            seen.setdefault(name, set()).add(kind)
    return [(name, _scalar_type(seen[name] - {type(None)})) for name in sorted(seen)]


def _scalar_type(kinds: set[type]) -> "pa.DataType":
    import pyarrow as pa

    if kinds == {bool}:
        return pa.bool_()
    if kinds == {int}:
        return pa.int64()
    if kinds and kinds <= {int, float}:
        return pa.float64()
    return pa.string()


def _as_text(row: Mapping[str, Any], textual: Sequence[str]) -> Values:
    mixed = {name: str(row[name]) for name in textual if row.get(name) is not None}
    return {**row, **mixed}

"""The Parquet schema of each row type, before and after tokenising.

The schema does not depend on the rows, so that an empty part can be read like a full one and the same rows
give the same bytes. Extra columns follow the fixed ones by name; their types hold all values so far (`wider`
joins those of several groups). pandas is not involved, since it adds its own metadata.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tempering.data.rows import COLUMNS, RowType, Values

if TYPE_CHECKING:
    import pyarrow as pa

_INT64 = range(-(2**63), 2**63)


def row_schema(row_type: RowType) -> "pa.Schema":
    """The fixed columns of text rows."""
    import pyarrow as pa

    kinds = {
        **dict.fromkeys(("prompt", "completion", "messages"), _messages()),
        **dict.fromkeys(("number", "score"), pa.float64()),
        "strings": pa.list_(pa.string()),
        "integer": pa.int64(),
        "boolean": pa.bool_(),
    }
    columns = {name: kinds.get(kind, pa.string()) for name, kind in COLUMNS[row_type].items()}
    return pa.schema(list(columns.items()))


def token_schema(row_type: RowType) -> "pa.Schema":
    """The fixed columns of tokenised rows."""
    import pyarrow as pa

    ids, mask = pa.list_(pa.int32()), pa.list_(pa.bool_())
    columns = {
        RowType.TEXT: {"input_ids": ids},
        RowType.PROMPT_COMPLETION: {"input_ids": ids, "completion_mask": mask},
        RowType.PREFERENCE: {"prompt_ids": ids, "chosen_ids": ids, "rejected_ids": ids},
        RowType.CLASSIFICATION: {"input_ids": ids, "label": pa.int64()},
        RowType.PROMPT: {"input_ids": ids, "query": pa.string(), "prompt": _messages()},
    }[row_type]
    return pa.schema([*columns.items(), ("num_tokens", pa.int64())])


def rejected_schema() -> "pa.Schema":
    """The schema of `metadata/rejected.parquet`; `kept` rows were changed, not left out."""
    import pyarrow as pa

    text = pa.string()
    columns = {"file": text, "line": pa.int64(), "reason": text, "excerpt": text, "kept": pa.bool_()}
    columns["filter"] = text
    return pa.schema(list(columns.items()))


def full_schema(fixed: "pa.Schema", extras: Mapping[str, "pa.DataType"]) -> "pa.Schema":
    """The fixed columns and then the extra ones by name; an extra column without any value holds strings."""
    import pyarrow as pa

    columns = [
        (name, pa.string() if pa.types.is_null(kind) else kind) for name, kind in sorted(extras.items())
    ]
    return pa.schema([*fixed, *(pa.field(name, kind) for name, kind in columns)])


def extra_types(rows: Iterable[Mapping[str, Any]], fixed: Iterable[str]) -> dict[str, "pa.DataType"]:
    """The types of the columns of `rows` that are not `fixed`; null for a column without any value."""
    kinds: dict[str, set[type]] = {}
    names = set(fixed)
    for row in rows:
        for name in row.keys() - names:
            value = row[name]
            kind = str if isinstance(value, int) and value not in _INT64 else type(value)
            kinds.setdefault(name, set()).add(kind)
    return {name: _scalar_type(types - {type(None)}) for name, types in kinds.items()}


def wider(left: Mapping[str, "pa.DataType"], right: Mapping[str, "pa.DataType"]) -> dict[str, "pa.DataType"]:
    """The columns of both, each with a type that holds all values."""
    return {
        name: _wider_type([types[name] for types in (left, right) if name in types])
        for name in {*left, *right}
    }


def to_table(rows: Sequence[Mapping[str, Any]], schema: "pa.Schema") -> "pa.Table":
    """`rows` as a table with exactly the columns of `schema`; missing values are null."""
    import pyarrow as pa

    textual = [field.name for field in schema if field.type == pa.string()]
    return pa.Table.from_pylist([_as_text(row, textual) for row in rows], schema=schema)


def _messages() -> "pa.DataType":
    import pyarrow as pa

    return pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


def _scalar_type(kinds: set[type]) -> "pa.DataType":
    import pyarrow as pa

    if not kinds:
        return pa.null()
    if kinds == {bool}:
        return pa.bool_()
    if kinds == {int}:
        return pa.int64()
    if kinds <= {int, float}:
        return pa.float64()
    return pa.string()


def _wider_type(types: Sequence["pa.DataType"]) -> "pa.DataType":
    import pyarrow as pa

    kinds = {kind for kind in types if not pa.types.is_null(kind)}
    if len(kinds) <= 1:
        return next(iter(kinds), pa.null())
    return pa.float64() if kinds == {pa.int64(), pa.float64()} else pa.string()


def _as_text(row: Mapping[str, Any], textual: Sequence[str]) -> Values:
    mixed = {name: str(row[name]) for name in textual if row.get(name) is not None}
    return {**row, **mixed}

"""The place of a row between 0 and 1, which decides whether it is held out, or used at all.

A stable hash of what identifies a row (its prompt, text or context), so that adding rows moves no other,
copies of a row are on the same side, and a prompt of the eval part is never trained on. Equal texts are on
the same side whatever their row type: a text, one to classify, a context of questions.
"""

import hashlib
import json
from typing import Any

from tempering.data.rows import GROUP_COLUMNS, Message, Row, RowType


def is_held_out(row_type: RowType, row: Row, fraction: float, seed: int) -> bool:
    """Whether a row belongs to the eval part: its place is below `fraction`."""
    return place(row_type, row, seed) < fraction


def is_used(row_type: RowType, row: Row, fraction: float, seed: int) -> bool:
    """Whether a row belongs to the `fraction` of a data set that is used, held out or not."""
    return fraction == 1 or place(row_type, row, [seed, "used"]) < fraction


def in_fold(row_type: RowType, row: Row, fold: str | None, seed: int) -> bool:
    """Whether a row belongs to part k of n (`k/n`), held out or not; without a fold all do."""
    if fold is None:
        return True
    number, count = map(int, fold.split("/"))
    return int(place(row_type, row, [seed, "fold"]) * count) == number - 1


def place(row_type: RowType, row: Row, key: Any) -> float:
    """A stable hash of `key` and the row's group, scaled to [0, 1)."""
    canonical = json.dumps([key, group_of(row_type, row)], ensure_ascii=False, sort_keys=True)
    digest = hashlib.sha256(canonical.encode("utf-8")).digest()
    return int.from_bytes(digest[:7], "big") / 2**56  # 56 bits are exact in a float


def group_of(row_type: RowType, row: Row) -> list[Any]:
    """What a row is held out by, in one form for all types: strings and openings of conversations."""
    if row.group:
        return [row.group]
    identities = [_identity(row.values[name]) for name in GROUP_COLUMNS[row_type]]
    return [value for value in identities if value != ""]


def _identity(value: Any) -> Any:
    """A value itself; of a conversation its opening, up to the first answer."""
    if not isinstance(value, list):
        return value
    opening: list[Message] = []
    for message in value:
        if isinstance(message, dict) and message["role"] == "assistant" and opening:
            break
        opening.append(message)
    return opening

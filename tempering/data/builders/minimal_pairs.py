"""Minimal pairs: two sentences of which one is right.

BLiMP (Warstadt et al. 2020, https://arxiv.org/abs/1912.00582), whose paradigm is its `UID`, and
the supplement of BabyLM, whose paradigm is the name of the file and whose sentences may hold line ends.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from tempering.config import added_field
from tempering.data.builders.base import FileBuilderConfig, Item, Note, Record, renamed, scalars, string
from tempering.data.builders.columns import Columns
from tempering.data.rows import RowType, Values


class MinimalPairsConfig(FileBuilderConfig):
    """Rows of a good and a bad sentence."""

    kind: Literal["minimal_pairs"] = "minimal_pairs"
    keep_same: bool = added_field(
        False,
        description="keep pairs of the same sentence (BLiMP has seven), which the official tools count",
    )

    @property
    def row_type(self) -> RowType:
        """Always minimal pairs."""
        return RowType.MINIMAL_PAIR

    def rows_of(self, path: Path, line: int, record: Record, columns: Columns) -> Iterator[Item]:
        """One pair; its paradigm is the name of the file if the record names none."""
        if not isinstance(renamed(record, self.columns).get("UID"), str):
            record = {"paradigm": path.name.split(".")[0], **record}
        return super().rows_of(path, line, record, columns)

    def normalise(self, record: Record, note: Note) -> Values:
        """One row per pair."""
        name = "UID" if isinstance(record.get("UID"), str) else "paradigm"
        good, bad = string(record, "sentence_good"), string(record, "sentence_bad")
        same = {"same": True} if self.keep_same and good == bad else {}
        return {
            **scalars(record, "UID", "same"),
            "sentence_good": good,
            "sentence_bad": bad,
            "paradigm": string(record, name),
            **same,
        }

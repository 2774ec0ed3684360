"""Texts with a context each, of which the first is the right one: EWoK and COMPS.

EWoK (Ivanova et al. 2024, https://arxiv.org/abs/2405.09605) has two contexts and two targets that fit one
each. The BabyLM pipeline compares the targets after the first context, and its files hold each item twice,
with the sides exchanged; the paper compares the contexts before a target. COMPS (Misra et al. 2023,
https://arxiv.org/abs/2210.01963) has one property after two concepts.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from tempering.data.builders.base import FileBuilderConfig, Item, Note, Record, scalars, string
from tempering.data.builders.columns import Columns
from tempering.data.rows import RowType, Values

EWOK = ("Context1", "Context2", "Target1", "Target2")
COMPS = ("prefix_acceptable", "prefix_unacceptable", "property_phrase")


class EWoKConfig(FileBuilderConfig):
    """Rows of two contexts and two targets (EWoK), the first of each belonging together."""

    kind: Literal["ewok"] = "ewok"
    compare: Literal["targets", "contexts"] = Field(
        default="targets",
        description="targets: both after the first context, as BabyLM does; contexts: both before the first "
        "target, as the paper does",
    )

    @property
    def row_type(self) -> RowType:
        """Always candidates."""
        return RowType.CANDIDATES

    def normalise(self, record: Record, note: Note) -> Values:
        """One row per record; its paradigm is the domain."""
        context, other_context, target, other_target = (string(record, name) for name in EWOK)
        by_targets = self.compare == "targets"
        # The space belongs to the target, as in the official pipeline's predictions.
        return {
            **scalars(record, *EWOK, "Domain"),
            "contexts": [context, context if by_targets else other_context],
            "completions": [f" {target}", f" {other_target if by_targets else target}"],
            "answer": 0,
            "paradigm": string(record, "Domain"),
        }


class CompsConfig(FileBuilderConfig):
    """Rows of a property after an acceptable and an unacceptable beginning (COMPS)."""

    kind: Literal["comps"] = "comps"

    @property
    def row_type(self) -> RowType:
        """Always candidates."""
        return RowType.CANDIDATES

    def rows_of(self, path: Path, line: int, record: Record, columns: Columns) -> Iterator[Item]:
        """One row; its paradigm is that of the file: `comps_wugs_dist-before` has `wugs_dist_before`."""
        name = path.name.split(".")[0].removeprefix("comps_").replace("-", "_")
        return super().rows_of(path, line, {**record, "paradigm": name}, columns)

    def normalise(self, record: Record, note: Note) -> Values:
        """One row per record."""
        acceptable, unacceptable, phrase = (string(record, name) for name in COMPS)
        return {
            **scalars(record, *COMPS),
            "contexts": [acceptable, unacceptable],
            "completions": [phrase, phrase],
            "answer": 0,
            "paradigm": string(record, "paradigm"),
        }

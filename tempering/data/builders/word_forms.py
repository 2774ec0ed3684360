"""Two forms of a made-up word, and how many people chose the first: the WUG tests of BabyLM.

Adjective nominalisation (Hofmann et al. 2024, https://arxiv.org/abs/2411.07990) and past tense (Weissweiler
et al. 2023, https://arxiv.org/abs/2310.15113). Both forms are in one string, with a tab between them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from tempering.data.builders.base import FileBuilderConfig, Item, Note, Record, scalars, string
from tempering.data.builders.columns import Columns
from tempering.data.builders.record import number
from tempering.data.rows import RowType, Values


class WordFormsConfig(FileBuilderConfig):
    """Rows of two forms and the share of people who chose the first."""

    kind: Literal["word_forms"] = "word_forms"

    @property
    def row_type(self) -> RowType:
        """Always word forms."""
        return RowType.WORD_FORMS

    def rows_of(self, path: Path, line: int, record: Record, columns: Columns) -> Iterator[Item]:
        """One row; its paradigm is the beginning of the file's name: `wug_adj`, `wug_past`."""
        paradigm = "_".join(path.name.split(".")[0].split("_")[:2])
        return super().rows_of(path, line, {**record, "paradigm": paradigm}, columns)

    def normalise(self, record: Record, note: Note) -> Values:
        """One row per pair of forms."""
        return {
            **scalars(record, "sentences", "ratio"),
            "forms": string(record, "sentences").split("\t"),
            "ratio": number(record, "ratio"),
            "paradigm": string(record, "paradigm"),
        }

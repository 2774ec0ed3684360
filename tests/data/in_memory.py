"""A data set built into a temporary folder and read back: what tests look at."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from tempering.artifacts.tables import read_rows
from tempering.data import prepare as parts
from tempering.data.prepare import Totals
from tempering.data.rows import Rejected, RowType
from tempering.data.shards import iter_rows


@dataclass
class Parts:
    """Both parts, and what was rejected."""

    row_type: RowType
    train: list[dict]
    eval: list[dict]
    rejected: list[Rejected]
    totals: Totals
    said: list[str] = field(default_factory=list)


def build_parts(config, evaluation_texts=()) -> Parts:
    with TemporaryDirectory() as folder:
        rejected, said = Path(folder) / "rejected.parquet", []
        totals = parts.build_parts(config, Path(folder), rejected, evaluation_texts, say=said.append)
        made = [list(iter_rows(Path(folder) / part)) for part in ("train", "eval")]
        items = [Rejected(**row) for row in read_rows(rejected)]
    return Parts(totals.row_type, *made, items, totals, said)


def count_reasons(rejected) -> Counter:
    return Counter(item.reason for item in rejected)
